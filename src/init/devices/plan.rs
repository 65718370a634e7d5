//! linux.devices and the default devices, as steps: config-linux.md, "Devices" and "Default Devices".

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxIdMapping, Mount};

use super::step::Step;
use crate::init::namespaces::ids;
use crate::init::program::{DeviceNode, Draft, Source, text};
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

/// A device, understood.
#[derive(Debug, Clone, PartialEq)]
struct Device {
    path: PathBuf,
    /// The kind, S_IFMT, alone.
    kind: u32,
    major: u32,
    minor: u32,
    /// Permissions and owner in the container, where the bundle gives them.
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// What devices need to know besides their own lines.
pub struct Scene<'a> {
    /// All mounts of the bundle.
    pub mounts: &'a [Mount],
    /// Whether the container, or the caller already, is in a user namespace, where no node can be made.
    pub user_namespace: bool,
    /// That namespace's mappings, where they are known and the caller may make devices on the host.
    pub maps: Option<(&'a [LinuxIdMapping], &'a [LinuxIdMapping])>,
    /// Whether the host may be looked at.
    pub look: bool,
}

/// Fills /dev.
pub fn fill(devices: &[LinuxDevice], scene: &Scene, draft: &mut Draft) -> Result<()> {
    let listed = read_all(devices)?;
    // A /dev bound from the host has its devices, and nothing of it may be changed.
    if scene.mounts.iter().any(|mount| is_dev(mount) && is_bind(mount)) {
        return Ok(());
    }
    for (name, major, minor) in DEFAULT {
        let path = PathBuf::from("/dev").join(name);
        if listed.iter().any(|(device, _)| device.path == path) {
            continue;
        }
        let device = Device { path, kind: libc::S_IFCHR, major, minor, mode: None, uid: None, gid: None };
        make(&device, None, scene, draft)?;
    }
    for (device, field) in &listed {
        make(device, Some(field), scene, draft)?;
    }
    for (path, target) in LINKS {
        draft.step(Step::Link { path: Text(path), target: Text(target) });
    }
    // Only where the container has a devpts of its own does the link lead anywhere.
    draft.step(Step::Link { path: Text(c"/dev/ptmx"), target: Text(c"pts/ptmx") });
    Ok(())
}

/// linux.devices with the fields' names. The same device twice is once; /dev/ptmx is always the container's own.
fn read_all(devices: &[LinuxDevice]) -> Result<Vec<(Device, String)>> {
    let mut listed: Vec<(Device, String)> = Vec::new();
    for (i, device) in devices.iter().enumerate() {
        let field = format!("linux.devices[{i}]");
        let device = read(device, &field)?;
        if device.path == Path::new("/dev/ptmx") {
            continue;
        }
        let number = |device: &Device| (device.kind, device.major, device.minor);
        match listed.iter().find(|(earlier, _)| earlier.path == device.path) {
            None => listed.push((device, field)),
            Some((earlier, _)) if number(earlier) == number(&device) => {}
            Some((_, other)) => {
                let path = device.path.display();
                return Err(Error::invalid(format!("{field}.path: {path} is given to another device by {other}")));
            }
        }
    }
    Ok(listed)
}

fn read(device: &LinuxDevice, field: &str) -> Result<Device> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(Error::invalid(format!("{field}.type: a (all) is for rules; a node is c, b, u or p")));
        }
    };
    // The kernel keeps 12 and 20 bits of a number, and would silently make another device of a higher one: makedev(3).
    let number = |name: &str, value: i64, most: u32| {
        let number = u32::try_from(value).ok().filter(|number| *number <= most);
        number.ok_or_else(|| {
            Error::invalid(format!("{field}.{name}: {value} is no device number: the kernel has 0 to {most}"))
        })
    };
    let (major, minor) = match device.typ() {
        LinuxDeviceType::P => (0, 0),
        _ => (number("major", device.major(), 0xfff)?, number("minor", device.minor(), 0xf_ffff)?),
    };
    for (name, id) in [("uid", device.uid()), ("gid", device.gid())] {
        if id == Some(u32::MAX) {
            let most = u32::MAX - 1;
            return Err(Error::invalid(format!(
                "{field}.{name}: {} is no id: the kernel takes it as \"no change\"; the highest is {most}",
                u32::MAX
            )));
        }
    }
    let path = plain(device.path(), field)?;
    let mode = device.file_mode().map(|mode| mode & 0o7777);
    Ok(Device { path, kind, major, minor, mode, uid: device.uid(), gid: device.gid() })
}

/// A path without what does not matter in it.
fn plain(path: &Path, field: &str) -> Result<PathBuf> {
    if !path.is_absolute() {
        return Err(Error::invalid(format!("{field}.path: {} is not absolute", path.display())));
    }
    if path.file_name().is_none() || path.components().any(|part| part == Component::ParentDir) {
        return Err(Error::invalid(format!("{field}.path: {} names no device below a directory", path.display())));
    }
    Ok(path.components().collect())
}

