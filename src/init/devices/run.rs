//! Filling /dev.

use core::ffi::CStr;

use linux_raw_sys::errno::{EEXIST, ENAMETOOLONG};
use linux_raw_sys::general::{O_DIRECTORY, O_PATH};

use super::step::Step;
use crate::context::{Context, PathBuffer, text_of};
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::sys::{self, Fd};

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Node { path, mode, major, minor, uid, gid } => in_parent(path.0, context, |parent, name| {
            make_node(parent, name, mode, device_number(major, minor), (uid, gid))
        }),
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
    match sys::mknod(parent, name, mode, device) {
        Err(errno) if errno == EEXIST as i32 => {
            let there = sys::stat(parent, name).during(Act::NotGenuine)?;
            // A file or a link in a device's place would be opened as that device.
            let kind = mode & 0o170000;
            let genuine = there.st_mode & 0o170000 == kind && (there.st_rdev == device || kind == 0o010000);
            if !genuine && stands(Guard::RealDevice) {
                return Err(Failure { act: Act::NotGenuine, errno });
            }
            // As runc: what is there stays as it is. A change by name could be led elsewhere meanwhile.
            return Ok(());
        }
        other => {
            other?;
            if owner == (0, 0) {
                return Ok(());
            }
        }
    }
    sys::chown(parent, name, owner.0, owner.1).during(Act::SetOwner)
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
