//! Filling /dev.

use core::ffi::CStr;

use linux_raw_sys::errno::{EEXIST, ENAMETOOLONG};
use linux_raw_sys::general::{
    AT_FDCWD, AT_SYMLINK_NOFOLLOW, MNT_DETACH, O_DIRECTORY, O_NOFOLLOW, O_PATH, OPEN_TREE_CLONE,
};

use super::step::Step;
use crate::context::{Context, PathBuffer, text_of};
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::mounts::run::place_outside_proc;
use crate::sys::{self, Fd};
use crate::wire::Slot;

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Node { path, mode, major, minor, uid, gid } => in_parent(path.0, context, |parent, name| {
            make_node(parent, name, mode, device_number(major, minor), (uid, gid))
        }),
        Step::Bind { made, path, kind, major, minor } => {
            bind_node(made, path.0, kind, device_number(major, minor), context)
        }
        Step::Link { path, target } => in_parent(path.0, context, |parent, name| {
            match sys::symlink(target.0, parent, name) {
                // The image's own link or file stays.
                Err(errno) if errno == EEXIST as i32 => Ok(()),
                other => Ok(other?),
            }
        }),
    }
}

fn make_node(parent: Fd, name: &CStr, mode: u32, device: u64, owner: (u32, u32)) -> Result<(), Failure> {
    let made = match sys::mknod(parent, name, mode, device) {
        Err(errno) if errno == EEXIST as i32 => false,
        other => {
            other?;
            true
        }
    };
    // A change of owner takes the set-id bits off.
    let changes = owner != (0, 0) || mode & 0o6000 != 0;
    if made && !changes {
        return Ok(());
    }
    let node = sys::open(parent, name, O_PATH | O_NOFOLLOW, 0).during(Act::NotGenuine)?;
    let outcome = check_node(node, mode, device).and_then(|()| {
        // As runc: what was there stays as it is.
        if !made {
            return Ok(());
        }
        // By descriptor: a name could be led elsewhere meanwhile.
        sys::chown(node, c"", owner.0, owner.1).during(Act::SetOwner)?;
        if mode & 0o6000 != 0 { sys::chmod(node, mode & 0o7777).during(Act::SetOwner) } else { Ok(()) }
    });
    sys::close(node);
    outcome
}

/// A file, a link or another device in a device's place would be opened as that device.
fn check_node(node: Fd, mode: u32, device: u64) -> Result<(), Failure> {
    let there = sys::stat(node, c"").during(Act::NotGenuine)?;
    let kind = mode & 0o170000;
    let genuine = there.st_mode & 0o170000 == kind && (there.st_rdev == device || kind == 0o010000);
    if !genuine && stands(Guard::RealDevice) {
        return Err(Failure { act: Act::NotGenuine, errno: EEXIST as i32 });
    }
    Ok(())
}

fn bind_node(made: Option<Slot>, path: &CStr, kind: u32, device: u64, context: &Context) -> Result<(), Failure> {
    let node = match made {
        Some(tree) => made_node(context.fd(tree), context)?,
        None => sys::open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW).during(Act::Open)?,
    };
    let outcome = check_node(node, kind, device).and_then(|()| {
        let place = place_outside_proc(path, false, context)?;
        let outcome = sys::attach(node, place).during(Act::Attach);
        sys::close(place);
        outcome
    });
    sys::close(node);
    outcome
}

/// The node on a tmpfs that hangs nowhere. Linux before 6.15 clones only of what is attached, so the tmpfs is attached
/// to the root for that moment.
fn made_node(tree: Fd, context: &Context) -> Result<Fd, Failure> {
    let root = context.open(c"/", O_PATH | O_DIRECTORY).during(Act::Resolve)?;
    sys::attach(tree, root).during(Act::Attach)?;
    sys::close(root);
    let node = sys::open_tree(tree, c"node", OPEN_TREE_CLONE | AT_SYMLINK_NOFOLLOW).during(Act::Open);
    sys::fchdir(tree)?;
    sys::unmount(c".", MNT_DETACH)?;
    node
}

/// Calls with a path's directory, opened beneath the root and made where missing, and its last component.
fn in_parent(
    path: &CStr,
    context: &Context,
    call: impl FnOnce(Fd, &CStr) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bytes = path.to_bytes_with_nul();
    let cut = bytes.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let mut directory: PathBuffer = [0; 4096];
    // As the kernel, which takes no longer one with its NUL.
    if bytes.len() > directory.len() {
        return Err(ENAMETOOLONG as i32).during(Act::Resolve);
    }
    directory[..cut].copy_from_slice(&bytes[..cut]);
    let parent = match context.open(text_of(&directory), O_PATH | O_DIRECTORY) {
        Ok(fd) => fd,
        Err(_) => context.mount_point(text_of(&directory), true)?,
    };
    let outcome = call(parent, text_of(&bytes[cut..]));
    sys::close(parent);
    outcome
}

/// The kernel's encoding of a device number: makedev(3).
pub fn device_number(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}
