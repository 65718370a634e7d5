//! What the primitives of a filter mean: which numbers of a packet are looked at.

use std::fmt;
use std::net::IpAddr;

use super::address::{self, Network};
use super::names;
use super::test::{ARP, Comparison, Expression, IPV4, IPV6, Place, RARP, Size};
use crate::{Error, Result};

/// SKF_AD_PKTTYPE: what a packet is to this machine.
const PACKET_TYPE: Place = Place::Kernel(4);
/// PACKET_OUTGOING.
const OUTGOING: u32 = 4;
/// SKF_AD_VLAN_TAG: the tag that the kernel has taken off a packet.
const TAKEN_TAG: Place = Place::Kernel(44);
/// SKF_AD_VLAN_TAG_PRESENT: whether there is one.
const HAS_TAKEN_TAG: Place = Place::Kernel(48);
/// The part of a tag that is the VLAN's number.
const VLAN_ID: u32 = 0x0fff;

/// A word of a filter that is a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Protocol {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
}

impl Protocol {
    const WORDS: [(&'static str, Self); 10] = [
        ("ether", Self::Ether),
        ("ip", Self::Ip),
        ("ip6", Self::Ip6),
        ("arp", Self::Arp),
        ("rarp", Self::Rarp),
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
        ("sctp", Self::Sctp),
        ("icmp", Self::Icmp),
        ("icmp6", Self::Icmp6),
    ];

    /// The protocol of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, protocol)| *protocol)
    }
}

/// Which end of a packet's way a value is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `src`
    Source,
    /// `dst`
    Destination,
    /// `src or dst`, also when nothing is said
    Either,
    /// `src and dst`
    Both,
}

impl Direction {
    /// The direction of this word.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "src" => Some(Self::Source),
            "dst" => Some(Self::Destination),
            _ => None,
        }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

impl Kind {
    const WORDS: [(&'static str, Self); 5] = [
        ("host", Self::Host),
        ("net", Self::Net),
        ("port", Self::Port),
        ("portrange", Self::PortRange),
        ("proto", Self::Proto),
    ];

    /// The kind of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind)
    }
}

/// The words before a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Qualifiers {
    /// Of which protocol.
    pub protocol: Option<Protocol>,
    /// In which direction.
    pub direction: Option<Direction>,
    /// Of what.
    pub kind: Option<Kind>,
}

impl fmt::Display for Qualifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = Protocol::WORDS.iter().find(|(_, protocol)| Some(*protocol) == self.protocol);
        let kind = Kind::WORDS.iter().find(|(_, kind)| Some(*kind) == self.kind);
        let direction = self.direction.map(|direction| match direction {
            Direction::Source => "src",
            Direction::Destination => "dst",
            Direction::Either => "src or dst",
            Direction::Both => "src and dst",
        });
        let words = [protocol.map(|(word, _)| *word), direction, kind.map(|(word, _)| *word)];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// What a value with its words means; `mask` is what stood behind `mask`.
pub fn of(about: Qualifiers, value: &str, mask: Option<&str>) -> Result<Expression> {
    let implied = if about.protocol != Some(Protocol::Ether) && value.contains('/') { Kind::Net } else { Kind::Host };
    let kind = about.kind.unwrap_or(implied);
    match (about.protocol, kind) {
        (Some(Protocol::Ether), Kind::Host) => Ok(ethernet_host(about.direction, address::hardware(value)?)),
        (Some(Protocol::Ether), Kind::Proto) if about.direction.is_none() => ether_proto(value),
        (None | Some(Protocol::Ip | Protocol::Ip6), Kind::Proto) if about.direction.is_none() => ip_proto(about, value),
        (None | Some(Protocol::Ip | Protocol::Ip6 | Protocol::Arp | Protocol::Rarp), Kind::Host | Kind::Net) => {
            let network = if kind == Kind::Net { address::network(value, mask)? } else { address::host(value)? };
            addressed(about, value, network)
        }
        (None | Some(Protocol::Tcp | Protocol::Udp | Protocol::Sctp), Kind::Port | Kind::PortRange) => {
            let range = if kind == Kind::Port {
                names::port(value).map(|port| (port, port))?
            } else {
                names::port_range(value)?
            };
            Ok(port(about, range))
        }
        _ => {
            let words = Qualifiers { kind: Some(kind), ..about };
            Err(Error::invalid(format!("filter: {words} {value}: these words do not go together")))
        }
    }
}

