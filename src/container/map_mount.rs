//! Mounts whose ids are mapped: done by the runtime, which has the privilege over the filesystem, on the detached mount
//! that init shows. docs/decisions/idmapped-mounts.md.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::id_maps;
use crate::init::mounts::plan::filesystems_at;
use crate::init::namespaces::ids::IdMaps;
use crate::init::program::MapMount;
use crate::{Context, Error, Result, sys};

/// Maps a mount's ids; `init` is the pid of the container's init, whose user namespace serves where the mount has no
/// mappings of its own.
pub fn map_ids(mount: BorrowedFd, map: &MapMount, init: i32) -> Result<()> {
    let users = match &map.maps {
        Some(maps) => of_its_own(maps, &map.field)?,
        None => {
            let path = format!("/proc/{init}/ns/user");
            std::fs::File::open(&path).context(|| format!("{}: open {path}", map.field))?.into()
        }
    };
    sys::mount::map_ids(mount, users.as_fd(), map.recursive).map_err(|errno| explain(errno, map))
}

/// A user namespace with the mount's mappings, held by its descriptor.
fn of_its_own(maps: &IdMaps, field: &str) -> Result<OwnedFd> {
    sys::userns::make(|pid| id_maps::write(pid, maps, field))
}

/// mount_setattr(2), "Errors", for an id mapping.
fn explain(errno: Errno, map: &MapMount) -> Error {
    let reason = match errno {
        Errno::ENOSYS => "this kernel cannot map ids of mounts: that came with Linux 5.12".to_owned(),
        Errno::EINVAL => format!(
            "the kernel refuses it for {}: one of these filesystems cannot map ids; leave out {}, or bind from a filesystem that can, such as ext4, xfs or btrfs",
            kinds(&map.source, map.recursive),
            if map.recursive { "ridmap or use idmap, for the upper mount alone" } else { "the mapping" },
        ),
        Errno::EPERM => "the kernel refuses it: the source is a mount with a mapping already, the mapping is the host's own, or the caller does not administer the filesystem (CAP_SYS_ADMIN in its user namespace)".to_owned(),
        other => other.desc().to_owned(),
    };
    let words = format!("{}: {map}: {reason}", map.field);
    Error::from(errno).reworded(words).kind_of(crate::Kind::Invalid)
}

/// The filesystems that a mapping would cover, by name.
fn kinds(source: &Path, recursive: bool) -> String {
    let table = crate::sys::read_kernel_file("/proc/self/mountinfo").unwrap_or_default();
    let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    let found = filesystems_at(&table, &source, recursive);
    if found.is_empty() { "its filesystem".into() } else { found.join(", ") }
}
