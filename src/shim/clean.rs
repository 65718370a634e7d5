//! `delete`: removes what is left of a container whose shim is gone, by the container's own undo record.

use std::path::{Path, PathBuf};

use prost::Message;

use super::flags::Flags;
use super::messages::Timestamp;
use super::messages::task::DeleteResponse;
use super::{bootstrap, options, print, rootfs};
use crate::container::{self, ContainerId};
use crate::{Context, Result};

/// Ends the container, removes it, and tells how it ended, as far as can be known.
pub fn delete(flags: &Flags) -> Result<()> {
    let bundle = bundle(flags)?;
    let globals = options::globals_of_bundle(&bundle, &flags.namespace);
    let id: ContainerId = flags.id.parse()?;
    // A container that has ended, or was never made, has none.
    let pid = container::state(&globals, &id).map_or(0, |state| state.pid);
    let deleted = container::delete(&globals, &id, true);
    rootfs::unmount(&bundle);
    bootstrap::remove_dead_socket(&bundle);
    deleted?;
    let response =
        DeleteResponse { pid: pid as u32, exit_status: 128 + libc::SIGKILL as u32, exited_at: Some(Timestamp::now()) };
    print(&response.encode_to_vec())
}

/// containerd gives the directory as a flag, or is in it, or is beside it.
fn bundle(flags: &Flags) -> Result<PathBuf> {
    if let Some(bundle) = &flags.bundle {
        return Ok(bundle.clone());
    }
    let here = std::env::current_dir().context(|| "find the current directory")?;
    let beside = here.parent().map(|parent| parent.join(&flags.id));
    Ok(beside.filter(|beside| Path::exists(beside)).unwrap_or(here))
}