/// A question about either end of a packet's way, for the direction that was said.
fn towards(direction: Option<Direction>, source: Expression, destination: Expression) -> Expression {
    match direction.unwrap_or(Direction::Either) {
        Direction::Source => source,
        Direction::Destination => destination,
        Direction::Either => Expression::Any(vec![source, destination]),
        Direction::Both => Expression::All(vec![source, destination]),
    }
}

fn is(ether_type: u32) -> Expression {
    Expression::equal(Place::EtherType, ether_type)
}

/// The packet is one of a protocol.
pub fn carries(protocol: Protocol) -> Expression {
    let over = |ether_type, number| Expression::All(vec![is(ether_type), Expression::equal(Place::Protocol, number)]);
    match protocol {
        Protocol::Ether => Expression::All(Vec::new()),
        Protocol::Ip => is(IPV4),
        Protocol::Ip6 => is(IPV6),
        Protocol::Arp => is(ARP),
        Protocol::Rarp => is(RARP),
        Protocol::Tcp => Expression::equal(Place::Protocol, 6),
        Protocol::Udp => Expression::equal(Place::Protocol, 17),
        Protocol::Sctp => Expression::equal(Place::Protocol, 132),
        Protocol::Icmp => over(IPV4, 1),
        Protocol::Icmp6 => over(IPV6, 58),
    }
}

fn ip_proto(about: Qualifiers, value: &str) -> Result<Expression> {
    let carried = Expression::equal(Place::Protocol, names::protocol(value)?.into());
    Ok(match about.protocol {
        Some(Protocol::Ip) => Expression::All(vec![is(IPV4), carried]),
        Some(Protocol::Ip6) => Expression::All(vec![is(IPV6), carried]),
        _ => carried,
    })
}

fn ether_proto(value: &str) -> Result<Expression> {
    let known = match value.strip_prefix('\\').unwrap_or(value) {
        "ip" => Some(IPV4),
        "ip6" => Some(IPV6),
        "arp" => Some(ARP),
        "rarp" => Some(RARP),
        other => names::number(other).filter(|number| *number <= 0xffff),
    };
    known.map(is).ok_or_else(|| {
        Error::invalid(format!("filter: ether proto {value:?}: a number up to 0xffff, or one of ip, ip6, arp, rarp"))
    })
}

fn ethernet_host(direction: Option<Direction>, octets: [u8; 6]) -> Expression {
    let [a, b, c, d, e, f] = octets;
    let at = |offset| {
        // The last four differ the most.
        Expression::All(vec![
            Expression::equal(Place::Frame(Size::Word, offset + 2), u32::from_be_bytes([c, d, e, f])),
            Expression::equal(Place::Frame(Size::Half, offset), u32::from(u16::from_be_bytes([a, b]))),
        ])
    };
    Expression::Ethernet(Box::new(towards(direction, at(6), at(0))))
}

/// An address or a network of them, in whichever protocols have such.
fn addressed(about: Qualifiers, value: &str, network: Network) -> Result<Expression> {
    let in_protocol = |ether_type, source, destination| {
        let at = |offset| within(network, offset);
        Expression::All(vec![is(ether_type), towards(about.direction, at(source), at(destination))])
    };
    let ip = || in_protocol(IPV4, 12, 16);
    let (arp, rarp) = (|| in_protocol(ARP, 14, 24), || in_protocol(RARP, 14, 24));
    match (network.address, about.protocol) {
        (IpAddr::V4(_), None) => Ok(Expression::Any(vec![ip(), arp(), rarp()])),
        (IpAddr::V4(_), Some(Protocol::Ip)) => Ok(ip()),
        (IpAddr::V4(_), Some(Protocol::Arp)) => Ok(arp()),
        (IpAddr::V4(_), Some(Protocol::Rarp)) => Ok(rarp()),
        (IpAddr::V6(_), None | Some(Protocol::Ip6)) => Ok(in_protocol(IPV6, 8, 24)),
        _ => Err(Error::invalid(format!("filter: {about} {value}: no packet of that protocol has such an address"))),
    }
}

