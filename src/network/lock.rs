//! The lock of a network: flock(2) on the directory of what runs on it. Whoever changes its bridge, its part of the packet
//! filter, its leases or its attachments holds it.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::Mode;

use super::attachment::RUN;
use super::definition::{self, Network, NetworkName};
use super::dirs::Dirs;
use crate::{Context, Error, Result};

/// How long one process may hold a lock that others wait for.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a file is written under before it has its name. There is but one writer, who holds the lock; what a killed one left is
/// written over.
const TEMPORARY: &str = ".new";

/// A network whose lock is held, until it is dropped.
#[derive(Debug)]
pub struct Locked {
    pub(super) name: NetworkName,
    pub(super) path: PathBuf,
    directory: Flock<File>,
}

/// Takes the lock of a network and reads its definition, which nobody removes as long as the lock is held.
///
/// # Errors
/// When there is no such network, its definition makes no sense, or somebody holds the lock for too long.
pub fn open(dirs: &Dirs, name: &NetworkName) -> Result<(Locked, Network)> {
    // Nothing is made for a network that does not exist.
    if dirs.of_network(name).symlink_metadata().is_err() && !definition::exists(dirs, name) {
        return Err(definition::missing(dirs, name));
    }
    let locked = Locked::take(dirs, name)?;
    match definition::load(dirs, name) {
        Ok(network) => Ok((locked, network)),
        Err(error) => {
            locked.remove_if_unused();
            Err(error)
        }
    }
}

impl Locked {
    /// Takes the lock of a network, for which a directory is made when there is none.
    pub fn take(dirs: &Dirs, name: &NetworkName) -> Result<Self> {
        loop {
            if let Some(locked) = Self::take_existing(dirs, name)? {
                return Ok(locked);
            }
            make(&dirs.of_network(name))?;
        }
    }

    /// Takes the lock of a network that may have no definition any more, as when a container that was on it is deleted; None
    /// where nothing is known of it, so that there is nothing to undo.
    pub fn take_existing(dirs: &Dirs, name: &NetworkName) -> Result<Option<Self>> {
        let path = dirs.of_network(name);
        loop {
            let file = match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                other => other.context(|| format!("open {}", path.display()))?,
            };
            let directory = flock(file, &format!("network {name}"))?;
            // Whoever removed the directory held its lock, and the name may be another's by now.
            let ours = directory.metadata().context(|| format!("look at {}", path.display()))?;
            let named = std::fs::symlink_metadata(&path);
            if named.is_ok_and(|named| named.ino() == ours.ino() && named.dev() == ours.dev()) {
                return Ok(Some(Self { name: name.clone(), path, directory }));
            }
        }
    }

    /// The network's name.
    pub fn name(&self) -> &NetworkName {
        &self.name
    }

    /// Removes the directory where nothing is leased or attached.
    pub(super) fn remove_if_unused(&self) {
        if ["leases", "attached"].iter().all(|name| is_removed(std::fs::remove_dir(self.path.join(name)))) {
            // What one that was killed has staged.
            self.unstage();
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Removes the directory with all that is in it.
    pub(super) fn remove_all(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.context(|| format!("remove {}", self.path.display())),
        }
    }

    /// Writes what [`Locked::place`] gives a name to.
    pub(super) fn stage(&self, text: &[u8]) -> Result<()> {
        let how = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let write = || -> Result<()> {
            let mut file = File::from(openat(self, TEMPORARY, how, Mode::from_bits_truncate(0o600))?);
            Ok(file.write_all(text)?)
        };
        write().context(|| format!("write {}/{TEMPORARY}", self.path.display()))
    }

    /// Removes what was staged and gets no name.
    pub(super) fn unstage(&self) {
        // One that stays is written over by the next.
        let _ = self.unlink(TEMPORARY);
    }

    /// Gives what was staged its name in a directory of the network's, which is made when it is missing. Where there is one of
    /// that name, it stays and the answer is false, unless it is to be replaced.
    pub(super) fn place(&self, below: &str, name: &str, replace: bool) -> Result<bool> {
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::RENAME_NOREPLACE };
        let path = format!("{below}/{name}");
        let rename = || renameat2(self, TEMPORARY, self, path.as_str(), flags);
        let place = || -> Result<bool> {
            let mut renamed = rename();
            if renamed == Err(Errno::ENOENT) {
                DirBuilder::new().mode(0o700).create(self.path.join(below))?;
                renamed = rename();
            }
            match renamed {
                Err(Errno::EEXIST) => Ok(false),
                other => Ok(other.map(|()| true)?),
            }
        };
        place().context(|| format!("write {}/{path}", self.path.display()))
    }

    /// Removes a file; one that is not there is as it should be.
    pub(super) fn unlink(&self, path: &str) -> Result<()> {
        match nix::unistd::unlinkat(self, path, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).context(|| format!("remove {}/{path}", self.path.display())),
        }
    }
}

