//! What a container asks of the network: one typed model, whether it comes from `network.json` in the bundle, from the
//! annotation `io.nfrun.network` or from flags. docs/network.schema.json publishes it, docs/network.md tells it.
//!
//! Everything is checked here, once: an `Interface` that exists is one that makes sense for its kind. What the host has to
//! say (whether a network exists, an address is free) is for `plan`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::definition::NetworkName;
use super::link::Ifname;
use crate::{Error, Result};

/// The annotation that has a request as JSON.
pub const ANNOTATION: &str = "io.nfrun.network";
/// The file of a bundle that has one.
pub const FILE: &str = "network.json";

/// A container's network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Request {
    /// Whose network namespace it shares instead of having interfaces: `host`, or `container:ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Its interfaces, in their order.
    pub interfaces: Vec<Interface>,
    /// Ports of the host that lead to it.
    pub publish: Vec<Publish>,
    /// How names are resolved.
    pub dns: Dns,
    /// Lines of its /etc/hosts besides those of its networks.
    pub hosts: Vec<HostsEntry>,
    /// Which files are made for it.
    pub files: Files,
}

/// Whose network namespace a container is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Share {
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
}

impl TryFrom<String> for Share {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        match text.strip_prefix("container:") {
            Some(id) if !id.is_empty() => Ok(Self::Container(id.to_owned())),
            _ if text == "host" => Ok(Self::Host),
            _ => Err(Error::invalid(format!("{text:?}: expected host or container:ID"))),
        }
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        match share {
            Share::Host => "host".into(),
            Share::Container(id) => format!("container:{id}"),
        }
    }
}

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

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why| Error::invalid(format!("hardware address {text:?}: {why}"));
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
            let part = part.ok_or_else(|| wrong("expected six octets such as 02:00:5e:00:53:01"))?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong("an octet is no number"))?;
        }
        match (parts.next(), octets[0] & 1, octets) {
            (Some(_), ..) => Err(wrong("expected six octets, it has more")),
            (_, 1, _) => Err(wrong("it is one of a group (the first octet is odd), no interface's")),
            (_, _, [0, 0, 0, 0, 0, 0]) => Err(wrong("it is nobody's")),
            _ => Ok(Self(octets)),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address that is asked for, with or without the prefix of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressWish {
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: Option<u8>,
}

impl FromStr for AddressWish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("address {text:?}: {why}"));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(|_| wrong("the prefix is no number"))?)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| wrong("expected an address such as 10.88.0.5, 10.88.0.5/24 or fd00::5/64"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix.is_some_and(|prefix| prefix > most) {
            return Err(wrong(&format!("a prefix has {most} bits at most")));
        }
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(wrong("no interface's: it is unspecified, loopback or multicast"));
        }
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for AddressWish {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<AddressWish> for String {
    fn from(wish: AddressWish) -> Self {
        wish.to_string()
    }
}

impl fmt::Display for AddressWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Some(prefix) => write!(f, "{}/{prefix}", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// A route of a container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Where to; `default` is 0.0.0.0/0, or ::/0 by a gateway of IPv6.
    #[serde(with = "destination")]
    pub to: Option<IpNet>,
    /// The gateway; without one what is on the link itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Its metric: the lowest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// The table that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The container's own address that is sent from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The longest packet in bytes on this way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

mod destination {
    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(to: &Option<IpNet>, serializer: S) -> Result<S::Ok, S::Error> {
        match to {
            None => "default".serialize(serializer),
            Some(net) => net.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_destination(&text).map_err(D::Error::custom)
    }
}

/// `default`, a range or one address.
fn parse_destination(text: &str) -> Result<Option<IpNet>> {
    if text == "default" {
        return Ok(None);
    }
    range(text).map(Some)
}

/// A range of addresses, or one alone.
pub fn range(text: &str) -> Result<IpNet> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| Error::invalid(format!("{text:?}: expected a range such as 10.0.0.0/8 or fd00::/64")))?;
    if net.trunc() != net {
        return Err(Error::invalid(format!("{text:?}: bits behind the prefix are set; write {}", net.trunc())));
    }
    Ok(net)
}

impl Route {
    /// Whether it is one of IPv4.
    ///
    /// # Errors
    /// When its parts are of different families, or none says which.
    pub fn is_ipv4(&self) -> Result<bool> {
        let families: Vec<bool> = [self.to.map(|to| to.addr()), self.via, self.source]
            .into_iter()
            .flatten()
            .map(|address| address.is_ipv4())
            .collect();
        match families.first() {
            None => Err(Error::invalid("a default route needs a gateway (via)")),
            Some(first) if families.iter().all(|family| family == first) => Ok(*first),
            Some(_) => Err(Error::invalid("its destination, gateway and source are of different families")),
        }
    }
}

impl FromStr for Route {
    type Err = Error;

    /// `DESTINATION[@GATEWAY][@METRIC]`, as a flag has it.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('@');
        let to = parse_destination(parts.next().unwrap_or_default())?;
        let (mut via, mut metric) = (None, None);
        for part in parts {
            match (part.parse::<IpAddr>(), part.parse::<u32>()) {
                (Ok(address), _) if via.is_none() => via = Some(address),
                (_, Ok(number)) if metric.is_none() => metric = Some(number),
                _ => {
                    return Err(Error::invalid(format!("route {text:?}: expected DESTINATION[@GATEWAY][@METRIC]")));
                }
            }
        }
        Ok(Self { to, via, metric, table: None, source: None, mtu: None })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            None => f.write_str("default")?,
            Some(to) => to.fmt(f)?,
        }
        self.via.iter().try_for_each(|via| write!(f, " via {via}"))?;
        self.source.iter().try_for_each(|source| write!(f, " from {source}"))?;
        self.metric.iter().try_for_each(|metric| write!(f, " metric {metric}"))?;
        self.mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
        self.table.iter().try_for_each(|table| write!(f, " in table {table}"))
    }
}

