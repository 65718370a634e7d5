//! What a profile means, felt by running the compiled program.

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::interpreter::{Call, run};
use super::{Filter, compile};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0;
const NOTIFY: u32 = 0x7fc0_0000;

fn filter(profile: Value) -> Filter {
    try_filter(profile).expect("compile").expect("a filter")
}

fn try_filter(profile: Value) -> crate::Result<Option<Filter>> {
    compile(&serde_json::from_value::<LinuxSeccomp>(profile).expect("a profile"))
}

fn refusal(profile: Value) -> String {
    let error = try_filter(profile).expect_err("an error");
    assert_eq!(error.kind(), crate::Kind::Invalid);
    error.to_string()
}

fn verdict(filter: &Filter, arch: u32, number: u32, args: [u64; 6]) -> u32 {
    run(&filter.bytes(), &Call { number, arch, args }).verdict
}

/// A profile that denies by default, with these rules, on x86_64, x86 and x32.
fn denying(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]})
}

fn allowing(name: &str, args: Value) -> Value {
    denying(
        json!([{"names": [name], "action": "SCMP_ACT_ALLOW", "args": args}, {"names": ["getcpu"], "action": "SCMP_ACT_LOG"}]),
    )
}

#[test]
fn a_profile_that_allows_and_says_nothing_else_makes_no_filter() {
    assert_eq!(try_filter(json!({"defaultAction": "SCMP_ACT_ALLOW"})).unwrap(), None);
    assert_eq!(
        try_filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [], "architectures": []})).unwrap(),
        None
    );
    let listed = filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}));
    assert_eq!(verdict(&listed, X86_64, 1, [0; 6]), ALLOW);
    assert_eq!(verdict(&listed, X86, 1, [0; 6]), KILL);
}

#[test]
fn every_action_returns_its_word() {
    for (action, errno, word) in [
        ("SCMP_ACT_KILL", None, KILL),
        ("SCMP_ACT_KILL_THREAD", None, KILL),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, EPERM),
        ("SCMP_ACT_ERRNO", Some(0), 0x0005_0000),
        ("SCMP_ACT_ERRNO", Some(4095), 0x0005_0fff),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(65535), 0x7ff0_ffff),
        ("SCMP_ACT_NOTIFY", None, NOTIFY),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_ALLOW", None, ALLOW),
    ] {
        let rule = json!([{"names": ["write"], "action": action, "errnoRet": errno}]);
        let default = if word == 0x8000_0000 { "SCMP_ACT_ALLOW" } else { "SCMP_ACT_KILL_PROCESS" };
        let filter = filter(json!({"defaultAction": default, "syscalls": rule, "listenerPath": "/run/agent"}));
        assert_eq!(verdict(&filter, X86_64, 1, [0; 6]), word, "{action}");
    }
}

#[test]
fn an_error_names_its_field() {
    let deny = |field: &str, value: Value| {
        let mut profile = denying(json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]));
        profile[field] = value;
        refusal(profile)
    };
    let rule = |rule: Value| refusal(denying(json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, rule])));
    for (said, field) in [
        (deny("defaultAction", json!("SCMP_ACT_NOTIFY")), "linux.seccomp.listenerPath: is missing"),
        (deny("listenerMetadata", json!("x")), "linux.seccomp.listenerMetadata: "),
        (deny("defaultErrnoRet", json!(4096)), "linux.seccomp.defaultErrnoRet: 4096 is out of range"),
        (deny("architectures", json!(["SCMP_ARCH_X86", "SCMP_ARCH_PARISC"])), "linux.seccomp.architectures[1]: "),
        (rule(json!({"names": ["write"], "action": "SCMP_ACT_NOTIFY"})), "linux.seccomp.listenerPath: is missing"),
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_NOTIFY", "errnoRet": 1})),
            "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_NOTIFY",
        ),
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_KILL", "errnoRet": 1})),
            "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_KILL",
        ),
        (rule(json!({"names": ["write", ""], "action": "SCMP_ACT_KILL"})), "linux.seccomp.syscalls[1].names[1]: "),
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_KILL",
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]})),
            "linux.seccomp.syscalls[1].args[1].index: 6",
        ),
    ] {
        assert!(said.starts_with(field), "{said}");
    }
}

#[test]
fn flags_are_those_listed_and_spec_allow_where_none_are() {
    let with = |flags: Value| {
        let mut profile = denying(json!([]));
        profile["flags"] = flags;
        filter(profile).flags
    };
    assert_eq!(filter(denying(json!([]))).flags, 4);
    assert_eq!(with(json!([])), 0);
    assert_eq!(with(json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"])), 3);
    assert_eq!(with(json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])), 4);
}

