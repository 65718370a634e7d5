//! Capturing the packets of interfaces of a network namespace from outside of it: nothing is in there but sockets, which were
//! made in it and are read out here. A descriptor of the namespace comes in; packets go to a [`Sink`], as a file of pcapng
//! (`pcapng`) or as lines (`line`).
//!
//! `filter` is what a user asks for as a program that the kernel runs on each packet, `tap` one interface's socket, `session`
//! all of them together, in the order of their packets' times.

pub mod filter;
pub mod line;
pub mod pcapng;
mod session;
mod tap;

use std::time::Duration;

pub use filter::Filter;
pub use session::{Awaited, Capture, End, Sink};

/// How much of a packet is kept when nothing is said: more than any has, as tcpdump has it.
pub const WHOLE: u32 = 262_144;

/// What stands at the begin of an interface's packets: the numbers of tcpdump.org/linktypes.html.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet = 1,
    /// What the kernel tells in place of a header that the interface's packets do not have, or that few know.
    Cooked = 113,
}

/// An interface that is captured on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What its packets begin with.
    pub link: LinkType,
}

/// Whether a packet comes into the interface or goes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// For this interface, for a group or for all, or for others.
    In(Cast),
    /// Sent by it.
    Out,
}

/// For whom a packet is that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Cast {
    Unicast,
    Multicast,
    Broadcast,
    /// Another host's, taken because the interface takes all.
    Others,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Which of the capture's interfaces it passed.
    pub interface: usize,
    /// What it begins with.
    pub link: LinkType,
    /// When, since 1970.
    pub time: Duration,
    /// Into the interface or out of it.
    pub direction: Direction,
    /// Its bytes, as many as were asked for.
    pub bytes: &'a [u8],
    /// How many it had.
    pub length: u32,
}

/// How many packets there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Given to the sink.
    pub captured: u64,
    /// Let through by the filter, those that were lost included.
    pub received: u64,
    /// Lost, since they came faster than they were read.
    pub dropped: u64,
}
