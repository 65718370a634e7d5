//! From questions to instructions of classic BPF.
//!
//! Before the questions stands what finds the headers, as far as any is about them: how many tags there are, what is behind
//! them, and where the transport layer's header begins. It leaves that in the machine's memory, so that a question is two or
//! three instructions, whatever stands before it. A packet too short for what is asked of it is not taken, as the kernel has
//! it: socket(7), SO_ATTACH_FILTER.

use super::Link;
use super::test::{Comparison, Expression, IPV4, IPV6, Place, Size, Test};
use crate::seccomp::Instruction;
use crate::seccomp::assembler::{Assembler, Target};
use crate::{Error, Result};

/// BPF_MAXINSNS.
const LONGEST: usize = 4096;
/// SKF_AD_OFF: from here on a load is about what the kernel knows of a packet.
const KERNEL: u32 = 0xffff_f000;
/// SKF_AD_PROTOCOL.
const ETHER_TYPE: u32 = 0;
/// What marks a tag: 802.1Q, 802.1ad, and what was used before that.
const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
/// The header of IPv6 before which a fragment's offset stands.
const FRAGMENT_HEADER: u32 = 44;
/// A protocol that no packet carries.
const NO_PROTOCOL: u32 = 256;

/// Operations: BPF_* of linux/bpf_common.h, put together.
mod op {
    /// A = k.
    pub const LOAD_VALUE: u16 = 0x00;
    /// X = k.
    pub const LOAD_X_VALUE: u16 = 0x01;
    /// A = memory k.
    pub const LOAD_SLOT: u16 = 0x60;
    /// X = memory k.
    pub const LOAD_X_SLOT: u16 = 0x61;
    /// A = the packet's length.
    pub const LOAD_LENGTH: u16 = 0x80;
    /// A = the word at k; with the next two added, a half or a byte, and at X + k.
    pub const LOAD: u16 = 0x20;
    pub const HALF: u16 = 0x08;
    pub const BYTE: u16 = 0x10;
    pub const FROM_X: u16 = 0x20;
    /// Memory k = A.
    pub const STORE: u16 = 0x02;
    /// Memory k = X.
    pub const STORE_X: u16 = 0x03;
    /// A += k.
    pub const ADD: u16 = 0x04;
    /// A += X.
    pub const ADD_X: u16 = 0x0c;
    /// A &= k.
    pub const AND: u16 = 0x54;
    /// A <<= k.
    pub const SHIFT_LEFT: u16 = 0x64;
    /// Jumps that compare A with k.
    pub const JUMP_EQUAL: u16 = 0x15;
    pub const JUMP_GREATER: u16 = 0x25;
    pub const JUMP_AT_LEAST: u16 = 0x35;
    pub const JUMP_ANY_OF: u16 = 0x45;
}

/// Words of the machine's memory.
mod slot {
    /// The bytes of tags in the packet.
    pub const TAGS: u32 = 0;
    /// The EtherType behind them.
    pub const ETHER_TYPE: u32 = 1;
    /// The protocol over IP.
    pub const PROTOCOL: u32 = 2;
    /// Which part of a fragmented packet it is.
    pub const FRAGMENT: u32 = 3;
    /// Where the transport layer's header begins.
    pub const TRANSPORT: u32 = 4;
}

/// Compiles a filter; `bytes` of a packet that it takes are given.
pub fn compile(expression: &Expression, link: Link, bytes: u32) -> Result<Vec<Instruction>> {
    let mut compiler = Compiler { assembler: Assembler::default(), link };
    // A program of a verdict alone has no instruction that could be labelled.
    let mut start = compiler.expression(expression, Target::Return(bytes), Target::Return(0));
    if expression.asks(&|place| matches!(place, Place::Protocol | Place::Fragment | Place::Transport(..))) {
        start = compiler.find_transport(start);
    }
    if expression.asks(&|place| !matches!(place, Place::Length | Place::Frame(..) | Place::Kernel(_))) {
        start = compiler.find_network(start);
    }
    if let Target::Return(verdict) = start {
        return Ok(vec![Instruction { code: 0x06, jt: 0, jf: 0, k: verdict }]);
    }
    let program = compiler.assembler.finish();
    if program.len() > LONGEST {
        return Err(Error::invalid(format!(
            "filter: {} instructions long, and the kernel takes at most {LONGEST}: look for fewer things",
            program.len()
        )));
    }
    Ok(program)
}

struct Compiler {
    assembler: Assembler,
    link: Link,
}

impl Compiler {
    /// How many bytes stand before the network layer's header of a packet without tags.
    fn header(&self) -> u32 {
        if self.link == Link::Ethernet { 14 } else { 0 }
    }

    fn expression(&mut self, expression: &Expression, yes: Target, no: Target) -> Target {
        match expression {
            Expression::Test(test) => self.test(*test, yes, no),
            Expression::Not(inner) => self.expression(inner, no, yes),
            Expression::All(list) => list.iter().rev().fold(yes, |next, each| self.expression(each, next, no)),
            Expression::Any(list) => list.iter().rev().fold(no, |next, each| self.expression(each, yes, next)),
            Expression::Ethernet(_) if self.link == Link::Cooked => no,
            Expression::Ethernet(inner) => self.expression(inner, yes, no),
        }
    }

    fn test(&mut self, test: Test, yes: Target, no: Target) -> Target {
        let jump = match test.how {
            Comparison::Equal => op::JUMP_EQUAL,
            Comparison::Greater => op::JUMP_GREATER,
            Comparison::AtLeast => op::JUMP_AT_LEAST,
            Comparison::HasAnyOf => op::JUMP_ANY_OF,
        };
        let decide = self.assembler.shared_branch(jump, test.value, yes, no);
        if yes == no {
            return yes;
        }
        let masked = match test.mask {
            u32::MAX => decide,
            mask => self.assembler.shared_before(op::AND, mask, decide),
        };
        self.load(test.place, masked)
    }