#[test]
fn a_call_newer_than_the_profile_gets_enosys_on_each_architecture() {
    // getcpu is 309 on x86_64 and x32 and 318 on x86.
    let filter = filter(allowing("read", json!([])));
    for (arch, base, newest) in [(X86_64, 0, 309), (X86, 0, 318), (X86_64, X32_BIT, 309)] {
        assert_eq!(verdict(&filter, arch, base + newest - 1, [0; 6]), EPERM);
        assert_eq!(verdict(&filter, arch, base + newest + 1, [0; 6]), ENOSYS);
        assert_eq!(verdict(&filter, arch, base + 500, [0; 6]), ENOSYS);
    }
    assert_eq!(verdict(&filter, X86_64, u32::MAX, [0; 6]), ENOSYS);
}

#[test]
fn a_default_that_lets_pass_lets_newer_calls_pass() {
    for (action, word) in [("SCMP_ACT_LOG", 0x7ffc_0000), ("SCMP_ACT_TRACE", 0x7ff0_0001), ("SCMP_ACT_ALLOW", ALLOW)] {
        let filter =
            filter(json!({"defaultAction": action, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP"}]}));
        assert_eq!(verdict(&filter, X86_64, 500, [0; 6]), word);
    }
}

#[test]
fn x32_is_killed_where_it_is_not_listed() {
    let filter = filter(
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}),
    );
    assert_eq!(verdict(&filter, X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(verdict(&filter, X86_64, X32_BIT, [0; 6]), KILL);
    assert_eq!(verdict(&filter, X86_64, u32::MAX, [0; 6]), ENOSYS);
    assert_eq!(verdict(&filter, X86, 3, [0; 6]), KILL);
}

#[test]
fn s390x_gets_enosys_where_unknown_calls_enter_and_reads_high_words_first() {
    let filter = filter(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_S390X"], "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 0x1_0000_0002_u64, "op": "SCMP_CMP_EQ"}]}]}));
    let s390x = 0x8000_0016;
    assert_eq!(verdict(&filter, s390x, 0, [0; 6]), ENOSYS);
    assert_eq!(verdict(&filter, s390x, 3, [0, 0, 0x1_0000_0002, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&filter, s390x, 3, [0, 0, 0x2_0000_0001, 0, 0, 0]), EPERM);
}

#[test]
fn arguments_of_one_rule_hold_together() {
    let args = json!([{"index": 0, "value": 5, "op": "SCMP_CMP_GE"}, {"index": 5, "value": 0xff, "valueTwo": 0x12, "op": "SCMP_CMP_MASKED_EQ"}]);
    let filter = filter(allowing("read", args));
    assert_eq!(verdict(&filter, X86_64, 0, [5, 0, 0, 0, 0, 0xab12]), ALLOW);
    assert_eq!(verdict(&filter, X86_64, 0, [4, 0, 0, 0, 0, 0xab12]), EPERM);
    assert_eq!(verdict(&filter, X86_64, 0, [5, 0, 0, 0, 0, 0xab13]), EPERM);
}

#[test]
fn an_argument_named_twice_makes_rules_of_their_own() {
    let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]);
    let filter = filter(allowing("read", args));
    for (args, word) in [([1, 0], ALLOW), ([3, 0], ALLOW), ([0, 9], ALLOW), ([2, 2], EPERM)] {
        assert_eq!(verdict(&filter, X86_64, 0, [args[0], args[1], 0, 0, 0, 0]), word, "{args:?}");
    }
}

#[test]
fn orders_compare_64_bits_and_32_on_32_bit_architectures() {
    let filter = filter(allowing("write", json!([{"index": 1, "value": 0x1_0000_0005_u64, "op": "SCMP_CMP_LT"}])));
    for (arch, number, arg, word) in [
        (X86_64, 1, 0x1_0000_0004, ALLOW),
        (X86_64, 1, 0xffff_ffff, ALLOW),
        (X86_64, 1, 0x1_0000_0005, EPERM),
        (X86_64, 1, 0x2_0000_0000, EPERM),
        (X86, 4, 4, ALLOW),
        (X86, 4, 5, EPERM),
        (X86_64, X32_BIT + 1, 0xff_0000_0004, ALLOW),
    ] {
        assert_eq!(verdict(&filter, arch, number, [0, arg, 0, 0, 0, 0]), word, "{arch:x} {arg:x}");
    }
}