/// The address at an offset of the network layer's header is in a network.
fn within(network: Network, offset: u32) -> Expression {
    let words = network.words().into_iter().zip((offset..).step_by(4)).filter(|((_, mask), _)| *mask != 0);
    Expression::All(
        words.map(|((word, mask), at)| Expression::masked(Place::Network(Size::Word, at), mask, word)).collect(),
    )
}

/// Only a packet's first part has the ports.
fn port(about: Qualifiers, (first, last): (u16, u16)) -> Expression {
    let carried = match about.protocol {
        Some(protocol) => carries(protocol),
        None => Expression::Any([Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(carries).to_vec()),
    };
    let at = |offset| {
        let place = Place::Transport(Size::Half, offset);
        if first == last {
            return Expression::equal(place, first.into());
        }
        let beyond = Expression::compare(place, Comparison::Greater, last.into());
        let reached = Expression::compare(place, Comparison::AtLeast, first.into());
        Expression::All(vec![reached, Expression::Not(Box::new(beyond))])
    };
    Expression::All(vec![carried, Expression::equal(Place::Fragment, 0), towards(about.direction, at(0), at(2))])
}

/// The packet has at most so many bytes.
pub fn at_most(bytes: u32) -> Expression {
    Expression::Not(Box::new(Expression::compare(Place::Length, Comparison::Greater, bytes)))
}

/// The packet has at least so many bytes.
pub fn at_least(bytes: u32) -> Expression {
    Expression::compare(Place::Length, Comparison::AtLeast, bytes)
}

/// The container receives the packet.
pub fn inbound() -> Expression {
    Expression::Not(Box::new(outbound()))
}

/// The container sends the packet.
pub fn outbound() -> Expression {
    Expression::equal(PACKET_TYPE, OUTGOING)
}

/// Ethernet's broadcast.
pub fn broadcast() -> Expression {
    ethernet_host(Some(Direction::Destination), [0xff; 6])
}

/// A multicast of Ethernet, or of IP.
pub fn multicast(protocol: Option<Protocol>) -> Result<Expression> {
    let all_of = |ether_type, test| Expression::All(vec![is(ether_type), test]);
    match protocol {
        None | Some(Protocol::Ether) => {
            let group = Expression::compare(Place::Frame(Size::Byte, 0), Comparison::HasAnyOf, 1);
            Ok(Expression::Ethernet(Box::new(group)))
        }
        Some(Protocol::Ip) => {
            Ok(all_of(IPV4, Expression::compare(Place::Network(Size::Byte, 16), Comparison::AtLeast, 224)))
        }
        Some(Protocol::Ip6) => Ok(all_of(IPV6, Expression::equal(Place::Network(Size::Byte, 24), 255))),
        Some(_) => Err(Error::invalid("filter: multicast goes with ether, ip or ip6")),
    }
}

/// The packet has a VLAN tag, of this number where one is said; whether the kernel has taken it off or it still is in the
/// packet.
pub fn tagged(id: Option<u32>) -> Expression {
    let taken = Expression::compare(HAS_TAKEN_TAG, Comparison::HasAnyOf, 1);
    let inside = |bytes| Expression::compare(Place::Tags, Comparison::AtLeast, bytes);
    let Some(id) = id else { return Expression::Any(vec![taken, inside(4)]) };
    let with = |tag, place| Expression::All(vec![tag, Expression::masked(place, VLAN_ID, id)]);
    Expression::Any(vec![
        with(taken, TAKEN_TAG),
        with(inside(4), Place::Frame(Size::Half, 14)),
        with(inside(8), Place::Frame(Size::Half, 18)),
    ])
}
