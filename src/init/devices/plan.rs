//! linux.devices and the default devices, as steps: config-linux.md, "Devices" and "Default Devices".

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};

use super::step::Step;
use crate::init::mounts;
use crate::init::program::{Draft, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// What every container has: name, major, minor.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/dev/fd", c"/proc/self/fd"),
    (c"/dev/stdin", c"/proc/self/fd/0"),
    (c"/dev/stdout", c"/proc/self/fd/1"),
    (c"/dev/stderr", c"/proc/self/fd/2"),
];
use std::ffi::CStr;

/// Fills /dev. In a user namespace nodes cannot be made, so the host's are bound (`bind`).
pub fn fill(devices: &[LinuxDevice], mounts: &[Mount], bind: bool, draft: &mut Draft) -> Result<()> {
    // A /dev bound from the host has its devices, and nothing of it may be changed.
    if mounts.iter().any(|mount| is_dev(mount) && is_bind(mount)) {
        return Ok(());
    }
    for (name, major, minor) in DEFAULT {
        let path = PathBuf::from("/dev").join(name);
        if devices.iter().any(|device| device.path() == &path) {
            continue;
        }
        node(&path, libc::S_IFCHR | 0o666, (major, minor), (0, 0), bind, draft)?;
    }
    for (i, device) in devices.iter().enumerate() {
        listed(device, &format!("linux.devices[{i}]"), bind, draft)?;
    }
    for (path, target) in LINKS {
        draft.step(Step::Link { path: Text(path), target: Text(target) });
    }
    // Only where the container has a devpts of its own does the link lead anywhere.
    draft.step(Step::Link { path: Text(c"/dev/ptmx"), target: Text(c"pts/ptmx") });
    Ok(())
}

fn is_dev(mount: &Mount) -> bool {
    mount.destination().components().eq(Path::new("/dev").components())
}

fn is_bind(mount: &Mount) -> bool {
    let named = mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
    named || mount.typ().as_deref() == Some("bind")
}

fn listed(device: &LinuxDevice, field: &str, bind: bool, draft: &mut Draft) -> Result<()> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(Error::invalid(format!("{field}.type: a (all) is for rules; a node is c, b, u or p")));
        }
    };
    let number = |name: &str, value: i64| {
        u32::try_from(value).map_err(|_| Error::invalid(format!("{field}.{name}: {value} is no device number")))
    };
    let numbers = match device.typ() {
        LinuxDeviceType::P => (0, 0),
        _ => (number("major", device.major())?, number("minor", device.minor())?),
    };
    if !device.path().is_absolute() {
        return Err(Error::invalid(format!("{field}.path: {} is not absolute", device.path().display())));
    }
    let mode = kind | (device.file_mode().unwrap_or(0o666) & 0o7777);
    let owner = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
    node(device.path(), mode, numbers, owner, bind && kind != libc::S_IFIFO, draft)
}

fn node(path: &Path, mode: u32, numbers: (u32, u32), owner: (u32, u32), bind: bool, draft: &mut Draft) -> Result<()> {
    let target = text("linux.devices", path.as_os_str().as_bytes())?;
    if bind {
        let (tree, recursive) = (None, false);
        let source = Text(&target);
        let (set, clear, deep_set, deep_clear) = (0, 0, 0, 0);
        draft.step(mounts::step::Step::Bind {
            tree,
            source,
            recursive,
            shown: false,
            target: source,
            set,
            clear,
            deep_set,
            deep_clear,
        });
        return Ok(());
    }
    let ((major, minor), (uid, gid)) = (numbers, owner);
    draft.step(Step::Node { path: Text(&target), mode, major, minor, uid, gid });
    Ok(())
}
