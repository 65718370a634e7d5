//! Connections that the kernel remembers although a change of the packet filter made them wrong: conntrack over netlink
//! (ctnetlink). A client of UDP that sends on to a port that was published meanwhile would never reach the container, and
//! one whose container is gone would reach whoever gets that address next.

use std::collections::HashMap;
use std::net::IpAddr;

use super::address::{ip, octets};
use super::netlink::{Message, Request, Socket, attribute};
use super::request::{Protocol, Publish};
use super::route;
use crate::{Context, Result};

/// IPCTNL_MSG_CT_*.
const GET: i32 = 1;
const DELETE: i32 = 2;
/// CTA_*.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// CTA_TUPLE_*, CTA_IP_*, CTA_PROTO_*.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const SOURCES: [u16; 2] = [1, 3];
const DESTINATIONS: [u16; 2] = [2, 4];
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;
/// CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS, and bits of them.
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const BY_SOURCE: u32 = 1;
const BY_PROTOCOL: u32 = 1 << 3;
const BY_PORT: u32 = 1 << 5;
/// Up to so many connections are listed once, whatever is looked for: walking through the kernel's table costs more.
const FEW: usize = 2000;
/// How many connections the namespace has; missing without conntrack.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// What makes a connection stale.
#[derive(Debug, Clone, Copy)]
enum Stale<'a> {
    /// It went to a port of the host's that leads elsewhere now.
    Port(&'a Publish, bool),
    /// This address answers it.
    Address(IpAddr),
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Tuple {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: u8,
    port: u16,
}

#[derive(Debug)]
struct Connection {
    original: Tuple,
    reply: Tuple,
    /// What the kernel knows it by.
    family: u8,
    names: Vec<(u16, Vec<u8>)>,
}

/// Whether connections to a published port can outlive a change of where it leads. Those of TCP do not: each begins with a
/// packet of which the kernel makes a connection anew, unless it is one that goes on.
pub fn can_be_stale(publish: &Publish) -> bool {
    publish.protocol != Protocol::Tcp
}

/// Has the kernel forget the connections to published ports that lead elsewhere now, and those that these addresses
/// answer; says how many. `socket` is one to netfilter. Where the kernel has no ctnetlink there is nothing to be done.
///
/// It takes the kernel some milliseconds to walk through its table, however little is in it.
pub fn forget(socket: &Socket, publish: &[Publish], addresses: &[IpAddr]) -> Result<usize> {
    let mut all = Vec::new();
    for publish in publish.iter().filter(|publish| can_be_stale(publish)) {
        let of_family = |ipv4: &bool| publish.address.is_none_or(|address| address.is_ipv4() == *ipv4);
        all.extend([true, false].into_iter().filter(of_family).map(|ipv4| Stale::Port(publish, ipv4)));
    }
    all.extend(addresses.iter().copied().map(Stale::Address));
    let count = std::fs::read_to_string(COUNT).ok().and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    if all.is_empty() || count == 0 {
        return Ok(0);
    }
    let mut local = Local::default();
    if all.len() > 1 && count < FEW {
        return forget_among(list(socket, None)?, socket, &all, &mut local);
    }
    let mut forgotten = 0;
    for stale in &all {
        forgotten += forget_among(list(socket, Some(*stale))?, socket, &[*stale], &mut local)?;
    }
    Ok(forgotten)
}

fn forget_among(found: Vec<Connection>, socket: &Socket, all: &[Stale], local: &mut Local) -> Result<usize> {
    let mut forgotten = 0;
    for connection in found {
        for stale in all {
            if stale.matches(&connection, local)? {
                forgotten += usize::from(connection.forget(socket)?);
                break;
            }
        }
    }
    Ok(forgotten)
}

/// Which addresses are the host's own.
#[derive(Default)]
struct Local {
    socket: Option<Socket>,
    known: HashMap<IpAddr, bool>,
}

impl Local {
    fn has(&mut self, address: IpAddr) -> Result<bool> {
        if let Some(known) = self.known.get(&address) {
            return Ok(*known);
        }
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::open()?),
        };
        let local = route::is_local(socket, address)?;
        self.known.insert(address, local);
        Ok(local)
    }
}

