//! A filter as a user writes it, in the words of pcap-filter(7), into classic BPF: a pure compiler. `words` takes the text
//! apart, `parse` finds its primitives, `address` and `names` read their values, `meaning` says of each what is looked at in a
//! packet (`test`), and `compile` makes instructions of that.
//!
//! It knows the usual words and no arithmetic on bytes. One thing differs from tcpdump: what stands behind VLAN tags is looked
//! at with and without `vlan` in the filter, so that `tcp port 80` finds tagged packets too, and `vlan 5 and tcp` means what it
//! says wherever `vlan` stands.

mod address;
#[cfg(test)]
mod against_tcpdump;
mod compile;
#[cfg(test)]
mod interpreter;
mod meaning;
mod names;
mod parse;
mod test;
#[cfg(test)]
mod tests;
mod words;

use crate::Result;
use crate::seccomp::Instruction;

/// What stands before the network layer's header in what a filter sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// Nothing: the kernel has taken it off and tells the protocol (packet(7), SOCK_DGRAM).
    Cooked,
}

/// A filter that was understood.
#[derive(Debug, Clone)]
pub struct Filter {
    expression: test::Expression,
}

impl Filter {
    /// Reads a filter; one without a word takes every packet.
    ///
    /// # Errors
    /// When a word is not known or a value is not valid: it is named, with what is known there.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self { expression: parse::parse(text)? })
    }

    /// The program that gives so many bytes of each packet that the filter takes, and none of any other.
    ///
    /// # Errors
    /// When it is longer than the kernel takes.
    pub fn compile(&self, link: Link, bytes: u32) -> Result<Vec<Instruction>> {
        compile::compile(&self.expression, link, bytes)
    }
}
