//! Taking a network away, when nothing is on it.

use super::NetworkName;
use super::store::{self, Lock};
use crate::network::Dirs;
use crate::network::attachment::Attachment;
use crate::network::lock::Locked;
use crate::network::run;
use crate::{Error, Result};

/// A network that is no more.
#[derive(Debug)]
#[must_use]
pub struct Removed {
    /// What it was called.
    pub name: NetworkName,
}

/// Removes a network.
///
/// # Errors
/// When there is none, or containers are on it; they are named.
pub fn remove(dirs: &Dirs, name: &NetworkName) -> Result<Removed> {
    let lock = store::lock(dirs)?;
    if !store::exists(dirs, name) {
        return Err(store::missing(dirs, name));
    }
    remove_unused(dirs, &lock, name)?.map_err(|attached| {
        let all: Vec<_> = attached.iter().map(|one| format!("{} ({})", one.container, one.interface)).collect();
        let all = all.join(", ");
        Error::invalid(format!("network {name}: in use by {all}; delete them first, or give --force"))
    })
}

/// Removes every network that nothing is on.
pub fn prune(dirs: &Dirs) -> Result<Vec<Removed>> {
    let networks = store::list(dirs)?;
    if networks.is_empty() {
        return Ok(Vec::new());
    }
    let lock = store::lock(dirs)?;
    let mut removed = Vec::new();
    for network in networks.iter().filter(|network| store::exists(dirs, network.name())) {
        removed.extend(remove_unused(dirs, &lock, network.name())?.ok());
    }
    Ok(removed)
}

/// The network, removed; or what is attached to it.
fn remove_unused(dirs: &Dirs, lock: &Lock, name: &NetworkName) -> Result<Result<Removed, Vec<Attachment>>> {
    let locked = Locked::take(dirs, name)?;
    run::sweep_one(dirs, &locked)?;
    let attached = locked.attachments()?;
    if !attached.is_empty() {
        return Ok(Err(attached));
    }
    store::remove_file(dirs, lock, name)?;
    locked.remove_all()?;
    Ok(Ok(Removed { name: name.clone() }))
}