/// A rule of policy routing: ip-rule(8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Packets from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpNet>,
    /// Packets to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpNet>,
    /// Packets that came in by this interface alone.
    #[serde(default)]
    pub incoming: bool,
    /// Packets with this mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// The table that is asked.
    pub table: u32,
    /// When it is asked: the lowest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

impl Rule {
    /// The families that it is of: those of its ranges, else both.
    ///
    /// # Errors
    /// When its ranges are of different families.
    pub fn families(&self) -> Result<Vec<bool>> {
        match (self.from.map(|net| net.addr().is_ipv4()), self.to.map(|net| net.addr().is_ipv4())) {
            (Some(from), Some(to)) if from != to => Err(Error::invalid("from and to are of different families")),
            (Some(family), _) | (_, Some(family)) => Ok(vec![family]),
            (None, None) => Ok(vec![true, false]),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packets")?;
        self.from.iter().try_for_each(|from| write!(f, " from {from}"))?;
        self.to.iter().try_for_each(|to| write!(f, " to {to}"))?;
        self.mark.iter().try_for_each(|mark| write!(f, " with mark {mark}"))?;
        write!(f, " look up table {}", self.table)
    }
}

/// Limits of speed, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rate {
    /// What comes in to the container.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub incoming: Option<Bits>,
    /// What it sends.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<Bits>,
}

/// Bits a second: `10mbit`, as tc(8) writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bits(pub u64);

impl FromStr for Bits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || Error::invalid(format!("rate {text:?}: expected a number with bit, kbit, mbit or gbit, as 10mbit"));
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.to_ascii_lowercase().as_str() {
            "bit" => 1,
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        match number.checked_mul(factor) {
            Some(bits @ 8_000..=1_000_000_000_000) => Ok(Self(bits)),
            _ => Err(Error::invalid(format!("rate {text:?}: between 8kbit and 1000gbit"))),
        }
    }
}

impl TryFrom<String> for Bits {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Bits> for String {
    fn from(bits: Bits) -> Self {
        bits.to_string()
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bits if bits % 1_000_000_000 == 0 => write!(f, "{}gbit", bits / 1_000_000_000),
            bits if bits % 1_000_000 == 0 => write!(f, "{}mbit", bits / 1_000_000),
            bits if bits % 1_000 == 0 => write!(f, "{}kbit", bits / 1_000),
            bits => write!(f, "{bits}bit"),
        }
    }
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// IPPROTO_*.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("protocol {text:?}: expected tcp, udp or sctp"))),
        }
    }
}

