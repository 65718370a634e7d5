//! The caller's side of a process in the foreground: signals forwarded, orphans reaped, a terminal passed through.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::notify::Notifier;
use super::{Console, PATIENCE};
use crate::sys::spawn::Spawned;
use crate::sys::{self, inherited, net};
use crate::{Context, Error, Result};

/// Refuses combinations of a terminal and where it goes, in runc's words.
pub fn check(tty: bool, detach: bool, console_socket: bool) -> Result<()> {
    match (tty, detach, console_socket) {
        (true, true, false) => Err(Error::invalid(
            "cannot allocate tty if runc will detach without setting console socket: pass --console-socket",
        )),
        (true, false, true) => Err(Error::invalid("cannot use console socket if runc will not detach or allocate tty")),
        (false, _, true) => Err(Error::invalid(
            "cannot use console socket if runc will not detach or allocate tty: no terminal is asked for",
        )),
        _ => Ok(()),
    }
}

/// Gives a process that says nothing of its terminal's size that of the caller's terminal.
pub fn adopt_size(process: &mut oci_spec::runtime::Process) {
    if process.console_size().is_some() {
        return;
    }
    if let Some((rows, columns)) = inherited(0).and_then(|stdin| sys::window_size(stdin).ok()) {
        let size = oci_spec::runtime::BoxBuilder::default().height(rows).width(columns).build();
        process.set_console_size(size.ok());
    }
}

/// The socket that receives a terminal; one whose queue is full is not waited for without an end.
pub fn connect(console: &Console) -> Result<OwnedFd> {
    let socket = match console {
        Console::Path(path) => net::connect_path_within(path, PATIENCE),
        Console::Socket(socket) => Ok(socket.try_clone()?),
    };
    socket.map_err(|error| error.context("--console-socket"))
}

/// A terminal that this process passes through; its master arrives on a socket.
pub struct Terminal {
    socket: OwnedFd,
}

impl Terminal {
    /// Where init sends the master: the caller's socket, or one of our own, or nowhere.
    pub fn open(tty: bool, console: Option<&Console>) -> Result<(Option<OwnedFd>, Option<Self>)> {
        match (tty, console) {
            (false, _) => Ok((None, None)),
            (true, Some(console)) => Ok((Some(connect(console)?), None)),
            (true, None) => {
                let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
                let (ours, inits) = pair.context(|| "make the socket for the terminal")?;
                Ok((Some(inits), Some(Self { socket: ours })))
            }
        }
    }
}

/// Signals of a command that waits for a process. They are held back from the beginning, so that none is lost.
pub struct Foreground {
    signals: SignalFd,
    before: SigSet,
}

impl Foreground {
    /// Blocks signals, and becomes the reaper of what the process leaves: PR_SET_CHILD_SUBREAPER.
    pub fn begin(subreaper: bool) -> Result<Self> {
        if subreaper {
            nix::sys::prctl::set_child_subreaper(true).context(|| "become subreaper")?;
        }
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, before })
    }

    /// Waits for the process and returns its exit code, 128+N for signal N. Meanwhile a service manager is told once it
    /// is ready.
    pub fn wait(self, process: &Spawned, terminal: Option<Terminal>, mut notifier: Option<Notifier>) -> Result<u8> {
        let mut relay = terminal.map(Relay::begin).transpose()?;
        loop {
            // A signal that came before this look is still in the descriptor.
            let ended = reap(process.pid)?;
            if let Some(told) = &mut notifier
                // The service's main process stays this one, whose end has the exit code.
                && let Err(error) = told.advance(std::process::id() as i32)
            {
                log::warn!("{error}");
                notifier = None;
            }
            if let Some(code) = ended {
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                return Ok(code);
            }
            let mut waited = vec![
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(process.process.as_fd(), PollFlags::POLLIN),
            ];
            if let Some(notifier) = &notifier {
                waited.extend(notifier.waits());
            }
            let before = waited.len();
            if let Some(relay) = &relay {
                waited.extend(relay.waits());
            }
            match poll(&mut waited, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::from(errno).context("wait for the process")),
            }
            let ready: Vec<_> = waited.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
            drop(waited);
            while let Ok(Some(signal)) = self.signals.read_signal() {
                forward(signal.ssi_signo as i32, process, relay.as_ref());
            }
            if let Some(relay) = &mut relay {
                relay.pass(&ready[before..]);
            }
        }
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

