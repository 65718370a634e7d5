//! Runs a filter's program on a packet, as the kernel does it (net/core/filter.c), for tests.

use crate::seccomp::Instruction;

/// A packet and what the kernel knows of it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its EtherType.
    pub ether_type: u32,
    /// PACKET_*.
    pub kind: u32,
    /// The tag that was taken off it.
    pub tag: Option<u32>,
}

impl Seen {
    fn load(&self, at: u32, size: usize) -> Option<u32> {
        if at >= 0xffff_f000 {
            return Some(match at - 0xffff_f000 {
                0 => self.ether_type,
                4 => self.kind,
                44 => self.tag.unwrap_or(0),
                48 => self.tag.is_some().into(),
                other => panic!("the kernel tells nothing at {other}"),
            });
        }
        let bytes = self.bytes.get(at as usize..at as usize + size)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }
}

/// The program's verdict.
pub fn run(program: &[Instruction], packet: &Seen) -> u32 {
    let (mut a, mut x, mut memory) = (0u32, 0u32, [None; 16]);
    let mut at = 0;
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x00 => a = k,
            0x01 => x = k,
            0x60 => a = memory[k as usize].expect("a word that was stored"),
            0x61 => x = memory[k as usize].expect("a word that was stored"),
            0x80 => a = packet.bytes.len() as u32,
            0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 => {
                let size = match code & 0x18 {
                    0x00 => 4,
                    0x08 => 2,
                    _ => 1,
                };
                let from = if code & 0xe0 == 0x40 { x } else { 0 };
                match packet.load(from.wrapping_add(k), size) {
                    Some(value) => a = value,
                    None => return 0,
                }
            }
            // X = 4 * (byte & 15), which tcpdump's programs have.
            0xb1 => match packet.load(k, 1) {
                Some(value) => x = 4 * (value & 15),
                None => return 0,
            },
            0x02 => memory[k as usize] = Some(a),
            0x03 => memory[k as usize] = Some(x),
            0x04 => a = a.wrapping_add(k),
            0x0c => a = a.wrapping_add(x),
            0x54 => a &= k,
            0x64 => a <<= k,
            0x05 => at += k as usize,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x45 => jump(a & k != 0),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}