/// Ports of the host that lead to as many of the container: `[ADDRESS:]PORT[-LAST]:PORT[-LAST][/PROTOCOL]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Publish {
    /// The host's address; none for all that it has.
    pub address: Option<IpAddr>,
    /// The host's first port.
    pub host: u16,
    /// The container's first port.
    pub container: u16,
    /// How many.
    pub count: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

impl Publish {
    /// The host's last port.
    pub fn host_last(&self) -> u16 {
        self.host + (self.count - 1)
    }

    /// The container's last port.
    pub fn container_last(&self) -> u16 {
        self.container + (self.count - 1)
    }
}

/// `80`, or `8000-8010`: the first and the last.
fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
    port(first).zip(port(last)).filter(|(first, last)| first <= last)
}

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid(format!("publish {text:?}: {why}"));
        let form = "expected [ADDRESS:]PORT[-LAST]:PORT[-LAST][/tcp|udp|sctp], as 8080:80 or 127.0.0.1:53:53/udp";
        let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
        let protocol: Protocol = protocol.parse().map_err(|error: Error| wrong(error.to_string()))?;
        let (rest, container) = rest.rsplit_once(':').ok_or_else(|| wrong(form.into()))?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => {
                let bare = address.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(address);
                let address: IpAddr = bare.parse().map_err(|_| wrong(format!("{address:?} is no address; {form}")))?;
                (Some(address).filter(|address| !address.is_unspecified() || address.is_ipv6()), host)
            }
            None => (None, rest),
        };
        let (host, host_last) = ports(host).ok_or_else(|| wrong(format!("{host:?} is no port; {form}")))?;
        let (container, last) = ports(container).ok_or_else(|| wrong(format!("{container:?} is no port; {form}")))?;
        if host_last - host != last - container {
            let (there, here) = (u32::from(host_last - host) + 1, u32::from(last - container) + 1);
            return Err(wrong(format!("{there} ports of the host for {here} of the container")));
        }
        let count = (host_last - host).checked_add(1).ok_or_else(|| wrong("all ports there are".into()))?;
        Ok(Self { address, host, container, count, protocol })
    }
}

impl TryFrom<String> for Publish {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Publish> for String {
    fn from(publish: Publish) -> Self {
        publish.to_string()
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(four)) => write!(f, "{four}:")?,
            Some(IpAddr::V6(six)) => write!(f, "[{six}]:")?,
            None => {}
        }
        let range = |first: u16, last: u16| if first == last { first.to_string() } else { format!("{first}-{last}") };
        let (host, container) = (range(self.host, self.host_last()), range(self.container, self.container_last()));
        write!(f, "{host}:{container}/{}", self.protocol.word())
    }
}

/// What a packet filter's rule is about: `[PROTOCOL[:PORT[-LAST]]][ from RANGE]`, as `tcp:80`, `icmp`, `udp:53 from
/// 10.0.0.0/8` or `from fd00::/8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    /// Of which protocol; None for all.
    pub protocol: Option<FilterProtocol>,
    /// To which of the container's ports, the first and the last.
    pub ports: Option<(u16, u16)>,
    /// From where.
    pub from: Option<IpNet>,
}

/// A protocol that a rule may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterProtocol {
    /// One with ports.
    Ports(Protocol),
    /// ICMP, of both families.
    Icmp,
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = "expected [PROTOCOL[:PORT[-LAST]]] [from RANGE], as tcp:80 or udp:53 from 10.0.0.0/8";
        let wrong = |why: &str| Error::invalid(format!("rule {text:?}: {why}"));
        let mut words = text.split_whitespace().peekable();
        let (mut protocol, mut of) = (None, None);
        if let Some(word) = words.next_if(|word| *word != "from") {
            let (name, numbers) = word.split_once(':').map_or((word, None), |(name, numbers)| (name, Some(numbers)));
            protocol = Some(match name {
                "icmp" => FilterProtocol::Icmp,
                _ => FilterProtocol::Ports(name.parse().map_err(|_| wrong(form))?),
            });
            of = numbers.map(|numbers| ports(numbers).ok_or_else(|| wrong(form))).transpose()?;
            if of.is_some() && protocol == Some(FilterProtocol::Icmp) {
                return Err(wrong("icmp has no ports"));
            }
        }
        let from = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some("from"), Some(net), None) => Some(range(net).map_err(|error| wrong(&error.to_string()))?),
            _ => return Err(wrong(form)),
        };
        if protocol.is_none() && from.is_none() {
            return Err(wrong(form));
        }
        Ok(Self { protocol, ports: of, from })
    }
}

