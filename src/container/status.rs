//! What a container is now: its state on disk, held against what the kernel says.

use std::time::{SystemTime, UNIX_EPOCH};

use super::store::{self, Directory, Locked, State};
use super::{ContainerId, Globals, Snapshot, Status, cleanup, identity};
use crate::{Error, Kind, Result};

/// What a container is now.
pub fn state(globals: &Globals, id: &ContainerId) -> Result<Snapshot> {
    snapshot(globals, id)?.ok_or_else(|| store::no_such_container(id))
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
            Ok(found) => snapshots.extend(found),
            Err(error) if error.kind() == Kind::NoSuchContainer => {}
            // One unreadable container must not hide the others.
            Err(error) => log::error!("{id}: {error}"),
        }
    }
    Ok(snapshots)
}

/// The pids of all processes in the container's cgroup, as the host sees them.
pub fn pids(globals: &Globals, id: &ContainerId) -> Result<Vec<i32>> {
    let (_, state) = open(globals, id)?;
    match &state.place {
        Some(place) => place.pids(),
        None => Ok(identity::find(&state.init).map(|_| state.init.pid).into_iter().collect()),
    }
}

/// None where a half-made container was found and removed.
fn snapshot(globals: &Globals, id: &ContainerId) -> Result<Option<Snapshot>> {
    let directory = Directory::open(&globals.root, id)?;
    if let Some(state) = directory.state()? {
        return Ok(Some(of_state(&directory, state)));
    }
    match directory.try_lock()? {
        // Its creator is at work.
        Err(directory) => Ok(creating(&directory, id)),
        Ok(None) => Ok(None),
        Ok(Some(locked)) => match locked.directory.state()? {
            // It was finished between the two looks.
            Some(state) => Ok(Some(of_state(&locked.directory, state))),
            None => cleanup::undo(locked).map(|()| None),
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
    }
}

fn creating(directory: &Directory, id: &ContainerId) -> Option<Snapshot> {
    let record = crate::undo::read(directory).ok().flatten();
    Some(Snapshot {
        oci_version: "1.3.0".into(),
        id: id.to_string(),
        pid: 0,
        status: Status::Creating,
        bundle: record.map(|record| record.head.bundle).unwrap_or_default(),
        rootfs: std::path::PathBuf::new(),
        created: rfc3339(directory.modified()),
        owner: owner(directory),
        annotations: Default::default(),
    })
}

/// Root's name is known; any other costs a look into the account files.
fn owner(directory: &Directory) -> String {
    match directory.owner() {
        0 => "root".into(),
        uid => match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
            Ok(Some(user)) => user.name,
            _ => format!("#{uid}"),
        },
    }
}

/// Where a container is in its life.
pub fn of(state: &State) -> Status {
    if identity::find(&state.init).is_none() {
        return Status::Stopped;
    }
    if state.place.as_ref().is_some_and(|place| place.is_frozen().unwrap_or(false)) {
        return Status::Paused;
    }
    if identity::is_waiting(state.init.pid) { Status::Created } else { Status::Running }
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
            None => cleanup::undo(locked)?,
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

/// The time now as state.json has it.
pub fn now() -> String {
    rfc3339(SystemTime::now())
}

/// RFC 3339 in UTC with nanoseconds: the civil date from days since 1970, by the algorithm of the proleptic Gregorian
/// calendar with years that begin in March.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_civil_dates() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::new(seconds, 7));
        assert_eq!(at(0), "1970-01-01T00:00:00.000000007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(at(1_795_608_000), "2026-11-25T12:00:00.000000007Z");
    }
}
