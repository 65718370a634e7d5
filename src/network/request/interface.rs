//! An interface: what it is, and what its fields have to do with each other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::is_host_name;
use super::ports::Filter;
use super::raw::Raw;
use super::route::{Route, Rule};
use super::values::{AddressWish, Mac, Rate};
use crate::network::definition::NetworkName;
use crate::network::link::Ifname;
use crate::network::offload;
use crate::{Error, Result};

/// One interface of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Interface {
    /// What it is and leads to.
    pub kind: Kind,
    /// Its name; by default eth0, eth1 and so on.
    pub name: Option<Ifname>,
    /// Its addresses; those without a prefix have the network's. None of a family: one is leased where the network leases.
    pub addresses: Vec<AddressWish>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The longest packet in bytes; by default the network's, else that of the uplink.
    pub mtu: Option<u32>,
    /// Whether the network's gateway is the container's default route; by default of its first network.
    pub default_route: Option<bool>,
    /// Routes by it.
    pub routes: Vec<Route>,
    /// Rules of policy routing.
    pub rules: Vec<Rule>,
    /// Settings below net.ipv4.conf.NAME and net.ipv6.conf.NAME, as `ipv4.rp_filter`.
    pub sysctls: BTreeMap<String, String>,
    /// How many packets wait to be sent.
    pub txqlen: Option<u32>,
    /// How many queues it has in either direction.
    pub queues: Option<u32>,
    /// `tx-checksum` and such, on or off.
    pub offload: BTreeMap<String, bool>,
    /// Limits of speed.
    pub rate: Rate,
    /// Whether it takes addresses and routes from IPv6 routers; by default not.
    pub slaac: bool,
    /// Further names by which the network's other containers find it.
    pub aliases: Vec<String>,
    /// What may come in; with one rule that allows, nothing else may, and with none everything that is not denied.
    pub allow: Vec<Filter>,
    /// What may not come in; asked before `allow`.
    pub deny: Vec<Filter>,
}

/// What an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One of a named network's.
    Network(NetworkName),
    /// A veth to the host, which routes to it.
    Ptp,
    /// A veth straight to another container's interface.
    Link {
        /// The other container.
        container: String,
        /// Its interface.
        interface: Ifname,
    },
    /// On an interface of the host, told apart by hardware addresses.
    Macvlan {
        /// The host's interface.
        parent: Ifname,
        /// How those on the same one reach each other.
        mode: MacvlanMode,
    },
    /// On an interface of the host, told apart by addresses of IP.
    Ipvlan {
        /// The host's interface.
        parent: Ifname,
        /// At which layer.
        mode: IpvlanMode,
    },
    /// A VLAN of an interface of the host.
    Vlan {
        /// The host's interface.
        parent: Ifname,
        /// Its number, 1 to 4094.
        id: u16,
    },
    /// A tunnel of Ethernet over UDP.
    Vxlan {
        /// The network's number, VNI.
        id: u32,
        /// The other end, or the multicast group of all.
        remote: Option<IpAddr>,
        /// This end.
        local: Option<IpAddr>,
        /// The UDP port.
        port: u16,
        /// The host's interface that carries it.
        parent: Option<Ifname>,
    },
    /// One that leads nowhere.
    Dummy,
    /// One whose packets a program reads and writes.
    Tap {
        /// The uid that may open it, as the host knows it.
        owner: Option<u32>,
        /// The gid.
        group: Option<u32>,
    },
    /// The host's own, which moves into the container and back.
    HostDevice {
        /// Its name on the host.
        device: Ifname,
    },
}

impl Kind {
    /// Whether it is neither on a network nor known to one, as a ptp and a link are.
    pub(super) fn is_apart(&self) -> bool {
        !matches!(self, Self::Network(_) | Self::Ptp | Self::Link { .. })
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            /// The kernel's number for it.
            pub fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)* }
            }

            /// What it is called.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(Error::invalid(format!("{text:?}: expected one of {}", [$($word),*].join(", ")))),
                }
            }
        }
    };
}

