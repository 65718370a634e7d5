//! Starting init: clone3(2) in which the child shares the caller's memory and does nothing in it but raw system calls.
//!
//! The child is a few instructions of assembly without a stack: it keeps the descriptors that init needs across execve
//! and executes init from a descriptor. A thread may call this; nothing of the caller's memory is written but one errno.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::check;

/// What the child reads, and where it puts the errno of a failed execve.
#[repr(C)]
struct Child {
    keep: *const i32,
    keep_end: *const i32,
    program: i64,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    /// A pipe to wait on for the id maps; negative where there is no user namespace of its own.
    maps: i64,
    errno: i64,
    word: u64,
    /// The child's copy of that pipe's other end, without which it would never see the caller's end.
    close: i64,
    /// What becomes its stdin, stdout and stderr; negative where it has the caller's.
    stdio: [i64; 3],
}

/// struct clone_args: clone3(2).
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

/// What to start.
pub struct Spawn<'a> {
    /// Init's program.
    pub program: BorrowedFd<'a>,
    /// Its second argument.
    pub argument: &'a CStr,
    /// Its stdin, stdout and stderr, none of which is one of these numbers here; without, it has the caller's.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Descriptors that it keeps.
    pub keep: &'a [i32],
    /// CLONE_NEW* flags.
    pub kinds: u64,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A started init.
pub struct Spawned {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub process: OwnedFd,
}

/// Starts init; `write_maps` is called with its pid when it has a user namespace of its own, before it goes on there.
/// Errors are those of clone3, of `write_maps`, or of the child's execve.
pub fn spawn(what: &Spawn, write_maps: impl FnOnce(i32) -> crate::Result<()>) -> crate::Result<Spawned> {
    let own_user = what.kinds & libc::CLONE_NEWUSER as u64 != 0;
    let name = c"nfrun-init";
    let arguments = [name.as_ptr(), what.argument.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null()];
    // Both pipes are for a child with a user namespace: one to let it go on, one that its execve closes.
    let maps = if own_user { Some(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?) } else { None };
    let done = if own_user { Some(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?) } else { None };
    let keep = what.keep.as_ptr_range();
    let mut child = Child {
        keep: keep.start,
        keep_end: keep.end,
        program: i64::from(what.program.as_raw_fd()),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        maps: maps.as_ref().map_or(-1, |(read, _)| i64::from(read.as_raw_fd())),
        errno: 0,
        word: 0,
        close: maps.as_ref().map_or(-1, |(_, write)| i64::from(write.as_raw_fd())),
        stdio: what.stdio.map_or([-1; 3], |stdio| stdio.map(|fd| i64::from(fd.as_raw_fd()))),
    };
    let mut pidfd = -1i32;
    let mut flags = what.kinds | (libc::CLONE_VM | libc::CLONE_PIDFD) as u64 | CLONE_CLEAR_SIGHAND;
    if !own_user {
        flags |= libc::CLONE_VFORK as u64;
    }
    let mut args =
        CloneArgs { flags, pidfd: &raw mut pidfd as u64, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    if let Some(cgroup) = what.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let old = block_signals();
    let cloned = check(clone_and_exec(&mut args, &mut child));
    let outcome = match cloned {
        Err(errno) => Err(crate::Error::from(errno).context("clone3")),
        Ok(pid) => {
            // SAFETY: CLONE_PIDFD succeeded, so the kernel stored a fresh descriptor.
            let process = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let mapped = match (maps, done) {
                (Some(maps), Some(done)) => finish_with_maps(pid as i32, process.as_fd(), maps, done, write_maps),
                _ => Ok(()),
            };
            mapped.map(|()| Spawned { pid: pid as i32, process })
        }
    };
    restore_signals(&old);
    let spawned = outcome?;
    // Read only now: the child wrote it before it ended, and it ended or executed init before this point.
    let errno = errno_of(&child);
    if errno != 0 {
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(spawned.pid), None);
        // By a descriptor, which needs no path. TOMOYO looks for the one that the kernel makes up of it all the same.
        let hint = if errno == libc::ENOENT {
            " (TOMOYO, where it is active, asks for /dev/fd, a link to /proc/self/fd)"
        } else {
            ""
        };
        return Err(crate::Error::from(Errno::from_raw(errno)).context(format!("execute init{hint}")));
    }
    Ok(spawned)
}

