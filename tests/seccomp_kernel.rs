//! Filters in the running kernel: a child loads one and tries calls.

use nfrun::seccomp::{Filter, compile};
use serde_json::{Value, json};

fn filter(profile: Value) -> Filter {
    let profile = serde_json::from_value(profile).expect("a profile");
    compile(&profile).expect("compile").expect("a filter")
}

/// Loads a filter in a child and returns what the child's calls gave: 0 or an errno each.
fn try_calls(filter: &Filter, calls: &[(libc::c_long, [libc::c_ulong; 3])]) -> Vec<u8> {
    let mut bytes = filter.bytes();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: bytes.as_mut_ptr().cast() };
    let mut ends = [0; 2];
    // SAFETY: the array has room for both ends.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    let mut results = vec![u8::MAX; calls.len()];
    // SAFETY: the child makes system calls only, over memory that exists, and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; the program outlives the call.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, filter.flags, &raw const program) != 0 {
                libc::_exit(1);
            }
            for (result, (number, args)) in results.iter_mut().zip(calls) {
                let failed = libc::syscall(*number, args[0], args[1], args[2]) == -1;
                *result = if failed { *libc::__errno_location() as u8 } else { 0 };
            }
            libc::write(ends[1], results.as_ptr().cast(), results.len());
            libc::_exit(0);
        }
    }
    let mut status = 0;
    // SAFETY: the child is ours; the buffer has the length that is read.
    let read = unsafe {
        libc::close(ends[1]);
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        let read = libc::read(ends[0], results.as_mut_ptr().cast(), results.len());
        libc::close(ends[0]);
        read
    };
    assert_eq!((status, read), (0, results.len() as isize), "the child's status, and what it told");
    results
}

#[test]
fn the_kernel_takes_a_filter_and_gives_its_verdicts() {
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["write", "exit", "exit_group", "getppid", "io_pgetevents"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["getpgid"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        ],
    }));
    let results = try_calls(
        &filter,
        &[
            (libc::SYS_getppid, [0; 3]),
            (libc::SYS_getpgid, [0; 3]),
            (libc::SYS_getpgid, [1 << 32, 0, 0]),
            (libc::SYS_getuid, [0; 3]),
            (libc::SYS_uname, [0; 3]),
            // Above io_pgetevents, the newest that the profile names; the second is unknown to any kernel so far.
            (libc::SYS_openat2, [0; 3]),
            (999, [0; 3]),
            (-1, [0; 3]),
        ],
    );
    let [eperm, enosys] = [libc::EPERM as u8, libc::ENOSYS as u8];
    assert_eq!(results, [0, 0, eperm, eperm, libc::ENOSPC as u8, enosys, enosys, enosys]);
}

#[test]
fn the_kernel_takes_every_flag_alone() {
    for flag in ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"] {
        let filter = filter(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "flags": [flag],
            "syscalls": [{"names": ["getuid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
        }));
        assert_eq!(try_calls(&filter, &[(libc::SYS_getuid, [0; 3])]), [libc::EACCES as u8], "{flag}");
    }
}
