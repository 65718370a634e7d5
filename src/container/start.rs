//! Starting a created container: a word to its waiting init, whose exec errors come back the same way.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::agent::{Agent, Subject};
use super::identity::Outcome;
use super::notify::Notifier;
use super::store::{START_SOCKET, State};
use super::{ContainerId, Globals, PATIENCE, Status, fault, hooks, identity, status};
use crate::init::program::describe_failure;
use crate::init::step::{GO, LISTENER, READY};
use crate::sys::pidfd;
use crate::{Context, Error, Kind, Result};

/// Starts the user's process of a created container.
pub fn start(globals: &Globals, id: &ContainerId) -> Result<()> {
    let (locked, state) = status::open_locked(globals, id)?;
    match status::of(&state) {
        Status::Created => {}
        Status::Stopped => return Err(refuse("cannot start a container that has stopped")),
        _ => return Err(refuse("cannot start an already running container")),
    }
    let Some(init) = identity::find(&state.init) else {
        return Err(refuse("cannot start a container that has stopped"));
    };
    fault::point();
    let notifier = Notifier::for_start(&locked.directory)?;
    let socket = locked.directory.join(START_SOCKET);
    let mut stream = UnixStream::from(crate::sys::net::connect_path(&socket)?);
    let agent = state.agent.as_ref().map(Agent::connect).transpose()?;
    fault::point();
    stream.write_all(&[GO]).context(|| "tell init to start")?;
    fault::point();
    let said = listen(&mut stream, &state, &init, agent.as_ref())?;
    fault::point();
    match describe_failure(&said.rest) {
        Some(error) => return Err(error),
        None if state.start_hooks && !said.hooks_ended => {
            return Err(Error::new("init was killed before the startContainer hooks had ended"));
        }
        None => finish(&state, &socket, &init)?,
    }
    // A hook may ask for the container.
    let directory = locked.directory.path.clone();
    drop(locked);
    poststart(&state, &directory)?;
    notifier.map_or(Ok(()), |notifier| notifier.wait(state.init.pid, init.as_fd()))
}

fn poststart(state: &State, directory: &Path) -> Result<()> {
    if state.poststart.is_empty() {
        return Ok(());
    }
    let init = identity::find(&state.init);
    let told = hooks::document_of(state)?;
    hooks::poststart(
        &state.poststart,
        &told,
        (&state.bundle, directory),
        state.init.pid,
        init.as_ref().map(AsFd::as_fd),
    )
}

/// What init says until it is the user's process.
#[derive(Default)]
struct Said {
    /// That the startContainer hooks have ended well.
    hooks_ended: bool,
    /// A failure, or nothing.
    rest: Vec<u8>,
}

/// Listens to init. Its filter's listener goes to the agent.
fn listen(stream: &mut UnixStream, state: &State, init: &OwnedFd, agent: Option<&Agent>) -> Result<Said> {
    let mut said = Said::default();
    loop {
        stream.take(1).read_to_end(&mut said.rest).context(|| "read what init says")?;
        match (said.rest.first(), agent) {
            (Some(&LISTENER), Some(agent)) => serve(stream, state, init, agent)?,
            (Some(&READY), _) => said.hooks_ended = true,
            _ => break,
        }
        said.rest.clear();
    }
    // It may be traced by a process of the container: what it says has an end. A failure tells of one step.
    stream.take(32 << 20).read_to_end(&mut said.rest).context(|| "read what init says")?;
    Ok(said)
}

/// Without its agent the process must not run: its calls would be answered by nobody, or fail.
fn serve(stream: &mut UnixStream, state: &State, init: &OwnedFd, agent: &Agent) -> Result<()> {
    let subject = Subject::of(state, Status::Created);
    agent.serve(stream, state.init.pid, init.as_fd(), &subject).inspect_err(|_| {
        let _ = pidfd::signal(init.as_fd(), libc::SIGKILL);
        pidfd::wait_for_end(init.as_fd(), Some(PATIENCE));
    })
}

/// Tells a success from an end that came before it: both close the connection.
fn finish(state: &State, socket: &Path, init: &OwnedFd) -> Result<()> {
    // Nobody will connect any more; whether it is there decides nothing.
    let _ = std::fs::remove_file(socket);
    match identity::outcome(state.init.pid, init.as_fd(), state.program) {
        Outcome::Command => Ok(()),
        Outcome::Ended(status) => {
            Err(Error::new(format!("{} before it ran the process", identity::describe_end(status))))
        }
        Outcome::Init => Err(Error::new("init did not start the process and said nothing")),
    }
}

fn refuse(message: &str) -> Error {
    Error::new(message).kind_of(Kind::WrongState)
}