/// The child's part of a user namespace: its maps, then its execve, before which this frame must not go.
fn finish_with_maps(
    pid: i32,
    process: BorrowedFd,
    maps: (OwnedFd, OwnedFd),
    done: (OwnedFd, OwnedFd),
    write_maps: impl FnOnce(i32) -> crate::Result<()>,
) -> crate::Result<()> {
    let (maps_read, maps_write) = maps;
    let (done_read, done_write) = done;
    drop(maps_read);
    drop(done_write);
    let mapped = write_maps(pid);
    if mapped.is_ok() {
        let _ = nix::unistd::write(&maps_write, b"G");
    }
    // Without the word the child reads the end and exits.
    drop(maps_write);
    let _ = nix::unistd::read(&done_read, &mut [0]);
    if mapped.is_err() {
        super::pidfd::wait_for_end(process, None);
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
    }
    mapped
}

pub(super) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn errno_of(child: &Child) -> i32 {
    // SAFETY: a plain read of an initialised field that the child may have written through the same address.
    let errno = unsafe { std::ptr::read_volatile(&raw const child.errno) };
    -errno as i32
}

/// Blocks every signal, so that no handler of the caller runs in the child's shared memory.
pub(super) fn block_signals() -> nix::sys::signal::SigSet {
    use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
    let mut old = SigSet::empty();
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut old));
    old
}

pub(super) fn restore_signals(old: &nix::sys::signal::SigSet) {
    use nix::sys::signal::{SigmaskHow, pthread_sigmask};
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(old), None);
}

/// clone3(2) and what the child does: [read a word, become root], keep descriptors, execveat(2).
fn clone_and_exec(args: &mut CloneArgs, child: &mut Child) -> libc::c_long {
    let mut result: isize;
    // SAFETY: the child uses no stack and no register that the parent's compiler code relies on, since it never leaves
    // this block; it writes only `child.errno` and `child.word`. The parent gets its registers back from the kernel.
    // With CLONE_VFORK the parent waits for the execve; without, the caller waits before `child` goes.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 9f",
            // The child. With a user namespace: wait for the maps, then become its root, so that execve keeps all
            // capabilities.
            "mov rdi, [r12 + 40]",
            "test rdi, rdi",
            "js 2f",
            "mov rdi, [r12 + 64]",
            "mov eax, 3", // close
            "syscall",
            "mov rdi, [r12 + 40]",
            "lea rsi, [r12 + 56]",
            "mov edx, 1",
            "xor eax, eax",
            "syscall",
            "cmp rax, 1",
            "jne 8f",
            "xor edi, edi",
            "xor esi, esi",
            "xor edx, edx",
            "mov eax, 119", // setresgid
            "syscall",
            "xor edi, edi",
            "xor esi, esi",
            "xor edx, edx",
            "mov eax, 117", // setresuid
            "syscall",
            "2:",
            // A copy is without close-on-exec.
            "xor r13d, r13d",
            "5:",
            "mov rdi, [r12 + r13 * 8 + 72]",
            "test rdi, rdi",
            "js 6f",
            "mov rsi, r13",
            "xor edx, edx",
            "mov eax, 292", // dup3
            "syscall",
            "6:",
            "inc r13",
            "cmp r13, 3",
            "jne 5b",
            "mov r13, [r12]",
            "3:",
            "cmp r13, [r12 + 8]",
            "je 4f",
            "movsxd rdi, dword ptr [r13]",
            "mov esi, 2", // F_SETFD
            "xor edx, edx",
            "mov eax, 72", // fcntl
            "syscall",
            "add r13, 4",
            "jmp 3b",
            "4:",
            "mov rdi, [r12 + 16]",
            "lea rsi, [r12 + 60]", // an empty path: the upper half of `word` is zero
            "mov rdx, [r12 + 24]",
            "mov r10, [r12 + 32]",
            "mov r8d, 0x1000", // AT_EMPTY_PATH
            "mov eax, 322",    // execveat
            "syscall",
            "mov [r12 + 48], rax",
            "8:",
            "mov edi, 127",
            "mov eax, 231", // exit_group
            "syscall",
            "ud2",
            "9:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") std::ptr::from_mut(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r12") std::ptr::from_mut(child),
            lateout("rcx") _, lateout("r11") _,
            out("r13") _, out("rdx") _, out("r10") _, out("r8") _,
            options(nostack),
        );
    }
    as_libc(result)
}

/// A raw result as libc gives it: -1, and errno set.
pub(super) fn as_libc(result: isize) -> libc::c_long {
    if (-4095..0).contains(&result) {
        Errno::set_raw(-result as i32);
        return -1;
    }
    result as libc::c_long
}
