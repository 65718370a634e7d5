//! Telling a process apart from a later one of the same pid.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use crate::sys::pidfd;
use crate::undo::Identity;
use crate::{Context, Error, Result};

/// Who a process is. Reads /proc only where pidfds have no inodes of their own (before Linux 6.9).
pub fn of(pid: i32, process: BorrowedFd) -> Result<Identity> {
    match pidfd::identity(process) {
        Some(inode) => Ok(Identity { pid, inode: Some(inode), start: None }),
        None => Ok(Identity {
            pid,
            inode: None,
            start: Some(start_time(pid).context(|| format!("read /proc/{pid}/stat"))?),
        }),
    }
}

/// The process, unless it has ended: gone, a zombie, or another has its pid.
pub fn find(identity: &Identity) -> Option<OwnedFd> {
    let process = pidfd::open(identity.pid).ok()?;
    if pidfd::has_ended(process.as_fd()) {
        return None;
    }
    let same = match (identity.inode, identity.start) {
        (Some(inode), _) => pidfd::identity(process.as_fd()) == Some(inode),
        (None, Some(start)) => start_time(identity.pid).is_ok_and(|found| found == start),
        (None, None) => false,
    };
    same.then_some(process)
}

/// Field 22 of /proc/PID/stat, in clock ticks since boot: proc(5). The name before it may hold anything, even ')'.
fn start_time(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = fields.split_whitespace().nth(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| Error::new("it has no start time"))
}

/// Which file a process runs: (device, inode).
pub type Program = (u64, u64);

/// Whether the process still is init, waiting for `start`: it runs the very file that init was started from, which
/// nothing inside can run.
pub fn is_waiting(pid: i32, init: Program) -> bool {
    std::fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|found| (found.dev(), found.ino()) == init)
}
