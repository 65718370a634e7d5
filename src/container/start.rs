//! Starting a created container: a word to its waiting init, whose exec errors come back the same way.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::store::{START_SOCKET, State};
use super::{ContainerId, Globals, Status, fault, status};
use crate::init::program::describe_failure;
use crate::init::step::GO;
use crate::{Context, Error, Kind, Result};

/// Starts the user's process of a created container.
pub fn start(globals: &Globals, id: &ContainerId) -> Result<()> {
    let (locked, state) = status::open_locked(globals, id)?;
    match status::of(&state) {
        Status::Created => {}
        Status::Stopped => return Err(refuse("cannot start a container that has stopped")),
        _ => return Err(refuse("cannot start an already running container")),
    }
    fault::point();
    let socket = locked.directory.join(START_SOCKET);
    let mut stream = UnixStream::from(crate::sys::net::connect_path(&socket)?);
    fault::point();
    stream.write_all(&[GO]).context(|| "tell init to start")?;
    fault::point();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context(|| "read what init says")?;
    fault::point();
    match describe_failure(&answer) {
        Some(error) => Err(error),
        None => finish(&state, &socket),
    }
}

fn finish(state: &State, socket: &std::path::Path) -> Result<()> {
    // Nobody will connect any more; whether it is there decides nothing.
    let _ = std::fs::remove_file(socket);
    if super::identity::find(&state.init).is_some() && super::identity::is_waiting(state.init.pid, state.program) {
        return Err(Error::new(
            "init did not start the process and said nothing; its log may be in dmesg (a seccomp kill?)",
        ));
    }
    Ok(())
}

fn refuse(message: &str) -> Error {
    Error::new(message).kind_of(Kind::WrongState)
}