impl TryFrom<String> for Filter {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.to_string()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self.protocol {
            Some(FilterProtocol::Icmp) => words.push("icmp".to_owned()),
            Some(FilterProtocol::Ports(protocol)) => words.push(match self.ports {
                Some((first, last)) if first == last => format!("{}:{first}", protocol.word()),
                Some((first, last)) => format!("{}:{first}-{last}", protocol.word()),
                None => protocol.word().to_owned(),
            }),
            None => {}
        }
        words.extend(self.from.map(|from| format!("from {from}")));
        f.write_str(&words.join(" "))
    }
}

/// How a container resolves names: resolv.conf(5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// The servers; by default the network's, else the host's.
    pub servers: Vec<IpAddr>,
    /// The domains that short names are looked for in.
    pub search: Vec<String>,
    /// Options such as `ndots:2`.
    pub options: Vec<String>,
}

/// A line of /etc/hosts: `NAME:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostsEntry {
    /// The name.
    pub name: String,
    /// Its address; None for the host's, as the container sees it (`host-gateway`).
    pub address: Option<IpAddr>,
}

/// Whether a name may stand in /etc/hosts: RFC 1123, with underscores as many have them.
pub fn is_host_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !text.is_empty()
        && text.len() <= 253
        && text.chars().all(good)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

impl FromStr for HostsEntry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("host {text:?}: {why}"));
        let (name, address) = text.split_once(':').ok_or_else(|| wrong("expected NAME:ADDRESS"))?;
        if !is_host_name(name) {
            return Err(wrong("a name has letters, digits, -, _ and ."));
        }
        let bare = address.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(address);
        let address = match bare {
            "host-gateway" => None,
            _ => Some(bare.parse().map_err(|_| wrong("expected an address behind the name, or host-gateway"))?),
        };
        Ok(Self { name: name.to_owned(), address })
    }
}

impl TryFrom<String> for HostsEntry {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HostsEntry> for String {
    fn from(entry: HostsEntry) -> Self {
        match entry.address {
            Some(address) => format!("{}:{address}", entry.name),
            None => format!("{}:host-gateway", entry.name),
        }
    }
}

/// Which files a container gets; by default those that its bundle does not mount itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Files {
    /// /etc/hosts.
    pub hosts: bool,
    /// /etc/hostname.
    pub hostname: bool,
    /// /etc/resolv.conf.
    pub resolv: bool,
}

impl Default for Files {
    fn default() -> Self {
        Self { hosts: true, hostname: true, resolv: true }
    }
}

