//! Mounts by descriptor: open_tree(2), fsopen(2), fsmount(2), mount_setattr(2).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{check, own};

/// A detached clone of the mount at a path: OPEN_TREE_CLONE.
pub fn clone_tree(at: BorrowedFd, path: &CStr) -> nix::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: path is a C string that outlives the call.
    own(unsafe { libc::syscall(libc::SYS_open_tree, at.as_raw_fd(), path.as_ptr(), flags) })
}

/// A fresh filesystem, mounted nowhere. `options` are pairs as fsconfig(2) takes, an empty value for a flag.
pub fn new_detached(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u32) -> nix::Result<OwnedFd> {
    // SAFETY: kind is a C string; the flag is FSOPEN_CLOEXEC.
    let context = own(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) })?;
    for (key, value) in options {
        configure(context.as_fd(), Some((key, value)))?;
    }
    configure(context.as_fd(), None)?;
    // SAFETY: plain numbers; the flag is FSMOUNT_CLOEXEC.
    own(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, attributes) })
}

/// FSCONFIG_SET_STRING or FSCONFIG_SET_FLAG of a pair, FSCONFIG_CMD_CREATE of none.
fn configure(context: BorrowedFd, pair: Option<(&&CStr, &&CStr)>) -> nix::Result<()> {
    let (command, key, value) = match pair {
        Some((key, value)) if value.is_empty() => (0, key.as_ptr(), std::ptr::null()),
        Some((key, value)) => (1, key.as_ptr(), value.as_ptr()),
        None => (6, std::ptr::null(), std::ptr::null()),
    };
    // SAFETY: the pointers are C strings or NULL as each command wants.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) }).map(drop)
}

/// Makes a mount read-only: MOUNT_ATTR_RDONLY.
pub fn make_read_only(mount: BorrowedFd) -> nix::Result<()> {
    set_attributes(mount, [libc::MOUNT_ATTR_RDONLY, 0, 0, 0], 0)
}

/// Makes a mount a slave of what it was a peer of: MS_SLAVE.
pub fn make_slave(mount: BorrowedFd) -> nix::Result<()> {
    set_attributes(mount, [0, 0, libc::MS_SLAVE, 0], 0)
}

/// Maps the ids of a detached mount, or with all mounts below it, by a user namespace: MOUNT_ATTR_IDMAP, Linux 5.12.
pub fn map_ids(mount: BorrowedFd, users: BorrowedFd, recursive: bool) -> nix::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    set_attributes(mount, [MOUNT_ATTR_IDMAP, 0, 0, users.as_raw_fd() as u64], flags)
}

/// mount_setattr(2) with a struct mount_attr: bits to set, bits to clear, propagation, user namespace.
fn set_attributes(mount: BorrowedFd, attributes: [u64; 4], flags: i32) -> nix::Result<()> {
    let (fd, size) = (mount.as_raw_fd(), size_of_val(&attributes));
    // SAFETY: an empty path and a struct mount_attr of the length given.
    let result = unsafe {
        let path = c"".as_ptr();
        libc::syscall(libc::SYS_mount_setattr, fd, path, libc::AT_EMPTY_PATH | flags, attributes.as_ptr(), size)
    };
    check(result).map(drop)
}
