//! Ranges of addresses: which of them a network's containers may have.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::request::IpvlanMode;
use super::Subnet;
use super::network::Carrier;
use crate::{Context, Error, Result};

/// A range of a network, with those of its addresses that are leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The range.
    pub subnet: IpNet,
    /// The containers' gateway.
    pub gateway: Option<IpAddr>,
    /// The first address that is leased.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

impl Range {
    /// The gateway with the range's prefix.
    pub fn gateway_in_range(&self) -> Option<IpNet> {
        self.gateway.and_then(|gateway| IpNet::new(gateway, self.subnet.prefix_len()).ok())
    }

    /// That a container may have this address, be it leased to another or not.
    ///
    /// # Errors
    /// When it is outside, the range's own, the one for broadcasts, or the gateway's.
    pub fn check(&self, address: IpAddr) -> Result<()> {
        check_inside(&self.subnet, address)?;
        match self.gateway {
            Some(gateway) if gateway == address => Err(Error::invalid(format!("it is the gateway of {}", self.subnet))),
            _ => Ok(()),
        }
    }
}

/// The ranges of a definition, checked each and against each other.
pub fn read(subnets: &[Subnet], carrier: &Carrier) -> Result<Vec<Range>> {
    let mut ranges: Vec<Range> = Vec::new();
    for subnet in subnets {
        let range = range(subnet, carrier).context(|| format!("subnet {}", subnet.subnet))?;
        if let Some(other) = ranges.iter().find(|other| overlap(&other.subnet, &range.subnet)) {
            return Err(Error::invalid(format!("subnet {}: overlaps subnet {}", range.subnet, other.subnet)));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// Whether two ranges have an address in common.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn range(subnet: &Subnet, carrier: &Carrier) -> Result<Range> {
    let net = subnet.subnet;
    let wrong = |why: String| Err(Error::invalid(why));
    if net != net.trunc() {
        return wrong(format!("bits behind the prefix are set; write {}", net.trunc()));
    }
    let address = net.addr();
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return wrong("no network of containers: it is unspecified, loopback or multicast".into());
    }
    if net.max_prefix_len() == net.prefix_len() {
        return wrong("a single address has no room for containers".into());
    }
    let routes_itself = matches!(carrier, Carrier::Ipvlan { mode: IpvlanMode::L3 | IpvlanMode::L3s, .. });
    if let Some(gateway) = subnet.gateway {
        check_inside(&net, gateway).context(|| format!("gateway {gateway}"))?;
        if routes_itself {
            return wrong(format!("gateway {gateway}: ipvlan of mode l3 has none, the host routes by itself"));
        }
    }
    let leased = subnet.lease_range.as_ref();
    let [lowest, highest] = ends(&net);
    let end = |given: Option<IpAddr>, otherwise: IpAddr| match given {
        Some(address) => check_inside(&net, address).context(|| format!("lease_range {address}")).map(|()| address),
        None => Ok(otherwise),
    };
    let first = end(leased.and_then(|range| range.start_ip), lowest)?;
    let last = end(leased.and_then(|range| range.end_ip), highest)?;
    if first > last {
        return wrong(format!("lease_range: it begins at {first}, behind its end {last}"));
    }
    Ok(Range { subnet: net, gateway: subnet.gateway, first, last })
}

/// The lowest and the highest address that an interface may have: of a range of two all, else neither the first, which is the
/// network's own or of IPv6 any router's (RFC 4291), nor of IPv4 the last, to which broadcasts go.
pub fn ends(net: &IpNet) -> [IpAddr; 2] {
    match net {
        IpNet::V4(four) => {
            let (network, broadcast) = (u32::from(four.network()), u32::from(four.broadcast()));
            let inset = u32::from(four.prefix_len() < 31);
            [network + inset, broadcast - inset].map(|bits| IpAddr::V4(bits.into()))
        }
        IpNet::V6(six) => {
            let network = u128::from(six.network()) + u128::from(six.prefix_len() < 127);
            [network, u128::from(six.broadcast())].map(|bits| IpAddr::V6(bits.into()))
        }
    }
}

/// That an interface may have this address of a range.
fn check_inside(net: &IpNet, address: IpAddr) -> Result<()> {
    let [lowest, highest] = ends(net);
    match address {
        _ if !net.contains(&address) => Err(Error::invalid(format!("outside of {net}"))),
        _ if address < lowest => Err(Error::invalid(format!("it is the address of {net} itself"))),
        _ if address > highest => Err(Error::invalid(format!("it is the broadcast address of {net}"))),
        _ => Ok(()),
    }
}
