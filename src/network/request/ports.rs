//! Ports that are published, and what the packet filter lets in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::route::range;
use crate::{Error, Result};

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

    /// Whether another has a port of the host's of this one's, at an address that both have.
    pub fn overlaps(&self, other: &Self) -> bool {
        let at = |publish: &Self| publish.address.filter(|address| !address.is_unspecified());
        let same_address = match (at(self), at(other)) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        let same_ports = self.host <= other.host_last() && other.host <= self.host_last();
        self.protocol == other.protocol && same_address && same_ports
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
