//! What a filter says of one call, for who plans calls that are made under it.

use super::arch::{Arch, NATIVE};
use super::assembler::op;
use super::{Filter, Instruction};

/// SECCOMP_RET_ALLOW and SECCOMP_RET_LOG.
const PASSES: [u32; 2] = [0x7fff_0000, 0x7ffc_0000];

impl Filter {
    /// Whether a call of the native architecture is made whatever those of its arguments are that are not known here.
    pub fn lets_pass(&self, number: u32, args: [Option<u64>; 6]) -> bool {
        self.verdict(number, args).is_some_and(|verdict| PASSES.contains(&verdict))
    }

    /// The program's verdict; None where it asks for what is not known.
    fn verdict(&self, number: u32, args: [Option<u64>; 6]) -> Option<u32> {
        let (mut at, mut word) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = *self.program.get(at)?;
            let skip = |taken: bool| usize::from(if taken { jt } else { jf });
            at += 1;
            match code {
                op::LOAD => word = load(k, number, args)?,
                op::AND => word &= k,
                op::JUMP => at += k as usize,
                op::JEQ => at += skip(word == k),
                op::JGT => at += skip(word > k),
                op::JGE => at += skip(word >= k),
                op::RETURN => return Some(k),
                _ => return None,
            }
        }
    }
}

/// A word of struct seccomp_data, on a little-endian machine.
fn load(offset: u32, number: u32, args: [Option<u64>; 6]) -> Option<u32> {
    match offset {
        0 => Some(number),
        4 => Arch::named(NATIVE).map(|arch| arch.audit),
        _ => {
            let arg = (*args.get((offset.checked_sub(16)? / 8) as usize)?)?;
            Some(if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 })
        }
    }
}