/// An interface as it is written: whatever any kind may have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Raw {
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
    fn check(&self) -> Result<()> {
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

impl Request {
    /// A request as JSON.
    ///
    /// # Errors
    /// Names the field.
    pub fn parse(text: &str) -> Result<Self> {
        let request: Self = read(text)?;
        request.check()?;
        Ok(request)
    }

    /// Adds what a `--network` flag says: `none`, `host`, `container:ID`, or `[KIND:]TARGET[,KEY=VALUE]...`.
    pub fn add_flag(&mut self, flag: &str) -> Result<()> {
        let attempt = |request: &mut Self| {
            match flag {
                "none" => {}
                "host" => request.share = Some(Share::Host),
                _ if flag.starts_with("container:") => request.share = Some(flag.to_owned().try_into()?),
                _ => request.interfaces.push(interface_of_flag(flag)?),
            }
            request.check()
        };
        attempt(self).map_err(|error| error.context(format!("--network {flag:?}")))
    }

    /// What its parts have to do with each other.
    pub fn check(&self) -> Result<()> {
        if self.share.is_some() {
            for (field, there) in [("interfaces", !self.interfaces.is_empty()), ("publish", !self.publish.is_empty())] {
                if there {
                    return Err(Error::invalid(format!(
                        "{field}: a container that shares a network has none of its own"
                    )));
                }
            }
        }
        let names = self.names()?;
        for (i, name) in names.iter().enumerate() {
            if name.as_ref() == "lo" {
                return Err(Error::invalid(format!("interfaces[{i}].name: lo is the container's loopback interface")));
            }
            if let Some(first) = names[..i].iter().position(|other| other == name) {
                return Err(Error::invalid(format!(
                    "interfaces[{i}].name: {name} is the name of interfaces[{first}] as well"
                )));
            }
        }
        Ok(())
    }

    /// The interfaces' names, in their order: those without one get the lowest ethN that is free.
    pub fn names(&self) -> Result<Vec<Ifname>> {
        let given: Vec<&Ifname> = self.interfaces.iter().filter_map(|interface| interface.name.as_ref()).collect();
        let mut free =
            (0..).map(|n| format!("eth{n}")).filter(|name| !given.iter().any(|given| given.as_ref() == name));
        let mut names = Vec::with_capacity(self.interfaces.len());
        for interface in &self.interfaces {
            names.push(match &interface.name {
                Some(name) => name.clone(),
                None => free.next().unwrap_or_default().parse()?,
            });
        }
        Ok(names)
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))
}

/// Those that a flag may name without a target; what it lacks then is told by its name.
const KINDS: [&str; 9] = ["ptp", "link", "macvlan", "ipvlan", "vlan", "vxlan", "dummy", "tap", "host-device"];

/// `bridge:nf0,ip=10.88.0.5,mtu=1400`; a name alone is a network's.
fn interface_of_flag(flag: &str) -> Result<Interface> {
    let mut parts = flag.split(',');
    let head = parts.next().unwrap_or_default();
    let (kind, target) = match head.split_once(':') {
        Some((kind, target)) => (kind, Some(target)),
        None if KINDS.contains(&head) => (head, None),
        None => ("bridge", Some(head)),
    };
    let mut fields = serde_json::Map::new();
    fields.insert("kind".into(), kind.into());
    if let Some(target) = target {
        let field = match kind {
            "bridge" | "network" => "network",
            "link" => "peer",
            "host-device" => "device",
            "macvlan" | "ipvlan" | "vlan" | "vxlan" => "parent",
            _ => {
                return Err(Error::invalid(format!("{head:?}: an interface of kind {kind:?} has no target behind it")));
            }
        };
        fields.insert(field.into(), target.into());
    }
    for part in parts {
        let (key, value) =
            part.split_once('=').ok_or_else(|| Error::invalid(format!("{part:?}: expected KEY=VALUE")))?;
        add_field(&mut fields, key, value)?;
    }
    serde_json::from_value(fields.into()).map_err(|error| Error::invalid(error.to_string()))
}

