//! Where captured packets are written: a file, or stdout, whose reader may be slow or gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{Context, Error, Result};

/// As much as a pipe that can be written to takes without waiting: PIPE_BUF.
const AT_ONCE: usize = 4096;

enum Target {
    File(OwnedFd),
    Stdout(std::io::Stdout),
}

/// An open file or stdout.
pub(super) struct Output<'a> {
    target: Target,
    name: String,
    signals: BorrowedFd<'a>,
}

impl<'a> Output<'a> {
    /// Opens a file, anew if there is one, or takes stdout. A signal ends the wait for a reader who reads nothing.
    pub fn open(path: Option<PathBuf>, signals: BorrowedFd<'a>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { target: Target::Stdout(std::io::stdout()), name: "stdout".into(), signals });
        };
        let name = path.display().to_string();
        let file = std::fs::File::create(&path).context(|| format!("create {name}"))?;
        Ok(Self { target: Target::File(file.into()), name, signals })
    }

    /// Whether a person would see what is written.
    pub fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&self.as_fd())
    }

    /// Writes everything; false when nobody reads it.
    pub fn write(&self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            if !self.wait()? {
                return Ok(false);
            }
            let part = &bytes[..bytes.len().min(AT_ONCE)];
            match nix::unistd::write(self.as_fd(), part) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(Errno::EPIPE) => return Ok(false),
                Err(errno) => return Err(Error::from(errno).context(format!("write to {}", self.name))),
            }
        }
        Ok(true)
    }

    /// Waits until something can be written; false when a signal comes before that.
    fn wait(&self) -> Result<bool> {
        loop {
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLOUT), PollFd::new(self.signals, PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| format!("wait to write to {}", self.name)),
            }
            match fds.map(|fd| fd.any().unwrap_or(false)) {
                [true, _] => return Ok(true),
                [false, true] => return Ok(false),
                [false, false] => {}
            }
        }
    }
}

impl AsFd for Output<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.target {
            Target::File(file) => file.as_fd(),
            Target::Stdout(stdout) => stdout.as_fd(),
        }
    }
}
