//! Named networks: what `nfrun network create` writes down, a file a network. The format is the one that podman and netavark
//! have, so that a user of those reads ours as his own; what is nfrun's alone stands in `options`.

//!
//! The types are what stands in the file; `network` makes of them what the rest of nfrun works with, checked once; `store`
//! reads and writes the files; `create` makes a new one of what is asked for, and `remove` takes one away.

mod create;
mod network;
mod options;
mod range;
mod remove;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use create::{Wish, create};
pub use network::{Carrier, Network};
pub use range::{Range, ends, overlap};
pub use remove::{Removed, prune, remove};
pub use store::{exists, find, list, load, missing};

use super::link::Ifname;
use crate::{Error, Result};

/// Where definitions are, unless `--network-config-dir` says so: they outlive a boot.
pub const DIRECTORY: &str = "/etc/nfrun/networks";

/// What a network is called: a letter or digit, then letters, digits, `_`, `.` and `-`; 64 at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

impl FromStr for NetworkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || text.len() > 64 || !text.chars().all(good) {
            let shown: String = text.chars().take(80).collect();
            return Err(Error::invalid(format!(
                "network name {shown:?}: begin with a letter or digit; then letters, digits, _, . and -, 64 in all at most"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for NetworkName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

impl AsRef<str> for NetworkName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What carries a network's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host's, with a veth to each container.
    #[default]
    Bridge,
    /// An interface of each container's own on an interface of the host, told apart by hardware addresses.
    Macvlan,
    /// The same by addresses of IP.
    Ipvlan,
    /// A bridge that a VXLAN connects with those of other hosts.
    Vxlan,
}

impl Driver {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Vxlan => "vxlan",
        }
    }
}

impl FromStr for Driver {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Bridge, Self::Macvlan, Self::Ipvlan, Self::Vxlan];
        let unknown = || Error::invalid(format!("driver {text:?}: expected bridge, macvlan, ipvlan or vxlan"));
        all.into_iter().find(|driver| driver.word() == text).ok_or_else(unknown)
    }
}

/// A network's range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The range.
    pub subnet: IpNet,
    /// The host's own address in it, and the containers' gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// What of the range is leased; by default all but the gateway and, of IPv4, the first and the last address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_range: Option<LeaseRange>,
}

/// The first and the last address that are leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRange {
    /// The first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ip: Option<IpAddr>,
    /// The last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ip: Option<IpAddr>,
}

/// A route that each container of a network gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRoute {
    /// Where to.
    pub destination: IpNet,
    /// By whom.
    pub gateway: IpAddr,
    /// Its metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
}

/// A named network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// What it is called.
    pub name: NetworkName,
    /// 64 hexadecimal digits, drawn when it was made.
    pub id: String,
    /// What carries its packets.
    #[serde(default)]
    pub driver: Driver,
    /// The bridge, or the host's interface that macvlan and ipvlan are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface: Option<Ifname>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Its ranges of addresses; none for a network whose containers bring their own or have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Subnet>,
    /// Routes besides the default one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<NetworkRoute>,
    /// Whether it has a range of IPv6.
    #[serde(default)]
    pub ipv6_enabled: bool,
    /// Whether it leads nowhere but to its own containers: no default route, no masquerading, nothing forwarded.
    #[serde(default)]
    pub internal: bool,
    /// podman's word for a resolver in the network; nfrun writes names into /etc/hosts instead.
    #[serde(default)]
    pub dns_enabled: bool,
    /// The name servers of its containers, instead of the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_dns_servers: Vec<IpAddr>,
    /// `mtu`, `isolate` (`true`, `strict`), `vlan`, `mode` (of macvlan, ipvlan; `unmanaged` of a bridge), `vni`, `remote`,
    /// `port`, `masquerade` and so on: as docs/network.md has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// podman's: `driver` is `host-local`, or `none` for a network without leases.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ipam_options: BTreeMap<String, String>,
    /// Whatever its maker wants to remember.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Definition {
    /// The file of a network's definition.
    pub fn path(directory: &Path, name: &NetworkName) -> PathBuf {
        directory.join(format!("{name}.json"))
    }
}
