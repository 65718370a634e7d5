//! What the runtime does to connect a container, as data: `plan` makes the steps, `run` carries them out.

use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use super::attachment::Attachment;
use super::definition::{Network, NetworkName};
use super::device::{Device, HostEnd, Kind, Vxlan};
use super::firewall::{Endpoint, Zone};
use super::link::Ifname;
use super::request::{Bits, Mac};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Write down the attachment, and take its addresses.
    Lease {
        /// What is written down.
        attachment: Box<Attachment>,
        /// The network, as it was read with its lock held; None for what is on none.
        #[serde(skip)]
        network: Option<Box<Network>>,
    },
    /// Make the network's bridge, where it is not there.
    Bridge(Box<Bridge>),
    /// Make a VLAN of an interface of the host's, where it is missing. It stays.
    Vlan {
        /// Its name.
        name: Ifname,
        /// The host's interface.
        parent: Ifname,
        /// Its number.
        id: u16,
    },
    /// Make an interface in the container's network namespace.
    Make {
        /// The interface.
        device: Box<Device>,
        /// What it is.
        kind: Kind,
    },
    /// Make a veth to another container, or take over the end of the one that it has made.
    Link {
        /// This end.
        device: Box<Device>,
        /// The other, while it waits on the host.
        outer: Box<HostEnd>,
        /// What is written down of it.
        #[serde(skip)]
        attachment: Box<Attachment>,
    },
    /// Make a tap that stays in the container's network namespace.
    Tap(Box<Tap>),
    /// Give the host's end of a veth what leads to the container: the gateway's addresses, and routes to the container's.
    Lead {
        /// The host's end.
        host_end: Ifname,
        /// Its number.
        index: u32,
        /// The addresses of the gateway.
        gateways: Vec<IpNet>,
        /// Those of the container.
        to: Vec<IpNet>,
    },
    /// Limit what comes in to the container.
    Limit {
        /// The host's end of its veth.
        host_end: Ifname,
        /// Its number.
        index: u32,
        /// To how much.
        rate: Bits,
    },
    /// Let the packet filter know the interface.
    Filter {
        /// The network, or a ptp alone.
        #[serde(skip)]
        zone: Box<Zone>,
        /// The interface.
        #[serde(skip)]
        endpoint: Box<Endpoint>,
        /// What that is, in words.
        words: Vec<String>,
    },
    /// Tell the network's containers who is there.
    Tell(NetworkName),
}

/// A tap: an interface whose packets a program reads and writes, by /dev/net/tun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tap {
    /// Its name.
    pub name: Ifname,
    /// Its number.
    pub index: u32,
    /// Whether several programs may each have a queue of it.
    pub many_queues: bool,
    /// The uid on the host that may open it.
    pub owner: Option<u32>,
    /// The gid on the host.
    pub group: Option<u32>,
}

/// A network's bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bridge {
    /// The network.
    pub network: NetworkName,
    /// What the bridge is called.
    pub name: Ifname,
    /// Whether nfrun makes and removes it; one that it does not manage must be there.
    pub managed: bool,
    /// By which it is known as the network's own.
    pub mac: Mac,
    /// The longest packet; by default that of the uplink.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Whether packets are forwarded from it and to it.
    pub forwards: bool,
    /// What connects it with those of other hosts.
    pub vxlan: Option<(Ifname, Vxlan)>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease { attachment, .. } => {
                let Attachment { interface, network, .. } = &**attachment;
                write!(f, "write down that {interface} is on network {network}")?;
                let addresses = list(&attachment.addresses);
                if addresses.is_empty() { Ok(()) } else { write!(f, ", and lease {addresses}") }
            }
            Self::Bridge(bridge) if !bridge.managed => write!(f, "find bridge {}", bridge.name),
            Self::Bridge(bridge) => {
                write!(f, "make bridge {} where it is missing", bridge.name)?;
                let addresses = list(&bridge.addresses);
                if !addresses.is_empty() {
                    write!(f, ", with {addresses}")?;
                }
                bridge.vxlan.iter().try_for_each(|vxlan| write!(f, ", and VXLAN {} in it", vxlan.1.id))
            }
            Self::Vlan { name, parent, id } => write!(f, "make VLAN {id} of {parent} as {name} where it is missing"),
            Self::Make { device, kind } => {
                write!(f, "make {} {} in init's network namespace", kind.word(), device.name)?;
                match (kind, kind.upper()) {
                    (Kind::Veth(end), Some(bridge)) => write!(f, ", with its end {} in bridge {bridge}", end.name),
                    (Kind::Veth(end), None) => write!(f, ", with its end {} here", end.name),
                    (_, Some(parent)) => write!(f, " on {parent}"),
                    _ => Ok(()),
                }
            }
            Self::Link { device, attachment, .. } => {
                let to = attachment.peer.as_ref().map(|peer| peer.key.as_str()).unwrap_or_default();
                write!(
                    f,
                    "make {} in init's network namespace, with its other end for {to}, or take the end that {to} has made",
                    device.name
                )
            }
            Self::Tap(tap) => write!(f, "make tap {} in init's network namespace", tap.name),
            Self::Lead { host_end, gateways, to, .. } => {
                write!(f, "give {host_end} {} and route {} by it", list(gateways), list(to))
            }
            Self::Limit { host_end, rate, .. } => write!(f, "limit what {host_end} sends to {rate} a second"),
            Self::Filter { words, zone, .. } => {
                write!(f, "filter packets of network {}", zone.name)?;
                if words.is_empty() { Ok(()) } else { write!(f, ": {}", words.join(", ")) }
            }
            Self::Tell(network) => write!(f, "tell the containers of network {network} who is there"),
        }
    }
}

fn list(nets: &[IpNet]) -> String {
    nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
