//! Processes by descriptor: pidfd_open(2), pidfd_send_signal(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::{check, own};

/// pidfd_open(2).
pub fn open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: plain numbers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// pidfd_send_signal(2).
pub fn signal(process: BorrowedFd, signal: i32) -> nix::Result<()> {
    // SAFETY: plain numbers, and NULL for siginfo.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    })
    .map(drop)
}

/// A copy of a descriptor of the process, by its number there: pidfd_getfd(2).
pub fn get_descriptor(process: BorrowedFd, number: i32) -> nix::Result<OwnedFd> {
    // SAFETY: plain numbers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

/// Whether the process is a child of this one that is not reaped yet: waitid(2), which leaves it as it is.
pub fn is_child(process: BorrowedFd) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    waitid(Id::PIDFd(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT).is_ok()
}

/// Whether the process has ended, reaped or not.
pub fn has_ended(process: BorrowedFd) -> bool {
    wait_for_end(process, Some(Duration::ZERO))
}

/// Waits until the process has ended; false when the time is over first.
pub fn wait_for_end(process: BorrowedFd, limit: Option<Duration>) -> bool {
    let end = limit.map(|limit| std::time::Instant::now() + limit);
    loop {
        let left = end.map(|end| end.saturating_duration_since(std::time::Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            // Rounded up, so that the wait never becomes a busy one.
            PollTimeout::try_from(left.as_millis() as i32 + i32::from(!left.is_zero())).unwrap_or(PollTimeout::MAX)
        });
        match nix::poll::poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return false,
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// The number that the kernel gives each process once: a pidfd's inode on pidfs (Linux 6.9), None before.
pub fn identity(process: BorrowedFd) -> Option<u64> {
    const PID_FS_MAGIC: i64 = 0x5049_4446;
    let kind = nix::sys::statfs::fstatfs(process).ok()?.filesystem_type();
    if kind.0 as i64 != PID_FS_MAGIC {
        return None;
    }
    nix::sys::stat::fstat(process).ok().map(|found| found.st_ino)
}
