//! A process's stdin, stdout and stderr. A process writes to containerd's FIFOs itself: nothing is copied, no reader that is
//! slow can hold up the shim, and nothing is lost when the shim dies. What the shim adds is to keep their other ends open, so
//! that a reader that goes away for a while (containerd that is started anew) ends nobody by SIGPIPE, and to close them
//! when the process has ended. Terminals are copied: see `relay`.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;

use super::logger_program;
use super::messages::events::TaskIo;
use super::relay::Relay;
use crate::container::Console;
use crate::{Context, Error, Result};

/// How long a reader of the output is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the shim keeps open while the process lives.
#[derive(Default)]
pub struct Streams {
    /// The writing end of stdin: without it the end of the first writer would be the end of all input.
    stdin: Option<OwnedFd>,
    /// The reading ends of what it writes to.
    held: Vec<OwnedFd>,
}

impl Streams {
    /// The client has said all: stdin ends once its writers are gone.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Whether something that the process wrote waits to be read.
    pub fn are_unread(&self) -> bool {
        self.held.iter().any(|held| crate::sys::unread(held.as_fd()) > 0)
    }

    /// The process has ended: its readers meet the end of what it wrote.
    pub fn close(&mut self) {
        *self = Self::default();
    }
}

/// A process's streams, ready to be handed to it.
pub struct Prepared {
    /// What it gets for stdio, if it has no terminal.
    pub stdio: Option<Arc<[OwnedFd; 3]>>,
    /// Where its terminal goes.
    pub console: Option<Console>,
    /// What the shim keeps.
    pub streams: Streams,
    terminal: Option<Terminal>,
}

/// What will be a relay once the terminal is there.
struct Terminal {
    socket: OwnedFd,
    stdin: Option<OwnedFd>,
    output: Output,
}

/// Something that is written to.
struct Output {
    fd: OwnedFd,
    held: Option<OwnedFd>,
}

/// Who is told to a logging program, and owns the streams.
pub struct Whose<'a> {
    pub id: &'a str,
    pub namespace: &'a str,
    pub owner: (u32, u32),
}

/// Opens everything.
///
/// # Errors
/// Names the stream and its path. Where nobody reads a FIFO within ten seconds, that is one.
pub fn prepare(io: &TaskIo, whose: &Whose) -> Result<Prepared> {
    if io.terminal {
        return prepare_terminal(io, whose);
    }
    let mut streams = Streams::default();
    let stdin = match io.stdin.as_str() {
        "" => null()?,
        path => {
            let (reader, writer) = stdin(path).context(|| format!("stdin {path}"))?;
            streams.stdin = writer;
            reader
        }
    };
    let [out, err] = outputs(io, whose)?;
    let mut keep = |output: Output| {
        streams.held.extend(output.held);
        output.fd
    };
    let stdio = [stdin, keep(out), keep(err)];
    if whose.owner != (0, 0) {
        for fd in &stdio {
            let (uid, gid) = (whose.owner.0.into(), whose.owner.1.into());
            nix::unistd::fchown(fd, Some(uid), Some(gid)).context(|| "io_uid, io_gid: give it the streams")?;
        }
    }
    Ok(Prepared { stdio: Some(Arc::new(stdio)), console: None, streams, terminal: None })
}

fn prepare_terminal(io: &TaskIo, whose: &Whose) -> Result<Prepared> {
    let mut streams = Streams::default();
    let stdin = match io.stdin.as_str() {
        "" => None,
        path => {
            let (reader, writer) = stdin(path).context(|| format!("stdin {path}"))?;
            streams.stdin = writer;
            fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(|| "stdin")?;
            Some(reader)
        }
    };
    let [output, _] = outputs(&TaskIo { stderr: String::new(), ..io.clone() }, whose)?;
    fcntl(&output.fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context(|| "stdout")?;
    let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
    let (socket, inits) = pair.context(|| "make the socket for the terminal")?;
    Ok(Prepared {
        stdio: Some(Arc::new([null()?, null()?, null()?])),
        console: Some(Console::Socket(Arc::new(inits))),
        streams,
        terminal: Some(Terminal { socket, stdin, output }),
    })
}

impl Prepared {
    /// What is left for the shim once the process has been made.
    pub fn begin(self) -> Result<(Streams, Option<Relay>)> {
        let Self { stdio, console, streams, terminal } = self;
        drop((stdio, console));
        let Some(Terminal { socket, stdin, output }) = terminal else { return Ok((streams, None)) };
        let master = crate::sys::net::receive_descriptor(socket.as_fd()).context(|| "receive the terminal")?;
        let master = master.ok_or_else(|| Error::new("init sent no terminal"))?;
        Ok((streams, Some(Relay::new(master, stdin, output.fd, output.held)?)))
    }
}

fn null() -> Result<OwnedFd> {
    open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).context(|| "open /dev/null")
}

/// The reading end, and the writing end that keeps it from its end.
fn stdin(path: &str) -> Result<(OwnedFd, Option<OwnedFd>)> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let reader = open(path, flags | OFlag::O_NONBLOCK, Mode::empty())?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty()))?;
    if !is_fifo(path)? {
        return Ok((reader, None));
    }
    let writer = open(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok((reader, Some(writer)))
}

fn is_fifo(path: &str) -> Result<bool> {
    Ok(std::fs::metadata(path)?.file_type().is_fifo())
}

/// stdout and stderr: FIFOs, `file://` and `binary://`.
fn outputs(io: &TaskIo, whose: &Whose) -> Result<[Output; 2]> {
    if let Some(program) = io.stdout.strip_prefix("binary://") {
        let [out, err] = logger_program::start(program, whose.id, whose.namespace)
            .map_err(|error| error.context(format!("stdout {}", io.stdout)))?;
        return Ok([Output { fd: out, held: None }, Output { fd: err, held: None }]);
    }
    let out = output(&io.stdout).map_err(|error| error.context(format!("stdout {}", io.stdout)))?;
    let err = output(&io.stderr).map_err(|error| error.context(format!("stderr {}", io.stderr)))?;
    Ok([out, err])
}

fn output(uri: &str) -> Result<Output> {
    if uri.is_empty() {
        return Ok(Output { fd: null()?, held: None });
    }
    if let Some(path) = uri.strip_prefix("file://") {
        let path = Path::new(path.split('?').next().unwrap_or_default());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).context(|| format!("make {}", parent.display()))?;
        }
        let file = File::options().append(true).create(true).open(path)?;
        return Ok(Output { fd: file.into(), held: None });
    }
    let path = match uri.split_once("://") {
        None => uri,
        Some(("fifo", path)) => path,
        Some((scheme, _)) => {
            return Err(Error::invalid(format!("{scheme}:// is nothing to write to: a FIFO, file:// or binary://")));
        }
    };
    if !is_fifo(path)? {
        return Ok(Output { fd: File::options().append(true).open(path)?.into(), held: None });
    }
    let fd = write_end(path)?;
    let held = open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(Output { fd, held: Some(held) })
}

/// The writing end of a FIFO that somebody reads. Were it opened before, what a short process writes would be lost with the
/// last descriptor before its reader comes.
fn write_end(path: &str) -> Result<OwnedFd> {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(100);
    loop {
        match open(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENXIO) if Instant::now() < end => {}
            Err(Errno::ENXIO) => return Err(Error::new("nobody reads this FIFO")),
            opened => {
                let fd = opened?;
                fcntl(&fd, FcntlArg::F_SETFL(OFlag::empty()))?;
                return Ok(fd);
            }
        }
        // The kernel has no event for a reader that waits for a writer.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
