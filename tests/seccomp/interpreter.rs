//! A machine for classic BPF programs over struct seccomp_data, as strict as the kernel's checker.

/// A call as a filter sees it: struct seccomp_data.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub number: u32,
    /// AUDIT_ARCH_*.
    pub arch: u32,
    pub args: [u64; 6],
}

impl Call {
    /// The word at an offset, in the byte order of the call's architecture (the bit of AUDIT_ARCH_* says which).
    fn word(&self, offset: u32) -> u32 {
        let word = offset as usize / 4;
        assert_eq!(offset % 4, 0, "an unaligned load");
        match word {
            0 => self.number,
            1 => self.arch,
            2 | 3 => 0,
            4..16 => {
                let little_endian = self.arch & 0x4000_0000 != 0;
                let arg = self.args[(word - 4) / 2];
                if word.is_multiple_of(2) == little_endian { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("a load beyond struct seccomp_data"),
        }
    }
}

/// What a program did with a call.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// What it returned: SECCOMP_RET_* with its data.
    pub verdict: u32,
    /// How many instructions it took.
    pub steps: usize,
    /// Whether it looked at the call's number.
    pub saw_number: bool,
}

/// Runs a program (an array of struct sock_filter) for a call.
pub fn run(program: &[u8], call: &Call) -> Run {
    let (mut at, mut a, mut steps, mut saw_number) = (0, 0, 0, false);
    loop {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = program[8 * at..8 * at + 8] else { unreachable!() };
        let k = u32::from_ne_bytes([k0, k1, k2, k3]);
        (at, steps) = (at + 1, steps + 1);
        let skip = |taken: bool| usize::from(if taken { jt } else { jf });
        match u16::from_ne_bytes([c0, c1]) {
            0x20 => {
                a = call.word(k);
                saw_number |= k == 0;
            }
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => at += skip(a == k),
            0x25 => at += skip(a > k),
            0x35 => at += skip(a >= k),
            0x45 => at += skip(a & k != 0),
            0x06 => return Run { verdict: k, steps, saw_number },
            code => panic!("an instruction that filters do not have: {code:#x}"),
        }
    }
}
