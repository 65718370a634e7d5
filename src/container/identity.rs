//! Telling a process apart from a later one of the same pid.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

/// Whether the process still is init, waiting for `start`: the program that it runs says so.
pub fn is_waiting(pid: i32) -> bool {
    let path = format!("/proc/{pid}/exe");
    let named = |path: std::path::PathBuf| {
        // A sealed memfd, or the file on a mount that no path leads to; a process inside can run neither by these names.
        path.as_os_str() == "/memfd:nfrun-init (deleted)" || path.as_os_str() == "/nfrun-init"
    };
    if !std::fs::read_link(&path).is_ok_and(named) {
        return false;
    }
    // A file of the image can have the name, not the place: init's lies on a filesystem of memory without a path.
    nix::sys::statfs::statfs(path.as_str()).is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
}
