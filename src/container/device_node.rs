//! Devices for a user namespace, in which none can be made: the runtime makes them on a tmpfs that is mounted nowhere.

use std::os::fd::OwnedFd;

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, mknodat};
use nix::unistd::{Gid, Uid, fchownat};

use crate::init::program::DeviceNode;
use crate::{Context, Result};

/// A tmpfs with the device as `node`.
pub fn make(device: &DeviceNode) -> Result<OwnedFd> {
    let options = [(c"mode", c"755"), (c"nr_inodes", c"4")];
    let mount = crate::sys::mount::new_detached(c"tmpfs", &options, 0).context(|| "make a tmpfs")?;
    let (kind, mode) = (SFlag::from_bits_truncate(device.mode & libc::S_IFMT), Mode::from_bits_truncate(device.mode));
    mknodat(&mount, c"node", kind, mode, libc::makedev(device.major, device.minor))
        .context(|| "mknod (it needs CAP_MKNOD on the host)")?;
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    fchownat(&mount, c"node", Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW).context(|| "chown")?;
    // After the change of owner, which takes set-id bits off, and whatever the caller's umask is.
    fchmodat(&mount, c"node", mode, FchmodatFlags::FollowSymlink).context(|| "chmod")?;
    Ok(mount)
}
