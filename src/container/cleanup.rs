//! Ending containers: one idempotent replay of the undo record, whoever asks for it.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Instant;

use super::store::{self, Directory, Locked, State};
use super::{ContainerId, Globals, PATIENCE, Status, fault, hooks, identity, links, networks, status};
use crate::undo::{self, Identity, Undo};
use crate::{Error, Kind, Result, cgroup, network, resctrl, sys};

/// Removes a stopped container; with `force` one in any state, and none that does not exist.
pub fn delete(globals: &Globals, id: &ContainerId, force: bool) -> Result<()> {
    match delete_existing(globals, id, force) {
        Err(error) if force && error.kind() == Kind::NoSuchContainer => Ok(()),
        other => other,
    }
}

fn delete_existing(globals: &Globals, id: &ContainerId, force: bool) -> Result<()> {
    let directory = Directory::open(&globals.root, id)?;
    let locked = if force { end_and_lock(directory)? } else { directory.lock()? };
    let Some(locked) = locked else {
        return Err(store::no_such_container(id));
    };
    let Some(state) = locked.directory.state()? else {
        // Half-made: finished here, but there was no container to delete.
        undo(locked)?;
        return Err(store::no_such_container(id));
    };
    // A created container has run nothing of the user's, so runc deletes it without force.
    let now = status::of(&state);
    if !force && !matches!(now, Status::Stopped | Status::Created) {
        let (id, now) = (id.as_str(), now.as_str());
        return Err(
            Error::new(format!("cannot delete container {id} that is not stopped: {now}")).kind_of(Kind::WrongState)
        );
    }
    undo(locked)
}

/// Takes the lock from a command that hangs. A create or start that waits for an init, or for a hook while init waits,
/// gives up once init is gone. A poststop hook that another command runs is cleaning up: it is ended too, but has half of
/// the patience to end by itself.
fn end_and_lock(directory: Directory) -> Result<Option<Locked>> {
    let begun = Instant::now();
    directory.lock_against(|directory| end_what_holds_it(directory, begun.elapsed() > PATIENCE / 2))
}

fn end_what_holds_it(directory: &Directory, hooks_too: bool) -> Result<()> {
    let Some(record) = undo::read(directory)?.filter(|record| !record.is_of_earlier_boot()) else { return Ok(()) };
    let init = record.process();
    for step in record.undos() {
        if let Undo::EndProcess(identity) = step
            && (hooks_too || init == Some(identity))
            && let Some(process) = identity::find(&identity)
        {
            let _ = sys::pidfd::signal(process.as_fd(), libc::SIGKILL);
        }
    }
    Ok(())
}

/// As [`undo`], for a command that only looks: it runs nobody's hooks, and leaves a container that has some to `gc` and
/// `delete`.
pub fn tidy(locked: Locked) -> Result<()> {
    match undo::read(&locked.directory)? {
        Some(record) if !record.is_of_earlier_boot() && !record.deferred().is_empty() => Ok(()),
        _ => undo(locked),
    }
}

/// Replays a container's record and removes its directory. What is left after a failure is tried again by the next.
pub fn undo(locked: Locked) -> Result<()> {
    fault::point();
    let state = locked.directory.begin_removal()?;
    let record = undo::read(&locked.directory)?.filter(|record| !record.is_of_earlier_boot());
    let undos = record.as_ref().map(undo::Record::undos).unwrap_or_default();
    // With a pid namespace of its own everything of the container ends with its init, and what else is in its cgroups is
    // another's. Without one, or before it was whole, what is in them is the container's.
    let whole = state.is_some();
    let own_pids = state.as_ref().is_some_and(State::ends_with_init);
    let place = state.and_then(|state| state.place);
    let succeeded = undos.iter().any(is_of_a_successor);
    if let Some(place) = place.filter(|_| record.is_some() && !succeeded) {
        fault::point();
        if !own_pids {
            place.signal_all(libc::SIGKILL, PATIENCE)?;
        } else if place.is_frozen() {
            place.thaw()?;
        }
    }
    let mut lost = Ok(());
    for step in &undos {
        fault::point();
        match step {
            Undo::EndProcess(identity) => end_process(identity)?,
            Undo::StopUnit { unit, path, inode } => cgroup::systemd::stop(unit, path, *inode, PATIENCE)?,
            Undo::RemoveCgroup { path, leaf: true, inode: Some(inode) } => {
                cgroup::remove_leaf(path, *inode, !own_pids && !succeeded, PATIENCE)?;
            }
            // One that cannot come back now must not keep the others.
            Undo::BringBack { origin, index, networks } => {
                lost = lost.and(links::bring_back(&locked.directory, *networks, origin, *index));
            }
            Undo::RemoveResctrl { own, .. } if outlives(whole, *own) => {}
            Undo::RemoveResctrl { path, inode, own } => resctrl::remove(path, *inode, *own)?,
            Undo::Detach(attached) => network::run::disconnect(&attached.dirs, &attached.attachment, attached.stays)?,
            Undo::RemoveInterface(interface) => networks::remove_interface(interface)?,
            Undo::LetNetworksGo => {
                std::mem::replace(&mut lost, Ok(()))?;
                links::let_go(&locked.directory)?;
            }
            // Nothing of ours was started before the identity was noted: what is inside is another's, and stays.
            Undo::RemoveCgroup { path, inode, .. } => drop(cgroup::remove_unused(path, *inode)?),
        }
    }
    if let Some(record) = &record {
        hooks::poststop(&locked.directory, record);
    }
    fault::point();
    locked.remove()
}

