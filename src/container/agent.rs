//! The seccomp agent: who answers the calls of a container that its filter does not decide. Here the filter's listener
//! goes from init to the agent's socket: docs/decisions/seccomp-notify.md.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType};

use super::store::State;
use super::{PATIENCE, Status};
use crate::seccomp::Listener;
use crate::sys::{net, pidfd};
use crate::{Context, Error, Result};

/// The container whose process an agent is told of.
pub struct Subject<'a> {
    /// Its id.
    pub id: &'a str,
    /// The ociVersion of its bundle.
    pub oci_version: &'a str,
    /// Its bundle's absolute path.
    pub bundle: &'a Path,
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Where it is in its life.
    pub status: Status,
    /// The pid of its first process.
    pub init: i32,
}

impl<'a> Subject<'a> {
    /// A container that was saved.
    pub fn of(state: &'a State, status: Status) -> Self {
        Self {
            id: &state.id,
            oci_version: &state.oci_version,
            bundle: &state.bundle,
            annotations: &state.annotations,
            status,
            init: state.init.pid,
        }
    }
}

/// An agent that has accepted, or will accept, a connection.
pub struct Agent {
    connection: OwnedFd,
    path: PathBuf,
    metadata: Option<String>,
}

fn at(path: &Path) -> String {
    format!("linux.seccomp.listenerPath: no seccomp agent can be told of the container at {}", path.display())
}

/// Fails where nobody would answer: so that `create` tells of it, which does not load the filter yet. The agent notices
/// nothing: a datagram cannot be sent to a stream socket, which the kernel says only where there is one.
pub fn find(path: &Path) -> Result<()> {
    let probe = nix::sys::socket::socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    match net::connect_to(&probe, path) {
        Err(error) if error.errno() == Some(Errno::EPROTOTYPE as i32) => Ok(()),
        Err(error) => Err(error.context(at(path))),
        Ok(()) => Err(Error::new(format!("{}: it is a datagram socket; a stream socket is needed", at(path)))),
    }
}

impl Agent {
    /// Connects, for no longer than a full queue of the agent may take.
    pub fn connect(listener: &Listener) -> Result<Self> {
        let connection = net::connect_path_within(&listener.path, PATIENCE);
        let connection = connection.map_err(|error| error.context(at(&listener.path)))?;
        Ok(Self { connection, path: listener.path.clone(), metadata: listener.metadata.clone() })
    }

    /// Takes the listener from an init that has told its number (`LISTENER`, which was read already), gives it to the
    /// agent, and lets init go on. Where init fails meanwhile this does nothing: the socket tells of it.
    pub fn serve(&self, socket: &mut (impl Read + AsFd), pid: i32, process: BorrowedFd, of: &Subject) -> Result<()> {
        let mut word = [0; 12];
        socket.read_exact(&mut word).context(|| "read what init says of its seccomp filter")?;
        let [number, low, high] =
            [0, 4, 8].map(|at| u32::from_le_bytes([word[at], word[at + 1], word[at + 2], word[at + 3]]));
        let Some(listener) = fetch(process, number as i32, socket.as_fd())? else { return Ok(()) };
        super::fault::point();
        self.tell(pid, listener, of)?;
        release(pid, process, u64::from(high) << 32 | u64::from(low))
    }

    /// Sends the container process state with the listener: config-linux.md, "The Container Process State".
    fn tell(&self, pid: i32, listener: OwnedFd, of: &Subject) -> Result<()> {
        let state = serde_json::json!({
            "ociVersion": of.oci_version, "id": of.id, "status": of.status.as_str(), "pid": of.init,
            "bundle": of.bundle, "annotations": of.annotations,
        });
        let mut message =
            serde_json::json!({"ociVersion": of.oci_version, "fds": ["seccompFd"], "pid": pid, "state": state});
        if let Some(metadata) = &self.metadata {
            message["metadata"] = metadata.as_str().into();
        }
        net::send_descriptor(self.connection.as_fd(), message.to_string().as_bytes(), listener.as_fd()).context(|| {
            format!("linux.seccomp.listenerPath: hand calls to the seccomp agent at {}", self.path.display())
        })
    }
}

/// Gets the listener as soon as the filter is loaded; None where init has failed instead. Init cannot tell that it is
/// loaded, since any call could be the agent's to answer, so this asks again and again, at first after microseconds.
fn fetch(process: BorrowedFd, number: i32, socket: BorrowedFd) -> Result<Option<OwnedFd>> {
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(20);
    while Instant::now() < until {
        match pidfd::get_descriptor(process, number) {
            Ok(fd) => return genuine(fd).map(Some),
            Err(Errno::EBADF) => {}
            Err(Errno::ESRCH) => return Ok(None),
            Err(errno) => {
                return Err(Error::from(errno)
                    .context("linux.seccomp: fetch the filter's listener from init (pidfd_getfd, Linux 5.6)"));
            }
        }
        let mut ends = [PollFd::new(socket, PollFlags::POLLIN), PollFd::new(process, PollFlags::POLLIN)];
        if ppoll(&mut ends, Some(pause.into()), None).is_ok_and(|ready| ready > 0) {
            return Ok(None);
        }
        pause = (pause * 2).min(Duration::from_millis(2));
    }
    Err(Error::new(format!("linux.seccomp: init has not loaded its filter within {PATIENCE:?}")))
}

/// Whoever traces init could have it name any descriptor.
fn genuine(fd: OwnedFd) -> Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let what = std::fs::read_link(&link).context(|| format!("read {link}"))?;
    if what == Path::new("anon_inode:seccomp notify") {
        return Ok(fd);
    }
    Err(Error::new(format!("linux.seccomp: what init names as its filter's listener is {}", what.display())))
}

/// Lets init go on: it watches a word of its memory, since a call to wait could be the agent's to answer.
fn release(pid: i32, process: BorrowedFd, address: u64) -> Result<()> {
    let what = || format!("let init go on by /proc/{pid}/mem");
    let memory = std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).context(what)?;
    // Opened while the process lives, it is that process's and no later one's.
    if pidfd::has_ended(process) {
        return Ok(());
    }
    memory.write_all_at(&1u32.to_ne_bytes(), address).context(what)
}
