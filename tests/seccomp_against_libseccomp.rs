//! nfrun's filters against libseccomp's, verdict by verdict, over many profiles; profiles are written against libseccomp.
//!
//! libseccomp is asked through tests/seccomp/libseccomp.c, a process of its own, so that nothing here links it. Where
//! there is no C compiler or no libseccomp-dev the tests say so and pass; NFRUN_TEST_LIBSECCOMP=1 makes them fail there.
//!
//! What differs on purpose is written down in tests/seccomp/reference.rs, `Reference::verdicts` and `sub_call_mask`, and
//! nowhere else. Where one call
//! has several rules with conditions of which one is no equality (EQ, MASKED_EQ), libseccomp 2.5.4 merges the comparisons of
//! their high words and lets pass what no rule allows; there a model of what the profile means is asked in its place, which
//! is held against libseccomp everywhere else. The model also stands in where libseccomp 2.5.4 forgets to load the number of the
//! call for one architecture of several and so compares the architecture with numbers (`Run::saw_number`).

#[path = "seccomp/interpreter.rs"]
mod interpreter;
#[path = "seccomp/libseccomp.rs"]
mod libseccomp;
#[path = "seccomp/model.rs"]
mod model;
#[path = "seccomp/random.rs"]
mod random;
#[path = "seccomp/reference.rs"]
mod reference;
#[path = "common/skip.rs"]
mod skip;

use interpreter::{Call, run};
use libseccomp::Libseccomp;
use random::Random;
use reference::{ARCHS, Reference, X86_64, compare, compile};
use serde_json::{Value, json};

/// Big-endian ones, which libseccomp does not put beside a little-endian native one but whose numbers it tells.
const OTHERS: [(&str, u32); 4] = [
    ("SCMP_ARCH_S390X", 0x8000_0016),
    ("SCMP_ARCH_PPC64", 0x8000_0015),
    ("SCMP_ARCH_PPC", 0x0000_0014),
    ("SCMP_ARCH_MIPS", 0x0000_0008),
];

#[test]
fn every_number_that_libseccomp_knows_is_in_the_table() {
    let Some(mut library) = Libseccomp::start() else { return };
    let archs = ARCHS.iter().map(|arch| (arch.word, arch.token, arch.audit, arch.base));
    let others = OTHERS.iter().map(|(word, token)| (*word, *token, *token, if *token == 8 { 4000 } else { 0 }));
    let (mut compared, mut missing) = (0, Vec::new());
    for (word, token, audit, base) in archs.chain(others) {
        for number in (0..600).chain((0xf_0000..0xf_0007).filter(|_| word.ends_with("_ARM"))).map(|n| base + n) {
            let name = library.name(token, number);
            // libseccomp gives call 0 of s390x no name of use: the kernel enters calls that it does not know by it.
            if name == "-" || (word == "SCMP_ARCH_S390X" && number == 0) {
                continue;
            }
            let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [word],
                "syscalls": [{"names": [name], "action": "SCMP_ACT_TRAP"}]});
            let call = Call { number, arch: audit, args: [0; 6] };
            if run(&compile(&profile), &call).verdict != 0x3_0000 {
                missing.push(format!("{word} {name} {number}"));
            }
            compared += 1;
        }
    }
    assert!(compared > 3000, "only {compared} calls compared");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn random_profiles_get_the_verdicts_of_libseccomp() {
    let Some(mut library) = Libseccomp::start() else { return };
    let (mut compared, mut refused) = (0, 0);
    for seed in 1..=seeds() {
        let mut random = Random::new(seed);
        let profile = random.profile(&mut library);
        let reference = Reference::of(&profile, &mut library, random.one_in(2));
        if reference.refused {
            refused += 1;
            continue;
        }
        if reference.program.len() / 8 > 4096 {
            continue;
        }
        compare(&profile, &reference, &mut random, 1, &format!("seed {seed}"));
        compared += 1;
    }
    eprintln!("{compared} profiles compared, {refused} refused by libseccomp");
    assert!(compared > refused);
}

/// How many profiles to try; more for a long run.
fn seeds() -> u64 {
    std::env::var("NFRUN_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(500)
}

/// Debian's golang-github-containers-common: the default of podman and others, as an engine hands it to a runtime.
#[test]
fn the_default_profile_of_an_engine_gets_the_verdicts_of_libseccomp() {
    let Some(mut library) = Libseccomp::start() else { return };
    let Some(profile) = engine_profile() else { return };
    let reference = Reference::of(&profile, &mut library, true);
    assert!(!reference.refused);
    for seed in 1..=20 {
        compare(&profile, &reference, &mut Random::new(seed), 1, "the engine's default");
    }
    let program = compile(&profile);
    let steps: Vec<_> =
        (0..450).map(|number| run(&program, &Call { number, arch: X86_64, args: [0; 6] }).steps).collect();
    let mean = steps.iter().sum::<usize>() as f64 / steps.len() as f64;
    let theirs: Vec<_> =
        (0..450).map(|number| run(&reference.program, &Call { number, arch: X86_64, args: [0; 6] }).steps).collect();
    eprintln!(
        "nfrun: {} instructions, {mean:.1} a call, at most {}; libseccomp: {} and {:.1}",
        program.len() / 8,
        steps.iter().max().unwrap_or(&0),
        reference.program.len() / 8,
        theirs.iter().sum::<usize>() as f64 / theirs.len() as f64
    );
    assert!(mean < 13.0);
}

/// The profile with what depends on capabilities and other architectures left out.
fn engine_profile() -> Option<Value> {
    let path = "/usr/share/containers/seccomp.json";
    let Ok(text) = std::fs::read(path) else {
        skip::note(format_args!("{path} is not installed"));
        return None;
    };
    let source: Value = serde_json::from_slice(&text).expect("a profile in JSON");
    let mut rules = Vec::new();
    for rule in source["syscalls"].as_array().expect("rules") {
        let arches = rule["includes"]["arches"].as_array();
        if rule["includes"]["caps"].is_array()
            || rule["excludes"]["caps"].is_array()
            || arches.is_some_and(|arches| !arches.iter().any(|arch| arch == "amd64"))
        {
            continue;
        }
        let mut kept = json!({"names": rule["names"], "action": rule["action"]});
        for field in ["args", "errnoRet"] {
            if !rule[field].is_null() && rule[field] != json!([]) {
                kept[field] = rule[field].clone();
            }
        }
        rules.push(kept);
    }
    Some(json!({"defaultAction": source["defaultAction"], "syscalls": rules,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]}))
}
