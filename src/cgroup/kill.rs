//! Signals to every process of a place. A pid is signalled through a pidfd that was opened before the cgroup was seen
//! to hold that pid, so a pid that has passed to a stranger is never hit.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::events::Watch;
use super::file::write_all;
use super::place::{Interface, Place, pids_below};
use super::stuck::describe_all;
use crate::sys::pidfd;
use crate::{Context, Error, Result};

/// After so many rounds of SIGKILL that left processes, they fork faster than they are listed, and are frozen first.
const PATIENT_ROUNDS: u32 = 3;

/// A place that stands still while it is signalled. It goes on afterwards however that ends: also an empty cgroup that
/// stayed frozen would hold whoever enters it next.
struct Still<'a>(&'a Place);

impl<'a> Still<'a> {
    /// None where it cannot be frozen soon.
    fn hold(place: &'a Place) -> Option<Self> {
        place.freeze(Duration::from_millis(100)).is_ok().then(|| Self(place))
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.thaw_all();
    }
}

impl Place {
    /// Sends a signal to every process. SIGKILL thaws them, is repeated for those that were forked meanwhile, and waits
    /// until none is left.
    ///
    /// # Errors
    /// When a process is still there after `timeout`, named with what it waits in.
    pub fn signal_all(&self, signal: i32, timeout: Duration) -> Result<()> {
        if signal != libc::SIGKILL {
            return self.signal_round(signal).map(drop);
        }
        let deadline = Instant::now() + timeout;
        if let Interface::V2(cgroup) = self.interface()
            && kill_at_once(&cgroup.dir(), deadline)?
        {
            return Ok(());
        }
        for round in 0.. {
            let frozen = (round >= PATIENT_ROUNDS).then(|| Still::hold(self)).flatten();
            let signalled = self.signal_round(signal)?;
            if signalled.is_empty() && self.pids()?.is_empty() {
                return Ok(());
            }
            drop(frozen);
            if round == 0 {
                self.thaw_all();
            }
            if signalled.is_empty() {
                // Listed, but past its end already: no event tells when the cgroup forgets it.
                sleep(Duration::from_micros(200));
            }
            if !wait_for_all(signalled, deadline) {
                break;
            }
        }
        let left = self.pids()?;
        if left.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!("{} process(es) did not die within {timeout:?}: {}", left.len(), describe_all(&left))))
    }

    /// Signals whatever is there now, and returns the pidfds of those.
    fn signal_round(&self, signal: i32) -> Result<Vec<(i32, OwnedFd)>> {
        let mut held = hold_all(self.pids()?)?;
        if held.is_empty() {
            return Ok(held);
        }
        let still = self.pids()?;
        held.retain(|(pid, _)| still.binary_search(pid).is_ok());
        for (pid, fd) in &held {
            match pidfd::signal(fd.as_fd(), signal) {
                // It ended between the two, which is what a signal may do.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno).context(|| format!("send signal {signal} to pid {pid}")),
            }
        }
        Ok(held)
    }
}

/// Kills every process of a directory and those below it, again and again until none is left.
///
/// # Errors
/// When a process is still there after `timeout`, named with what it waits in.
pub(super) fn kill_all_below(path: &str, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    if kill_at_once(path, deadline)? {
        return Ok(());
    }
    loop {
        let held = hold_all(pids_below(path)?)?;
        if held.is_empty() {
            return Ok(());
        }
        let still = pids_below(path)?;
        let held: Vec<_> = held.into_iter().filter(|(pid, _)| still.binary_search(pid).is_ok()).collect();
        for (_, fd) in &held {
            let _ = pidfd::signal(fd.as_fd(), libc::SIGKILL);
        }
        if !wait_for_all(held, deadline) {
            let left = pids_below(path)?;
            let who = describe_all(&left);
            return Err(Error::new(format!("{} process(es) did not die within {timeout:?}: {who}", left.len())));
        }
    }
}

/// cgroup.kill (cgroup2, Linux 5.14): SIGKILL to every process below, frozen and newly forked ones included, and the
/// wait for their end. False where there is no such file, or not all have ended by the deadline.
fn kill_at_once(path: &str, deadline: Instant) -> Result<bool> {
    let Some(watch) = Watch::open(path)? else { return Ok(false) };
    match open(format!("{path}/cgroup.kill").as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(_) => return Ok(false),
        Ok(file) => write_all(file, "1").context(|| format!("write 1 to {path}/cgroup.kill"))?,
    }
    watch.wait(deadline, |events| !events.populated)
}

/// A pidfd for each that has not ended.
pub(super) fn hold_all(pids: Vec<i32>) -> Result<Vec<(i32, OwnedFd)>> {
    let mut held = Vec::with_capacity(pids.len());
    for pid in pids {
        match pidfd::open(pid) {
            Ok(fd) => held.push((pid, fd)),
            Err(Errno::ESRCH) => {}
            // Enough to go on with: the rest has its turn in the next round.
            Err(Errno::EMFILE) if !held.is_empty() => break,
            Err(errno) => return Err(errno).context(|| format!("pidfd_open pid {pid}")),
        }
    }
    Ok(held)
}

/// Waits until every process has ended; false when the deadline came first.
pub(super) fn wait_for_all(mut held: Vec<(i32, OwnedFd)>, deadline: Instant) -> bool {
    // To wait for each in turn takes as long as for all at once, and needs no second list.
    while let Some((_, fd)) = held.last() {
        let left = deadline.saturating_duration_since(Instant::now());
        let millis = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], millis) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            _ => drop(held.pop()),
        }
    }
    Instant::now() < deadline
}
