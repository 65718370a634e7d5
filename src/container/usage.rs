//! What each running container uses now, for whoever watches all of them. What cannot be read is left open, and a container
//! that ends meanwhile is left out.

use std::time::Instant;

use super::events;
use super::store::{self, State};
use super::{ContainerId, Globals, Status, status};
use crate::cgroup::Usage;
use crate::{Error, Kind, Result};

/// Packets and bytes that have passed the interfaces of a container, lo not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Traffic {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}

/// What one container uses.
#[derive(Debug, Clone)]
pub struct Used {
    /// The container.
    pub id: String,
    /// Its first process, by which it is told from a later one of its name.
    pub pid: i32,
    /// When the counters were read.
    pub at: Instant,
    /// Processor time, memory, processes.
    pub cgroups: Usage,
    /// None where it shares the network namespace that it was created from.
    pub traffic: Option<Traffic>,
}

/// What the running and paused containers of the root use, or of them those that are named.
///
/// # Errors
/// When the root cannot be read. A container that cannot is logged and left out.
pub fn usage(globals: &Globals, only: &[ContainerId]) -> Result<Vec<Used>> {
    let ids = if only.is_empty() { store::ids(&globals.root)?.unwrap_or_default() } else { only.to_vec() };
    let mut found = Vec::with_capacity(ids.len());
    for id in &ids {
        match one(globals, id) {
            Ok(used) => found.extend(used),
            Err(error) if error.kind() == Kind::NoSuchContainer => {}
            Err(error) => log::error!("{id}: {error}"),
        }
    }
    Ok(found)
}

/// Checks that containers can be watched: that there is one of each id, and that it runs.
pub fn check_running(globals: &Globals, ids: &[ContainerId]) -> Result<()> {
    ids.iter().try_for_each(|id| {
        let refused = || Error::new(format!("container with id {id} is not running")).kind_of(Kind::WrongState);
        one(globals, id)?.map(drop).ok_or_else(refused)
    })
}

/// None where it does not run.
fn one(globals: &Globals, id: &ContainerId) -> Result<Option<Used>> {
    let (_, state) = status::open(globals, id)?;
    if !matches!(status::of(&state), Status::Running | Status::Paused) {
        return Ok(None);
    }
    let cgroups = state.place.as_ref().map(|place| place.usage()).unwrap_or_default();
    let traffic = traffic(&state);
    // With its end its counters have gone, or have become another's.
    if super::identity::find(&state.init).is_none() {
        return Ok(None);
    }
    Ok(Some(Used { id: id.to_string(), pid: state.init.pid, at: Instant::now(), cgroups, traffic }))
}

fn traffic(state: &State) -> Option<Traffic> {
    let interfaces = events::interfaces(state).ok().flatten()?;
    let outer = interfaces.iter().filter(|interface| interface.name != "lo");
    Some(outer.fold(Traffic::default(), |sum, interface| Traffic {
        rx_packets: sum.rx_packets.saturating_add(interface.rx_packets),
        rx_bytes: sum.rx_bytes.saturating_add(interface.rx_bytes),
        tx_packets: sum.tx_packets.saturating_add(interface.tx_packets),
        tx_bytes: sum.tx_bytes.saturating_add(interface.tx_bytes),
    }))
}
