//! The packet filter: one table of nf_tables, `inet nfrun`, through netlink. What is in it is told by zones (networks) and
//! endpoints (interfaces of containers); nothing here knows where those are written down, or what a container is.

use std::net::IpAddr;

use ipnet::IpNet;

use super::link::Ifname;
use super::request::{Filter, Publish};

/// How a network's containers are kept from those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Not at all.
    #[default]
    None,
    /// From those of other isolated networks.
    Isolated,
    /// From those of all other networks.
    Strict,
}

/// A network, as far as packets are filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// What it is called.
    pub name: String,
    /// The host's interface that leads to it: its bridge, or the host's end of a ptp.
    pub interface: Ifname,
    /// Its ranges of addresses.
    pub subnets: Vec<IpNet>,
    /// Whether what leaves it has the host's address.
    pub masquerade: bool,
    /// Whether nothing is forwarded to or from it.
    pub internal: bool,
    /// From whom it is kept.
    pub isolation: Isolation,
}

/// An interface of a container in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What no other is called: `CONTAINER:INTERFACE`.
    pub key: String,
    /// The name of its zone.
    pub zone: String,
    /// The host's end of its veth.
    pub host_end: Option<Ifname>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The host's ports that lead to it.
    pub publish: Vec<Publish>,
    /// What may come in: with one rule nothing else may.
    pub allow: Vec<Filter>,
    /// What may not, asked before.
    pub deny: Vec<Filter>,
}
