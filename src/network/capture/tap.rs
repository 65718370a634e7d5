//! The socket that sees one interface's packets: packet(7).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::{Cast, Counts, Direction, Filter, Interface, LinkType, Packet, filter};
use crate::sys::packet::{self, Received};
use crate::{Context, Result};

/// How many bytes of packets wait for us at most.
const ROOM: i32 = 16 << 20;
/// What may have to be put before a packet's bytes: a tag of 4, or a header of 16.
const AHEAD: usize = 16;
/// Where Ethernet's addresses end and a tag stands.
const TAG_AT: usize = 12;
/// PACKET_* of what is sent.
const OUTGOING: u8 = 4;

/// An interface that is listened to. The first packet that has come and was not taken is in the buffer.
pub struct Tap {
    /// The interface.
    pub interface: Interface,
    socket: OwnedFd,
    buffer: Vec<u8>,
    head: Option<Received>,
    counts: Counts,
    snap: usize,
}

impl Tap {
    /// Listens to an interface of the network namespace that the calling thread is in. No packet comes before the filter
    /// stands, so none comes that it does not take.
    pub fn open(index: u32, name: &str, filter: &Filter, snap: u32) -> Result<Self> {
        let mut socket = packet::open(true).context(|| "make a packet socket")?;
        packet::bind(socket.as_fd(), index, false).context(|| format!("bind a packet socket to {name}"))?;
        let hardware = packet::hardware(socket.as_fd()).context(|| format!("ask what {name} is"))?;
        let link = match hardware {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => LinkType::Ethernet,
            _ => {
                socket = packet::open(false).context(|| "make a packet socket")?;
                LinkType::Cooked
            }
        };
        let program = match link {
            LinkType::Ethernet => filter.compile(filter::Link::Ethernet, snap)?,
            LinkType::Cooked => filter.compile(filter::Link::Cooked, snap)?,
        };
        let program: Vec<[u8; 8]> = program.into_iter().map(|instruction| instruction.bytes()).collect();
        let fd = socket.as_fd();
        packet::attach_filter(fd, &program).context(|| "give the filter to the kernel")?;
        packet::prepare(fd, ROOM).context(|| "prepare a packet socket")?;
        if hardware == libc::ARPHRD_LOOPBACK {
            // Or each of its packets would be there twice. Kernels before 4.20 do not know it.
            let _ = packet::ignore_outgoing(fd);
        }
        packet::bind(fd, index, true).context(|| format!("listen to {name}"))?;
        // Those that cannot have nothing to filter out.
        let _ = packet::make_promiscuous(fd, index);
        let buffer = vec![0; AHEAD + snap as usize];
        let interface = Interface { name: name.to_owned(), link };
        Ok(Self { interface, socket, buffer, head: None, counts: Counts::default(), snap: snap as usize })
    }

    /// When the first packet that waits came; it stays where it is.
    pub fn peek(&mut self) -> Result<Option<Duration>> {
        if self.head.is_none() {
            self.head = match packet::receive(self.socket.as_fd(), &mut self.buffer[AHEAD..]) {
                // It was set down, and may come up again.
                Err(Errno::ENETDOWN) => {
                    log::warn!("{}: the interface is down or gone", self.interface.name);
                    None
                }
                other => other.context(|| format!("read a packet of {}", self.interface.name))?,
            };
        }
        Ok(self.head.map(|head| head.time))
    }

    /// Takes the packet that `peek` has seen. `number` is which of the capture's interfaces this is.
    pub fn take(&mut self, number: usize) -> Option<Packet<'_>> {
        let head = self.head.take()?;
        self.counts.captured += 1;
        let direction = match head.kind {
            OUTGOING => Direction::Out,
            1 => Direction::In(Cast::Broadcast),
            2 => Direction::In(Cast::Multicast),
            3 => Direction::In(Cast::Others),
            _ => Direction::In(Cast::Unicast),
        };
        let (ahead, more) = match (self.interface.link, head.tag) {
            (LinkType::Ethernet, Some((kind, tag))) if head.bytes >= TAG_AT => (self.put_tag(kind, tag), 4),
            (LinkType::Ethernet, _) => (0, 0),
            (LinkType::Cooked, _) => (self.put_header(&head), AHEAD),
        };
        // What was put before counts as the packet's, as if it had never been taken off.
        let end = (ahead + head.bytes).min(self.snap.max(AHEAD));
        Some(Packet {
            interface: number,
            link: self.interface.link,
            time: head.time,
            direction,
            bytes: &self.buffer[AHEAD - ahead..AHEAD - ahead + end],
            length: head.length.saturating_add(more as u32),
        })
    }

    /// Puts back the tag that the kernel has taken off; how many bytes more there are.
    fn put_tag(&mut self, kind: u16, tag: u16) -> usize {
        self.buffer.copy_within(AHEAD..AHEAD + TAG_AT, AHEAD - 4);
        let at = AHEAD - 4 + TAG_AT;
        self.buffer[at..at + 2].copy_from_slice(&kind.to_be_bytes());
        self.buffer[at + 2..at + 4].copy_from_slice(&tag.to_be_bytes());
        4
    }

    /// Puts the header of LINKTYPE_LINUX_SLL before a packet; how many bytes more there are.
    fn put_header(&mut self, head: &Received) -> usize {
        let hardware = packet::hardware(self.socket.as_fd()).unwrap_or(0);
        let (address, length) = head.sender;
        let words = [head.kind.into(), hardware, length.into()];
        let header = words.iter().flat_map(|word: &u16| word.to_be_bytes()).chain(address);
        let header = header.chain(head.ether_type.to_be_bytes());
        self.buffer.iter_mut().zip(header).for_each(|(to, byte)| *to = byte);
        AHEAD
    }

    /// What has been counted so far.
    pub fn counts(&mut self) -> Counts {
        // The kernel counts anew after each answer; without one nothing is added.
        if let Ok((received, dropped)) = packet::statistics(self.socket.as_fd()) {
            self.counts.received += u64::from(received);
            self.counts.dropped += u64::from(dropped);
        }
        self.counts
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
