//! What the right verdicts are: libseccomp's, but where it is known to err, and the comparison of a profile's two programs.
//! For tests/seccomp_against_libseccomp.rs, whose head says what differs, and for the fuzz target `seccomp`.

use oci_spec::runtime::LinuxSeccomp;
use serde_json::Value;

use crate::interpreter::{Call, Run, run};
use crate::libseccomp::Libseccomp;
use crate::model::Model;
use crate::random::Random;

pub const X86_64: u32 = 0xc000_003e;
pub const X86: u32 = 0x4000_0003;
pub const X32: u32 = 0x4000_003e;
pub const X32_BIT: u32 = 0x4000_0000;
pub const ENOSYS: u32 = 0x0005_0000 | 38;
pub const KILL: u32 = 0;

/// An architecture that this machine's libseccomp can put into one filter with the native one.
pub struct Arch {
    pub word: &'static str,
    /// libseccomp's token.
    pub token: u32,
    /// What struct seccomp_data has.
    pub audit: u32,
    /// Added to every number.
    pub base: u32,
    /// The greatest number that libseccomp 2.5.4 may know.
    pub last: u32,
}

pub const ARCHS: [Arch; 9] = [
    Arch { word: "SCMP_ARCH_X86_64", token: X86_64, audit: X86_64, base: 0, last: 470 },
    Arch { word: "SCMP_ARCH_X86", token: X86, audit: X86, base: 0, last: 470 },
    Arch { word: "SCMP_ARCH_X32", token: X32, audit: X86_64, base: X32_BIT, last: 560 },
    Arch { word: "SCMP_ARCH_AARCH64", token: 0xc000_00b7, audit: 0xc000_00b7, base: 0, last: 470 },
    Arch { word: "SCMP_ARCH_ARM", token: 0x4000_0028, audit: 0x4000_0028, base: 0, last: 470 },
    Arch { word: "SCMP_ARCH_RISCV64", token: 0xc000_00f3, audit: 0xc000_00f3, base: 0, last: 470 },
    Arch { word: "SCMP_ARCH_PPC64LE", token: 0xc000_0015, audit: 0xc000_0015, base: 0, last: 470 },
    Arch { word: "SCMP_ARCH_MIPSEL", token: 0x4000_0008, audit: 0x4000_0008, base: 4000, last: 470 },
    Arch { word: "SCMP_ARCH_MIPSEL64", token: 0xc000_0008, audit: 0xc000_0008, base: 5000, last: 470 },
];

pub fn compile(profile: &Value) -> Vec<u8> {
    let profile: LinuxSeccomp = serde_json::from_value(profile.clone()).expect("a profile");
    nfrun::seccomp::compile(&profile).expect("compile").expect("a filter").bytes()
}

/// libseccomp's filter for a profile, and what runc's patch does before it.
pub struct Reference {
    pub program: Vec<u8>,
    default: u32,
    /// For each architecture in the filter the greatest number that the profile names.
    newest: Vec<(&'static Arch, Option<u32>)>,
    model: Model,
    /// libseccomp refused a rule, as runc then refuses the container.
    pub refused: bool,
}

impl Reference {
    pub fn of(profile: &Value, library: &mut Libseccomp, optimize: bool) -> Self {
        let default = word(&profile["defaultAction"], &profile["defaultErrnoRet"]);
        library.begin(default);
        let listed: Vec<_> = profile["architectures"].as_array().into_iter().flatten().collect();
        let mut newest = Vec::new();
        for arch in ARCHS.iter().filter(|arch| arch.token == X86_64 || listed.iter().any(|word| *word == arch.word)) {
            library.arch(arch.token);
            newest.push((arch, None));
        }
        let (mut refused, mut model) = (false, Model::new(default));
        for rule in profile["syscalls"].as_array().into_iter().flatten() {
            let action = word(&rule["action"], &rule["errnoRet"]);
            for name in rule["names"].as_array().into_iter().flatten() {
                let name = name.as_str().expect("a name");
                for (arch, newest) in &mut newest {
                    *newest = (*newest).max(number_or_carrier(library, arch, name));
                    model.add(library, arch, name, rule);
                }
                if action != default {
                    refused |= alternatives(rule).iter().any(|args| !library.rule(action, name, args));
                }
            }
        }
        Self { program: library.program(optimize), default, newest, model, refused }
    }

    /// The verdicts on a call that are right.
    ///
    /// Newer calls get ENOSYS on every architecture of the filter; runc leaves out those that `architectures` does not list.
    pub fn verdicts(&self, call: &Call) -> Vec<u32> {
        if self.is_newer(call) {
            return vec![ENOSYS];
        }
        let Run { verdict: theirs, saw_number, .. } = run(&self.program, call);
        let Some(_) = self.arch_of(call) else { return vec![theirs] };
        let meant = self.model.verdicts(call);
        if self.model.is_simple(call) && saw_number {
            assert!(
                meant.contains(&theirs),
                "the model is wrong: {call:x?}: {meant:x?}, not {theirs:#x}: {:x?}",
                self.model.ways(call)
            );
            return vec![theirs];
        }
        meant
    }

    pub fn arch_of(&self, call: &Call) -> Option<&(&'static Arch, Option<u32>)> {
        let x32 = call.arch == X86_64 && call.number >= X32_BIT;
        self.newest.iter().find(|(arch, _)| arch.audit == call.arch && x32 == (arch.token == X32))
    }