fn add_field(fields: &mut serde_json::Map<String, serde_json::Value>, key: &str, value: &str) -> Result<()> {
    use serde_json::Value;
    let number = || {
        value.parse::<u32>().map(Value::from).map_err(|_| Error::invalid(format!("{key}={value}: expected a number")))
    };
    let switch = || match value {
        "on" | "true" | "1" => Ok(Value::Bool(true)),
        "off" | "false" | "0" => Ok(Value::Bool(false)),
        _ => Err(Error::invalid(format!("{key}={value}: expected on or off"))),
    };
    let mut push = |field: &str, value: Value| match fields.entry(field).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(list) => list.push(value),
        other => *other = value,
    };
    match key {
        "ip" | "address" => push("addresses", value.into()),
        "route" => {
            let route: Route = value.parse()?;
            push("routes", serde_json::to_value(route)?);
        }
        "alias" => push("aliases", value.into()),
        "allow" => push("allow", value.replace('+', " ").into()),
        "deny" => push("deny", value.replace('+', " ").into()),
        "rate-in" | "rate-out" => {
            let rate = fields.entry("rate").or_insert_with(|| Value::Object(serde_json::Map::new()));
            rate[&key[5..]] = value.into();
        }
        "mtu" | "txqlen" | "queues" | "id" | "port" | "owner" | "group" => {
            fields.insert(key.into(), number()?);
        }
        "slaac" => {
            fields.insert(key.into(), switch()?);
        }
        "default-route" => {
            fields.insert("defaultRoute".into(), switch()?);
        }
        "name" | "mac" | "mode" | "remote" | "local" | "parent" | "peer" | "network" | "device" => {
            fields.insert(key.into(), value.into());
        }
        _ => {
            let (table, name, value) = if let Some(setting) = key.strip_prefix("sysctl.") {
                ("sysctls", setting, value.into())
            } else if OFFLOADS.contains(&key) {
                ("offload", key, switch()?)
            } else {
                return Err(Error::invalid(format!(
                    "{key}: expected ip, mac, name, mtu, route, default-route, alias, allow, deny, rate-in, rate-out, queues, txqlen, slaac, sysctl.NAME, an offload ({}) or a field of the kind",
                    OFFLOADS.join(", ")
                )));
            };
            let entry = fields.entry(table).or_insert_with(|| Value::Object(serde_json::Map::new()));
            entry[name] = value;
        }
    }
    Ok(())
}

/// The offloads that may be switched, by ethtool(8)'s names.
pub const OFFLOADS: [&str; 6] = ["tx-checksum", "rx-checksum", "tso", "gso", "gro", "sg"];

