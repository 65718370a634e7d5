//! Conditions on a call's arguments.

use std::cmp::Ordering;

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::arch::Arch;
use super::assembler::{Assembler, Target, op};

/// What each argument must be, all together; one without any test always holds.
pub(super) type Conditions = [Option<Test>; 6];

/// One argument's test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    compare: Compare,
    negated: bool,
    /// All ones but for a masked comparison.
    mask: u64,
    value: u64,
}

/// The comparisons that BPF has; the others are these, negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Greater,
    GreaterEqual,
}

impl From<&LinuxSeccompArg> for Test {
    fn from(arg: &LinuxSeccompArg) -> Self {
        let (compare, negated) = match arg.op() {
            Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => (Compare::Equal, false),
            Operator::ScmpCmpNe => (Compare::Equal, true),
            Operator::ScmpCmpGt => (Compare::Greater, false),
            Operator::ScmpCmpLe => (Compare::Greater, true),
            Operator::ScmpCmpGe => (Compare::GreaterEqual, false),
            Operator::ScmpCmpLt => (Compare::GreaterEqual, true),
        };
        match arg.op() {
            Operator::ScmpCmpMaskedEq => Self::masked(arg.value(), arg.value_two().unwrap_or_default()),
            _ => Self { compare, negated, mask: u64::MAX, value: arg.value() },
        }
    }
}

impl Test {
    /// Those bits of the argument that the mask has are those of the value.
    pub(super) fn masked(mask: u64, value: u64) -> Self {
        Self { compare: Compare::Equal, negated: false, mask, value: value & mask }
    }

    /// The test as a 32-bit architecture makes it, whose registers are the low words.
    fn narrowed(self) -> Self {
        Self { mask: self.mask & u64::from(u32::MAX), value: self.value & u64::from(u32::MAX), ..self }
    }

    /// Always true.
    fn is_empty(self) -> bool {
        self.mask == 0 && !self.negated
    }

    /// The class by which libseccomp sorts tests of one argument: exact ones, then upper bounds, then lower ones.
    fn class(self) -> u8 {
        match (self.compare, self.negated) {
            (Compare::Equal, _) => 0,
            (_, true) => 1,
            (_, false) => 2,
        }
    }

    /// Which of two tests of one argument is asked first: the more specific one, as libseccomp has it.
    fn precedence(self, other: Self) -> Ordering {
        self.class().cmp(&other.class()).then_with(|| match self.class() {
            1 => self.value.cmp(&other.value),
            _ => other.value.cmp(&self.value),
        })
    }
}

/// The conditions as an architecture can test them; None where they always hold.
pub(super) fn for_arch(conditions: &Conditions, arch: &Arch) -> Option<Conditions> {
    let mut conditions = *conditions;
    for place in &mut conditions {
        *place = place.map(|test| if arch.wide { test } else { test.narrowed() }).filter(|test| !test.is_empty());
    }
    conditions.iter().any(Option::is_some).then_some(conditions)
}

/// Which of two sets of conditions is asked first where both may hold, as libseccomp has it: the one whose first
/// argument is a later one, else the one whose first test is more specific, and so on; of two that begin alike the shorter
/// one, so that a rule without conditions replaces those with some for a multiplexed call too.
pub(super) fn precedence(a: &Conditions, b: &Conditions) -> Ordering {
    let orders = a.iter().zip(b).map(|pair| match pair {
        (Some(a), Some(b)) => a.precedence(*b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Assembles the conditions: to `holds` where all hold, else to `fails`.
pub(super) fn assemble(to: &mut Assembler, arch: &Arch, all: &Conditions, holds: Target, fails: Target) -> Target {
    let tests = all.iter().enumerate().rev().filter_map(|(index, test)| test.map(|test| (index, test)));
    tests.fold(holds, |holds, (index, test)| assemble_test(to, arch, index, test, holds, fails))
}

/// Assembles one test of one argument, whose two words BPF can only look at one by one.
fn assemble_test(to: &mut Assembler, arch: &Arch, index: usize, test: Test, yes: Target, no: Target) -> Target {
    let (yes, no) = if test.negated { (no, yes) } else { (yes, no) };
    let (low, high) = arch.argument_offsets(index);
    let decide = match test.compare {
        Compare::Equal => op::JEQ,
        Compare::Greater => op::JGT,
        Compare::GreaterEqual => op::JGE,
    };
    let (mask, value) = (Words::of(test.mask), Words::of(test.value));
    let low_word = match mask.low {
        0 => yes,
        mask => {
            let decided = to.shared_branch(decide, value.low, yes, no);
            load(to, low, mask, decided)
        }
    };
    if mask.high == 0 {
        return low_word;
    }
    let mut high_word = to.shared_branch(op::JEQ, value.high, low_word, no);
    if test.compare != Compare::Equal {
        high_word = to.shared_branch(op::JGT, value.high, yes, high_word);
    }
    load(to, high, mask.high, high_word)
}

/// Loads a word and masks it, before what looks at it.
fn load(to: &mut Assembler, offset: u32, mask: u32, then: Target) -> Target {
    if matches!(then, Target::Return(_)) {
        return then;
    }
    let then = if mask == u32::MAX { then } else { to.shared_before(op::AND, mask, then) };
    to.shared_before(op::LOAD, offset, then)
}

/// The two words of a 64-bit value.
struct Words {
    low: u32,
    high: u32,
}

impl Words {
    fn of(value: u64) -> Self {
        Self { low: value as u32, high: (value >> 32) as u32 }
    }
}
