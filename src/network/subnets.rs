//! Which ranges of addresses the host has in use already, and which are free for a network that names none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::definition::overlap;
use super::netlink::{Message, Request, Socket, attribute};
use crate::{Context, Error, Result};

/// Where networks begin that name no range: behind those of podman's default network, and of most others' too.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 0);
/// The end of the private range that they are in: 10.0.0.0/8, RFC 1918.
const LAST: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 0);
/// How large they are.
const PREFIX: u8 = 24;
const PREFIX_OF_IPV6: u8 = 64;

/// A range that the host knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The range.
    pub net: IpNet,
    /// The number of the interface that it is on; 0 where it is on none.
    pub interface: u32,
    /// How it is known.
    pub by: By,
}

/// How a range is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// An interface has an address in it.
    Address,
    /// There is a route to it.
    Route,
}

/// What the host has in use: the addresses of its interfaces, and its routes but for the default ones.
pub fn used(socket: &Socket) -> Result<Vec<Used>> {
    let mut used = dump(socket, libc::RTM_GETADDR, 8, address).context(|| "list addresses")?;
    used.extend(dump(socket, libc::RTM_GETROUTE, 12, route).context(|| "list routes")?);
    Ok(used)
}

fn dump(socket: &Socket, kind: u16, header: usize, read: fn(&[u8]) -> Result<Option<Used>>) -> Result<Vec<Used>> {
    let mut found = Vec::new();
    socket.dump(
        || Request::new(kind, libc::NLM_F_DUMP, &[0; 12][..header]),
        |message: Option<&Message>| {
            match message {
                Some(message) => found.extend(read(message.body)?),
                None => found.clear(),
            }
            Ok(())
        },
    )?;
    Ok(found)
}

/// struct ifaddrmsg: family, prefix length, flags, scope (8 bits each), index. The range is the other end's, where there is
/// one.
fn address(body: &[u8]) -> Result<Option<Used>> {
    let short = || Error::new("netlink: an address's message is too short");
    let (header, attributes) = body.split_first_chunk::<8>().ok_or_else(short)?;
    let [_, prefix, _, _, index @ ..] = *header;
    let attributes = attribute::parse(attributes)?;
    let of_kind = |wanted| attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value);
    let address = of_kind(libc::IFA_ADDRESS).or_else(|| of_kind(libc::IFA_LOCAL)).and_then(ip);
    let net = address.and_then(|address| IpNet::new(address, prefix).ok());
    let interface = u32::from_ne_bytes(index);
    Ok(net.map(|net| Used { net: net.trunc(), interface, by: By::Address }))
}

/// struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type (8 bits each), flags. Only what
/// leads somewhere, or nowhere on purpose: local addresses are known as such, and broadcasts are no range.
fn route(body: &[u8]) -> Result<Option<Used>> {
    const LEADING: [u8; 4] = [libc::RTN_UNICAST, libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT];
    let short = || Error::new("netlink: a route's message is too short");
    let (header, attributes) = body.split_first_chunk::<12>().ok_or_else(short)?;
    let [family, prefix, _, _, _, _, _, kind, flags @ ..] = *header;
    let is_ip = [libc::AF_INET, libc::AF_INET6].contains(&family.into());
    let is_cached = u32::from_ne_bytes(flags) & libc::RTM_F_CLONED != 0;
    if !is_ip || prefix == 0 || is_cached || !LEADING.contains(&kind) {
        return Ok(None);
    }
    let (mut to, mut interface) = (None, 0);
    for (kind, value) in attribute::parse(attributes)? {
        match kind {
            libc::RTA_DST => to = ip(value),
            libc::RTA_OIF => interface = attribute::number(value)?,
            _ => {}
        }
    }
    let net = to.and_then(|to| IpNet::new(to, prefix).ok());
    Ok(net.map(|net| Used { net: net.trunc(), interface, by: By::Route }))
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(|four| Ipv4Addr::from(four).into());
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(|sixteen| Ipv6Addr::from(sixteen).into())).ok()
}

