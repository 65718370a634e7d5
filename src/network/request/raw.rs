//! An interface as it is written, with whatever any kind may have; and back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::interface::{Interface, Kind};
use super::ports::Filter;
use super::route::{Route, Rule};
use super::values::{AddressWish, Mac, Rate};
use crate::network::definition::NetworkName;
use crate::network::link::Ifname;
use crate::{Error, Result};

/// An interface as it is written: whatever any kind may have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Raw {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Ifname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Ifname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Ifname>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<AddressWish>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<Mac>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_route: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Rule>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txqlen: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    offload: BTreeMap<String, bool>,
    #[serde(skip_serializing_if = "is_default")]
    rate: Rate,
    #[serde(skip_serializing_if = "is_default")]
    slaac: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<Filter>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<Filter>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// VXLAN_GROUP's port as IANA has it; Linux's own default is another, older one.
const VXLAN_PORT: u16 = 4789;

impl Raw {
    /// Takes what its kind is made of; what is left over no interface of that kind has.
    fn kind(&mut self) -> Result<Kind> {
        let missing = |field: &str, what: &str| Error::invalid(format!("{field}: is missing: name {what}"));
        let parent = |raw: &mut Self| raw.parent.take().ok_or_else(|| missing("parent", "the host's interface"));
        let mode = |raw: &mut Self, default: &str| raw.mode.take().unwrap_or_else(|| default.to_owned());
        Ok(match self.kind.as_str() {
            "bridge" | "network" | "" => {
                Kind::Network(self.network.take().ok_or_else(|| missing("network", "one of `nfrun network ls`"))?)
            }
            "ptp" => Kind::Ptp,
            "link" => {
                let peer = self
                    .peer
                    .take()
                    .ok_or_else(|| missing("peer", "the other container, as CONTAINER or CONTAINER:INTERFACE"))?;
                let (container, interface) = peer.split_once(':').unwrap_or((&peer, "eth0"));
                Kind::Link { container: container.to_owned(), interface: interface.parse()? }
            }
            "macvlan" => {
                let mode = mode(self, "bridge").parse().map_err(|error: Error| error.context("mode"))?;
                Kind::Macvlan { parent: parent(self)?, mode }
            }
            "ipvlan" => {
                let mode = mode(self, "l2").parse().map_err(|error: Error| error.context("mode"))?;
                Kind::Ipvlan { parent: parent(self)?, mode }
            }
            "vlan" => {
                let id = self.id.take().and_then(|id| u16::try_from(id).ok()).filter(|id| (1..=4094).contains(id));
                let id = id.ok_or_else(|| Error::invalid("id: expected the VLAN's number, 1 to 4094"))?;
                Kind::Vlan { parent: parent(self)?, id }
            }
            "vxlan" => {
                let id = self.id.take().filter(|id| *id < 1 << 24);
                let id = id.ok_or_else(|| Error::invalid("id: expected the VXLAN's number (VNI), 0 to 16777215"))?;
                let (remote, local) = (self.remote.take(), self.local.take());
                Kind::Vxlan {
                    id,
                    remote,
                    local,
                    port: self.port.take().unwrap_or(VXLAN_PORT),
                    parent: self.parent.take(),
                }
            }
            "dummy" => Kind::Dummy,
            "tap" => Kind::Tap { owner: self.owner.take(), group: self.group.take() },
            "host-device" => Kind::HostDevice {
                device: self.device.take().ok_or_else(|| missing("device", "the host's interface"))?,
            },
            other => {
                return Err(Error::invalid(format!(
                    "kind: {:?}: expected bridge, ptp, link, macvlan, ipvlan, vlan, vxlan, dummy, tap or host-device",
                    other.chars().take(40).collect::<String>()
                )));
            }
        })
    }

    fn left_over(&self) -> Option<&'static str> {
        let fields = [
            ("network", self.network.is_some()),
            ("peer", self.peer.is_some()),
            ("parent", self.parent.is_some()),
            ("device", self.device.is_some()),
            ("mode", self.mode.is_some()),
            ("id", self.id.is_some()),
            ("remote", self.remote.is_some()),
            ("local", self.local.is_some()),
            ("port", self.port.is_some()),
            ("owner", self.owner.is_some()),
            ("group", self.group.is_some()),
        ];
        fields.into_iter().find_map(|(name, there)| there.then_some(name))
    }
}

impl TryFrom<Raw> for Interface {
    type Error = Error;

    fn try_from(mut raw: Raw) -> Result<Self> {
        let kind = raw.kind()?;
        if let Some(field) = raw.left_over() {
            return Err(Error::invalid(format!("{field}: an interface of kind {} has none", kind.word())));
        }
        let interface = Self {
            kind,
            name: raw.name,
            addresses: raw.addresses,
            mac: raw.mac,
            mtu: raw.mtu,
            default_route: raw.default_route,
            routes: raw.routes,
            rules: raw.rules,
            sysctls: raw.sysctls,
            txqlen: raw.txqlen,
            queues: raw.queues,
            offload: raw.offload,
            rate: raw.rate,
            slaac: raw.slaac,
            aliases: raw.aliases,
            allow: raw.allow,
            deny: raw.deny,
        };
        interface.check()?;
        Ok(interface)
    }
}

impl From<Interface> for Raw {
    fn from(interface: Interface) -> Self {
        let mut raw = Self { kind: interface.kind.word().to_owned(), ..Self::default() };
        match interface.kind {
            Kind::Network(network) => raw.network = Some(network),
            Kind::Ptp | Kind::Dummy => {}
            Kind::Link { container, interface } => raw.peer = Some(format!("{container}:{interface}")),
            Kind::Macvlan { parent, mode } => (raw.parent, raw.mode) = (Some(parent), Some(mode.word().to_owned())),
            Kind::Ipvlan { parent, mode } => (raw.parent, raw.mode) = (Some(parent), Some(mode.word().to_owned())),
            Kind::Vlan { parent, id } => (raw.parent, raw.id) = (Some(parent), Some(id.into())),
            Kind::Vxlan { id, remote, local, port, parent } => {
                (raw.id, raw.remote, raw.local, raw.port, raw.parent) = (Some(id), remote, local, Some(port), parent);
            }
            Kind::Tap { owner, group } => (raw.owner, raw.group) = (owner, group),
            Kind::HostDevice { device } => raw.device = Some(device),
        }
        Self {
            name: interface.name,
            addresses: interface.addresses,
            mac: interface.mac,
            mtu: interface.mtu,
            default_route: interface.default_route,
            routes: interface.routes,
            rules: interface.rules,
            sysctls: interface.sysctls,
            txqlen: interface.txqlen,
            queues: interface.queues,
            offload: interface.offload,
            rate: interface.rate,
            slaac: interface.slaac,
            aliases: interface.aliases,
            allow: interface.allow,
            deny: interface.deny,
            ..raw
        }
    }
}
