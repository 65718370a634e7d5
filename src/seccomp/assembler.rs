//! Classic BPF, assembled from its last instruction to its first: every jump of BPF goes forward, so that whatever an
//! instruction jumps to is there already and its distance is known.

use std::collections::BTreeMap;

/// One instruction: struct sock_filter of linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions a jump skips where its comparison holds.
    pub jt: u8,
    /// How many where it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl Instruction {
    /// The instruction as the kernel reads it on this machine.
    pub(crate) fn bytes(self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }

    /// Whether it ends the program with this verdict.
    pub(super) fn returns(self, verdict: u32) -> bool {
        (self.code, self.k) == (op::RETURN, verdict)
    }
}

/// The operations that filters need: BPF_* of linux/bpf_common.h, put together.
pub(super) mod op {
    /// A = the word of struct seccomp_data at k.
    pub(in super::super) const LOAD: u16 = 0x20;
    /// A &= k.
    pub(in super::super) const AND: u16 = 0x54;
    /// Jumps that compare A with k.
    pub(in super::super) const JEQ: u16 = 0x15;
    pub(in super::super) const JGT: u16 = 0x25;
    pub(in super::super) const JGE: u16 = 0x35;
    /// Skips k instructions.
    pub(in super::super) const JUMP: u16 = 0x05;
    /// Returns k.
    pub(in super::super) const RETURN: u16 = 0x06;
}

/// The farthest that a comparison can jump.
const REACH: usize = u8::MAX as usize;

/// Where control goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// To an instruction, by how many were there when it was the first.
    Label(usize),
    /// Out, with a verdict; the assembler shares what returns it.
    Return(u32),
}

/// A program in the making.
#[derive(Default)]
pub(crate) struct Assembler {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// For each verdict the nearest instruction that returns it.
    returns: Vec<(u32, usize)>,
    /// Where what `shared` was asked for is.
    shared: BTreeMap<Shared, Target>,
}

/// An operation, its operand and where it goes.
type Shared = (u16, u32, Target, Target);

impl Assembler {
    /// Puts a comparison before all else: to `yes` where it holds, else to `no`.
    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // What is out of reach for either gets a stepping stone before the comparison, which may move the other away by
        // one; hence two are kept in reserve.
        let yes = self.within(yes, REACH - 2);
        let no = self.within(no, REACH - 2);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Instruction { code, jt, jf, k })
    }

    /// The same, or what was put there for the same question before: calls with like conditions then share their code, on
    /// all architectures whose arguments lie alike.
    pub(crate) fn shared_branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        self.share((code, k, yes, no), |to| to.branch(code, k, yes, no))
    }

    /// The same for an instruction that is no jump.
    pub(crate) fn shared_before(&mut self, code: u16, k: u32, then: Target) -> Target {
        self.share((code, k, then, then), |to| to.before(code, k, then))
    }

    fn share(&mut self, what: Shared, put: impl FnOnce(&mut Self) -> Target) -> Target {
        if let Some(target) = self.shared.get(&what) {
            return *target;
        }
        let target = put(self);
        self.shared.insert(what, target);
        target
    }

    /// Puts an instruction that is no jump before what follows it.
    pub(crate) fn before(&mut self, code: u16, k: u32, then: Target) -> Target {
        let label = self.within(then, 0);
        debug_assert_eq!(self.distance(label), 0);
        self.push(Instruction { code, jt: 0, jf: 0, k })
    }

    /// The program, in its order.
    pub(crate) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// A label for the target that the next instruction reaches by skipping at most so many.
    fn within(&mut self, target: Target, reach: usize) -> usize {
        match target {
            Target::Return(verdict) => self.returning(verdict, reach),
            Target::Label(label) if self.distance(label) <= reach => label,
            Target::Label(label) => {
                let k = self.distance(label) as u32;
                self.push_at(Instruction { code: op::JUMP, jt: 0, jf: 0, k })
            }
        }
    }

    /// The same for a verdict: a near instruction that returns it, or a new one.
    fn returning(&mut self, verdict: u32, reach: usize) -> usize {
        let known = self.returns.iter().position(|(known, _)| *known == verdict);
        if let Some((_, label)) = known.map(|at| self.returns[at])
            && self.distance(label) <= reach
        {
            return label;
        }
        let label = self.push_at(Instruction { code: op::RETURN, jt: 0, jf: 0, k: verdict });
        match known {
            Some(at) => self.returns[at].1 = label,
            None => self.returns.push((verdict, label)),
        }
        label
    }

    /// How many instructions lie between the next one to be put first and a label.
    fn distance(&self, label: usize) -> usize {
        self.reversed.len() - label
    }

    fn push(&mut self, instruction: Instruction) -> Target {
        Target::Label(self.push_at(instruction))
    }

    fn push_at(&mut self, instruction: Instruction) -> usize {
        self.reversed.push(instruction);
        self.reversed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_beyond_255_instructions_goes_by_a_stepping_stone() {
        let mut assembler = Assembler::default();
        let far = assembler.before(op::LOAD, 4, Target::Return(7));
        let mut target = assembler.before(op::LOAD, 8, Target::Return(9));
        for _ in 0..300 {
            target = assembler.before(op::AND, 1, target);
        }
        assembler.branch(op::JEQ, 0, far, target);
        let program = assembler.finish();
        // The comparison, the stone, then what is near.
        assert_eq!((program[0].jt, program[0].jf), (0, 1));
        assert_eq!(program[1].code, op::JUMP);
        let landing = program[2 + program[1].k as usize];
        assert_eq!((landing.code, landing.k), (op::LOAD, 4));
    }

    #[test]
    fn a_verdict_is_returned_from_one_place_within_reach() {
        let mut assembler = Assembler::default();
        let mut target = Target::Return(1);
        for k in 0..10 {
            target = assembler.branch(op::JEQ, k, Target::Return(2), target);
        }
        assert_eq!(assembler.finish().len(), 12);
    }
}