/// Reaps whatever has ended; the code of the process itself once it has.
fn reap(process: i32) -> Result<Option<u8>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == process => return Ok(Some(code as u8)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == process => return Ok(Some(128 + signal as u8)),
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::from(errno).context(format!("wait for process {process}"))),
        }
    }
}

fn forward(signal: i32, process: &Spawned, relay: Option<&Relay>) {
    match signal {
        // Meant for this process itself.
        libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG => {}
        libc::SIGWINCH if relay.is_some() => {
            if let Some(relay) = relay {
                relay.resize();
            }
        }
        _ => {
            let _ = sys::pidfd::signal(process.process.as_fd(), signal);
        }
    }
}

/// Bytes between the caller's stdio and a terminal's master.
struct Relay {
    master: OwnedFd,
    /// What stdin gave and the master has not taken.
    pending: Vec<u8>,
    stdin: Option<BorrowedFd<'static>>,
    open: bool,
    cooked: Option<(BorrowedFd<'static>, Termios)>,
}

impl Relay {
    fn begin(terminal: Terminal) -> Result<Self> {
        let master =
            net::receive_descriptor(terminal.socket.as_fd())?.ok_or_else(|| Error::new("init sent no terminal"))?;
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let stdin = inherited(0);
        let mut relay = Self { master, pending: Vec::new(), stdin, open: true, cooked: None };
        // Keys go to the container as they are; what they do is decided by its terminal.
        if let Some(stdin) = stdin
            && let Ok(mode) = tcgetattr(stdin)
        {
            let mut raw = mode.clone();
            cfmakeraw(&mut raw);
            tcsetattr(stdin, SetArg::TCSANOW, &raw).context(|| "set the terminal to raw mode")?;
            relay.cooked = Some((stdin, mode));
        }
        relay.resize();
        Ok(relay)
    }

    /// The container's terminal is as large as the caller's.
    fn resize(&self) {
        if let Some(stdin) = self.stdin {
            let _ = sys::copy_window_size(stdin, self.master.as_fd());
        }
    }

    fn waits(&self) -> Vec<PollFd<'_>> {
        let mut master = if self.open { PollFlags::POLLIN } else { PollFlags::empty() };
        if !self.pending.is_empty() {
            master |= PollFlags::POLLOUT;
        }
        let mut waits = vec![PollFd::new(self.master.as_fd(), master)];
        if !self.open {
            waits.clear();
        } else if let Some(stdin) = self.stdin.filter(|_| self.pending.is_empty()) {
            waits.push(PollFd::new(stdin, PollFlags::POLLIN));
        }
        waits
    }

    fn pass(&mut self, ready: &[PollFlags]) {
        let Some(master) = ready.first() else { return };
        if master.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.master_to_stdout();
        }
        if ready.get(1).is_some_and(|stdin| !stdin.is_empty()) {
            self.read_stdin();
        }
        self.write_pending();
    }

    fn master_to_stdout(&mut self) {
        let mut buffer = [0; 8192];
        match nix::unistd::read(&self.master, &mut buffer) {
            Ok(0) => self.open = false,
            Ok(read) => write_all(&buffer[..read]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // EIO: the last process has closed the other end.
            Err(_) => self.open = false,
        }
    }

    fn read_stdin(&mut self) {
        let Some(stdin) = self.stdin else { return };
        let mut buffer = [0; 4096];
        match nix::unistd::read(stdin, &mut buffer) {
            Ok(0) => self.stdin = None,
            Ok(read) => self.pending.extend_from_slice(&buffer[..read]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.stdin = None,
        }
    }

    fn write_pending(&mut self) {
        if let Ok(written) = nix::unistd::write(&self.master, &self.pending) {
            self.pending.drain(..written);
        }
    }

    /// What the process wrote before it ended.
    fn drain(&mut self) {
        let mut before = usize::MAX;
        while self.open && before != 0 {
            let mut waits = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            before = poll(&mut waits, PollTimeout::ZERO).map_or(0, |ready| ready as usize);
            if before != 0 {
                self.master_to_stdout();
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some((stdin, mode)) = &self.cooked {
            let _ = tcsetattr(stdin, SetArg::TCSANOW, mode);
        }
    }
}

/// A closed stdout is no reason to end the container.
fn write_all(mut bytes: &[u8]) {
    let Some(stdout) = inherited(1) else { return };
    while !bytes.is_empty() {
        match nix::unistd::write(stdout, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(stdout, PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}