#[test]
fn a_rule_without_conditions_replaces_those_with_some_wherever_it_stands() {
    let conditional =
        json!({"names": ["write"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
    let always = |action: &str| json!({"names": ["write"], "action": action});
    for rules in [
        json!([conditional, always("SCMP_ACT_ALLOW")]),
        json!([always("SCMP_ACT_ALLOW"), conditional, always("SCMP_ACT_TRAP")]),
    ] {
        assert_eq!(verdict(&filter(denying(rules)), X86_64, 1, [1, 0, 0, 0, 0, 0]), ALLOW);
    }
}

#[test]
fn a_rule_covers_the_multiplexed_form_of_its_call() {
    let filter = filter(denying(json!([{"names": ["socket", "shmat", "readlink"], "action": "SCMP_ACT_ALLOW"}])));
    let (socketcall, ipc) = (102, 117);
    assert_eq!(verdict(&filter, X86, socketcall, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&filter, X86, socketcall, [2, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(verdict(&filter, X86, 359, [0; 6]), ALLOW);
    // The upper half of ipc's first argument is a version.
    assert_eq!(verdict(&filter, X86, ipc, [0x1_0015, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(verdict(&filter, X86, ipc, [0x1_0016, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn names_that_no_architecture_has_are_skipped() {
    let filter = filter(denying(json!([{"names": ["no_such_call", "read"], "action": "SCMP_ACT_ALLOW"}])));
    assert_eq!(verdict(&filter, X86_64, 0, [0; 6]), ALLOW);
}

#[test]
fn a_program_longer_than_the_kernel_takes_is_refused() {
    let rules: Vec<_> = (0..2000_u64)
        .map(|value| json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value << 31, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    let said = refusal(denying(json!(rules)));
    assert!(said.starts_with("linux.seccomp: the filter is ") && said.contains("4096"), "{said}");
}

#[test]
fn a_search_over_hundreds_of_calls_takes_few_steps() {
    let names: Vec<_> = super::table::ROWS.iter().map(|row| row.0).filter(|name| name.len() % 5 != 0).collect();
    let filter = filter(denying(json!([{"names": names, "action": "SCMP_ACT_ALLOW"}])));
    for number in 0..480 {
        let run = run(&filter.bytes(), &Call { number, arch: X86_64, args: [0; 6] });
        assert!(run.saw_number && run.steps < 16, "{number}: {run:?}");
    }
}

#[test]
fn a_filter_has_a_listener_where_it_hands_a_call_to_an_agent_and_only_there() {
    let with = |rules: Value, flags: Value| {
        let mut profile = denying(rules);
        profile["flags"] = flags;
        profile["listenerPath"] = json!("/run/agent");
        profile["listenerMetadata"] = json!("words");
        filter(profile)
    };
    let notify = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    let notifying = with(notify.clone(), json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    assert_eq!(notifying.flags, 8 | 32);
    let listener = notifying.listener.expect("a listener");
    assert_eq!((listener.path.to_str(), listener.metadata.as_deref()), (Some("/run/agent"), Some("words")));
    assert_eq!(with(notify, json!(["SECCOMP_FILTER_FLAG_TSYNC"])).flags, 1 | 8 | 16, "TSYNC tells of errors by ESRCH");
    // A rule for a call that no architecture has is none, and then there is nothing to wait for.
    let unknown = with(
        json!([{"names": ["no_such_call"], "action": "SCMP_ACT_NOTIFY"}]),
        json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
    );
    assert_eq!((unknown.flags, unknown.listener), (0, None));
}

#[test]
fn calls_newer_than_a_profile_that_hands_over_by_default_are_handed_over() {
    let rules = json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]);
    let filter = filter(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent", "syscalls": rules}));
    assert_eq!(verdict(&filter, X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(verdict(&filter, X86_64, 1, [0; 6]), NOTIFY);
    assert_eq!(verdict(&filter, X86_64, 460, [0; 6]), NOTIFY);
}

#[test]
fn a_call_passes_where_no_argument_that_is_not_known_decides() {
    let filter = filter(denying(json!([
        {"names": ["close"], "action": "SCMP_ACT_ALLOW"}, {"names": ["dup"], "action": "SCMP_ACT_LOG"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
    ])));
    let passes = |number, first| filter.lets_pass(number, [first, None, None, None, None, None]);
    assert!(passes(3, None) && passes(32, None));
    assert!(!passes(0, None), "read is refused");
    assert!(passes(56, Some(17)) && !passes(56, Some(0x2000_0000)) && !passes(56, None));
}