    /// Whether the profile's author did not know the call. ARM's private calls, far above all others, are never new.
    pub fn is_newer(&self, call: &Call) -> bool {
        let lets_pass = matches!(self.default >> 16, 0x7fff | 0x7ffc | 0x7ff0 | 0x7fc0);
        let Some((arch, Some(newest))) = self.arch_of(call) else { return false };
        let private = arch.word == "SCMP_ARCH_ARM" && call.number >= 0xf_0000;
        !lets_pass && !private && call.number > *newest
    }
}

/// The number by which an architecture knows a call: its own, or else of what carries it there.
pub fn number_or_carrier(library: &mut Libseccomp, arch: &Arch, name: &str) -> Option<u32> {
    let own = match library.number(arch.token, name) {
        number @ 0.. => Some(number as u32),
        // Pseudo numbers: of the parts of socketcall(2) and of ipc(2), which may have direct numbers besides.
        -120..=-101 => library.number(arch.token, "socketcall").try_into().ok().max(direct(library, arch, name)),
        -224..=-201 => library.number(arch.token, "ipc").try_into().ok().max(direct(library, arch, name)),
        _ => None,
    };
    own.filter(|number| *number < 0xf_0000 || *number >= X32_BIT)
}

/// The direct number of a call that is also multiplexed, which libseccomp does not tell by name but the other way round.
pub fn direct(library: &mut Libseccomp, arch: &Arch, name: &str) -> Option<u32> {
    (1..=arch.last).map(|number| arch.base + number).find(|number| library.name(arch.token, *number) == name)
}

/// The word that an action returns.
pub fn word(action: &Value, errno: &Value) -> u32 {
    let data = errno.as_u64().unwrap_or(1) as u32;
    match action.as_str().expect("an action") {
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        _ => KILL,
    }
}

pub const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

/// One condition for libseccomp: argument, operator, two values.
pub type Condition = (u64, usize, u64, u64);

/// What runc gives libseccomp for a rule: all its conditions, or each alone where an argument is named twice.
pub fn alternatives(rule: &Value) -> Vec<Vec<Condition>> {
    let args: Vec<Condition> = rule["args"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|arg| {
            let op = arg["op"].as_str().and_then(|op| op.strip_prefix("SCMP_CMP_")).expect("an operator");
            let op = OPERATORS.iter().position(|known| *known == op).expect("an operator") + 1;
            let number = |field: &str| arg[field].as_u64().unwrap_or_default();
            (number("index"), op, number("value"), number("valueTwo"))
        })
        .collect();
    let twice = (0..6).any(|index| args.iter().filter(|arg| arg.0 == index).count() > 1);
    if twice { args.into_iter().map(|arg| vec![arg]).collect() } else { vec![args] }
}

/// Compares both filters over numbers and arguments that come near what the profile says, and over one in `every` of the
/// numbers that no rule names.
pub fn compare(profile: &Value, reference: &Reference, random: &mut Random, every: u32, what: &str) {
    let program = compile(profile);
    let (values, numbers) = (values_of(profile), 0..600);
    for (arch, _) in &reference.newest {
        for number in numbers.clone().chain([0xf_0001, 0xf_0005, 0x3fff_ffff]) {
            let number_here = arch.base.wrapping_add(number);
            let known = reference.model.knows(arch.audit, number_here);
            for _ in 0..if known { 20 } else { u32::from(number % every == 0) } {
                let mut args = std::array::from_fn(|_| random.near(&values));
                if let Some(mask) = sub_call_mask(arch, number) {
                    args[0] &= mask;
                }
                let call = Call { number: number_here, arch: arch.audit, args };
                let (ours, right) = (run(&program, &call).verdict, reference.verdicts(&call));
                if !right.contains(&ours) {
                    let rules = profile["syscalls"].as_array().into_iter().flatten();
                    let rules: Vec<_> = rules.map(Value::to_string).collect();
                    panic!(
                        "{what}: {call:x?} of {}: {ours:#x}, not {right:x?}: default {} {}: {:?} {rules:#?}",
                        arch.word, profile["defaultAction"], profile["defaultErrnoRet"], profile["architectures"]
                    );
                }
            }
        }
    }
    for audit in ARCHS.iter().map(|arch| arch.audit).chain([0, 0x1234]) {
        let call = Call { number: 1, arch: audit, args: [0; 6] };
        let right = reference.verdicts(&call);
        assert!(right.contains(&run(&program, &call).verdict), "{what}: {call:x?}: {profile:#}");
    }
}

/// What the kernel looks at to tell the parts of socketcall(2) and of ipc(2); nfrun does too. libseccomp compares the whole
/// argument, so that a version in the upper half of ipc's evades a rule.
pub fn sub_call_mask(arch: &Arch, number: u32) -> Option<u64> {
    let multiplexes = ["SCMP_ARCH_X86", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_MIPSEL"].contains(&arch.word);
    match number {
        102 if multiplexes => Some(u32::MAX.into()),
        117 if multiplexes => Some(u16::MAX.into()),
        _ => None,
    }
}

/// The values that a profile compares arguments with, and what is beside them.
pub fn values_of(profile: &Value) -> Vec<u64> {
    let rules = profile["syscalls"].as_array().into_iter().flatten();
    let args = rules.flat_map(|rule| rule["args"].as_array().into_iter().flatten());
    let mut values: Vec<u64> =
        args.flat_map(|arg| [arg["value"].as_u64(), arg["valueTwo"].as_u64()]).flatten().collect();
    values.extend([0, 1, 2, 3, 4, 9, 11, 14, 21]);
    values
}
