//! Making a directory the root.

use core::ffi::CStr;

use linux_raw_sys::errno::ENOSYS;
use linux_raw_sys::general::{
    AT_FDCWD, AT_RECURSIVE, MNT_DETACH, MOUNT_ATTR_RDONLY, MS_BIND, MS_MOVE, MS_PRIVATE, MS_RDONLY, MS_REMOUNT,
    O_DIRECTORY, O_PATH, OPEN_TREE_CLONE,
};

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, During, Failure};
use crate::sys::{self, Fd};

pub fn run(step: Step, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Propagation { flags } => Ok(sys::mount(None, c"/", None, flags, None)?),
        Step::PrivateParent { path } => Ok(sys::mount(None, path.0, None, u64::from(MS_PRIVATE), None)?),
        Step::Attach { tree, path } => attach(context.fd(tree), path.0, context),
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

fn attach(tree: Fd, path: &CStr, context: &mut Context) -> Result<(), Failure> {
    // The tree was cloned in the host's mount namespace; a place to put it must be looked up in this one.
    let place = sys::open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0).during(Act::Open)?;
    let tree = match sys::attach(tree, place) {
        // A kernel or a sandbox that takes no tree of another mount namespace: clone it here.
        Err(errno) if errno == linux_raw_sys::errno::EINVAL as i32 => {
            let own = sys::open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE).during(Act::Open)?;
            sys::attach(own, place).during(Act::Attach)?;
            own
        }
        other => other.map(|()| tree).during(Act::Attach)?,
    };
    sys::close(place);
    context.root = tree;
    Ok(())
}

fn pivot(context: &mut Context) -> Result<(), Failure> {
    sys::fchdir(context.root)?;
    // With the same directory for both, the old root is stacked over the new one: pivot_root(2).
    sys::pivot_root(c".", c".")?;
    // "." still is the old root. It is let go of lazily, since this process's own mounts lie below it.
    sys::unmount(c".", MNT_DETACH)?;
    sys::chdir(c"/")?;
    // From here on paths mean the container's.
    context.root = sys::open(AT_FDCWD, c"/", O_PATH | O_DIRECTORY, 0).during(Act::Open)?;
    Ok(())
}

fn move_root(context: &mut Context) -> Result<(), Failure> {
    // Without a pivot the host's mounts stay below. The ones that show host state are detached first, so that nothing
    // that leaves the chroot finds a bare /proc or /sys there.
    sys::fchdir(context.root)?;
    for path in [c"/proc", c"/sys"] {
        let _ = sys::unmount(path, MNT_DETACH);
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
            sys::mount(None, c"/", None, u64::from(MS_REMOUNT | MS_BIND | MS_RDONLY), None)
        }
        other => other,
    };
    sys::close(root);
    outcome.during(Act::SetFlags)
}
