//! Which processes are a container's. Its cgroups know; a container without any, as an ordinary user may have it, is
//! known by its pid namespace.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;

use super::store::{Directory, State};
use super::{PATIENCE, cleanup, identity};
use crate::{Context, Result, sys};

/// Whether all of them can be known: a container that has neither cgroups nor a pid namespace of its own leaves nothing to
/// tell what its first process starts from others.
pub fn are_known(state: &State) -> bool {
    state.place.is_some() || state.ends_with_init()
}

/// Whether what is in the container's cgroups is another's: systemd has given up its unit, whose name has been taken since.
fn are_of_another(directory: &Directory, state: &State) -> Result<bool> {
    let has_unit = state.place.as_ref().is_some_and(|place| place.unit.is_some());
    Ok(has_unit && identity::find(&state.init).is_none() && cleanup::has_successor(directory)?)
}

/// Their pids as the caller's pid namespace has them, sorted; the first one's alone where no others are known.
pub fn pids(directory: &Directory, state: &State) -> Result<Vec<i32>> {
    if let Some(place) = &state.place {
        return if are_of_another(directory, state)? { Ok(Vec::new()) } else { place.pids() };
    }
    match identity::find(&state.init) {
        None => Ok(Vec::new()),
        Some(init) if state.ends_with_init() => in_namespace(state, &init),
        Some(_) => Ok(vec![state.init.pid]),
    }
}

/// Sends a signal to each of them. Without cgroups SIGKILL goes to the first, whose end is that of its pid namespace.
pub fn signal_all(directory: &Directory, state: &State, signal: i32) -> Result<()> {
    if let Some(place) = &state.place {
        return if are_of_another(directory, state)? { Ok(()) } else { place.signal_all(signal, PATIENCE) };
    }
    let Some(init) = identity::find(&state.init) else { return Ok(()) };
    if signal == libc::SIGKILL || !are_known(state) {
        return send(state.init.pid, &init, signal);
    }
    // Held before the list is made anew: a pid that has passed to a stranger is not in it.
    let held: Vec<_> =
        in_namespace(state, &init)?.into_iter().filter_map(|pid| Some((pid, sys::pidfd::open(pid).ok()?))).collect();
    let still = in_namespace(state, &init)?;
    held.iter().filter(|(pid, _)| still.binary_search(pid).is_ok()).try_for_each(|(pid, fd)| send(*pid, fd, signal))
}

fn send(pid: i32, process: &OwnedFd, signal: i32) -> Result<()> {
    match sys::pidfd::signal(process.as_fd(), signal) {
        // It may end at any time.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).context(|| format!("send signal {signal} to process {pid}")),
    }
}

/// The processes of the first one's pid namespace and of those below it. A process of another user's cannot be one of them,
/// and need not let itself be looked at.
fn in_namespace(state: &State, init: &OwnedFd) -> Result<Vec<i32>> {
    let path = format!("/proc/{}/ns/pid", state.init.pid);
    let own = File::open(&path).and_then(|file| inode(&file)).context(|| format!("open {path}"))?;
    if sys::pidfd::has_ended(init.as_fd()) {
        return Ok(Vec::new());
    }
    let mut pids = Vec::new();
    let mut known = HashMap::from([(own, true)]);
    for entry in std::fs::read_dir("/proc").context(|| "read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(namespace) = File::open(entry.path().join("ns/pid")) else { continue };
        let Ok(inode) = inode(&namespace) else { continue };
        if *known.entry(inode).or_insert_with(|| is_below(namespace.into(), own)) {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Whether a pid namespace lies below that of this inode.
fn is_below(mut namespace: OwnedFd, above: u64) -> bool {
    // Those above the caller's own the kernel does not show.
    while let Ok(parent) = sys::parent_namespace(namespace.as_fd()).map(File::from) {
        if inode(&parent).is_ok_and(|found| found == above) {
            return true;
        }
        namespace = parent.into();
    }
    false
}

fn inode(namespace: &File) -> std::io::Result<u64> {
    namespace.metadata().map(|found| found.ino())
}
