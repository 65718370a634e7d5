//! Bytes between a terminal's master and the FIFOs of a client. Nothing here blocks: what one side does not take is kept, up
//! to a buffer's length, and the other is not read meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;

use crate::Result;

/// The most that is kept of each direction, in bytes.
const BUFFER: usize = 16 << 10;

/// A terminal that is passed through.
pub struct Relay {
    master: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    held: Option<OwnedFd>,
    typed: Vec<u8>,
    printed: Vec<u8>,
    /// When it is given up, once its process is gone.
    pub deadline: Option<Instant>,
}

/// The end of a relay that something happened at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Master,
    Stdin,
    Stdout,
}

impl Relay {
    pub fn new(master: OwnedFd, stdin: Option<OwnedFd>, stdout: OwnedFd, held: Option<OwnedFd>) -> Result<Self> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (typed, printed) = (Vec::new(), Vec::new());
        Ok(Self { master: Some(master), stdin, stdout, held, typed, printed, deadline: None })
    }

    /// Sets the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) -> nix::Result<()> {
        match &self.master {
            Some(master) => crate::sys::set_window_size(master.as_fd(), rows, columns),
            None => Ok(()),
        }
    }

    /// Whether everything has been passed on.
    pub fn is_over(&self) -> bool {
        self.master.is_none() && self.printed.is_empty()
    }

    /// Whether something that was printed waits to be read.
    pub fn is_unread(&self) -> bool {
        !self.is_over() || self.held.as_ref().is_some_and(|held| crate::sys::unread(held.as_fd()) > 0)
    }

    /// What to wait for.
    pub fn waits(&self) -> Vec<(End, BorrowedFd<'_>, PollFlags)> {
        let mut waits = Vec::new();
        if let Some(master) = &self.master {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, self.printed.is_empty());
            events.set(PollFlags::POLLOUT, !self.typed.is_empty());
            if !events.is_empty() {
                waits.push((End::Master, master.as_fd(), events));
            }
            if let Some(stdin) = self.stdin.as_ref().filter(|_| self.typed.is_empty()) {
                waits.push((End::Stdin, stdin.as_fd(), PollFlags::POLLIN));
            }
        }
        if !self.printed.is_empty() {
            waits.push((End::Stdout, self.stdout.as_fd(), PollFlags::POLLOUT));
        }
        waits
    }

    /// Passes on what can be.
    pub fn pass(&mut self, end: End) {
        match end {
            End::Stdin => self.read_stdin(),
            End::Master if self.printed.is_empty() => self.read_master(),
            _ => {}
        }
        self.write();
    }

    fn read_stdin(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        let mut buffer = [0; BUFFER];
        match nix::unistd::read(stdin, &mut buffer) {
            Ok(0) => self.stdin = None,
            Ok(length) => self.typed.extend_from_slice(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.stdin = None,
        }
    }

    fn read_master(&mut self) {
        let Some(master) = &self.master else { return };
        let mut buffer = [0; BUFFER];
        match nix::unistd::read(master, &mut buffer) {
            Ok(length) if length > 0 => self.printed.extend_from_slice(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO: the last process has closed the other end.
            _ => self.master = None,
        }
    }

    fn write(&mut self) {
        if let Some(master) = self.master.as_ref().filter(|_| !self.typed.is_empty()) {
            let written = nix::unistd::write(master, &self.typed);
            take(&mut self.typed, written);
        }
        if !self.printed.is_empty() {
            let written = nix::unistd::write(&self.stdout, &self.printed);
            take(&mut self.printed, written);
        }
    }
}

/// Removes what was written; all of it where nobody will take it any more.
fn take(bytes: &mut Vec<u8>, written: nix::Result<usize>) {
    match written {
        Ok(written) if written < bytes.len() => drop(bytes.drain(..written)),
        Err(Errno::EAGAIN | Errno::EINTR) => {}
        // A buffer of its own would stay with each terminal.
        _ => *bytes = Vec::new(),
    }
}
