//! Notices of the kernel's having run out of a cgroup's memory; any number of listeners may be. v1: cgroup-v1/memory.rst,
//! "OOM Control": an eventfd that is registered in cgroup.event_control. v2: `memory.events`, whose changes wake a poll.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, open};
use nix::poll::PollFlags;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::Mode;

use super::place::{Interface, Place};
use crate::{Context, Error, Result};

/// What tells that memory has run out, and that the cgroup is removed.
#[derive(Debug)]
pub struct OomNotice {
    source: Source,
    /// A file that is there as long as the cgroup is.
    file: String,
}

#[derive(Debug)]
enum Source {
    V1 {
        event: EventFd,
        /// What is watched; the kernel needs it open only until it is registered, but it is cheap to hold.
        _watched: OwnedFd,
    },
    V2 {
        events: File,
        /// How many processes the kernel had killed for memory when that was last asked.
        killed: Cell<u64>,
    },
}

impl Place {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the memory controller is not there, or the cgroup is gone.
    pub fn notice_oom(&self) -> Result<OomNotice> {
        match self.interface() {
            Interface::V1(_) => self.notice_v1(),
            Interface::V2(cgroup) => notice_v2(&cgroup.dir()),
        }
    }

    fn notice_v1(&self) -> Result<OomNotice> {
        let cgroup = self.with("memory").ok_or_else(|| {
            Error::new("the memory controller is not mounted on this host, so nobody tells of its running out")
        })?;
        let path = format!("{}/memory.oom_control", cgroup.dir());
        let watched = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let watched = watched.context(|| format!("open {path}"))?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).context(|| "make an eventfd")?;
        let file = format!("{}/cgroup.event_control", cgroup.dir());
        super::file::write(&file, &format!("{} {}", event.as_raw_fd(), watched.as_raw_fd()))?;
        Ok(OomNotice { source: Source::V1 { event, _watched: watched }, file })
    }
}

fn notice_v2(dir: &str) -> Result<OomNotice> {
    let file = format!("{dir}/memory.events");
    let events = File::open(&file)
        .context(|| format!("open {file} (without the memory controller nobody tells of its running out)"))?;
    let killed = Cell::new(killed(&events));
    Ok(OomNotice { source: Source::V2 { events, killed }, file })
}

/// Of memory.events; 0 once the cgroup is gone.
fn killed(events: &File) -> u64 {
    let mut text = [0; 512];
    let length = events.read_at(&mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

impl OomNotice {
    /// What to wait for, and how.
    pub fn event(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.source {
            Source::V1 { event, .. } => (event.as_fd(), PollFlags::POLLIN),
            Source::V2 { events, .. } => (events.as_fd(), PollFlags::POLLPRI),
        }
    }

    /// Whether memory has run out since the last call. Removing the cgroup wakes its listeners too, and is not that.
    pub fn has_run_out(&self) -> bool {
        match &self.source {
            Source::V1 { event, .. } => event.read().is_ok_and(|count| count > 0) && !self.is_over(),
            Source::V2 { events, killed: before } => {
                let now = killed(events);
                now > before.replace(now)
            }
        }
    }

    /// Whether the cgroup has been removed.
    pub fn is_over(&self) -> bool {
        !std::path::Path::new(&self.file).exists()
    }
}
