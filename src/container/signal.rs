//! Signals to a container, and freezing it.

use std::os::fd::AsFd;

use super::{ContainerId, Globals, PATIENCE, Status, identity, processes, status, update};
use crate::{Error, Kind, Result, sys};

/// Sends a signal to init, or to every process of the container.
pub fn kill(globals: &Globals, id: &ContainerId, signal: i32, all: bool) -> Result<()> {
    let (directory, state) = status::open(globals, id)?;
    let init = identity::find(&state.init);
    let whole = all || (signal == libc::SIGKILL && !state.ends_with_init());
    if whole && processes::are_known(&state) {
        let anything = init.is_some() || !processes::pids(&directory, &state)?.is_empty();
        return if anything || all { processes::signal_all(&directory, &state, signal) } else { Err(not_running()) };
    }
    if whole {
        log::warn!(
            "the container has no cgroup and no pid namespace of its own: the signal goes to its first process alone"
        );
    }
    let Some(init) = init else { return Err(not_running()) };
    match sys::pidfd::signal(init.as_fd(), signal) {
        Ok(()) => {}
        Err(nix::errno::Errno::ESRCH) => return Err(not_running()),
        Err(errno) => {
            return Err(Error::from(errno).context(format!("send signal {signal} to process {}", state.init.pid)));
        }
    }
    // A frozen process takes the signal once it is thawed; SIGKILL should not wait for that.
    if let (libc::SIGKILL, Some(place)) = (signal, &state.place)
        && place.is_frozen()
    {
        place.thaw()?;
    }
    Ok(())
}

fn not_running() -> Error {
    Error::new("container not running").kind_of(Kind::WrongState)
}

/// Freezes every process of a container.
pub fn pause(globals: &Globals, id: &ContainerId) -> Result<()> {
    let (locked, state) = status::open_locked(globals, id)?;
    update::mend(&locked, &state)?;
    match (status::of(&state), &state.place) {
        (Status::Running | Status::Created, Some(place)) => place.freeze(PATIENCE),
        (Status::Running | Status::Created, None) => Err(Error::new(
            "cannot pause a container without a cgroup (none was delegated to its user, or cgroups were disabled)",
        )),
        (now, _) => {
            let now = now.as_str();
            Err(Error::new(format!("container not running or created: {now}")).kind_of(Kind::WrongState))
        }
    }
}

/// Thaws what `pause` froze.
pub fn resume(globals: &Globals, id: &ContainerId) -> Result<()> {
    let (locked, state) = status::open_locked(globals, id)?;
    let thawed = update::mend(&locked, &state)?;
    match (status::of(&state), &state.place) {
        (Status::Paused, Some(place)) => place.thaw(),
        _ if thawed => Ok(()),
        _ => Err(Error::new("container not paused").kind_of(Kind::WrongState)),
    }
}