/// In a user namespace only a FIFO can be made; a device is bound, from the host's node where that is as it should be.
/// `field` names a listed device; whether the host has the default ones init itself sees.
fn make(device: &Device, field: Option<&str>, scene: &Scene, draft: &mut Draft) -> Result<()> {
    let path = text("linux.devices", device.path.as_os_str().as_bytes())?;
    let path = Text(&path);
    let &Device { kind, major, minor, .. } = device;
    let mode = device.mode.unwrap_or(0o666);
    if !scene.user_namespace || kind == libc::S_IFIFO {
        let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
        draft.step(Step::Node { path, mode: kind | mode, major, minor, uid, gid });
        return Ok(());
    }
    let node = field.map(|field| made_by_runtime(device, field, scene)).transpose()?.flatten();
    let made = node.map(|node| draft.slot(Source::Device(node)));
    draft.step(Step::Bind { made, path, kind, major, minor });
    Ok(())
}

/// The node that the runtime has to make, where the host has none at this path or one with another mode or owner.
fn made_by_runtime(device: &Device, field: &str, scene: &Scene) -> Result<Option<DeviceNode>> {
    if !scene.look {
        return Ok(None);
    }
    let host = std::fs::symlink_metadata(&device.path).ok();
    let is_it = |found: &std::fs::Metadata| {
        found.mode() & libc::S_IFMT == device.kind && found.rdev() == libc::makedev(device.major, device.minor)
    };
    let host = host.filter(is_it);
    let as_given = device.mode.is_none() && device.uid.is_none() && device.gid.is_none();
    let missing = || {
        Error::invalid(format!(
            "{field}.path: the host has no such device at {}, and it cannot be made for a user namespace that is joined or by a caller who is not root: make it on the host",
            device.path.display()
        ))
    };
    // An ordinary user makes no devices, and owners of a joined namespace are not known: then the host's serves as it is.
    let Some((uids, gids)) = scene.maps.filter(|_| nix::unistd::geteuid().is_root()) else {
        return host.map(|_| None).ok_or_else(missing);
    };
    if as_given && host.is_some() {
        return Ok(None);
    }
    let outside = |name: &str, list: &[LinuxIdMapping], id: Option<u32>| {
        let id = id.unwrap_or(0);
        let unmapped = || Error::invalid(format!("{field}.{name}: {id} is not mapped in the user namespace"));
        ids::host_id(list, id).ok_or_else(unmapped)
    };
    Ok(Some(DeviceNode {
        path: device.path.clone(),
        mode: device.kind | device.mode.unwrap_or(0o666),
        major: device.major,
        minor: device.minor,
        uid: outside("uid", uids, device.uid)?,
        gid: outside("gid", gids, device.gid)?,
    }))
}

fn is_dev(mount: &Mount) -> bool {
    mount.destination().components().eq(Path::new("/dev").components())
}

fn is_bind(mount: &Mount) -> bool {
    let named = mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
    named || mount.typ().as_deref() == Some("bind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> Result<Vec<(Device, String)>> {
        read_all(&serde_json::from_str::<Vec<LinuxDevice>>(json).unwrap())
    }

    fn refused(json: &str) -> String {
        list(json).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        let with = |fields: &str| format!(r#"[{{"path":"/dev/x","type":"c","major":1,"minor":5{fields}}}]"#);
        assert!(refused(&with(r#","uid":4294967295"#)).contains("linux.devices[0].uid: 4294967295 is no id"));
        assert!(refused(&with(r#","gid":4294967295"#)).contains("linux.devices[0].gid"));
        let at = |path: &str| format!(r#"[{{"path":"{path}","type":"c","major":1,"minor":5}}]"#);
        for path in ["/", "/dev/..", "/dev/../x", "dev/x", "/.."] {
            assert!(refused(&at(path)).contains("linux.devices[0].path"), "{path}");
        }
        for (major, minor, name) in [(4096, 0, "major"), (0, 1 << 20, "minor"), (-1, 0, "major")] {
            let json = format!(r#"[{{"path":"/dev/x","type":"b","major":{major},"minor":{minor}}}]"#);
            assert!(refused(&json).contains(&format!("linux.devices[0].{name}")), "{json}");
        }
        assert!(refused(r#"[{"path":"/dev/x","type":"a"}]"#).contains("linux.devices[0].type"));
    }

    #[test]
    fn the_same_device_twice_is_once_and_another_at_its_path_is_refused() {
        let twice = r#"[{"path":"/dev/x","type":"c","major":1,"minor":5},{"path":"/dev//x/","type":"u","major":1,"minor":5},
            {"path":"/dev/ptmx","type":"c","major":5,"minor":2}]"#;
        assert_eq!(list(twice).unwrap().len(), 1);
        let other =
            r#"[{"path":"/dev/x","type":"c","major":1,"minor":5},{"path":"/dev/x","type":"b","major":1,"minor":5}]"#;
        assert!(
            refused(other).contains("linux.devices[1].path: /dev/x is given to another device by linux.devices[0]")
        );
    }
}
