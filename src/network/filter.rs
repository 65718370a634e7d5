//! What the packet filter is told of an attachment: the glue between what is written down of networks and `firewall`, which
//! knows of neither.

use std::net::IpAddr;

use ipnet::IpNet;

use super::attachment::{self, Attachment};
use super::definition::{self, Network};
use super::dirs::Dirs;
use super::firewall::{Endpoint, Firewall, Isolation, Memory, Wanted, Zone};
use super::plan::PTP;
use super::request::Publish;
use super::{conntrack, forwarding};
use crate::Result;

/// What the filter was like after the last change of ours, and the lock of all who change it: beside the networks'
/// directories, under a name that none has.
const SEEN: &str = ".filter";

fn memory(dirs: &Dirs) -> Result<Memory> {
    Memory::open(&dirs.run.join(SEEN))
}

/// Tells the filter of an interface that is attached now; `is_new`: its zone was not there before.
pub fn attach(dirs: &Dirs, zone: &Zone, endpoint: &Endpoint, is_new: bool) -> Result<()> {
    if endpoint.publish.iter().any(|publish| publish.address.is_none_or(|address| address.is_ipv4())) {
        forwarding::route_localnet(&zone.interface)?;
    }
    let firewall = Firewall::open()?;
    let mut memory = memory(dirs)?;
    let seen = firewall.attach(zone, is_new, endpoint, memory.read()?, || wanted(dirs))?;
    memory.write(seen.as_ref())?;
    drop(memory);
    forget(&firewall, &endpoint.publish, &[])?;
    firewall.leave();
    Ok(())
}

/// Takes from the filter what it has for an interface, and its zone with the last one.
pub fn detach(dirs: &Dirs, attachment: &Attachment, is_last: bool) -> Result<()> {
    let is_alone = attachment.network.as_ref() == PTP;
    let zone = if is_last || is_alone { zone(dirs, attachment)? } else { None };
    let endpoint = endpoint(attachment);
    let firewall = Firewall::open()?;
    let mut memory = memory(dirs)?;
    let seen = firewall.detach(&endpoint, zone.as_ref(), memory.read()?, || wanted(dirs))?;
    memory.write(seen.as_ref())?;
    drop(memory);
    forget(&firewall, &endpoint.publish, &endpoint.addresses)?;
    firewall.leave();
    Ok(())
}

/// Puts back what another took from the filter: `network reload`.
pub fn reload(dirs: &Dirs) -> Result<()> {
    if attachment::networks(dirs)?.is_empty() {
        return Ok(());
    }
    let mut memory = memory(dirs)?;
    let firewall = Firewall::open()?;
    let seen = firewall.rebuild(&wanted(dirs)?)?;
    firewall.leave();
    memory.write(Some(&seen))
}

/// Connections of ports that lead elsewhere now are forgotten by the kernel: their packets would go on to where they went.
fn forget(firewall: &Firewall, publish: &[Publish], addresses: &[IpAddr]) -> Result<()> {
    // The kernel walks through its whole table for it.
    match publish.iter().any(conntrack::can_be_stale) {
        true => firewall.forget_connections(publish, addresses).map(drop),
        false => Ok(()),
    }
}

/// All that the filter is to have.
fn wanted(dirs: &Dirs) -> Result<Wanted> {
    let mut wanted = Wanted { zones: Vec::new(), endpoints: Vec::new() };
    for network in attachment::networks(dirs)? {
        for attachment in attachment::list(dirs, &network)?.iter().filter(|attachment| attachment.host_end.is_some()) {
            let Some(zone) = zone(dirs, attachment)? else { continue };
            if !wanted.zones.contains(&zone) {
                wanted.zones.push(zone);
            }
            wanted.endpoints.push(endpoint(attachment));
        }
    }
    Ok(wanted)
}

/// The zone that an attachment is in: its network, or itself where it is a ptp; None where nothing of it is filtered, or
/// nobody knows the network any more.
fn zone(dirs: &Dirs, attachment: &Attachment) -> Result<Option<Zone>> {
    if attachment.network.as_ref() == PTP {
        return Ok(ptp_zone(attachment));
    }
    match definition::find(dirs, &attachment.network)? {
        Some(definition) => Ok(Network::try_from(definition)?.zone()),
        None => Ok(None),
    }
}

/// The zone of a ptp, which has nobody else in it.
pub fn ptp_zone(attachment: &Attachment) -> Option<Zone> {
    Some(Zone {
        name: attachment.key(),
        interface: attachment.host_end.clone()?,
        subnets: attachment.addresses.iter().map(|address| IpNet::from(address.addr())).collect(),
        masquerade: true,
        internal: false,
        isolation: Isolation::None,
    })
}

fn zone_name(attachment: &Attachment) -> String {
    if attachment.network.as_ref() == PTP { attachment.key() } else { attachment.network.to_string() }
}

/// An attachment as the filter knows it.
pub fn endpoint(attachment: &Attachment) -> Endpoint {
    Endpoint {
        key: attachment.key(),
        zone: zone_name(attachment),
        host_end: attachment.host_end.clone(),
        addresses: attachment.addresses.iter().map(IpNet::addr).collect(),
        publish: attachment.publish.clone(),
        allow: attachment.allow.clone(),
        deny: attachment.deny.clone(),
    }
}
