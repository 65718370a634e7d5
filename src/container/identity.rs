//! Telling a process apart from a later one of the same pid.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

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

/// Field 22 of /proc/PID/stat, in clock ticks since boot: proc(5).
fn start_time(pid: i32) -> Result<u64> {
    let field = stat(pid)?.1.get(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| Error::new("it has no start time"))
}

/// /proc/PID/stat: the name, which may hold anything, even ')', and the fields from the third on.
fn stat(pid: i32) -> Result<(String, Vec<String>)> {
    let text = crate::sys::read_kernel_file(&format!("/proc/{pid}/stat"))?;
    let (name, fields) = text.rsplit_once(')').unwrap_or_default();
    let name = name.split_once('(').map_or("", |(_, name)| name);
    Ok((name.to_owned(), fields.split_whitespace().map(str::to_owned).collect()))
}

/// Which file a process runs: (device, inode).
pub type Program = (u64, u64);

/// Whether the process still is init, waiting for `start`: it runs the very file that init was started from, which
/// nothing inside can run.
pub fn is_waiting(pid: i32, init: Program) -> bool {
    program(pid).is_some_and(|found| found == init)
}

/// The file that a process runs; None where it runs none any more. It may lie in a filesystem that the container itself
/// serves, so nothing is asked of that one.
fn program(pid: i32) -> Option<Program> {
    crate::sys::known_file(Path::new(&format!("/proc/{pid}/exe"))).ok()
}

/// What became of an init whose socket was closed.
pub enum Outcome {
    /// It executed the command, whatever became of that.
    Command,
    /// It ended before; with its status as waitpid(2) gives it, where it can be seen.
    Ended(Option<i32>),
    /// It still is there, and still is init.
    Init,
}

/// Whether an init that closed its socket did so because it executed the command. Both execve and the end of a process
/// close it: after the one it runs another file, after the other it runs none, and a dead one keeps its last name until
/// it is reaped. Of one that was reaped by another nothing can be known, and its reaper knows how it ended.
pub fn outcome(pid: i32, process: BorrowedFd, init: Program) -> Outcome {
    if program(pid).is_some_and(|found| found != init) {
        return Outcome::Command;
    }
    // It is about to end, or has.
    if !pidfd::wait_for_end(process, Some(super::PATIENCE)) {
        return if is_waiting(pid, init) { Outcome::Init } else { Outcome::Command };
    }
    match stat(pid) {
        Ok((name, fields)) if name.as_bytes() == crate::init::step::NAME.to_bytes() => {
            Outcome::Ended(fields.last().and_then(|field| field.parse().ok()))
        }
        _ => Outcome::Command,
    }
}

/// Whether a process is on its way to its end, which it is before its descriptors are closed, or past it: PF_EXITING in
/// field 9 of /proc/PID/stat.
pub fn is_ending(pid: i32) -> bool {
    const PF_EXITING: u64 = 0x4;
    let flags = stat(pid).ok().and_then(|(_, fields)| fields.get(6)?.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// How an init ended that did not become the command, and what to do.
pub fn describe_end(status: Option<i32>) -> String {
    use nix::sys::signal::Signal;
    use nix::sys::wait::WaitStatus;
    let status = status.and_then(|status| WaitStatus::from_raw(nix::unistd::Pid::from_raw(0), status).ok());
    match status {
        Some(WaitStatus::Exited(_, code)) => format!("init ended with {code}"),
        Some(WaitStatus::Signaled(_, signal, _)) => {
            let advice = match signal {
                Signal::SIGSYS => ": linux.seccomp kills a call that it needs; allow execve",
                Signal::SIGKILL => ": is the memory limit too low for it, or was the container killed?",
                Signal::SIGILL => ": linux.seccomp and its agent let none of its calls through",
                _ => "",
            };
            format!("init was killed by {signal}{advice}")
        }
        _ => "init is gone".into(),
    }
}
