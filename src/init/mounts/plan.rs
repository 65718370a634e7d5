//! mounts, as steps: config.md, "Mounts"; mount(8) for the options' meaning.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, Mount};

use super::bind::{bind, bind_path, refuse_mapping};
use super::cgroups::cgroups;
pub use super::options::{Options, option_names, propagation, propagation_name};
use super::step::Step;
use crate::init::guard::{Guard, stands};
use crate::init::lsm;
use crate::init::program::{Draft, Source, text};
use crate::init::wire::{Slot, Text};
use crate::sys::Caller;
use crate::{Error, Result};

/// What mounts need to know besides their own lines.
pub struct Scene<'a> {
    /// The bundle's directory: bind sources may be relative to it.
    pub bundle: &'a Path,
    /// The rootfs's real path.
    pub rootfs: &'a Path,
    /// Whether the host may be looked at.
    pub look: bool,
    /// The container's memory limit in bytes, where it has one.
    pub memory: Option<u64>,
    /// The host's mount table.
    pub mount_table: &'a str,
    /// linux.mountLabel.
    pub label: Option<&'a str>,
    /// Whether the container has a user namespace of its own.
    pub user_namespace: bool,
    /// Who runs this.
    pub caller: Caller,
    /// linux.uidMappings and gidMappings, where the bundle has both.
    pub maps: Option<(&'a [LinuxIdMapping], &'a [LinuxIdMapping])>,
    /// The container's cgroup directories: the name to show and the directory on the host.
    pub cgroups: &'a [(String, PathBuf)],
    /// Where cgroup2 is mounted on a host that has it alone.
    pub unified: Option<&'a Path>,
    /// The container's own cgroup there.
    pub own_cgroup: Option<PathBuf>,
    /// Whether the container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
}

impl Scene<'_> {
    /// Whether the runtime opens what the container's root cannot reach, as who may mount can: another user's container is
    /// root of ids that are his, so that it reaches what he does.
    pub fn opens_hidden(&self) -> bool {
        self.user_namespace && self.caller != Caller::User
    }
}

/// All mounts in order.
pub fn mount_all(mounts: &[Mount], scene: &Scene, draft: &mut Draft) -> Result<()> {
    for (i, mount) in mounts.iter().enumerate() {
        let field = format!("mounts[{i}]");
        let options = Options::read(mount.options().as_deref().unwrap_or_default(), &field)?;
        if mount.destination().as_os_str().is_empty() {
            return Err(Error::invalid(format!("{field}.destination: must not be empty")));
        }
        let target = absolute(mount.destination(), &field);
        if target == Path::new("/") && !options.is_bind() {
            return Err(Error::invalid(format!("{field}.destination: / is the rootfs itself; mount below it")));
        }
        refuse_in_proc(mount, &target, &options, (scene, &field))?;
        one(mount, &target, &options, (scene, &field, &mounts[..i]), draft)?;
        let (set, clear) = options.recursive;
        // A bind's are set before it is attached.
        if set | clear != 0 && !is_bind(mount, &options) {
            let target = text(&field, target.as_os_str().as_bytes())?;
            draft.step(Step::SetRecursively { target: Text(&target), set, clear });
        }
        for flags in &options.propagation {
            let target = text(&field, target.as_os_str().as_bytes())?;
            draft.step(Step::Propagation { target: Text(&target), flags: *flags });
        }
    }
    Ok(())
}

/// Binds a directory of the runtime's own, read-only and with nothing in it to execute or open as a device. `tree` is the
/// same opened by the runtime; `field` names what asks for it.
pub fn bind_directory(source: &Path, tree: Option<Slot>, target: &str, field: &str, draft: &mut Draft) -> Result<()> {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned);
    bind_path(source, (tree, false), Path::new(target), &Options::read(&options, field)?, field, draft)
}

/// Binds a file of the runtime's own, which the container may write to.
pub fn bind_file(source: &Path, tree: Option<Slot>, target: &str, field: &str, draft: &mut Draft) -> Result<()> {
    let options = ["bind", "nosuid", "noexec", "nodev"].map(str::to_owned);
    bind_path(source, (tree, false), Path::new(target), &Options::read(&options, field)?, field, draft)
}

/// The mount points of a table such as /proc/self/mountinfo.
pub fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped)
}

