//! Definitions on disk. A file is written to a temporary name and renamed, so it is whole or not there; whoever adds or
//! removes one holds the directory's lock, so that no two have the same name, bridge or range.

use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::Flock;

use super::{Definition, Network, NetworkName};
use crate::network::{Dirs, lock::flock};
use crate::{Context, Error, Kind, Result};

/// The most that a definition's file may have.
const LONGEST: u64 = 1 << 20;
const TEMPORARY: &str = ".new";

/// The lock of the definitions, held until it is dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "it unlocks when dropped")] Flock<File>);

/// Makes the directory of definitions where it is missing, and takes its lock.
pub fn lock(dirs: &Dirs) -> Result<Lock> {
    let shown = dirs.config.display();
    let open = || File::open(&dirs.config);
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(&dirs.config);
            made.context(|| format!("make {shown} (or name another directory by --network-config-dir)"))?;
            open()
        }
        other => other,
    };
    let file = file.context(|| format!("open {shown}"))?;
    flock(file, &format!("the networks' definitions, {shown},")).map(Lock)
}

/// A network's definition, where there is one.
pub fn find(dirs: &Dirs, name: &NetworkName) -> Result<Option<Definition>> {
    read(&dirs.definition(name), name)
}

/// A network.
///
/// # Errors
/// When there is none of that name, or its definition makes no sense.
pub fn load(dirs: &Dirs, name: &NetworkName) -> Result<Network> {
    find(dirs, name)?.ok_or_else(|| missing(dirs, name))?.try_into()
}

/// "network NAME does not exist".
pub fn missing(dirs: &Dirs, name: &NetworkName) -> Error {
    let path = dirs.definition(name);
    let advice = format!("there is no {}; nfrun network create {name} makes one", path.display());
    Error::invalid(format!("network {name} does not exist: {advice}"))
}

/// Every network, in the order of their names. One whose file makes no sense is logged, and hides no other.
pub fn list(dirs: &Dirs) -> Result<Vec<Network>> {
    let entries = match std::fs::read_dir(&dirs.config) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("open {}", dirs.config.display()))?,
    };
    let mut networks = Vec::new();
    for entry in entries {
        let path = entry.context(|| format!("read {}", dirs.config.display()))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".json").filter(|name| !name.starts_with('.')) else { continue };
        match name
            .parse()
            .and_then(|name| read(&path, &name))
            .and_then(|found| found.map(Network::try_from).transpose())
        {
            Ok(found) => networks.extend(found),
            Err(error) => log::warn!("{}: left out: {error}", path.display()),
        }
    }
    networks.sort_by(|one, other| one.name().cmp(other.name()));
    Ok(networks)
}

fn read(path: &Path, name: &NetworkName) -> Result<Option<Definition>> {
    let shown = || format!("read {}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.context(shown)?,
    };
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).context(shown)?;
    let definition: Definition = serde_json::from_str(&text).context(shown)?;
    if definition.name != *name {
        let other = &definition.name;
        return Err(Error::invalid(format!("{}: it defines network {other}, not {name}; rename it", path.display())));
    }
    Ok(Some(definition))
}

/// Whether a name has a file, be it one that makes sense or not.
pub fn exists(dirs: &Dirs, name: &NetworkName) -> bool {
    dirs.definition(name).symlink_metadata().is_ok()
}

/// That no network has this name.
pub fn check_free(dirs: &Dirs, name: &NetworkName) -> Result<()> {
    if !exists(dirs, name) {
        return Ok(());
    }
    let message = format!("network {name} already exists: {}", dirs.definition(name).display());
    Err(Error::invalid(message).kind_of(Kind::Exists))
}

/// Writes a new definition. It outlives a boot, so it is on the disk before anybody relies on it.
///
/// # Errors
/// When there is one of that name.
pub fn save(dirs: &Dirs, _lock: &Lock, definition: &Definition) -> Result<()> {
    check_free(dirs, &definition.name)?;
    let path = dirs.definition(&definition.name);
    let temporary = dirs.config.join(TEMPORARY);
    let text = format!("{}\n", serde_json::to_string_pretty(definition)?);
    let write = || -> std::io::Result<()> {
        // With the lock held it is what a killed command left, whatever it is.
        let _ = std::fs::remove_file(&temporary);
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        // Whatever umask the caller has: a user may look at root's networks.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&temporary))).context(|| format!("write {}", path.display()))
}

/// Removes a definition's file.
pub fn remove_file(dirs: &Dirs, _lock: &Lock, name: &NetworkName) -> Result<()> {
    let path = dirs.definition(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing(dirs, name)),
        other => other.context(|| format!("remove {}", path.display())),
    }
}
