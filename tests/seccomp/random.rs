//! Profiles by chance, the same for the same seed.

use serde_json::{Value, json};

use crate::libseccomp::Libseccomp;
use crate::reference::{ARCHS, OPERATORS};

#[derive(Default)]
pub struct Random {
    state: u64,
    /// What decides first, while it lasts: a fuzzer's bytes.
    bytes: Vec<u8>,
    at: usize,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, ..Self::default() }
    }

    /// Decided by bytes, and by chance when they are used up.
    #[allow(dead_code, reason = "the fuzz target's")]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_owned(), ..Self::new(1) }
    }

    /// xorshift64*
    pub fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// As many bytes as the bound needs, so that a change of one byte changes one decision.
    pub fn below(&mut self, bound: u64) -> u64 {
        let count = if bound <= 0x100 { 1 } else { 2 };
        let Some(bytes) = self.bytes.get(self.at..self.at + count) else { return (self.next() >> 16) % bound };
        self.at += count;
        bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)) % bound
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// A value that comparisons with these values may turn on.
    pub fn near(&mut self, values: &[u64]) -> u64 {
        let value = *self.of(values);
        match self.below(6) {
            0 => value.wrapping_add(1),
            1 => value.wrapping_sub(1),
            2 => value ^ (1 << self.below(64)),
            _ => value,
        }
    }

    /// A profile whose rules libseccomp treats by the same rules as nfrun, see `rules`.
    pub fn profile(&mut self, library: &mut Libseccomp) -> Value {
        let mut archs: Vec<_> = ARCHS.iter().filter(|_| self.one_in(3)).map(|arch| arch.word).collect();
        if self.one_in(8) {
            archs.push("SCMP_ARCH_NATIVE");
        }
        let default = self.action();
        let rules = self.rules(library);
        json!({"defaultAction": default.0, "defaultErrnoRet": default.1, "architectures": archs, "syscalls": rules,
            "listenerPath": "/run/agent"})
    }

    fn action(&mut self) -> (&'static str, Option<u64>) {
        match self.below(13) {
            0 => ("SCMP_ACT_KILL", None),
            1 => ("SCMP_ACT_KILL_THREAD", None),
            2 => ("SCMP_ACT_KILL_PROCESS", None),
            3 => ("SCMP_ACT_TRAP", None),
            4 => ("SCMP_ACT_LOG", None),
            5 => ("SCMP_ACT_TRACE", Some(self.below(300))),
            6 => ("SCMP_ACT_ERRNO", None),
            7..=8 => ("SCMP_ACT_ERRNO", Some(self.below(134))),
            9 => ("SCMP_ACT_NOTIFY", None),
            _ => ("SCMP_ACT_ALLOW", None),
        }
    }

    fn rules(&mut self, library: &mut Libseccomp) -> Vec<Value> {
        let most = if self.one_in(4) { 60 } else { 8 };
        let count = 1 + self.below(most);
        (0..count)
            .map(|_| {
                let names: Vec<_> = (0..=self.below(20)).map(|_| self.name(library)).collect();
                let (action, errno) = self.action();
                json!({"names": names, "action": action, "errnoRet": errno, "args": self.args()})
            })
            .collect()
    }

    fn name(&mut self, library: &mut Libseccomp) -> String {
        if self.one_in(40) {
            return "no_such_call".to_owned();
        }
        let arch = self.of(&ARCHS);
        let (token, number) = (arch.token, arch.base + self.below(u64::from(arch.last)) as u32);
        match library.name(token, number) {
            // libseccomp 2.5.4 takes this for switch_endian: both have one pseudo number in its header.
            name if name == "-" || name == "sys_debug_setcontext" => "read".to_owned(),
            name => name,
        }
    }

    fn args(&mut self) -> Vec<Value> {
        if self.one_in(2) {
            return Vec::new();
        }
        let count = if self.one_in(3) { 2 + self.below(3) } else { 1 };
        (0..count).map(|_| self.arg()).collect()
    }

    fn arg(&mut self) -> Value {
        let values = [0, 1, 5, 0x7e02_0000, 0xffff_ffff, 0x1_0000_0000, 0x1234_5678_9abc_def0, u64::MAX];
        let (value, two) = (self.near(&values), self.near(&values));
        json!({"index": self.below(6), "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{}", self.of(&OPERATORS))})
    }
}