/// The type of the filesystem at a path and, if asked, of those mounted below it, with their mount points.
pub fn filesystems_at(table: &str, path: &Path, below: bool) -> Vec<String> {
    let lines = table.lines().filter_map(|line| {
        let point = unescaped(line.split(' ').nth(4)?);
        Some((point, line.split(" - ").nth(1)?.split(' ').next()?))
    });
    let (holders, others): (Vec<_>, Vec<_>) = lines.partition(|(point, _)| path.starts_with(point));
    // Of those stacked on one point the last shows, which is the one that max_by_key takes.
    let holder = holders.iter().max_by_key(|(point, _)| point.as_os_str().len());
    let others = others.iter().filter(|(point, _)| below && point.starts_with(path));
    holder.into_iter().chain(others).map(|(point, kind)| format!("{kind} ({})", point.display())).collect()
}

/// The table writes what would break its columns as a backslash and three octal digits: proc_pid_mountinfo(5).
fn unescaped(word: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// What may be mounted below /proc: files that lxcfs and its kin stand in for, as runc allows; and on /proc itself nothing
/// but procfs, or an image's volume would stand in for it (CVE-2019-16884).
fn refuse_in_proc(mount: &Mount, target: &Path, options: &Options, (scene, field): (&Scene, &str)) -> Result<()> {
    const ALLOWED: [&str; 11] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    ];
    let Ok(below) = target.strip_prefix("/proc") else { return Ok(()) };
    let new = !is_bind(mount, options) && mount.typ().as_deref() == Some("proc");
    if new || !stands(Guard::RefuseInProc) {
        return Ok(());
    }
    let target = target.display();
    if below == Path::new("") {
        if is_bind(mount, options) && shows_procfs(mount, scene) {
            return Ok(());
        }
        return Err(Error::invalid(format!(
            "{field}.destination: {target} may be covered by procfs alone; mount with the type proc, or bind the host's /proc"
        )));
    }
    if ALLOWED.iter().any(|path| below == Path::new(path)) {
        return Ok(());
    }
    Err(Error::invalid(format!("{field}.destination: {target} is inside /proc, where nothing may be mounted")))
}

/// Whether a mount is a bind, which its options say as well as its type, whatever else that is.
fn is_bind(mount: &Mount, options: &Options) -> bool {
    options.is_bind() || mount.typ().as_deref() == Some("bind")
}

/// Whether a bind's source is a procfs; where the host may not be looked at it is taken for one.
fn shows_procfs(mount: &Mount, scene: &Scene) -> bool {
    let Some(source) = mount.source() else { return false };
    let is_procfs = |found: nix::sys::statfs::Statfs| found.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC;
    !scene.look || nix::sys::statfs::statfs(&scene.bundle.join(source)).is_ok_and(is_procfs)
}

/// Whether an earlier mount brings whatever the host has mounted below its source.
fn covers(earlier: &[Mount], target: &Path) -> bool {
    earlier.iter().any(|mount| {
        let recursive = mount.options().iter().flatten().any(|option| option == "rbind");
        recursive && target != mount.destination() && target.starts_with(mount.destination())
    })
}

/// runc takes a relative destination as one below / and warns.
fn absolute(destination: &Path, field: &str) -> PathBuf {
    if !destination.is_absolute() {
        log::warn!("{field}.destination: {} is not absolute: taken as below /", destination.display());
    }
    Path::new("/").join(destination)
}

