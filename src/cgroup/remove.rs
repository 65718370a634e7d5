//! Removing a place, or one directory by the undo record. A cgroup can go only when no process and no cgroup is in it;
//! the kernel says so by EBUSY.

use std::ffi::OsString;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::file::is_gone;
use super::kill::{hold_all, wait_for_all};
use super::place::{Place, pids_below, subdirs};
use super::stuck::describe_all;
use crate::{Context, Error, Result};

impl Place {
    /// Removes the container's cgroups with whatever cgroups were made below them; parents stay. Processes that are
    /// about to end are waited for.
    ///
    /// # Errors
    /// When a process is still in one after `timeout`, named with what it waits in; the others are removed.
    pub fn remove(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let mut first = None;
        for cgroup in &self.cgroups {
            if let Err(error) = remove_tree(Path::new(&cgroup.dir()), deadline, timeout) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Removes a container's own cgroup, if it still is the one with this inode. What is in it is ended with `kill`; without,
/// it is another's, which keeps the cgroup. True when it was removed.
///
/// # Errors
/// As [`Place::remove`].
pub fn remove_leaf(path: &Path, inode: u64, kill: bool, timeout: Duration) -> Result<bool> {
    if !is_still(path, inode)? {
        return Ok(false);
    }
    // The usual case is one system call.
    if rmdir(path).is_ok() {
        return Ok(true);
    }
    if kill {
        super::kill::kill_all_below(&path.to_string_lossy(), timeout)?;
    } else if let [first, ..] = pids_below(path)?[..] {
        // A process that is ending is no reason to leave it behind.
        if !wait_for_all(hold_all(vec![first])?, Instant::now() + Duration::from_millis(500)) {
            let path = path.display();
            log::warn!("cgroup {path} stays: process {first} in it is not of the container");
            return Ok(false);
        }
    }
    remove_tree(path, Instant::now() + timeout, timeout).map(|()| true)
}

/// Removes one directory unless another uses it meanwhile: the parents that were made on the way to a cgroup. With an
/// inode, only if it still is that one. True when it is gone now.
///
/// # Errors
/// When the kernel refuses for another reason than its being in use.
pub fn remove_unused(path: &Path, inode: Option<u64>) -> Result<bool> {
    if let Some(inode) = inode
        && !is_still(path, inode)?
    {
        return Ok(true);
    }
    match rmdir(path) {
        Ok(()) => Ok(true),
        Err(errno) if is_gone(errno) => Ok(true),
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => Ok(false),
        Err(errno) => Err(errno).context(|| format!("remove cgroup {}", path.display())),
    }
}

fn is_still(path: &Path, inode: u64) -> Result<bool> {
    match nix::sys::stat::lstat(path) {
        Ok(stat) => Ok(stat.st_ino == inode),
        Err(errno) if is_gone(errno) => Ok(false),
        Err(errno) => Err(errno).context(|| format!("stat {}", path.display())),
    }
}

fn rmdir(path: impl AsRef<Path>) -> nix::Result<()> {
    let path = path.as_ref();
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
        // Where cgroups are mounted read-only the kernel says so before it looks whether there is anything.
        Err(Errno::EROFS) if nix::sys::stat::lstat(path) == Err(Errno::ENOENT) => Err(Errno::ENOENT),
        done => done,
    }
}

/// The usual case is one system call. What is below is looked for, and who is inside, only when the kernel says busy.
fn remove_tree(path: &Path, deadline: Instant, timeout: Duration) -> Result<()> {
    let mut pause = Duration::from_micros(50);
    loop {
        match rmdir(path) {
            Ok(()) => return Ok(()),
            Err(errno) if is_gone(errno) => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno).context(|| format!("remove cgroup {}", path.display())),
        }
        let below = below(path)?;
        for name in &below {
            remove_tree(&path.join(name), deadline, timeout)?;
        }
        let pids = pids_below(path)?;
        let late = Instant::now() >= deadline;
        match pids.is_empty() {
            false if late || !wait_for_all(hold_all(pids)?, deadline) => return Err(still_inside(path, timeout)),
            true if below.is_empty() => {
                // Nobody is listed, yet the kernel still counts one: a process past its end, which no event tells.
                if late {
                    return Err(still_inside(path, timeout));
                }
                sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(5));
            }
            _ => {}
        }
    }
}

fn below(path: &Path) -> Result<Vec<OsString>> {
    match Dir::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(mut dir) => Ok(subdirs(&mut dir)),
        Err(errno) if is_gone(errno) => Ok(Vec::new()),
        Err(errno) => Err(errno).context(|| format!("open {}", path.display())),
    }
}

fn still_inside(path: &Path, timeout: Duration) -> Error {
    let pids = pids_below(path).unwrap_or_default();
    let who = if pids.is_empty() {
        "the kernel still counts a process that has ended".to_owned()
    } else {
        format!("still in it: {}", describe_all(&pids))
    };
    Error::from(Errno::EBUSY).context(format!("remove cgroup {} ({who}; waited {timeout:?})", path.display()))
}
