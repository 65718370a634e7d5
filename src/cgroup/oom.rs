//! Notices of the kernel's having run out of a cgroup's memory. v1: cgroup-v1/memory.rst, "OOM Control": an eventfd that
//! is registered in cgroup.event_control; any number of listeners may be.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::Mode;

use super::place::Place;
use crate::{Context, Error, Result};

/// A descriptor that becomes readable when memory runs out, and when the cgroup is removed.
#[derive(Debug)]
pub struct OomNotice {
    event: EventFd,
    control: String,
    /// What is watched; the kernel needs it open only until it is registered, but it is cheap to hold.
    _watched: OwnedFd,
}

impl Place {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the memory controller is not mounted, or the cgroup is gone.
    pub fn notice_oom(&self) -> Result<OomNotice> {
        let cgroup = self.with("memory").ok_or_else(|| {
            Error::new("the memory controller is not mounted on this host, so nobody tells of its running out")
        })?;
        let path = format!("{}/memory.oom_control", cgroup.dir());
        let watched = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let watched = watched.context(|| format!("open {path}"))?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).context(|| "make an eventfd")?;
        let control = format!("{}/cgroup.event_control", cgroup.dir());
        super::file::write(&control, &format!("{} {}", event.as_raw_fd(), watched.as_raw_fd()))?;
        Ok(OomNotice { event, control, _watched: watched })
    }
}

impl OomNotice {
    /// What to wait for.
    pub fn event(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.event.as_fd()
    }

    /// Whether memory has run out since the last call. Removing the cgroup wakes its listeners too, and is not that.
    pub fn has_run_out(&self) -> bool {
        self.event.read().is_ok_and(|count| count > 0) && !self.is_over()
    }

    /// Whether the cgroup has been removed.
    pub fn is_over(&self) -> bool {
        !std::path::Path::new(&self.control).exists()
    }
}