/// Whether another has the unit's name by now.
///
/// # Errors
/// When the record cannot be read.
pub fn has_successor(directory: &Directory) -> Result<bool> {
    Ok(undo::read(directory)?.is_some_and(|record| record.undos().iter().any(is_of_a_successor)))
}

/// Whether the cgroup by which a unit is known is another's by now: systemd gives up a unit whose processes have ended, and
/// its name may be taken before this container is deleted.
fn is_of_a_successor(undo: &Undo) -> bool {
    let Undo::StopUnit { path, inode: Some(inode), .. } = undo else { return false };
    std::fs::metadata(path).is_ok_and(|found| found.ino() != *inode)
}

/// Whether a class of service stays: one that a closID names outlives the container for which it was made (config-linux.md,
/// "IntelRdt"), but not a create that failed.
fn outlives(whole: bool, own: bool) -> bool {
    whole && !own
}

fn end_process(identity: &Identity) -> Result<()> {
    let Some(process) = identity::find(identity) else { return Ok(()) };
    match sys::pidfd::signal(process.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(errno) => return Err(Error::from(errno).context(format!("kill process {}", identity.pid))),
    }
    if sys::pidfd::wait_for_end(process.as_fd(), Some(PATIENCE)) {
        // Where this process is its parent, it is reaped here.
        let _ = nix::sys::wait::waitpid(
            nix::unistd::Pid::from_raw(identity.pid),
            Some(nix::sys::wait::WaitPidFlag::WNOHANG),
        );
        return Ok(());
    }
    let where_it_hangs = cgroup::describe_stuck(identity.pid);
    Err(Error::new(format!("process {} does not end after SIGKILL: {where_it_hangs}", identity.pid)))
}

/// Finishes every half-made or half-deleted container of the root, and those of an earlier boot; returns their ids.
pub fn gc(globals: &Globals) -> Result<Vec<String>> {
    let mut finished = Vec::new();
    let mut failed = None;
    for id in store::ids(&globals.root)?.unwrap_or_default() {
        match collect(globals, &id) {
            Ok(true) => finished.push(id.to_string()),
            Ok(false) => {}
            Err(error) => failed = Some(error.context(id.to_string())),
        }
    }
    // What containers that are gone had on networks, as after a boot that left /run as it was.
    network::run::sweep(&globals.networks)?;
    failed.map_or(Ok(finished), Err)
}

/// Whether nothing that the record says was made is there any more: its boot is over, although this one has lasted
/// longer. A container that only has stopped still has its cgroups.
fn has_vanished(record: &undo::Record) -> bool {
    let undos = record.undos();
    let made: Vec<_> = undos
        .iter()
        .filter_map(|step| match step {
            Undo::RemoveCgroup { path, inode: Some(inode), .. } => Some((path, *inode)),
            _ => None,
        })
        .collect();
    let lives = undos.iter().any(|step| matches!(step, Undo::EndProcess(who) if identity::find(who).is_some()));
    let is_there = |(path, inode): &(&PathBuf, u64)| std::fs::metadata(path).is_ok_and(|found| found.ino() == *inode);
    // systemd removes the cgroup of what has stopped.
    let by_systemd = undos.iter().any(|step| matches!(step, Undo::StopUnit { .. }));
    !by_systemd && !made.is_empty() && !lives && !made.iter().any(is_there)
}

fn collect(globals: &Globals, id: &ContainerId) -> Result<bool> {
    let directory = match Directory::open(&globals.root, id) {
        Err(error) if error.kind() == Kind::NoSuchContainer => return Ok(false),
        other => other?,
    };
    let Ok(Some(locked)) = directory.try_lock()? else { return Ok(false) };
    let half_made = locked.directory.state()?.is_none();
    let record = undo::read(&locked.directory)?;
    if half_made || record.is_some_and(|record| record.is_of_earlier_boot() || has_vanished(&record)) {
        undo(locked)?;
        return Ok(true);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_by_a_clos_id_outlives_its_container_and_no_create_that_failed() {
        let (whole, own) = (true, true);
        assert!(outlives(whole, !own));
        assert!(!outlives(!whole, !own));
        assert!(!outlives(whole, own), "one by the container's id goes with it");
    }
}