/// 0.0.0.0/0 or ::/0.
pub fn everywhere(ipv4: bool) -> IpNet {
    match ipv4 {
        true => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
        false => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Interface> {
        let mut request = Request::default();
        request.add_flag(text)?;
        Ok(request.interfaces.remove(0))
    }

    #[test]
    fn a_flag_is_the_same_as_json() {
        let flag = one("bridge:nf0,ip=10.88.0.5,ip=fd00::5/64,mac=02:00:00:00:00:01,mtu=1400,route=10.0.0.0/8@10.88.0.9@7,tx-checksum=off,rate-in=10mbit,sysctl.ipv4.rp_filter=0,allow=tcp:80+from+10.0.0.0/8")
            .unwrap();
        let json = r#"{"kind":"bridge","network":"nf0","addresses":["10.88.0.5","fd00::5/64"],"mac":"02:00:00:00:00:01","mtu":1400,
            "routes":[{"to":"10.0.0.0/8","via":"10.88.0.9","metric":7}],"offload":{"tx-checksum":false},"rate":{"in":"10mbit"},
            "sysctls":{"ipv4.rp_filter":"0"},"allow":["tcp:80 from 10.0.0.0/8"]}"#;
        assert_eq!(flag, serde_json::from_str(json).unwrap());
        let again: Interface = serde_json::from_str(&serde_json::to_string(&flag).unwrap()).unwrap();
        assert_eq!(again, flag);
        assert_eq!(one("nf0").unwrap().kind, Kind::Network("nf0".parse().unwrap()));
        let link = Kind::Link { container: "b".into(), interface: "eth1".parse().unwrap() };
        assert_eq!(one("link:b:eth1").unwrap().kind, link);
        let macvlan = Kind::Macvlan { parent: "up0".parse().unwrap(), mode: MacvlanMode::Private };
        assert_eq!(one("macvlan:up0,mode=private").unwrap().kind, macvlan);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_field() {
        for (flag, words) in [
            ("bridge:nf0,mtu=10", "mtu: expected 68 to 65535"),
            ("bridge:nf0,mtu=x", "mtu=x: expected a number"),
            ("bridge:nf0,mac=03:00:00:00:00:01", "one of a group"),
            ("bridge:nf0,mac=02:00:00", "six octets"),
            ("bridge:nf0,ip=10.88.0", "address \"10.88.0\""),
            ("bridge:nf0,ip=10.88.0.5/33", "32 bits at most"),
            ("bridge:nf0,mode=x", "mode: an interface of kind bridge has none"),
            ("bridge:a/b", "network name"),
            ("vlan:up0,id=5000", "1 to 4094"),
            ("vlan:up0", "1 to 4094"),
            ("macvlan", "parent: is missing"),
            ("macvlan:up0,mode=x", "expected one of private, vepa, bridge, passthru"),
            ("dummy,allow=tcp:80", "allow"),
            ("bridge:nf0,bogus=1", "bogus: expected ip"),
            ("bridge:nf0,name=sixteen_bytes_xx", "16 bytes long"),
            ("bridge:nf0,name=lo", "lo is the container's"),
            ("bridge:nf0,rate-in=10", "rate"),
            ("bridge:nf0,sysctl.kernel.x=1", "sysctls"),
            ("bridge:nf0,route=default", "gateway"),
            ("bridge:nf0,route=10.0.0.1/8@10.0.0.1", "write 10.0.0.0/8"),
            ("bogus:x", "kind"),
            ("container:", "host or container:ID"),
        ] {
            let error = Request::default().add_flag(flag).unwrap_err().to_string();
            assert!(error.contains(words), "{flag}: {error}");
        }
    }

    #[test]
    fn names_are_given_in_order_and_are_unique() {
        let mut request = Request::default();
        for flag in ["a", "b,name=eth0", "c"] {
            request.add_flag(flag).unwrap();
        }
        let names: Vec<String> = request.names().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["eth1", "eth0", "eth2"]);
        let error = request.add_flag("d,name=eth0").unwrap_err().to_string();
        assert!(error.contains("interfaces[3].name: eth0 is the name of interfaces[1]"), "{error}");
    }

    #[test]
    fn ports_are_published_one_by_one_or_in_ranges() {
        for (text, shown) in [
            ("8080:80", "8080:80/tcp"),
            ("127.0.0.1:53:5353/udp", "127.0.0.1:53:5353/udp"),
            ("[::1]:8000-8009:80-89/sctp", "[::1]:8000-8009:80-89/sctp"),
            ("0.0.0.0:80:80", "80:80/tcp"),
        ] {
            assert_eq!(text.parse::<Publish>().unwrap().to_string(), shown);
        }
        for bad in
            ["80", "", ":80", "0:80", "80:0", "80:70000", "8-7:8-7", "80-81:80", "x:80:80", "80:80/icmp", "1-65536:1"]
        {
            assert!(bad.parse::<Publish>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_of_the_filter_are_read() {
        for text in ["tcp:80", "udp:53-60 from 10.0.0.0/8", "icmp", "from fd00::/8", "sctp"] {
            assert_eq!(text.parse::<Filter>().unwrap().to_string(), text);
        }
        for bad in ["", "tcp:", "icmp:5", "tcp:80 to 1.1.1.1", "from", "tcp from 10.0.0.1/8", "http"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }

    /// The published schema and the model name the same fields.
    #[test]
    fn the_schema_has_every_field_and_no_other() {
        use std::collections::BTreeSet;
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../docs/network.schema.json")).expect("JSON");
        let of = |object: &serde_json::Value| -> BTreeSet<String> {
            object.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        // An unknown field is refused with a list of those that there are.
        let known = |text: &str| -> BTreeSet<String> {
            let error = Request::parse(text).unwrap_err().to_string();
            let list = error.split("expected one of").nth(1).expect("a list").to_owned();
            list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        assert_eq!(known(r#"{"no": 1}"#), of(&schema["properties"]));
        let interface = &schema["$defs"]["interface"]["properties"];
        assert_eq!(known(r#"{"interfaces": [{"no": 1}]}"#), of(interface));
        let route = &interface["routes"]["items"]["properties"];
        assert_eq!(known(r#"{"interfaces": [{"routes": [{"no": 1}]}]}"#), of(route));
        let rule = &interface["rules"]["items"]["properties"];
        assert_eq!(known(r#"{"interfaces": [{"rules": [{"no": 1}]}]}"#), of(rule));
    }

    #[test]
    fn a_request_with_unknown_fields_is_refused() {
        let error = Request::parse(r#"{"interfaces": [{"kind": "bridge", "network": "a", "colour": 1}]}"#).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
        assert!(Request::parse(r#"{"share": "host", "publish": ["80:80"]}"#).is_err());
    }
}
