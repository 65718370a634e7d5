//! What a seccomp profile makes of system calls. A probe of a few bytes makes one call and exits with its errno.

#[macro_use]
mod common;
#[path = "seccomp/notify.rs"]
mod notify;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::*;

/// A static program for x86-64 that makes one system call, by `syscall` or by `int 0x80`, and exits with its errno.
fn probe(number: u32, arguments: [u32; 3], by_int80: bool) -> Vec<u8> {
    let mut code = Vec::new();
    // mov edi/esi/edx (or ebx/ecx/edx), imm32; mov eax, imm32; the call.
    for (register, argument) in (if by_int80 { [0xbb, 0xb9, 0xba] } else { [0xbf, 0xbe, 0xba] }).iter().zip(arguments) {
        code.push(*register);
        code.extend(argument.to_le_bytes());
    }
    code.push(0xb8);
    code.extend(number.to_le_bytes());
    code.extend(if by_int80 { [0xcd, 0x80] } else { [0x0f, 0x05] });
    // xor edi, edi; test eax, eax; jns +4; mov edi, eax; neg edi; mov eax, 60; syscall.
    code.extend([0x31, 0xff, 0x85, 0xc0, 0x79, 0x04, 0x89, 0xc7, 0xf7, 0xdf, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    let size = 120 + code.len() as u64;
    for word in [0x400078u64, 64, 0] {
        elf.extend(word.to_le_bytes()); // entry, program headers, section headers
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]); // one segment to load, to read and execute
    for word in [0u64, 0x400000, 0x400000, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// A container that makes one call under a profile.
fn calling(profile: Value, program: &[u8]) -> Container {
    let c = Container::new(&["/probe"]).with(|config| config["linux"]["seccomp"] = profile);
    fs::write(c.rootfs("/probe"), program).unwrap();
    fs::set_permissions(c.rootfs("/probe"), PermissionsExt::from_mode(0o755)).unwrap();
    c
}

/// Everything is allowed but what these rules say.
fn all_but(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
}

/// Nothing is allowed but what a runtime and a small program need; the newest call in it is openat2.
fn only(default: Value) -> Value {
    let names = "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask \
        rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield madvise dup dup2 nanosleep getpid \
        sendfile socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname clone fork vfork \
        execve exit wait4 kill uname fcntl fsync getcwd chdir fchdir umask getuid getgid setuid setgid geteuid getegid \
        getppid getgroups setgroups setresuid setresgid capget capset sigaltstack personality prctl arch_prctl gettid futex \
        sched_getaffinity set_tid_address exit_group epoll_ctl epoll_wait epoll_pwait epoll_create1 openat newfstatat \
        readlinkat fchownat unlinkat faccessat set_robust_list pipe2 dup3 prlimit64 getrandom execveat statx rseq close_range \
        openat2 tgkill eventfd2 seccomp getdents64 clock_gettime readlink keyctl setsid fstatfs statfs getpgid getpgrp";
    let mut profile = default;
    profile["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    profile["syscalls"] = json!([{"names": names.split_whitespace().collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW"}]);
    profile
}

const MOUNT: u32 = libc::SYS_mount as u32;
const GETPRIORITY: u32 = libc::SYS_getpriority as u32;
const PERSONALITY: u32 = libc::SYS_personality as u32;
/// cachestat of Linux 6.5: newer than anything that the profiles here name.
const NEWER: u32 = 451;

#[test]
fn the_probe_tells_what_the_kernel_answers() {
    let harmless = all_but(json!([]));
    assert_eq!(calling(harmless.clone(), &probe(libc::SYS_getppid as u32, [0; 3], false)).run().code, 0);
    assert_eq!(calling(harmless, &probe(libc::SYS_close as u32, [77, 0, 0], false)).run().code, libc::EBADF);
}

#[test]
fn a_refused_call_gets_eperm_or_the_errno_of_its_rule() {
    for (rule, errno) in [
        (json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO"}), libc::EPERM),
        (json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}), 99),
        (json!({"names": ["getpriority", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}), 38),
    ] {
        assert_eq!(calling(all_but(json!([rule])), &probe(GETPRIORITY, [0; 3], false)).run().code, errno, "{rule}");
    }
}

#[test]
fn an_errno_of_zero_skips_the_call_with_success() {
    let rule = json!({"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0, "args": [{"index": 0, "value": 77, "op": "SCMP_CMP_EQ"}]});
    assert_eq!(calling(all_but(json!([rule])), &probe(libc::SYS_close as u32, [77, 0, 0], false)).run().code, 0);
}

#[test]
fn rules_look_at_arguments_with_every_comparison() {
    let refused = |op: &str, value: u64, two: u64, given: u32| {
        let argument = json!({"index": 0, "value": value, "valueTwo": two, "op": op});
        let rule = json!({"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100, "args": [argument]});
        calling(all_but(json!([rule])), &probe(libc::SYS_close as u32, [given, 0, 0], false)).run().code == 100
    };
    // The numbers are those of descriptors that no runtime holds, so that only the probe's call is met.
    for (op, value, two, meets, misses) in [
        ("SCMP_CMP_EQ", 700, 0, 700, 701),
        ("SCMP_CMP_GT", 700, 0, 701, 700),
        ("SCMP_CMP_GE", 700, 0, 700, 699),
        ("SCMP_CMP_MASKED_EQ", 0xff00, 0x7700, 0x7712, 0x7812),
    ] {
        assert!(refused(op, value, two, meets), "{op} {value} {two}: {meets}");
        assert!(!refused(op, value, two, misses), "{op} {value} {two}: {misses}");
    }
}

#[test]
fn several_arguments_of_a_rule_have_to_meet_together_and_several_rules_alone() {
    let argument = |index: u32, value: u32| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let rule =
        |args: Value| json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100, "args": args});
    let code = |rules: Value, given| calling(all_but(rules), &probe(GETPRIORITY, given, false)).run().code;
    let both = json!([rule(json!([argument(0, 1), argument(1, 2)]))]);
    assert_eq!(code(both.clone(), [1, 2, 0]), 100);
    assert_ne!(code(both, [1, 3, 0]), 100);
    let either = json!([rule(json!([argument(0, 1)])), rule(json!([argument(1, 2)]))]);
    assert_eq!(code(either.clone(), [1, 9, 0]), 100);
    assert_eq!(code(either.clone(), [0, 2, 0]), 100);
    assert_ne!(code(either, [0, 9, 0]), 100);
}

#[test]
fn a_killing_rule_gives_128_plus_sigsys() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let rule = json!({"names": ["getpriority"], "action": action});
        assert_eq!(
            calling(all_but(json!([rule])), &probe(GETPRIORITY, [0; 3], false)).run().code,
            128 + 31,
            "{action}"
        );
    }
}

#[test]
fn logged_and_allowed_calls_go_through() {
    let rule = json!({"names": ["getpriority"], "action": "SCMP_ACT_LOG"});
    assert_eq!(calling(all_but(json!([rule])), &probe(GETPRIORITY, [0; 3], false)).run().code, 0);
}

#[test]
fn a_call_newer_than_the_profile_is_unknown_and_an_older_one_refused() {
    let profile = only(json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    assert_eq!(calling(profile.clone(), &probe(NEWER, [0; 3], false)).run().code, libc::ENOSYS);
    assert_eq!(calling(profile.clone(), &probe(MOUNT, [0; 3], false)).run().code, libc::EPERM);
    // A number that no kernel has is newer as well.
    assert_eq!(calling(profile, &probe(900, [0; 3], false)).run().code, libc::ENOSYS);
}

#[test]
fn the_default_errno_is_the_profiles() {
    let profile = only(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 95}));
    assert_eq!(calling(profile, &probe(MOUNT, [0; 3], false)).run().code, 95);
}

