//! root and linux.rootfsPropagation, as steps: config.md, "Root"; config-linux.md, "Rootfs Mount Propagation".

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::step::Step;
use crate::init::mounts::plan::propagation;
use crate::init::program::{Draft, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// How the root is made.
#[derive(Debug, Clone, Copy)]
pub struct Root<'a> {
    /// The rootfs's real path.
    pub path: &'a Path,
    /// root.readonly.
    pub read_only: bool,
    /// linux.rootfsPropagation.
    pub propagation: Option<&'a str>,
    /// The mount point that holds the rootfs; known only where the host is looked at.
    pub parent: Option<&'a Path>,
    /// `--no-pivot`.
    pub no_pivot: bool,
}

impl Root<'_> {
    fn propagation_flags(&self) -> Result<Option<u64>> {
        let Some(name) = self.propagation.filter(|name| !name.is_empty()) else { return Ok(None) };
        let known = propagation(name).filter(|_| !name.starts_with('-'));
        known.map(Some).ok_or_else(|| {
            Error::invalid(format!(
                "linux.rootfsPropagation: {name:?} is not known; use private, slave, shared or unbindable, or r and one of them"
            ))
        })
    }

    /// Keeps what is mounted from the host, and attaches the rootfs.
    pub fn attach(&self, draft: &mut Draft) -> Result<()> {
        let flags = self.propagation_flags()?;
        let shared = flags.is_some_and(|flags| flags & libc::MS_SHARED != 0);
        let first = match flags {
            Some(flags) if shared => flags,
            Some(flags) if flags == libc::MS_PRIVATE | libc::MS_REC => flags,
            // Nothing may stay a peer of the host's mounts, also where only the root's own propagation is asked for. A
            // slave still sees what the host mounts later.
            _ => libc::MS_SLAVE | libc::MS_REC,
        };
        draft.step(Step::Propagation { flags: first });
        if let Some(parent) = self.parent.filter(|_| shared) {
            let path = text("root.path", parent.as_os_str().as_bytes())?;
            draft.step(Step::PrivateParent { path: Text(&path) });
        }
        let path = text("root.path", self.path.as_os_str().as_bytes())?;
        draft.step(Step::Attach { path: Text(&path) });
        Ok(())
    }

    /// Makes the attached rootfs the root.
    pub fn enter(&self, draft: &mut Draft) -> Result<()> {
        draft.step(if self.no_pivot { Step::MoveRoot {} } else { Step::Pivot {} });
        if let Some(flags) = self.propagation_flags()? {
            draft.step(Step::RootPropagation { flags });
        }
        Ok(())
    }

    /// Last of all that writes there.
    pub fn seal(&self, draft: &mut Draft) {
        if self.read_only {
            draft.step(Step::ReadOnly {});
        }
    }
}

/// Without a mount namespace the rootfs is only the root directory.
pub fn chroot(path: &Path, draft: &mut Draft) -> Result<()> {
    let path = text("root.path", path.as_os_str().as_bytes())?;
    draft.step(Step::Chroot { path: Text(&path) });
    Ok(())
}
