//! A user namespace that is nothing but its mappings: user_namespaces(7).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::OFlag;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::check;
use super::spawn::{CLONE_CLEAR_SIGHAND, CloneArgs, block_signals, restore_signals};

/// What the holder reads.
#[repr(C)]
struct Holder {
    /// The pipe that it waits on, and its copy of the other end, without which it would never see the caller's end.
    wait: i64,
    close: i64,
    /// Where a read byte would go; none comes.
    word: u64,
}

/// Makes a user namespace: `write_maps` is called with the pid of a process that holds it, which is gone when this
/// returns. The process ends as well when the caller is killed, and never becomes a child that a reaper would find
/// (exit_signal 0).
pub fn make(write_maps: impl FnOnce(i32) -> crate::Result<()>) -> crate::Result<OwnedFd> {
    held(0, |pid| {
        write_maps(pid)?;
        file(pid, "user")
    })
}

/// The caller's mounts once more, in a mount namespace of a new user namespace: what they have is locked there, for everybody,
/// mount_namespaces(7).
pub fn locked_mounts() -> crate::Result<OwnedFd> {
    held(libc::CLONE_NEWNS, |pid| file(pid, "mnt"))
}

/// A namespace's file of a process.
fn file(pid: i32, kind: &str) -> crate::Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let file = std::fs::File::open(&path);
    crate::Context::context(file, || format!("open {path}")).map(OwnedFd::from)
}

/// What `take` takes of a process that holds a user namespace, and more of its own, as long as that takes.
fn held(more: i32, take: impl FnOnce(i32) -> crate::Result<OwnedFd>) -> crate::Result<OwnedFd> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mut holder = Holder { wait: read.as_raw_fd().into(), close: write.as_raw_fd().into(), word: 0 };
    let mut pidfd = -1i32;
    let flags = (libc::CLONE_NEWUSER | libc::CLONE_VM | libc::CLONE_PIDFD | more) as u64 | CLONE_CLEAR_SIGHAND;
    let mut args = CloneArgs { flags, pidfd: &raw mut pidfd as u64, ..CloneArgs::default() };
    let old = block_signals();
    let cloned = check(clone_holder(&mut args, &mut holder));
    restore_signals(&old);
    let pid = cloned.map_err(|errno| crate::Error::from(errno).context("make a user namespace: clone3"))?;
    // SAFETY: CLONE_PIDFD succeeded, so the kernel stored a fresh descriptor.
    let process = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let taken = take(pid as i32);
    // The end of the pipe ends the holder. It reads this frame's memory, so the frame waits for it.
    drop(write);
    while waitid(Id::PIDFd(process.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::__WALL)
        == Err(nix::errno::Errno::EINTR)
    {}
    taken
}

/// clone3(2) and all that the holder does: close(2), read(2), exit_group(2).
fn clone_holder(args: &mut CloneArgs, holder: &mut Holder) -> libc::c_long {
    let result: isize;
    // SAFETY: as in spawn.rs, the child uses no stack and never leaves this block; of the shared memory it writes
    // `holder.word` alone, and the caller keeps `holder` until the child has ended. Signals are blocked in it.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 9f",
            "mov rdi, [r12 + 8]",
            "mov eax, 3", // close
            "syscall",
            "mov rdi, [r12]",
            "lea rsi, [r12 + 16]",
            "mov edx, 1",
            "xor eax, eax", // read
            "syscall",
            "xor edi, edi",
            "mov eax, 231", // exit_group
            "syscall",
            "ud2",
            "9:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") std::ptr::from_mut(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r12") std::ptr::from_mut(holder),
            lateout("rcx") _, lateout("r11") _, out("rdx") _,
            options(nostack),
        );
    }
    super::spawn::as_libc(result)
}

/// Whether the caller is in the machine's first user namespace, whose number is fixed: PROC_USER_INIT_INO.
pub fn is_the_hosts() -> bool {
    std::fs::metadata("/proc/self/ns/user").is_ok_and(|found| found.ino() == 0xEFFF_FFFD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_outlives_its_holder_which_is_gone() {
        let mut holder = 0;
        let made = make(|pid| {
            holder = pid;
            let uid = nix::unistd::getuid();
            Ok(std::fs::write(format!("/proc/{pid}/uid_map"), format!("0 {uid} 1\n"))?)
        });
        let Ok(namespace) = made else { return }; // Where user namespaces are forbidden.
        assert!(holder > 0 && !std::path::Path::new(&format!("/proc/{holder}")).exists());
        let link = std::fs::read_link(format!("/proc/self/fd/{}", namespace.as_raw_fd())).unwrap();
        assert!(link.to_str().unwrap().starts_with("user:["));
    }

    #[test]
    fn refused_maps_leave_no_holder() {
        let mut holder = 0;
        let refused = make(|pid| {
            holder = pid;
            Err(crate::Error::new("refused"))
        });
        assert!(refused.is_err() && !std::path::Path::new(&format!("/proc/{holder}")).exists());
    }
}
