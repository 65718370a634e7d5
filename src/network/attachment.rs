//! What is known of a container's interface on a named network: a file in the network's directory below [`RUN`] for as long
//! as the interface is, and the same in the container's undo record. It says what the packet filter has for the
//! interface, by which names the network's other containers find it, and whose it is.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::definition::NetworkName;
use super::link::Ifname;
use super::request::{Filter, Mac, Publish};

/// Where attachments and leases are: on a tmpfs, so that a boot takes them all.
pub const RUN: &str = "/run/nfrun-networks";

/// An interface of a container's on a named network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The network.
    pub network: NetworkName,
    /// The container's id.
    pub container: String,
    /// The state root that the container is in: it is gone when its directory there is.
    pub root: PathBuf,
    /// The interface's name in the container.
    pub interface: Ifname,
    /// The veth's other end, on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_end: Option<Ifname>,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its addresses, with their networks' prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// What the network's other containers call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The container's /etc/hosts on the host, which is kept current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<PathBuf>,
    /// The host's ports that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// What may come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Filter>,
    /// What may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Filter>,
}

impl Attachment {
    /// The name of its file, and of its place in the packet filter: `CONTAINER:INTERFACE`, which no other has.
    pub fn key(&self) -> String {
        format!("{}:{}", self.container, self.interface)
    }

    /// Its first address of a family.
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().map(IpNet::addr).find(|address| address.is_ipv4() == ipv4)
    }
}