    fn load(&mut self, place: Place, then: Target) -> Target {
        let header = self.header();
        let sized = |size| match size {
            Size::Byte => op::LOAD | op::BYTE,
            Size::Half => op::LOAD | op::HALF,
            Size::Word => op::LOAD,
        };
        let mut put = |code, k, then| self.assembler.shared_before(code, k, then);
        match place {
            Place::Length => put(op::LOAD_LENGTH, 0, then),
            Place::Frame(size, at) => put(sized(size), at, then),
            Place::Network(size, at) => {
                let load = put(sized(size) + op::FROM_X, header + at, then);
                put(op::LOAD_X_SLOT, slot::TAGS, load)
            }
            Place::Transport(size, at) => {
                let load = put(sized(size) + op::FROM_X, at, then);
                put(op::LOAD_X_SLOT, slot::TRANSPORT, load)
            }
            Place::EtherType => put(op::LOAD_SLOT, slot::ETHER_TYPE, then),
            Place::Protocol => put(op::LOAD_SLOT, slot::PROTOCOL, then),
            Place::Fragment => put(op::LOAD_SLOT, slot::FRAGMENT, then),
            Place::Tags => put(op::LOAD_SLOT, slot::TAGS, then),
            Place::Kernel(what) => put(op::LOAD, KERNEL + what, then),
        }
    }

    /// Instructions in their order, before what follows them.
    fn sequence(&mut self, instructions: &[(u16, u32)], then: Target) -> Target {
        instructions.iter().rev().fold(then, |then, (code, k)| self.assembler.before(*code, *k, then))
    }

    /// Goes past two tags at most.
    fn find_network(&mut self, then: Target) -> Target {
        let found = self.sequence(&[(op::STORE, slot::ETHER_TYPE), (op::STORE_X, slot::TAGS)], then);
        if self.link == Link::Cooked {
            return self.sequence(&[(op::LOAD_X_VALUE, 0), (op::LOAD, KERNEL + ETHER_TYPE)], found);
        }
        let mut look = self.sequence(&[(op::LOAD_X_VALUE, 8), (op::LOAD | op::HALF, 20)], found);
        for bytes in [4, 0] {
            let further = look;
            look = TAGS.iter().rev().fold(found, |no, tag| self.assembler.branch(op::JUMP_EQUAL, *tag, further, no));
            look = self.sequence(&[(op::LOAD_X_VALUE, bytes), (op::LOAD | op::HALF, 12 + bytes)], look);
        }
        look
    }

    /// Finds what IP carries and where.
    fn find_transport(&mut self, then: Target) -> Target {
        let nothing = [(op::LOAD_VALUE, NO_PROTOCOL), (op::STORE, slot::PROTOCOL), (op::STORE, slot::FRAGMENT)];
        // A value is stored on each way, or the kernel takes no program that reads it.
        let other = self.sequence(&[&nothing[..], &[(op::STORE, slot::TRANSPORT)]].concat(), then);
        let v6 = self.find_in_v6(then);
        let v4 = self.find_in_v4(then);
        let choose = self.assembler.branch(op::JUMP_EQUAL, IPV6, v6, other);
        let choose = self.assembler.branch(op::JUMP_EQUAL, IPV4, v4, choose);
        self.assembler.before(op::LOAD_SLOT, slot::ETHER_TYPE, choose)
    }

    fn find_in_v4(&mut self, then: Target) -> Target {
        let header = self.header();
        let byte = op::LOAD + op::FROM_X + op::BYTE;
        let half = op::LOAD + op::FROM_X + op::HALF;
        let instructions = [
            (op::LOAD_X_SLOT, slot::TAGS),
            (byte, header + 9),
            (op::STORE, slot::PROTOCOL),
            (half, header + 6),
            (op::AND, 0x1fff),
            (op::STORE, slot::FRAGMENT),
            // The length of the header in words of four bytes.
            (byte, header),
            (op::AND, 0xf),
            (op::SHIFT_LEFT, 2),
            (op::ADD_X, 0),
            (op::ADD, header),
            (op::STORE, slot::TRANSPORT),
        ];
        self.sequence(&instructions, then)
    }

    /// A fragment's header is looked behind, any other extension is what the packet carries, as in tcpdump.
    fn find_in_v6(&mut self, then: Target) -> Target {
        const FIXED: u32 = 40;
        let header = self.header();
        let byte = op::LOAD + op::FROM_X + op::BYTE;
        let half = op::LOAD + op::FROM_X + op::HALF;
        let place = |length| {
            let sum = [(op::LOAD_VALUE, 0), (op::ADD_X, 0), (op::ADD, header + length), (op::STORE, slot::TRANSPORT)];
            sum.to_vec()
        };
        let whole = [&[(op::LOAD_VALUE, 0), (op::STORE, slot::FRAGMENT)][..], &place(FIXED)].concat();
        let part = [
            (byte, header + FIXED),
            (op::STORE, slot::PROTOCOL),
            (half, header + FIXED + 2),
            (op::AND, 0xfff8),
            (op::STORE, slot::FRAGMENT),
        ];
        let part = [&part[..], &place(FIXED + 8)].concat();
        let (whole, part) = (self.sequence(&whole, then), self.sequence(&part, then));
        let choose = self.assembler.branch(op::JUMP_EQUAL, FRAGMENT_HEADER, part, whole);
        let begin = [(op::LOAD_X_SLOT, slot::TAGS), (byte, header + 6), (op::STORE, slot::PROTOCOL)];
        self.sequence(&begin, choose)
    }
}
