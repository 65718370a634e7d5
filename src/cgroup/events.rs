//! `cgroup.events` of cgroup2 (Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files"): whether a process is in a
//! cgroup or below it, and whether all of them are frozen. The kernel tells of each change, so nothing here sleeps.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::file::is_gone;
use crate::{Context, Error, Result};

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Events {
    /// A process is in the cgroup or below.
    pub populated: bool,
    /// None of them runs.
    pub frozen: bool,
}

impl Events {
    /// Of a cgroup that is gone.
    const NONE: Self = Self { populated: false, frozen: false };

    /// Reads the file in a cgroup's directory.
    pub(super) fn of(dir: &str) -> Result<Self> {
        Watch::open(dir)?.map_or(Ok(Self::NONE), |watch| watch.read())
    }

    fn parse(text: &str) -> Self {
        let says = |name: &str| text.lines().any(|line| line.strip_prefix(name) == Some(" 1"));
        Self { populated: says("populated"), frozen: says("frozen") }
    }
}

/// The file, open to wait for its changes.
pub(super) struct Watch {
    file: File,
    path: String,
}

impl Watch {
    /// None where the cgroup is gone.
    pub(super) fn open(dir: &str) -> Result<Option<Self>> {
        let path = format!("{dir}/cgroup.events");
        match File::open(&path) {
            Ok(file) => Ok(Some(Self { file, path })),
            Err(error) if error.raw_os_error().is_some_and(|errno| is_gone(Errno::from_raw(errno))) => Ok(None),
            Err(error) => Err(Error::from(error).context(format!("open {path}"))),
        }
    }

    pub(super) fn read(&self) -> Result<Events> {
        let mut text = [0; 256];
        match self.file.read_at(&mut text, 0) {
            Ok(length) => Ok(Events::parse(&String::from_utf8_lossy(&text[..length]))),
            Err(error) if error.raw_os_error().is_some_and(|errno| is_gone(Errno::from_raw(errno))) => Ok(Events::NONE),
            Err(error) => Err(Error::from(error).context(format!("read {}", self.path))),
        }
    }

    /// Waits until the file says what is wanted; false when the deadline came first.
    pub(super) fn wait(&self, deadline: Instant, wanted: impl Fn(Events) -> bool) -> Result<bool> {
        loop {
            // Read before the wait: a change after it wakes the poll.
            if wanted(self.read()?) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let millis = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(&self.file), PollFlags::POLLPRI)], millis) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| format!("wait for a change of {}", self.path)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_line_by_line() {
        assert_eq!(Events::parse("populated 1\nfrozen 0\n"), Events { populated: true, frozen: false });
        assert_eq!(Events::parse("populated 0\nfrozen 1\nfuture 1\n"), Events { populated: false, frozen: true });
        assert_eq!(Events::parse(""), Events::NONE);
    }
}