fn one(
    mount: &Mount,
    target: &Path,
    options: &Options,
    (scene, field, earlier): (&Scene, &str, &[Mount]),
    draft: &mut Draft,
) -> Result<()> {
    let kind = match mount.typ().as_deref().unwrap_or("") {
        // One tree, which shows the host's, or with a cgroup namespace the container's own.
        "cgroup" if scene.unified.is_some() => "cgroup2",
        kind => kind,
    };
    if is_bind(mount, options) {
        return bind(mount, target, options, (scene, field, earlier), draft);
    }
    refuse_mapping(mount, options, field)?;
    match (kind, scene.unified) {
        ("cgroup" | "cgroup2", None) => return cgroups(target, options, (scene, field), draft),
        // Over the host's, which a bind of all of /sys brings along, the kernel mounts no second one: as runc, what it would
        // show.
        ("cgroup2", Some(host)) if scene.cgroup_namespace && covers(earlier, target) => {
            let own = scene.own_cgroup.as_deref().unwrap_or(host);
            return bind_path(own, (None, false), target, options, field, draft);
        }
        // The kernel lets the root of a user namespace mount only a cgroup namespace that is his: as runc, the host's.
        ("cgroup2", Some(host)) if scene.user_namespace && !scene.cgroup_namespace => {
            return bind_path(host, (None, false), target, options, field, draft);
        }
        _ => {}
    }
    if kind.is_empty() {
        return Err(Error::invalid(format!("{field}.type: is missing; name a filesystem, or add the option bind")));
    }
    if options.copy_up {
        return copied_tmpfs(kind, target, options, (scene, field, earlier), draft);
    }
    let data = text(field, labelled(kind, options, scene.label))?;
    let place = text(field, target.as_os_str().as_bytes())?;
    let source = mount.source().as_deref().unwrap_or(Path::new(kind));
    let (source, name) = (text(field, source.as_os_str().as_bytes())?, text(field, kind)?);
    draft.step(Step::New {
        kind: Text(&name),
        source: Text(&source),
        target: Text(&place),
        flags: options.set,
        data: Text(&data),
    });
    match scene.label {
        Some(label) if kind == "mqueue" => lsm::plan::label_mount(target, label, draft),
        _ => Ok(()),
    }
}

/// A new filesystem's options with the label of its files, but for those whose labels are the policy's own: as runc. A
/// context that the bundle names stays.
fn labelled(kind: &str, options: &Options, label: Option<&str>) -> String {
    let own = ["proc", "sysfs", "mqueue"].contains(&kind) || options.data.iter().any(|word| word.contains("context="));
    match label.filter(|_| !own) {
        Some(label) => with_label(options.data(), label),
        None => options.data(),
    }
}

/// In quotes: a label may hold commas.
pub(super) fn with_label(data: String, label: &str) -> String {
    let comma = if data.is_empty() { "" } else { "," };
    format!("{data}{comma}context=\"{label}\"")
}

fn copied_tmpfs(
    kind: &str,
    target: &Path,
    options: &Options,
    (scene, field, earlier): (&Scene, &str, &[Mount]),
    draft: &mut Draft,
) -> Result<()> {
    if kind != "tmpfs" {
        return Err(Error::invalid(format!("{field}.options: tmpcopyup is for tmpfs, and the type is {kind}")));
    }
    // The runtime fills it from the rootfs, which it can only see without the mounts of the container.
    if let Some(covering) = earlier
        .iter()
        .map(Mount::destination)
        .find(|other| target.starts_with(other) && other.as_path() != Path::new("/"))
    {
        return Err(Error::invalid(format!(
            "{field}.options: tmpcopyup of {}, which lies on the mount {}, is not supported",
            target.display(),
            covering.display()
        )));
    }
    let what = Source::CopiedTmpfs {
        rootfs: scene.rootfs.to_owned(),
        target: target.to_owned(),
        data: options.data(),
        label: scene.label.map(str::to_owned),
        most: scene.memory.unwrap_or(1 << 30),
    };
    let tree = draft.slot(what);
    let (set, clear) = options.attributes();
    let target = text(field, target.as_os_str().as_bytes())?;
    draft.step(Step::Attach { tree, target: Text(&target), set, clear });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_without_their_escapes() {
        let table = "1 0 8:1 / / rw - ext4 d rw\n2 1 0:5 / /a\\040b\\134c\\011\\012 rw - tmpfs t rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [Path::new("/"), Path::new("/a b\\c\t\n")]);
    }

    #[test]
    fn a_label_stands_in_quotes_and_not_where_the_policy_has_one() {
        let options = |words: &[&str]| {
            Options::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), "mounts[0]").unwrap()
        };
        let label = Some("u:o:t:s0:c1,c2");
        assert_eq!(labelled("tmpfs", &options(&["ro", "size=1m"]), label), "size=1m,context=\"u:o:t:s0:c1,c2\"");
        assert_eq!(labelled("devpts", &options(&[]), label), "context=\"u:o:t:s0:c1,c2\"");
        assert_eq!(labelled("tmpfs", &options(&["rootcontext=x"]), label), "rootcontext=x");
        for kind in ["proc", "sysfs", "mqueue"] {
            assert_eq!(labelled(kind, &options(&[]), label), "");
        }
        assert_eq!(labelled("tmpfs", &options(&[]), None), "");
    }
}
