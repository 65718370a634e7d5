//! Dispatch: by architecture once, then a balanced search over the numbers of calls, whose leaves are verdicts.

use super::arch::X32_BIT;
use super::assembler::{Assembler, Target, op};
use super::calls::{Calls, Verdict};
use super::condition;
use super::profile::RET_KILL;

/// Where struct seccomp_data has the number and the architecture of a call.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Assembles the whole program. The native architecture, which comes first, is asked first.
pub(super) fn dispatch(to: &mut Assembler, all: &[Calls]) {
    let mut next = Target::Return(RET_KILL);
    for (at, calls) in all.iter().enumerate().rev() {
        // x86_64 and x32 are one architecture to the kernel: whichever comes first brings both.
        let family = all.iter().filter(|other| other.arch.audit == calls.arch.audit);
        if all[..at].iter().all(|earlier| earlier.arch.audit != calls.arch.audit) {
            let section = section(to, family);
            next = to.branch(op::JEQ, calls.arch.audit, section, next);
        }
    }
    to.before(op::LOAD, ARCHITECTURE, next);
}

/// Assembles the search over the calls of those that share an architecture.
fn section<'a>(to: &mut Assembler, family: impl Iterator<Item = &'a Calls>) -> Target {
    let mut family: Vec<_> = family.collect();
    family.sort_by_key(|calls| calls.arch.base);
    let mut leaves = Vec::with_capacity(256);
    if family.iter().all(|calls| calls.arch.base == X32_BIT) {
        leaves.push(Leaf { from: 0, target: Target::Return(RET_KILL) });
    }
    for calls in &family {
        add_leaves(to, calls, &mut leaves);
    }
    if family.last().is_some_and(|calls| calls.arch.has_x32_beside_it()) {
        let newer = leaves.last().map(|leaf| leaf.target);
        leaves.push(Leaf { from: X32_BIT, target: Target::Return(RET_KILL) });
        // -1 is no call of x32's: programs make it to see it refused, tracers to skip a call.
        leaves.extend(newer.map(|target| Leaf { from: u32::MAX, target }));
    }
    let search = search(to, &leaves);
    match search {
        Target::Return(_) => search,
        Target::Label(_) => to.before(op::LOAD, NUMBER, search),
    }
}

/// From this number on, until the next leaf, a call ends here.
struct Leaf {
    from: u32,
    target: Target,
}

/// Adds an architecture's leaves, neighbours with the same end as one.
fn add_leaves(to: &mut Assembler, calls: &Calls, leaves: &mut Vec<Leaf>) {
    let mut assembled: Vec<(u16, Target)> = Vec::new();
    calls.ranges(|from, verdict| {
        let target = match verdict {
            Verdict::Default => Target::Return(calls.default),
            Verdict::Always(word) => Target::Return(word),
            Verdict::Depends(at) => match assembled.iter().find(|(known, _)| *known == at) {
                Some((_, target)) => *target,
                None => {
                    let target = choose(to, calls, at);
                    assembled.push((at, target));
                    target
                }
            },
        };
        if leaves.last().is_none_or(|last| last.target != target) {
            leaves.push(Leaf { from, target });
        }
    });
}

/// Assembles the choice by arguments: the first whose conditions hold, else the default.
fn choose(to: &mut Assembler, calls: &Calls, at: u16) -> Target {
    calls.choices(at).iter().rev().fold(Target::Return(calls.default), |otherwise, choice| {
        condition::assemble(to, &calls.arch, &choice.when, Target::Return(choice.action), otherwise)
    })
}

/// Assembles a balanced search; the accumulator holds the number.
fn search(to: &mut Assembler, leaves: &[Leaf]) -> Target {
    match leaves {
        [] => Target::Return(RET_KILL),
        [leaf] => leaf.target,
        _ => {
            let (below, above) = leaves.split_at(leaves.len() / 2);
            let from = above[0].from;
            let above = search(to, above);
            let below = search(to, below);
            to.branch(op::JGE, from, above, below)
        }
    }
}