impl AsFd for Locked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Whether a directory is no more.
fn is_removed(outcome: std::io::Result<()>) -> bool {
    outcome.map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |()| true)
}

/// Makes a network's directory, for its owner alone: what is in it says what the packet filter lets through. What has lain in
/// XDG_RUNTIME_DIR for long may be removed, but for what has the sticky bit.
fn make(path: &Path) -> Result<()> {
    let mode = if path.starts_with(RUN) { 0o700 } else { 0o1700 };
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.context(|| format!("make {}", path.display()))
}

/// Takes a lock, and waits for whoever has it: for as many as come first, but for none of them for ever.
pub(super) fn flock(file: File, what: &str) -> Result<Flock<File>> {
    flock_within(file, what, PATIENCE, holder)
}

fn flock_within(
    file: File,
    what: &str,
    patience: Duration,
    mut holder: impl FnMut(&File) -> Option<String>,
) -> Result<Flock<File>> {
    let mut pause = Duration::from_micros(200);
    let mut file = file;
    let (mut since, mut held_by) = (Instant::now(), None);
    let mut look = since + patience / 10;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno).context(|| format!("lock {what}")),
        }
        let now = Instant::now();
        if now > look {
            let who = holder(&file);
            if who != held_by {
                (since, held_by) = (now, who);
            } else if now - since >= patience {
                let who = who.unwrap_or_else(|| "lslocks(8) shows by whom".into());
                let patience = patience.as_secs();
                return Err(Error::new(format!(
                    "{what} has been locked for {patience} seconds ({who}); end that first"
                )));
            }
            look = now + patience / 10;
        }
        // flock(2) knows neither a time limit nor an event.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Who has the lock of a file: "process 12, nfrun".
fn holder(file: &File) -> Option<String> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = crate::sys::read_kernel_file("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        // "1: FLOCK  ADVISORY  WRITE 3170 fe:00:2490398 0 EOF"; the device is not always that which stat(2) shows.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else { return None };
        (file.rsplit(':').next() == Some(&inode)).then(|| (*pid).to_owned())
    })?;
    let name = crate::sys::read_kernel_file(&format!("/proc/{pid}/comm")).ok()?;
    Some(format!("by process {pid}, {}", name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_a_lock_for_too_long_is_named() {
        let path = std::env::temp_dir().join(format!("nfrun-lock-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let open = || File::open(&path).unwrap();
        let held = flock(open(), "network n").unwrap();
        let error = flock_within(open(), "network n", Duration::from_millis(20), holder).unwrap_err().to_string();
        let who = format!("network n has been locked for 0 seconds (by process {}, ", std::process::id());
        assert!(error.starts_with(&who) && error.ends_with("); end that first"), "{error}");
        let mut turns = 0;
        let in_turn = |_: &File| {
            turns += 1;
            Some(format!("by process {}", turns.min(20)))
        };
        flock_within(open(), "network n", Duration::from_millis(20), in_turn).unwrap_err();
        assert!(turns > 20, "as long as it goes from one to the next it is waited for");
        drop(held);
        assert!(flock_within(open(), "network n", Duration::ZERO, holder).is_ok());
        std::fs::remove_dir(&path).unwrap();
    }
}
