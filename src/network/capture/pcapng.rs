//! Files of pcapng: draft-ietf-opsawg-pcapng. A file is one section: its header, a block an interface, a block a packet, and
//! at the end a block an interface with what was counted. Blocks are appended to bytes of the caller's, each whole.

use super::{Cast, Counts, Direction, Interface, Packet};
use crate::{Error, Result};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// How a reader finds out in which order the bytes of numbers are.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Times are counted in 10 to the minus ninth of a second.
const NANOSECONDS: u8 = 9;
/// An option's value is at most so long.
const LONGEST: usize = u16::MAX as usize;

/// A block in the making: kind, length, content, and the length again.
struct Block<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Block<'a> {
    fn begin(bytes: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = bytes.len();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 4]);
        Self { bytes, start }
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.bytes.extend(word.to_ne_bytes()));
    }

    /// Bytes, filled up to words.
    fn padded(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len() + bytes.len().wrapping_neg() % 4, 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(LONGEST)];
        self.bytes.extend(code.to_ne_bytes());
        self.bytes.extend((value.len() as u16).to_ne_bytes());
        self.padded(value);
    }

    /// Ends it with its options' end.
    fn finish(self) -> Result<()> {
        self.bytes.extend([0; 4]);
        let length = self.bytes.len() - self.start + 4;
        let length = u32::try_from(length).map_err(|_| Error::new("pcapng: a block of more than 4 GiB"))?;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes[self.start + 4..self.start + 8].copy_from_slice(&length.to_ne_bytes());
        Ok(())
    }
}

/// The two halves of a number of 64 bits, the higher one first.
fn halves(number: u64) -> [u32; 2] {
    [(number >> 32) as u32, number as u32]
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The begin of a file: who wrote it, and the interfaces. `of` is what they belong to, `filter` as the user wrote it.
pub fn put_head(bytes: &mut Vec<u8>, of: &str, interfaces: &[Interface], filter: &str, snap: u32) -> Result<()> {
    let mut section = Block::begin(bytes, SECTION);
    // Version 1.0 as two halves, and a length that is not known.
    section.words(&[BYTE_ORDER]);
    section.bytes.extend([1u16.to_ne_bytes(), 0u16.to_ne_bytes()].concat());
    section.words(&[u32::MAX, u32::MAX]);
    section.option(3, b"Linux");
    section.option(4, concat!("nfrun ", env!("CARGO_PKG_VERSION")).as_bytes());
    section.finish()?;
    for interface in interfaces {
        let mut block = Block::begin(bytes, INTERFACE);
        block.bytes.extend([(interface.link as u16).to_ne_bytes(), [0; 2]].concat());
        block.words(&[snap]);
        block.option(2, interface.name.as_bytes());
        block.option(3, format!("{of}:{}", interface.name).as_bytes());
        block.option(9, &[NANOSECONDS]);
        if !filter.is_empty() {
            // A filter in words, as opposed to one in instructions.
            block.option(11, &[b"\0", filter.as_bytes()].concat());
        }
        block.finish()?;
    }
    Ok(())
}

/// One packet, with its direction.
pub fn put_packet(bytes: &mut Vec<u8>, packet: &Packet) -> Result<()> {
    let [high, low] = halves(nanoseconds(packet.time));
    let mut block = Block::begin(bytes, PACKET);
    block.words(&[packet.interface as u32, high, low, packet.bytes.len() as u32, packet.length]);
    block.padded(packet.bytes);
    let flags: u32 = match packet.direction {
        Direction::In(cast) => {
            let cast = match cast {
                Cast::Unicast => 1,
                Cast::Multicast => 2,
                Cast::Broadcast => 3,
                Cast::Others => 4,
            };
            1 | cast << 2
        }
        Direction::Out => 2,
    };
    block.option(2, &flags.to_ne_bytes());
    block.finish()
}

/// The end of a file: what was counted on each interface, at this time since 1970.
pub fn put_counts(bytes: &mut Vec<u8>, counts: &[Counts], time: std::time::Duration) -> Result<()> {
    let [high, low] = halves(nanoseconds(time));
    for (interface, counts) in counts.iter().enumerate() {
        let mut block = Block::begin(bytes, STATISTICS);
        block.words(&[interface as u32, high, low]);
        // isb_filteraccept, isb_osdrop and isb_usrdeliv.
        block.option(6, &counts.received.to_ne_bytes());
        block.option(7, &counts.dropped.to_ne_bytes());
        block.option(8, &counts.captured.to_ne_bytes());
        block.finish()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::LinkType;
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let interfaces = ["eth0", "a"].map(|name| Interface { name: name.into(), link: LinkType::Ethernet });
        put_head(&mut bytes, "c1", &interfaces, "tcp port 80", 65_535).unwrap();
        for length in [0, 1, 14, 60, 61] {
            let packet = Packet {
                interface: 1,
                link: LinkType::Ethernet,
                time: Duration::new(1_700_000_000, 123_456_789),
                direction: Direction::In(Cast::Broadcast),
                bytes: &vec![7; length],
                length: 1500,
            };
            put_packet(&mut bytes, &packet).unwrap();
        }
        put_counts(&mut bytes, &[Counts { captured: 5, received: 7, dropped: 2 }, Counts::default()], Duration::ZERO)
            .unwrap();
        bytes
    }

    #[test]
    fn blocks_are_as_long_as_both_of_their_lengths_say() {
        let bytes = sample();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            let length = word(at + 4) as usize;
            assert_eq!((length % 4, word(at + length - 4) as usize), (0, length));
            kinds.push(word(at));
            at += length;
        }
        assert_eq!(kinds, [SECTION, 1, 1, 6, 6, 6, 6, 6, 5, 5]);
    }

    #[test]
    fn a_value_too_long_for_an_option_is_cut() {
        let mut bytes = Vec::new();
        let interfaces = [Interface { name: "e".into(), link: LinkType::Cooked }];
        put_head(&mut bytes, "c", &interfaces, &"x".repeat(100_000), 0).unwrap();
        assert!(bytes.len() < 66_000);
    }
}
