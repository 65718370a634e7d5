//! Mounting beneath the root. A place is opened once, beneath the root, and mounted on by its descriptor.

use core::ffi::CStr;

use linux_raw_sys::errno::{EACCES, ELOOP, ENOENT, ENOSYS, ENOTDIR, EPERM};
use linux_raw_sys::general::{
    AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_STRICTATIME, MS_BIND, MS_NOATIME, MS_NODIRATIME, MS_REC, MS_RELATIME, MS_REMOUNT, MS_SLAVE,
    MS_STRICTATIME, O_DIRECTORY, O_PATH, OPEN_TREE_CLONE, PROC_SUPER_MAGIC, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS,
};

/// linux/mount.h; Linux 5.10.
const MS_NOSYMFOLLOW: u64 = 0x100;

use super::step::Step;
use crate::context::{Context, PathBuffer, text_of};
use crate::control::run::await_go;
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::step::SHOWN;
use crate::sys::{self, Fd};
use crate::wire::Slot;

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::New { kind, source, target, flags, data } => {
            // A place that is only now made has no mode to keep: the kernel's stays, which is open to all.
            let keeps = kind.0 == c"tmpfs" && !names_mode(data.0) && is_there(target.0, context);
            let place = place_for(kind.0.to_bytes(), target.0, context)?;
            let outcome = (|| {
                let mut with_mode: PathBuffer = [0; 4096];
                let data = if keeps { keep_mode(place, data.0, &mut with_mode)? } else { data.0 };
                // mount(2) takes a path: the place itself, as the working directory.
                sys::fchdir(place)?;
                Ok(sys::mount(Some(source.0), c".", Some(kind.0), flags, (!data.is_empty()).then_some(data))?)
            })();
            sys::close(place);
            outcome
        }
        Step::Attach { tree, target, set, clear } => {
            let tree = context.fd(tree);
            let place = place_outside_proc(target.0, true, context)?;
            let late = set_attributes(tree, set, clear)?;
            let outcome = sys::attach(tree, place).during(Act::Attach);
            sys::close(place);
            outcome?;
            if late { remount(tree, set, clear) } else { Ok(()) }
        }
        Step::Show { tree, source, recursive } => {
            context.shown = open_source(tree, source.0, recursive, context)?;
            sys::send_descriptor(context.channel, &[SHOWN], context.shown).during(Act::Send)?;
            await_go(context)
        }
        Step::Bind { tree, source, recursive, shown, target, set, clear, deep_set, deep_clear } => {
            let given = tree.map(|slot| context.fd(slot));
            let tree = if shown { context.shown } else { open_source(tree, source.0, recursive, context)? };
            let directory = sys::stat(tree, c"").during(Act::Open)?.st_mode & 0o170000 == 0o040000;
            let place = place_outside_proc(target.0, directory, context)?;
            // Before it is attached: from then on its place could be exchanged. The recursive ones last, as runc.
            let late = set_attributes(tree, set, clear)?;
            if deep_set | deep_clear != 0 {
                sys::set_attributes(tree, deep_set, deep_clear, 0, true).during(Act::SetFlags)?;
            }
            let outcome = sys::attach(tree, place).during(Act::Attach);
            sys::close(place);
            outcome?;
            if late {
                remount(tree, set, clear)?;
            }
            // The runtime's is a peer of the host's mount where it could not say so of what is detached (before 5.12).
            if given == Some(tree) {
                set_propagation(tree, u64::from(MS_SLAVE)).during(Act::SetPropagation)?;
            }
            sys::close(tree);
            Ok(())
        }
        Step::Propagation { target, flags } => in_place(context, target.0, |place| {
            set_propagation(place, flags).during(Act::SetPropagation)
        }),
        Step::SetRecursively { target, set, clear } => in_place(context, target.0, |place| {
            sys::set_attributes(place, set, clear, 0, true).during(Act::SetFlags)
        }),
        Step::Remount { target, flags, data } => in_place(context, target.0, |place| {
            let data = (!data.0.is_empty()).then_some(data.0);
            sys::change_mount(place, flags, data).during(Act::SetFlags)
        }),
    }
}

