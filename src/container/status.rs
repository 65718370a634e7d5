//! What a container is now: its state on disk, held against what the kernel says.

use std::path::Path;

use super::store::{self, Directory, Locked, State};
use super::{ContainerId, Globals, Interfaces, Snapshot, Status, cleanup, identity, processes};
use crate::network::attachment;
use crate::{Error, Kind, Result, timestamp, undo};

/// What a container is now, with its interfaces.
pub fn state(globals: &Globals, id: &ContainerId) -> Result<Snapshot> {
    let mut snapshot = snapshot(globals, id)?.ok_or_else(|| store::no_such_container(id))?;
    // What drivers ask for is known without them.
    match attachment::of_container(&globals.networks, &globals.root, id.as_str()) {
        Ok(attached) => snapshot.interfaces.attached = attached,
        Err(error) => log::warn!("{id}: its interfaces: {error}"),
    }
    Ok(snapshot)
}

/// All containers of the root, sorted by id.
pub fn list(globals: &Globals) -> Result<Vec<Snapshot>> {
    let Some(ids) = store::ids(&globals.root)? else {
        if globals.root_given {
            let root = globals.root.display();
            return Err(Error::new(format!("open {root}: no such file or directory (--root names it)")));
        }
        return Ok(Vec::new());
    };
    let mut snapshots = Vec::with_capacity(ids.len());
    for id in ids {
        match snapshot(globals, &id) {
            // Those of each cost a look at every network.
            Ok(found) => {
                snapshots.extend(found.map(|found| Snapshot { interfaces: Interfaces::default(), ..found }));
            }
            Err(error) if error.kind() == Kind::NoSuchContainer => {}
            // One unreadable container must not hide the others.
            Err(error) => log::error!("{id}: {error}"),
        }
    }
    Ok(snapshots)
}

/// The pids of all of the container's processes, as the host sees them.
pub fn pids(globals: &Globals, id: &ContainerId) -> Result<Vec<i32>> {
    let (directory, state) = open(globals, id)?;
    processes::pids(&directory, &state)
}

/// None where a half-made container was found and removed.
fn snapshot(globals: &Globals, id: &ContainerId) -> Result<Option<Snapshot>> {
    let directory = Directory::open(&globals.root, id)?;
    if let Some(state) = directory.state()? {
        return Ok(Some(of_state(&directory, state)));
    }
    match directory.try_lock()? {
        // Whoever removes it is at work, or its creator.
        Err(directory) if directory.is_being_removed() => Ok(None),
        Err(directory) => Ok(creating(&directory, id)),
        Ok(None) => Ok(None),
        Ok(Some(locked)) => match locked.directory.state()? {
            // It was finished between the two looks.
            Some(state) => Ok(Some(of_state(&locked.directory, state))),
            None => cleanup::tidy(locked).map(|()| None),
        },
    }
}

fn of_state(directory: &Directory, state: State) -> Snapshot {
    let status = of(&state);
    Snapshot {
        oci_version: state.oci_version,
        id: state.id,
        pid: if status == Status::Stopped { 0 } else { state.init.pid },
        status,
        bundle: state.bundle,
        rootfs: state.rootfs,
        created: state.created,
        owner: owner(directory),
        annotations: state.annotations,
        interfaces: Interfaces { attached: Vec::new(), apart: state.apart },
    }
}

fn creating(directory: &Directory, id: &ContainerId) -> Option<Snapshot> {
    let record = undo::read(directory).ok().flatten();
    Some(Snapshot {
        oci_version: "1.3.0".into(),
        id: id.to_string(),
        // Hooks that run meanwhile may ask.
        pid: record.as_ref().and_then(undo::Record::process).map_or(0, |init| init.pid),
        status: Status::Creating,
        bundle: record.map(|record| record.head.bundle).unwrap_or_default(),
        rootfs: std::path::PathBuf::new(),
        created: timestamp::nanoseconds(directory.modified()),
        owner: owner(directory),
        annotations: Default::default(),
        interfaces: Interfaces::default(),
    })
}

/// Root's name is known; any other costs a look into the account files.
fn owner(directory: &Directory) -> String {
    match directory.owner() {
        0 => "root".into(),
        uid => crate::bundle::accounts::name(Path::new("/"), uid).unwrap_or_else(|| format!("#{uid}")),
    }
}

/// Where a container is in its life.
pub fn of(state: &State) -> Status {
    if identity::find(&state.init).is_none() {
        return Status::Stopped;
    }
    if state.place.as_ref().is_some_and(|place| place.is_frozen()) {
        return Status::Paused;
    }
    if identity::is_waiting(state.init.pid, state.program) { Status::Created } else { Status::Running }
}

/// A container's directory and state, for commands that do not change it.
pub fn open(globals: &Globals, id: &ContainerId) -> Result<(Directory, State)> {
    let directory = Directory::open(&globals.root, id)?;
    if let Some(state) = directory.state()? {
        return Ok((directory, state));
    }
    // Half-made by a creator that is gone, or not yet made by one that works.
    if let Ok(Some(locked)) = directory.try_lock()? {
        match locked.directory.state()? {
            Some(state) => return Ok((locked.directory, state)),
            None => cleanup::tidy(locked)?,
        }
    }
    Err(store::no_such_container(id))
}

/// A container's directory, locked, and its state, for commands that change it.
pub fn open_locked(globals: &Globals, id: &ContainerId) -> Result<(Locked, State)> {
    let Some(locked) = Directory::open(&globals.root, id)?.lock()? else {
        return Err(store::no_such_container(id));
    };
    match locked.directory.state()? {
        Some(state) => Ok((locked, state)),
        None => {
            cleanup::undo(locked)?;
            Err(store::no_such_container(id))
        }
    }
}