words! {
    /// How macvlan interfaces on one parent reach each other: ip-link(8). The numbers are MACVLAN_MODE_*.
    MacvlanMode {
        /// Not at all.
        Private = "private" 1,
        /// By the switch outside.
        Vepa = "vepa" 2,
        /// Directly.
        Bridge = "bridge" 4,
        /// There is but one, which has the parent for itself.
        Passthru = "passthru" 8,
    }
}

words! {
    /// At which layer ipvlan passes packets on. The numbers are IPVLAN_MODE_*.
    IpvlanMode {
        /// As a switch does.
        L2 = "l2" 0,
        /// As a router does.
        L3 = "l3" 1,
        /// As a router, with the host's packet filter.
        L3s = "l3s" 2,
    }
}

impl Kind {
    /// What it is called.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Network(_) => "bridge",
            Self::Ptp => "ptp",
            Self::Link { .. } => "link",
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Vxlan { .. } => "vxlan",
            Self::Dummy => "dummy",
            Self::Tap { .. } => "tap",
            Self::HostDevice { .. } => "host-device",
        }
    }
}

impl Interface {
    /// What its fields have to do with each other.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field: &str, why: &str| Err(Error::invalid(format!("{field}: {why}")));
        // 68 is the least of IPv4 (RFC 791), 1280 that of IPv6; 65535 what a header can tell.
        if self.mtu.is_some_and(|mtu| !(68..=65535).contains(&mtu)) {
            return refuse("mtu", "expected 68 to 65535 bytes");
        }
        if self.queues.is_some_and(|queues| !(1..=4096).contains(&queues)) {
            return refuse("queues", "expected 1 to 4096");
        }
        if let Some(alias) = self.aliases.iter().find(|alias| !is_host_name(alias)) {
            return refuse("aliases", &format!("{alias:?}: a name has letters, digits, -, _ and ."));
        }
        for (i, route) in self.routes.iter().enumerate() {
            route.is_ipv4().map_err(|error| error.context(format!("routes[{i}]")))?;
        }
        for (i, rule) in self.rules.iter().enumerate() {
            rule.families().map_err(|error| error.context(format!("rules[{i}]")))?;
        }
        if let Some(name) = self.sysctls.keys().find(|name| !is_setting(name)) {
            return refuse("sysctls", &format!("{name:?}: expected ipv4.SETTING or ipv6.SETTING, as ipv4.rp_filter"));
        }
        for name in self.offload.keys() {
            offload::command(name).map_err(|error| error.context("offload"))?;
        }
        let has_gateway = matches!(self.kind, Kind::Network(_) | Kind::Ptp);
        if self.default_route == Some(true) && !has_gateway {
            return refuse(
                "defaultRoute",
                "nothing but a network or a ptp has a gateway of its own; name it in routes",
            );
        }
        if !self.aliases.is_empty() && !matches!(self.kind, Kind::Network(_)) {
            return refuse("aliases", "only the containers of a named network are told each other's names");
        }
        if matches!(self.kind, Kind::Link { .. }) && self.queues.is_some() {
            return refuse("queues", "both ends of a link are made by whichever container comes first");
        }
        let filters = !self.allow.is_empty() || !self.deny.is_empty();
        if filters && !matches!(self.kind, Kind::Network(_) | Kind::Ptp) {
            return refuse("allow", "only what passes the host is filtered: interfaces of a bridge, and ptp");
        }
        if matches!(self.kind, Kind::HostDevice { .. }) && self.queues.is_some() {
            return refuse("queues", "the host's interface has those that it has");
        }
        if matches!(self.kind, Kind::Ipvlan { .. } | Kind::Tap { .. }) && self.mac.is_some() {
            return refuse("mac", &format!("an interface of kind {} is not given one", self.kind.word()));
        }
        Ok(())
    }
}

fn is_setting(name: &str) -> bool {
    let setting = name.strip_prefix("ipv4.").or_else(|| name.strip_prefix("ipv6."));
    setting.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}