fn names_mode(data: &CStr) -> bool {
    data.to_bytes().split(|&b| b == b',').any(|option| option.starts_with(b"mode="))
}

fn is_there(target: &CStr, context: &Context) -> bool {
    context.open(target, O_PATH).map(sys::close).is_ok()
}

/// A clone of what is at a path of the host, as this mount namespace has it; where the user namespace's root cannot get
/// there, what the runtime opened.
fn open_source(tree: Option<Slot>, path: &CStr, recursive: bool, context: &Context) -> Result<Fd, Failure> {
    let flags = OPEN_TREE_CLONE | if recursive { AT_RECURSIVE } else { 0 };
    match (sys::open_tree(AT_FDCWD, path, flags), tree) {
        (Err(errno), Some(slot)) if errno == EACCES as i32 => Ok(context.fd(slot)),
        (opened, _) => opened.during(Act::Open),
    }
}

/// A tmpfs whose options give no mode takes that of the directory it covers.
fn keep_mode<'a>(place: Fd, data: &'a CStr, buffer: &'a mut PathBuffer) -> Result<&'a CStr, Failure> {
    let bytes = data.to_bytes();
    if bytes.len() + 16 > buffer.len() {
        return Ok(data);
    }
    let mode = sys::stat(place, c"").during(Act::Resolve)?.st_mode & 0o7777;
    buffer[..bytes.len()].copy_from_slice(bytes);
    let mut end = bytes.len();
    if end > 0 {
        buffer[end] = b',';
        end += 1;
    }
    buffer[end..end + 5].copy_from_slice(b"mode=");
    for digit in 0..4 {
        buffer[end + 5 + digit] = b'0' + (mode >> (9 - 3 * digit as u32) & 7) as u8;
    }
    Ok(text_of(buffer))
}

/// The place for a new filesystem. A proc or sysfs must lie in real directories all the way: through a link it would come
/// to lie where the image wants it, and masks and later writes would go elsewhere (CVE-2019-19921).
fn place_for(kind: &[u8], target: &CStr, context: &Context) -> Result<Fd, Failure> {
    if kind != b"proc" && kind != b"sysfs" || !stands(Guard::RealDirectories) {
        return place_outside_proc(target, true, context);
    }
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
    let open = || sys::open_beneath(context.root, target, O_PATH | O_DIRECTORY, 0, resolve);
    let opened = match open() {
        Err(errno) if errno == ENOENT as i32 => {
            sys::close(context.mount_point(target, true)?);
            open()
        }
        opened => opened,
    };
    match opened {
        Err(errno) if errno == ELOOP as i32 => Err(Failure { act: Act::NotGenuine, errno: ENOTDIR as i32 }),
        opened => opened.during(Act::Resolve),
    }
}

/// A place that is not on procfs unless the bundle itself names it below /proc: a link of the image must not lead a mount
/// over what the kernel shows (the plan allows what runc allows there).
pub fn place_outside_proc(target: &CStr, directory: bool, context: &Context) -> Result<Fd, Failure> {
    let place = context.mount_point(target, directory)?;
    let named = target.to_bytes().starts_with(b"/proc/") || target.to_bytes() == b"/proc";
    let allowed = named || !stands(Guard::OutsideProc);
    if !allowed && sys::filesystem(place).during(Act::Resolve)? == u64::from(PROC_SUPER_MAGIC) {
        sys::close(place);
        return Err(Failure { act: Act::NotGenuine, errno: EPERM as i32 });
    }
    Ok(place)
}

/// Sets flags on a detached tree; Ok(true) where the kernel can only do it once the tree is attached.
fn set_attributes(tree: Fd, set: u64, clear: u64) -> Result<bool, Failure> {
    if set | clear == 0 || !stands(Guard::MountFlags) {
        return Ok(false);
    }
    match sys::set_attributes(tree, set, clear, 0, false) {
        // Before Linux 5.12.
        Err(errno) if errno == ENOSYS as i32 => Ok(true),
        other => other.map(|()| false).during(Act::SetFlags),
    }
}