impl Stale<'_> {
    fn is_ipv4(self) -> bool {
        match self {
            Self::Port(_, ipv4) => ipv4,
            Self::Address(address) => address.is_ipv4(),
        }
    }

    fn matches(&self, connection: &Connection, local: &mut Local) -> Result<bool> {
        let original = &connection.original;
        match self {
            Self::Address(address) => Ok(connection.reply.source == Some(*address) && has_ports(original.protocol)),
            Self::Port(publish, ipv4) => {
                let to = original.destination.filter(|to| to.is_ipv4() == *ipv4);
                let same_port = (publish.host..=publish.host_last()).contains(&original.port);
                if original.protocol != publish.protocol.number() || !same_port {
                    return Ok(false);
                }
                // To all addresses of the host's, and not to others' whose packets it only passes on.
                match (publish.address.filter(|address| !address.is_unspecified()), to) {
                    (Some(address), to) => Ok(to == Some(address)),
                    (None, Some(to)) => local.has(to),
                    (None, None) => Ok(false),
                }
            }
        }
    }

    /// Whether the kernel can be told which it is to pass over. By addresses of IPv6 it passes over the wrong ones: it
    /// takes the answer of ipv6_addr_cmp, which is 0 where they are the same, for the opposite (still in 6.18).
    fn can_be_narrowed(self) -> bool {
        match self {
            Self::Port(..) => true,
            Self::Address(address) => address.is_ipv4(),
        }
    }

    /// Has the kernel pass over others (Linux 5.8): a busy host has hundreds of thousands.
    fn narrow(self, request: &mut Request) -> Result<()> {
        let (mut tuple, mut filter) = (Vec::new(), Vec::new());
        let (which, flags) = match self {
            Self::Address(address) => {
                let mut inner = Vec::new();
                attribute::put(&mut inner, SOURCES[usize::from(address.is_ipv6())], &octets(&address))?;
                attribute::nest(&mut tuple, TUPLE_IP, &inner)?;
                attribute::put(&mut filter, FILTER_REPLY, &BY_SOURCE.to_ne_bytes())?;
                (REPLY, filter)
            }
            Self::Port(publish, _) => {
                let (mut inner, mut by) = (Vec::new(), BY_PROTOCOL);
                attribute::put(&mut inner, PROTOCOL_NUMBER, &[publish.protocol.number()])?;
                if publish.count == 1 {
                    attribute::put(&mut inner, DESTINATION_PORT, &publish.host.to_be_bytes())?;
                    by |= BY_PORT;
                }
                attribute::nest(&mut tuple, TUPLE_PROTOCOL, &inner)?;
                attribute::put(&mut filter, FILTER_ORIGINAL, &by.to_ne_bytes())?;
                (ORIGINAL, filter)
            }
        };
        request.nest(which, &tuple)?;
        request.nest(FILTER, &flags)
    }
}

fn has_ports(protocol: u8) -> bool {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].iter().any(|known| known.number() == protocol)
}

fn message(what: i32, flags: i32, family: u8) -> Request {
    Request::netfilter((libc::NFNL_SUBSYS_CTNETLINK << 8 | what) as u16, flags, family, 0)
}

/// The connections among which the stale ones are: those of one kind, or all.
fn list(socket: &Socket, stale: Option<Stale>) -> Result<Vec<Connection>> {
    let family = match stale.map(Stale::is_ipv4) {
        None => libc::AF_UNSPEC,
        Some(true) => libc::AF_INET,
        Some(false) => libc::AF_INET6,
    };
    let dump = |narrow: Option<Stale>| {
        let mut found = Vec::new();
        let make = || {
            let mut request = message(GET, libc::NLM_F_DUMP, family as u8);
            if let Some(stale) = narrow {
                stale.narrow(&mut request)?;
            }
            Ok(request)
        };
        let dumped = socket.try_dump(make, |message| {
            match message {
                Some(message) => found.extend(read(message)?),
                None => found.clear(),
            }
            Ok(())
        });
        dumped.map(|()| found)
    };
    let refused = |errno| [libc::EINVAL, libc::EOPNOTSUPP, libc::EPROTONOSUPPORT].map(Some).contains(&errno);
    let narrow = stale.filter(|stale| stale.can_be_narrowed());
    let dumped = match dump(narrow) {
        Err(error) if narrow.is_some() && refused(error.errno()) => dump(None),
        other => other,
    };
    match dumped {
        // No ctnetlink.
        Err(error) if refused(error.errno()) => Ok(Vec::new()),
        other => other.context(|| "list the connections that the kernel knows"),
    }
}

fn read(message: &Message) -> Result<Option<Connection>> {
    let Some((header, attributes)) = message.body.split_first_chunk::<4>() else { return Ok(None) };
    let (mut original, mut reply, mut names) = (None, None, Vec::new());
    for (kind, value) in attribute::parse(attributes)? {
        match kind {
            ORIGINAL => original = Some(read_tuple(value)?),
            REPLY => reply = Some(read_tuple(value)?),
            _ => {}
        }
        if matches!(kind, ORIGINAL | ID | ZONE) {
            names.push((kind, value.to_vec()));
        }
    }
    let pair = original.zip(reply);
    Ok(pair.map(|(original, reply)| Connection { original, reply, family: header[0], names }))
}

fn read_tuple(bytes: &[u8]) -> Result<Tuple> {
    let mut tuple = Tuple::default();
    for (part, value) in attribute::parse(bytes)? {
        for (kind, value) in
            if matches!(part, TUPLE_IP | TUPLE_PROTOCOL) { attribute::parse(value)? } else { Vec::new() }
        {
            match (part, kind) {
                (TUPLE_IP, kind) if SOURCES.contains(&kind) => tuple.source = Some(ip(value)?),
                (TUPLE_IP, kind) if DESTINATIONS.contains(&kind) => tuple.destination = Some(ip(value)?),
                (TUPLE_PROTOCOL, PROTOCOL_NUMBER) => tuple.protocol = value.first().copied().unwrap_or_default(),
                (TUPLE_PROTOCOL, DESTINATION_PORT) => {
                    tuple.port = value.try_into().map(u16::from_be_bytes).unwrap_or_default();
                }
                _ => {}
            }
        }
    }
    Ok(tuple)
}

impl Connection {
    /// False where it ended by itself.
    fn forget(&self, socket: &Socket) -> Result<bool> {
        let mut request = message(DELETE, libc::NLM_F_ACK, self.family);
        for (kind, value) in &self.names {
            match *kind {
                ORIGINAL => request.nest(ORIGINAL, value)?,
                kind => request.attribute(kind, value)?,
            }
        }
        match socket.change(request) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error).context(|| "have the kernel forget a connection"),
        }
    }
}
