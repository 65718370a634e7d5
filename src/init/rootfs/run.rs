//! Making a directory the root.

use core::ffi::CStr;

use linux_raw_sys::errno::ENOSYS;
use linux_raw_sys::general::{
    AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, MNT_DETACH, MOUNT_ATTR_RDONLY, MS_MOVE, MS_PRIVATE, MS_RDONLY, MS_REC, MS_SLAVE,
    O_DIRECTORY, O_PATH, OPEN_TREE_CLONE, PROC_SUPER_MAGIC, SYSFS_MAGIC,
};

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, During, Failure};
use crate::mounts::run::remount_flags;
use crate::sys;

pub fn run(step: Step, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Propagation { flags } => Ok(sys::mount(None, c"/", None, flags, None)?),
        Step::PrivateParent { path } => Ok(sys::mount(None, path.0, None, u64::from(MS_PRIVATE), None)?),
        Step::Attach { path } => attach(path.0, context),
        Step::MakeDirectory { path } => context.mount_point(path.0, true).map(sys::close),
        Step::Pivot {} => pivot(context),
        Step::MoveRoot {} => move_root(context),
        Step::Chroot { path } => {
            sys::chroot(path.0)?;
            Ok(sys::chdir(c"/")?)
        }
        Step::RootPropagation { flags } => Ok(sys::mount(None, c"/", None, flags, None)?),
        Step::ReadOnly {} => read_only(),
    }
}

fn attach(path: &CStr, context: &mut Context) -> Result<(), Failure> {
    let place = sys::open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0).during(Act::Open)?;
    let tree = sys::open_tree(place, c"", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH).during(Act::Open)?;
    sys::attach(tree, place).during(Act::Attach)?;
    sys::close(place);
    context.root = tree;
    Ok(())
}

fn pivot(context: &mut Context) -> Result<(), Failure> {
    let old = sys::open(AT_FDCWD, c"/", O_PATH | O_DIRECTORY, 0).during(Act::Open)?;
    sys::fchdir(context.root)?;
    // With the same directory for both, the old root is stacked over the new one: pivot_root(2).
    sys::pivot_root(c".", c".")?;
    // Some mounts of the old root may be peers of the host's: what is unmounted here must not be unmounted there.
    sys::fchdir(old)?;
    sys::mount(None, c".", None, u64::from(MS_SLAVE | MS_REC), None)?;
    // It is let go of lazily, since this process's own mounts lie below it.
    sys::unmount(c".", MNT_DETACH)?;
    sys::close(old);
    sys::chdir(c"/")?;
    // From here on paths mean the container's.
    context.root = sys::open(AT_FDCWD, c"/", O_PATH | O_DIRECTORY, 0).during(Act::Open)?;
    Ok(())
}

fn move_root(context: &mut Context) -> Result<(), Failure> {
    // Without a pivot the host's mounts stay below. The ones that show host state are detached first, so that nothing
    // that leaves the chroot finds a bare /proc or /sys there; not on the host, so nothing may be a peer of its mounts.
    sys::fchdir(context.root)?;
    sys::mount(None, c"/", None, u64::from(MS_SLAVE | MS_REC), None)?;
    for path in [c"/proc", c"/sys"] {
        // Several may be stacked. What a user namespace holds fast is covered.
        while sys::unmount(path, MNT_DETACH).is_ok() {}
        let left = sys::open(AT_FDCWD, path, O_PATH, 0).and_then(|place| {
            let kind = sys::filesystem(place);
            sys::close(place);
            kind
        });
        if left.is_ok_and(|kind| [PROC_SUPER_MAGIC, SYSFS_MAGIC].map(u64::from).contains(&kind)) {
            sys::mount(Some(c"tmpfs"), path, Some(c"tmpfs"), u64::from(MS_RDONLY), Some(c"size=4k"))?;
        }
    }
    sys::mount(Some(c"."), c"/", None, u64::from(MS_MOVE), None)?;
    sys::chroot(c".")?;
    sys::chdir(c"/")?;
    context.root = sys::open(AT_FDCWD, c"/", O_PATH | O_DIRECTORY, 0).during(Act::Open)?;
    Ok(())
}

fn read_only() -> Result<(), Failure> {
    let root = sys::open(AT_FDCWD, c"/", O_PATH, 0).during(Act::Open)?;
    let outcome = match sys::set_attributes(root, u64::from(MOUNT_ATTR_RDONLY), 0, 0, false) {
        // Before Linux 5.12.
        Err(errno) if errno == ENOSYS as i32 => {
            sys::mount(None, c"/", None, remount_flags(root, u64::from(MOUNT_ATTR_RDONLY), 0)?, None)
        }
        other => other,
    };
    sys::close(root);
    outcome.during(Act::SetFlags)
}