/// Flags of a mount that is attached by now, by the means of before Linux 5.12: mount(2), which sets all of them at once.
fn remount(mount: Fd, set: u64, clear: u64) -> Result<(), Failure> {
    sys::change_mount(mount, remount_flags(mount, set, clear)?, None).during(Act::SetFlags)
}

/// What that is told: with the flags to add, all that the mount has and keeps. A user namespace holds some of them locked.
pub fn remount_flags(mount: Fd, set: u64, clear: u64) -> Result<u64, Failure> {
    let had = sys::mount_flags(mount).during(Act::SetFlags)?;
    Ok(u64::from(MS_REMOUNT | MS_BIND) | changed(had, set, clear))
}

/// The MS_* for a mount that had the flags `had` of statfs(2) once the MOUNT_ATTR_* of `set` are added, those of `clear` taken.
fn changed(had: u64, set: u64, clear: u64) -> u64 {
    // The four low bits (read-only, nosuid, nodev, noexec) are the same in all; of the others ST_* has these.
    let (no_symlinks, relative) = (0x2000, 0x1000);
    let keeps = |shown: u32, attribute: u32| had & u64::from(shown) != 0 && clear & u64::from(attribute) == 0;
    let gains = |attribute: u32| set & u64::from(attribute) != 0;
    let mut flags = (had & 0xf & !clear) | (set & 0xf);
    if gains(MOUNT_ATTR_NODIRATIME) || keeps(MS_NODIRATIME, MOUNT_ATTR_NODIRATIME) {
        flags |= u64::from(MS_NODIRATIME);
    }
    if gains(MOUNT_ATTR_NOSYMFOLLOW) || keeps(no_symlinks, MOUNT_ATTR_NOSYMFOLLOW) {
        flags |= MS_NOSYMFOLLOW;
    }
    // Of access times there is one choice, which is a field of MOUNT_ATTR_*.
    let chosen = clear & u64::from(MOUNT_ATTR__ATIME) != 0;
    let times = match (gains(MOUNT_ATTR_NOATIME), gains(MOUNT_ATTR_STRICTATIME)) {
        (true, _) => MS_NOATIME,
        (_, true) => MS_STRICTATIME,
        _ if chosen || had & relative != 0 => MS_RELATIME,
        _ if had & u64::from(MS_NOATIME) != 0 => MS_NOATIME,
        _ => MS_STRICTATIME,
    };
    flags | u64::from(times)
}

fn set_propagation(place: Fd, flags: u64) -> Result<(), i32> {
    let recursive = flags & u64::from(MS_REC) != 0;
    let kind = flags & !u64::from(MS_REC);
    match sys::set_attributes(place, 0, 0, kind, recursive) {
        Err(errno) if errno == ENOSYS as i32 => {
            sys::change_mount(place, flags, None)
        }
        other => other,
    }
}

/// Calls with the mount that lies at a path, opened anew so that the topmost mount is meant.
fn in_place(
    context: &Context,
    target: &CStr,
    call: impl FnOnce(Fd) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let place = context.open(target, O_PATH).during(Act::Resolve)?;
    let outcome = call(place);
    sys::close(place);
    outcome
}

/// A fresh filesystem, detached: fsopen(2), fsmount(2).
pub fn new_detached(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u32) -> Result<Fd, i32> {
    let context = sys::fsopen(kind)?;
    for pair in options {
        sys::fsconfig(context, Some(*pair))?;
    }
    sys::fsconfig(context, None)?;
    let mount = sys::fsmount(context, attributes)?;
    sys::close(context);
    Ok(mount)
}

/// Whether an errno says that nothing is at a path.
pub fn is_absent(errno: i32) -> bool {
    errno == ENOENT as i32 || errno == ENOTDIR as i32
}
