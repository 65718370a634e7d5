//! Hiding paths, or making them read-only. After the pivot: paths are the container's own.

use core::ffi::CStr;

use linux_raw_sys::errno::ENOSYS;
use linux_raw_sys::general::{
    AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
    MS_RDONLY, O_PATH, OPEN_TREE_CLONE,
};

use super::step::Step;
use crate::context::Context;
use crate::devices::run::device_number;
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::mounts::run::{is_absent, new_detached, remount_flags};
use crate::sys::{self, Fd};

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::PrepareMasks {} => prepare_masks(context),
        Step::Mask { path } => mask(path.0, context),
        Step::ReadOnly { path } => read_only(path.0, context),
    }
}

fn prepare_masks(context: &mut Context) -> Result<(), Failure> {
    let null = sys::open_tree(AT_FDCWD, c"/dev/null", OPEN_TREE_CLONE).during(Act::Open)?;
    let found = sys::stat(null, c"").during(Act::Open)?;
    // Whatever lies in its place would be what masked files show (CVE-2025-31133).
    if found.st_mode & 0o170000 != 0o020000 || found.st_rdev != device_number(1, 3) {
        return Err(Failure { act: Act::NotGenuine, errno: linux_raw_sys::errno::ENODEV as i32 });
    }
    // The node is the host's: on a writable mount the container's root could change its mode and owner. Writing to a
    // device needs no writable mount.
    let attributes = u64::from(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    context.null.writable = match sys::set_attributes(null, attributes, 0, 0, false) {
        // Before Linux 5.12: once it is attached.
        Err(errno) if errno == ENOSYS as i32 => true,
        other => other.map(|()| false).during(Act::SetFlags)?,
    };
    context.null.tree = null;
    Ok(())
}

fn mask(path: &CStr, context: &mut Context) -> Result<(), Failure> {
    let place = match context.open(path, O_PATH) {
        Err(errno) if is_absent(errno) => return Ok(()),
        found => found.during(Act::Resolve)?,
    };
    let directory = sys::stat(place, c"").during(Act::Resolve)?.st_mode & 0o170000 == 0o040000;
    let cover = if directory { empty_directory(context)? } else { &mut context.null };
    let outcome = if directory || stands(Guard::HostNull) {
        cover.attach(place, path)
    } else {
        let tree = sys::open_tree(AT_FDCWD, c"/dev/null", OPEN_TREE_CLONE).during(Act::Attach)?;
        Cover { tree, ..Cover::NONE }.attach(place, path)
    };
    sys::close(place);
    outcome
}

/// What lies over masked paths: a mount, detached until it is first used.
#[derive(Clone, Copy)]
pub struct Cover {
    pub tree: Fd,
    used: bool,
    /// Whether it still has to become read-only, when it is attached.
    writable: bool,
}

impl Cover {
    pub const NONE: Self = Self { tree: -1, used: false, writable: false };

    /// Over a place. The mount itself goes over the first, since Linux before 6.15 clones only what is attached.
    fn attach(&mut self, place: Fd, path: &CStr) -> Result<(), Failure> {
        if !self.used {
            self.used = true;
            sys::attach(self.tree, place).during(Act::Attach)?;
            // Clones are made of it later, and are read-only as well.
            return if self.writable { remount(self.tree, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC) } else { Ok(()) };
        }
        let clone = sys::open_tree(self.tree, c"", OPEN_TREE_CLONE | AT_EMPTY_PATH).during(Act::Attach)?;
        let outcome = sys::attach(clone, place).during(Act::Attach);
        sys::close(clone);
        outcome
    }
}

/// One empty read-only tmpfs serves every masked directory.
fn empty_directory(context: &mut Context) -> Result<&mut Cover, Failure> {
    if context.empty.tree < 0 {
        let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        let options = [(c"mode", c"755"), (c"nr_blocks", c"1"), (c"nr_inodes", c"2")];
        context.empty.tree = new_detached(c"tmpfs", &options, attributes).during(Act::Attach)?;
    }
    Ok(&mut context.empty)
}

fn read_only(path: &CStr, context: &Context) -> Result<(), Failure> {
    let place = match context.open(path, O_PATH) {
        Err(errno) if is_absent(errno) => return Ok(()),
        found => found.during(Act::Resolve)?,
    };
    let tree =
        sys::open_tree(place, c"", OPEN_TREE_CLONE | AT_EMPTY_PATH | AT_RECURSIVE).during(Act::Attach)?;
    let outcome = match sys::set_attributes(tree, u64::from(MOUNT_ATTR_RDONLY), 0, 0, false) {
        Err(errno) if errno == ENOSYS as i32 => {
            sys::attach(tree, place).during(Act::Attach).and_then(|()| remount(tree, path, 0))
        }
        other => other.during(Act::SetFlags).and_then(|()| sys::attach(tree, place).during(Act::Attach)),
    };
    sys::close(tree);
    sys::close(place);
    outcome
}

/// Read-only, and what `more` says, by the means of before Linux 5.12, once it is attached: a directory by its descriptor,
/// which no link can lead elsewhere. A file cannot be the working directory, and goes by its path; whoever shares the rootfs
/// may have led that to another mount, so that the descriptor is asked.
fn remount(tree: Fd, path: &CStr, more: u32) -> Result<(), Failure> {
    let target = if sys::fchdir(tree).is_ok() { c"." } else { path };
    let flags = remount_flags(tree, u64::from(MOUNT_ATTR_RDONLY | more), 0)?;
    sys::mount(None, target, None, flags, None).during(Act::SetFlags)?;
    match sys::mount_flags(tree).during(Act::SetFlags)? & u64::from(MS_RDONLY) {
        0 => Err(Failure { act: Act::NotGenuine, errno: linux_raw_sys::errno::EPERM as i32 }),
        _ => Ok(()),
    }
}
