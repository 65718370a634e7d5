//! Routes and rules of policy routing, as requests to rtnetlink(7): struct rtmsg, struct fib_rule_hdr.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::address::octets;
use super::netlink::{Message, Request, Socket, attribute};
use super::request::{Route, Rule, everywhere};
use crate::{Context, Error, Result};

/// Addresses that are nobody's, since nobody has been given their ranges (RFC 1112, RFC 4291): the way to them is the default
/// route. Those for documentation are in use in many a laboratory.
pub const ANYWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(240, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 1))];
/// RT_TABLE_MAIN.
const MAIN: u32 = 254;
/// RTPROT_STATIC: an administrator made it.
const STATIC: u8 = 4;
/// RT_SCOPE_UNIVERSE, and RT_SCOPE_LINK for what has no gateway.
const UNIVERSE: u8 = 0;
const ON_LINK: u8 = 253;
/// FR_ACT_TO_TBL.
const TO_TABLE: u8 = 1;
/// RTNH_F_ONLINK: the gateway is taken to be on the link, whatever the addresses say.
const GATEWAY_ON_LINK: u32 = 4;
/// RTAX_MTU.
const METRIC_MTU: u16 = 2;
/// FRA_*, which libc lacks.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;

fn family(ipv4: bool) -> u8 {
    (if ipv4 { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// A table's number in a header's byte; what does not fit stands in an attribute alone.
fn small(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(0)
}

/// RTM_NEWROUTE by the interface of that number. `gateway_on_link`: no address of the interface's covers the gateway.
///
/// # Errors
/// When the route's parts are of different families.
pub fn add(route: &Route, index: u32, gateway_on_link: bool) -> Result<Request> {
    let ipv4 = route.is_ipv4()?;
    let to = route.to.unwrap_or_else(|| everywhere(ipv4));
    let table = route.table.unwrap_or(MAIN);
    // IPv6 has no scopes.
    let scope = if route.via.is_none() && ipv4 { ON_LINK } else { UNIVERSE };
    let mut header = [family(ipv4), to.prefix_len(), 0, 0, small(table), STATIC, scope, libc::RTN_UNICAST, 0, 0, 0, 0];
    if gateway_on_link {
        header[8..].copy_from_slice(&GATEWAY_ON_LINK.to_ne_bytes());
    }
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut request = Request::new(libc::RTM_NEWROUTE, flags, &header);
    if to.prefix_len() > 0 {
        request.attribute(libc::RTA_DST, &octets(&to.addr()))?;
    }
    if let Some(via) = &route.via {
        request.attribute(libc::RTA_GATEWAY, &octets(via))?;
    }
    if let Some(source) = &route.source {
        request.attribute(libc::RTA_PREFSRC, &octets(source))?;
    }
    if let Some(metric) = route.metric {
        request.number(libc::RTA_PRIORITY, metric)?;
    }
    if let Some(mtu) = route.mtu {
        let mut metrics = Vec::new();
        attribute::put(&mut metrics, METRIC_MTU, &mtu.to_ne_bytes())?;
        request.attribute(libc::RTA_METRICS | libc::NLA_F_NESTED as u16, &metrics)?;
    }
    request.number(libc::RTA_OIF, index)?;
    request.number(libc::RTA_TABLE, table)?;
    Ok(request)
}

/// RTM_NEWRULE, one a family; `incoming` names the interface of rules for what came in by it.
///
/// # Errors
/// When the rule's ranges are of different families.
pub fn add_rule(rule: &Rule, incoming: &str) -> Result<Vec<Request>> {
    let request = |ipv4: bool| {
        let prefix = |net: Option<IpNet>| net.map_or(0, |net| net.prefix_len());
        let lengths = [prefix(rule.to), prefix(rule.from)];
        let header = [family(ipv4), lengths[0], lengths[1], 0, small(rule.table), 0, 0, TO_TABLE, 0, 0, 0, 0];
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWRULE, flags, &header);
        for (kind, net) in [(FRA_DST, rule.to), (FRA_SRC, rule.from)] {
            if let Some(net) = net.filter(|net| net.prefix_len() > 0) {
                request.attribute(kind, &octets(&net.addr()))?;
            }
        }
        if rule.incoming {
            request.text(FRA_IIFNAME, incoming)?;
        }
        if let Some(mark) = rule.mark {
            request.number(FRA_FWMARK, mark)?;
        }
        if let Some(priority) = rule.priority {
            request.number(FRA_PRIORITY, priority)?;
        }
        request.number(FRA_TABLE, rule.table)?;
        Ok(request)
    };
    rule.families()?.into_iter().map(request).collect()
}

/// How packets to an address leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The number of the interface.
    pub index: u32,
    /// The longest packet, where the route bounds it.
    pub mtu: Option<u32>,
}

/// How packets to an address leave; None where there is no way: RTM_GETROUTE, as `ip route get`.
pub fn way_to(socket: &Socket, to: IpAddr) -> Result<Option<Way>> {
    let ipv4 = to.is_ipv4();
    let header = [family(ipv4), if ipv4 { 32 } else { 128 }, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_ACK, &header);
    request.attribute(libc::RTA_DST, &octets(&to))?;
    let (mut index, mut mtu) = (None, None);
    let asked = socket.ask(request, |message: &Message| {
        for (kind, value) in attribute::parse(message.body.get(12..).unwrap_or_default())? {
            match kind {
                libc::RTA_OIF => index = Some(attribute::number(value)?),
                libc::RTA_METRICS => {
                    let found = attribute::parse(value)?.into_iter().find(|(metric, _)| *metric == METRIC_MTU);
                    mtu = found.map(|(_, value)| attribute::number(value)).transpose()?;
                }
                _ => {}
            }
        }
        Ok(())
    });
    match asked {
        Ok(()) => Ok(index.map(|index| Way { index, mtu })),
        Err(error) if is_no_way(&error) => Ok(None),
        Err(error) => Err(error).context(|| format!("look for the route to {to}")),
    }
}

/// Whether an address is one of the host's own.
pub fn is_local(socket: &Socket, address: IpAddr) -> Result<bool> {
    let ipv4 = address.is_ipv4();
    let header = [family(ipv4), if ipv4 { 32 } else { 128 }, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_ACK, &header);
    request.attribute(libc::RTA_DST, &octets(&address))?;
    let mut local = false;
    // struct rtmsg has the kind of route in its eighth byte.
    let asked = socket.ask(request, |message: &Message| {
        local = message.body.get(7) == Some(&libc::RTN_LOCAL);
        Ok(())
    });
    match asked {
        Err(error) if !is_no_way(&error) => Err(error).context(|| format!("look whether {address} is the host's")),
        _ => Ok(local),
    }
}

fn is_no_way(error: &Error) -> bool {
    [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL].map(Some).contains(&error.errno())
}
