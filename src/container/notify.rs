//! Tells a service manager that the container is ready: sd_notify(3). The container says so to a socket in its state
//! directory; what reaches the manager is READY=1 alone, then in our own words MAINPID, and BARRIER: as runc. A
//! container could otherwise name any process as the service's main one.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use super::store::{Directory, NOTIFY};
use crate::bundle::notify::{SOCKET, ServiceManager};
use crate::sys::net;
use crate::{Context, Error, Result};

/// How long a manager may take for what it was told. One that reloads itself takes seconds; runc waits as long.
const MANAGERS_PATIENCE: Duration = Duration::from_secs(30);
/// The longest message that systemd takes: NOTIFY_BUFFER_MAX.
const LONGEST: usize = 4096;
/// How many messages of a container are read before others have their turn: more than its queue holds where systemd rules
/// (net.unix.max_dgram_qlen).
const AT_ONCE: usize = 1024;

/// A service manager's socket, connected.
pub fn connect(manager: &ServiceManager) -> Result<OwnedFd> {
    let socket = net::connect_datagram(manager.address());
    socket.map_err(|error| {
        error.context(format!("{manager}: no service manager can be told that the container is ready"))
    })
}

/// Makes the directory that is shown to the container, open to every user of it.
pub fn make_directory(directory: &Path) -> Result<()> {
    let make = || {
        fs::create_dir(directory)?;
        // Whatever the caller's umask is.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
    };
    make().context(|| format!("make {}", directory.display()))
}

/// Where the container is between starting and being ready.
enum Stage {
    /// It has not said READY=1 yet.
    Listening,
    /// The manager has yet to be told this message and those after it.
    Telling { message: usize, until: Instant },
    /// The manager has yet to close its end of this pipe, once it has seen to all that was sent before.
    Confirming { pipe: OwnedFd, until: Instant },
    /// All is said and done.
    Told,
}

/// Waits for the container's word and passes it on.
pub struct Notifier {
    manager: ServiceManager,
    theirs: OwnedFd,
    ours: OwnedFd,
    stage: Stage,
}

