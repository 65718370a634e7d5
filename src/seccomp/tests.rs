//! The compiler's verdicts, by interpreting what it compiled.

use super::interpreter::{Call, run};
use super::*;

const X86_64: u32 = 0xc000_003e;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

fn verdict(profile: &str, number: u32, args: [u64; 6]) -> u32 {
    let profile: LinuxSeccomp = serde_json::from_str(profile).unwrap();
    let filter = compile(&profile).unwrap().unwrap();
    run(&filter.bytes(), &Call { number, arch: X86_64, args }).verdict
}

#[test]
fn a_named_call_is_allowed_and_another_is_refused() {
    let profile =
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","openat2"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(verdict(profile, 0, [0; 6]), ALLOW);
    assert_eq!(verdict(profile, 1, [0; 6]), ERRNO | 1);
}

#[test]
fn a_call_newer_than_the_profile_gets_enosys() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    assert_eq!(verdict(profile, 400, [0; 6]), ERRNO | 38);
}

#[test]
fn arguments_are_compared_in_both_halves() {
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["personality"],"action":"SCMP_ACT_ERRNO",
        "errnoRet":5,"args":[{"index":0,"value":4294967297,"op":"SCMP_CMP_EQ"}]}]}"#;
    assert_eq!(verdict(profile, 135, [0x1_0000_0001, 0, 0, 0, 0, 0]), ERRNO | 5);
    assert_eq!(verdict(profile, 135, [1, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn a_profile_that_refuses_nothing_is_no_filter() {
    let profile: LinuxSeccomp = serde_json::from_str(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    assert!(compile(&profile).unwrap().is_none());
}

#[test]
fn a_call_among_hundreds_is_decided_in_a_few_instructions() {
    let names: Vec<_> =
        syscalls::x86_64::Sysno::iter().map(|call| call.name()).filter(|name| *name != "ptrace").collect();
    let text = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    let profile: LinuxSeccomp = serde_json::from_value(text).unwrap();
    let ran = run(&compile(&profile).unwrap().unwrap().bytes(), &Call { number: 39, arch: X86_64, args: [0; 6] });
    assert_eq!(ran.verdict, ALLOW);
    assert!(ran.saw_number && ran.steps < 16, "{ran:?}");
}