#[test]
fn the_filter_is_there_with_and_without_new_privileges_and_in_exec() {
    for no_new_privileges in [true, false] {
        let rule = json!([{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}]);
        let c = calling(all_but(rule), &probe(GETPRIORITY, [0; 3], false)).with(|config| {
            config["process"]["args"] = json!(["sleep", "1000"]);
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        let c = c.up();
        eventually("the filter is in force", || proc_status(c.pid(), "Seccomp") == "2");
        assert_eq!(proc_status(c.pid(), "NoNewPrivs"), i32::from(no_new_privileges).to_string());
        assert_eq!(c.exec(&["/probe"]).code, 100);
    }
}

#[test]
fn a_profile_that_refuses_what_setting_up_needs_refuses_it_only_to_the_program() {
    // The process loads its filter and then still has to become the user and lose its powers.
    for no_new_privileges in [true, false] {
        let rule = json!([{"names": ["mount", "pivot_root", "unshare", "setns", "sethostname", "chroot"], "action": "SCMP_ACT_KILL_PROCESS"}]);
        let c = calling(all_but(rule), &probe(MOUNT, [0; 3], false)).with(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        assert_eq!(c.run().code, 128 + 31);
    }
}

#[test]
fn a_call_of_an_architecture_that_the_profile_lacks_kills() {
    let getpid = probe(20, [0; 3], true);
    let profile = |architectures: Value| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls": [
        {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO"}]})
    };
    let without = Container::new(&["/probe"]);
    fs::write(without.rootfs("/probe"), &getpid).unwrap();
    fs::set_permissions(without.rootfs("/probe"), PermissionsExt::from_mode(0o755)).unwrap();
    if without.run().code != 0 {
        skip!("this kernel has no 32-bit calls");
    }
    assert_eq!(calling(profile(json!(["SCMP_ARCH_X86_64"])), &getpid).run().code, 128 + 31);
    let both = profile(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    assert_eq!(calling(both.clone(), &getpid).run().code, 0);
    assert_eq!(calling(both, &probe(96, [0; 3], true)).run().code, libc::EPERM, "getpriority by its 32-bit number");
}

#[test]
fn notify_without_a_listener_is_refused_by_name() {
    let rule = json!([{"names": ["getpriority"], "action": "SCMP_ACT_NOTIFY"}]);
    let c = calling(all_but(rule), &probe(PERSONALITY, [0; 3], false));
    let before = c.leftovers();
    let output = c.run();
    output.fails(1, &["listenerPath"]);
    before.assert_nothing_new();
}