impl Notifier {
    /// Listens in the directory that was made for it, in the place of a start that came to nothing.
    pub fn listen(directory: &Path, manager: ServiceManager, theirs: OwnedFd) -> Result<Self> {
        let path = directory.join(SOCKET);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).context(|| format!("{manager}: remove {}", path.display()));
        }
        let ours = net::bind_datagram(&path).map_err(|error| error.context(manager.to_string()))?;
        // Any user of the container may send.
        let open = fs::set_permissions(&path, fs::Permissions::from_mode(0o777));
        open.context(|| format!("{manager}: open {} to all users", path.display()))?;
        Ok(Self { manager, theirs, ours, stage: Stage::Listening })
    }

    /// The same for a container that was created before, if its creator had a service manager too.
    pub fn for_start(directory: &Directory) -> Result<Option<Self>> {
        let Some(manager) = ServiceManager::from_environment()? else { return Ok(None) };
        let path = directory.join(NOTIFY);
        if !path.exists() {
            return Err(Error::invalid(format!(
                "{manager}: the container cannot tell that it is ready, since it was created without: set it for create as well, or unset it for start"
            )));
        }
        let theirs = connect(&manager)?;
        Self::listen(&path, manager, theirs).map(Some)
    }

    /// Does what can be done now; `main` is the pid that the manager is to take for the service's.
    pub fn advance(&mut self, main: i32) -> Result<()> {
        if self.hears_ready()? && matches!(self.stage, Stage::Listening) {
            self.stage = Stage::Telling { message: 0, until: Instant::now() + MANAGERS_PATIENCE };
        }
        while let Stage::Telling { message, until } = self.stage {
            match self.tell(message, main) {
                Ok(None) => self.stage = Stage::Telling { message: message + 1, until },
                Ok(Some(pipe)) => {
                    self.stage = Stage::Confirming { pipe, until: Instant::now() + MANAGERS_PATIENCE };
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => {
                    self.stage = Stage::Told;
                    return Err(Error::from(errno)
                        .context(format!("{}: tell the service manager that the container is ready", self.manager)));
                }
            }
        }
        if let Stage::Confirming { pipe, .. } = &self.stage
            && poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        {
            self.stage = Stage::Told;
        }
        Ok(())
    }

    /// Reads what the container has said; whether READY=1 was in it. Descriptors that came with it are closed by the
    /// kernel, which is the answer to a BARRIER=1.
    fn hears_ready(&self) -> Result<bool> {
        let mut ready = false;
        let mut buffer = [0; LONGEST];
        for _ in 0..AT_ONCE {
            match recv(self.ours.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => ready |= says_ready(&buffer[..length]),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| format!("{}: listen to the container", self.manager)),
            }
        }
        Ok(ready)
    }

    /// Sends one of the messages. The last brings the end of a pipe that the manager closes.
    fn tell(&self, message: usize, main: i32) -> nix::Result<Option<OwnedFd>> {
        let text = match message {
            0 => "READY=1\n".to_owned(),
            1 => format!("MAINPID={main}\n"),
            _ => {
                let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
                net::send_descriptor(self.theirs.as_fd(), b"BARRIER=1", writer.as_fd())?;
                return Ok(Some(reader));
            }
        };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        send(self.theirs.as_raw_fd(), text.as_bytes(), flags).map(|_| None)
    }

    /// What to wait for before the next `advance`.
    pub fn waits(&self) -> Vec<PollFd<'_>> {
        let mut waits = vec![PollFd::new(self.ours.as_fd(), PollFlags::POLLIN)];
        match &self.stage {
            Stage::Telling { .. } => waits.push(PollFd::new(self.theirs.as_fd(), PollFlags::POLLOUT)),
            Stage::Confirming { pipe, .. } => waits.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
            Stage::Listening | Stage::Told => {}
        }
        waits
    }

    /// Waits until the manager knows, or the container has ended. How long a service may take to be ready is the
    /// manager's own to bound.
    pub fn wait(mut self, main: i32, process: BorrowedFd) -> Result<()> {
        loop {
            let ended = crate::sys::pidfd::has_ended(process);
            self.advance(main)?;
            let until = match &self.stage {
                Stage::Told => return Ok(()),
                Stage::Listening if ended => return Ok(()),
                Stage::Listening => None,
                Stage::Telling { until, .. } | Stage::Confirming { until, .. } => Some(*until),
            };
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return self.give_up();
            }
            let mut waits = self.waits();
            if until.is_none() {
                waits.push(PollFd::new(process, PollFlags::POLLIN));
            }
            // Rounded up, so that the wait never becomes a busy one.
            let limit = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left.as_millis() as i32 + 1).unwrap_or(PollTimeout::MAX)
            });
            match poll(&mut waits, limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| format!("{}: wait for the container", self.manager)),
            }
        }
    }

    fn give_up(&self) -> Result<()> {
        match &self.stage {
            Stage::Telling { .. } => Err(Error::new(format!(
                "{}: the service manager has taken no message for {MANAGERS_PATIENCE:?}: it does not know that the container is ready",
                self.manager
            ))),
            _ => {
                log::warn!(
                    "{}: the service manager has not confirmed within {MANAGERS_PATIENCE:?} (BARRIER=1)",
                    self.manager
                );
                Ok(())
            }
        }
    }
}

/// One assignment a line, in any order: sd_notify(3).
fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_a_line_among_others() {
        for ready in ["READY=1", "READY=1\n", "STATUS=up\nREADY=1\nMAINPID=1"] {
            assert!(says_ready(ready.as_bytes()), "{ready:?}");
        }
        for other in ["", "READY=0", "STATUS=READY=1", "READY=10", "ALREADY=1"] {
            assert!(!says_ready(other.as_bytes()), "{other:?}");
        }
    }
}