/// The first range of 256 addresses from 10.89.0.0 on that overlaps none of these.
///
/// # Errors
/// When none is left.
pub fn free_ipv4(taken: &[IpNet]) -> Result<IpNet> {
    let mut next = u32::from(FIRST);
    while next <= u32::from(LAST) {
        let candidate = IpNet::V4(Ipv4Net::new(next.into(), PREFIX).map_err(|error| Error::new(error.to_string()))?);
        let Some(other) = taken.iter().find(|other| overlap(other, &candidate)) else { return Ok(candidate) };
        let end = match other {
            IpNet::V4(other) => u32::from(other.broadcast()),
            IpNet::V6(_) => next,
        };
        // Behind the other, where that is larger.
        next = end.max(next + 0xff) | 0xff;
        next = next.saturating_add(1);
    }
    Err(Error::new(format!("no range of 256 addresses is free between {FIRST} and {LAST}: name one by --subnet")))
}

/// A range of IPv6 that nobody else has chosen: fd00::/8 with 40 bits drawn by lot, RFC 4193.
pub fn free_ipv6(taken: &[IpNet], mut draw: impl FnMut() -> Result<[u8; 5]>) -> Result<IpNet> {
    loop {
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&draw()?);
        let candidate = Ipv6Net::new(octets.into(), PREFIX_OF_IPV6).map_err(|error| Error::new(error.to_string()))?;
        let candidate = IpNet::V6(candidate);
        if !taken.iter().any(|other| overlap(other, &candidate)) {
            return Ok(candidate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_range_that_overlaps_nothing_is_free() {
        let free = |taken: &[&str]| free_ipv4(&nets(taken)).map(|net| net.to_string());
        assert_eq!(free(&[]).unwrap(), "10.89.0.0/24");
        assert_eq!(free(&["10.88.0.0/16", "fd00::/8"]).unwrap(), "10.89.0.0/24");
        assert_eq!(free(&["10.89.0.128/25", "10.89.2.0/24"]).unwrap(), "10.89.1.0/24");
        assert_eq!(free(&["10.64.0.0/10"]).unwrap(), "10.128.0.0/24", "it goes on behind a larger one");
        assert_eq!(free(&["10.89.0.7/32", "10.89.1.0/30"]).unwrap(), "10.89.2.0/24");
        assert!(free(&["10.0.0.0/8"]).unwrap_err().to_string().contains("--subnet"));
        assert!(free(&["8.0.0.0/5"]).is_err());
    }

    #[test]
    fn a_range_of_ipv6_is_drawn_again_where_it_is_taken() {
        let mut draws = [[0, 0, 0, 0, 1], [0, 0, 0, 0, 2]].into_iter();
        let free = free_ipv6(&nets(&["fd00:0:1::/48"]), || Ok(draws.next().unwrap())).unwrap();
        assert_eq!(free.to_string(), "fd00:0:2::/64");
    }

    #[test]
    fn the_hosts_addresses_and_routes_are_known() {
        let made = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
            let script = "ip link add one type veth peer name two && ip address add 192.0.2.9/28 dev one &&
                ip address add 2001:db8:1::5/64 dev one && ip link set one up && ip link set two up &&
                ip route add 198.51.100.0/25 dev one && ip route add default dev one && ip route add blackhole 10.99.0.0/16";
            let made = std::process::Command::new("sh").args(["-ec", script]).status().unwrap();
            assert!(made.success());
            Ok::<_, nix::errno::Errno>(used(&Socket::open().unwrap()).unwrap())
        });
        let Ok(used) = made.join().unwrap() else { return eprintln!("SKIP: no network namespace can be made") };
        let has = |net: &str, by| used.iter().any(|used| used.net == net.parse().unwrap() && used.by == by);
        assert!(has("192.0.2.0/28", By::Address) && has("2001:db8:1::/64", By::Address), "{used:?}");
        assert!(has("198.51.100.0/25", By::Route) && has("10.99.0.0/16", By::Route), "{used:?}");
        assert!(used.iter().all(|used| used.net.prefix_len() > 0), "a default route takes no range: {used:?}");
    }
}
