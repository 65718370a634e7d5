//! mounts, as steps: config.md, "Mounts"; mount(8) for the options' meaning.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::step::Step;
use crate::init::devices;
use crate::init::guard::{Guard, stands};
use crate::init::program::{Draft, Source, text};
use crate::init::wire::{Slot, Text};
use crate::{Context, Error, Result};

/// An option that sets or clears a mount flag: its name, MS_* bits, whether it clears.
const FLAGS: [(&str, u64, bool); 31] = [
    ("ro", libc::MS_RDONLY, false),
    ("rw", libc::MS_RDONLY, true),
    ("nosuid", libc::MS_NOSUID, false),
    ("suid", libc::MS_NOSUID, true),
    ("nodev", libc::MS_NODEV, false),
    ("dev", libc::MS_NODEV, true),
    ("noexec", libc::MS_NOEXEC, false),
    ("exec", libc::MS_NOEXEC, true),
    ("sync", libc::MS_SYNCHRONOUS, false),
    ("async", libc::MS_SYNCHRONOUS, true),
    ("dirsync", libc::MS_DIRSYNC, false),
    ("remount", libc::MS_REMOUNT, false),
    ("mand", libc::MS_MANDLOCK, false),
    ("nomand", libc::MS_MANDLOCK, true),
    ("atime", libc::MS_NOATIME, true),
    ("noatime", libc::MS_NOATIME, false),
    ("diratime", libc::MS_NODIRATIME, true),
    ("nodiratime", libc::MS_NODIRATIME, false),
    ("relatime", libc::MS_RELATIME, false),
    ("norelatime", libc::MS_RELATIME, true),
    ("strictatime", libc::MS_STRICTATIME, false),
    ("nostrictatime", libc::MS_STRICTATIME, true),
    ("iversion", libc::MS_I_VERSION, false),
    ("noiversion", libc::MS_I_VERSION, true),
    // MS_LAZYTIME of linux/mount.h.
    ("lazytime", 1 << 25, false),
    ("nolazytime", 1 << 25, true),
    ("bind", libc::MS_BIND, false),
    ("rbind", libc::MS_BIND | libc::MS_REC, false),
    ("silent", libc::MS_SILENT, false),
    ("loud", libc::MS_SILENT, true),
    ("nosymfollow", 256, false),
];
/// An option for a mount and all below it: its name, the MOUNT_ATTR_* bits to set, those to clear.
const RECURSIVE: [(&str, u64, u64); 18] = [
    ("rro", 1, 0),
    ("rrw", 0, 1),
    ("rnosuid", 2, 0),
    ("rsuid", 0, 2),
    ("rnodev", 4, 0),
    ("rdev", 0, 4),
    ("rnoexec", 8, 0),
    ("rexec", 0, 8),
    ("rnodiratime", 0x80, 0),
    ("rdiratime", 0, 0x80),
    ("rrelatime", 0, 0x70),
    ("rnorelatime", 0x20, 0x70),
    ("rnoatime", 0x10, 0x70),
    ("ratime", 0, 0x70),
    ("rstrictatime", 0x20, 0x70),
    ("rnostrictatime", 0, 0x70),
    ("rnosymfollow", 0x20_0000, 0),
    ("rsymfollow", 0, 0x20_0000),
];
/// Mapped mounts: not there yet, so refused by name.
const LATER: [&str; 2] = ["idmap", "ridmap"];

/// A propagation option's MS_* flags.
pub fn propagation(name: &str) -> Option<u64> {
    let (recursive, plain) = match name.strip_prefix('r') {
        Some(rest) => (libc::MS_REC, rest),
        None => (0, name),
    };
    let kind = match plain {
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

/// The option's name for flags.
pub fn propagation_name(flags: u64) -> String {
    let names = ["private", "slave", "shared", "unbindable"];
    let name = names.into_iter().find(|name| propagation(name) == Some(flags & !libc::MS_REC)).unwrap_or("unknown");
    if flags & libc::MS_REC != 0 { format!("r{name}") } else { name.to_owned() }
}

/// A mount's options, understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    set: u64,
    clear: u64,
    propagation: Vec<u64>,
    recursive: (u64, u64),
    data: Vec<String>,
    copy_up: bool,
}

impl Options {
    /// Reads options; `field` names the mount in errors.
    pub fn read(options: &[String], field: &str) -> Result<Self> {
        let mut this = Self::default();
        for option in options {
            if let Some((_, bits, clears)) = FLAGS.iter().find(|flag| flag.0 == option) {
                let (on, off) =
                    if *clears { (&mut this.clear, &mut this.set) } else { (&mut this.set, &mut this.clear) };
                *on |= bits;
                *off &= !bits;
            } else if let Some((_, set, clear)) = RECURSIVE.iter().find(|flag| flag.0 == option) {
                this.recursive = ((this.recursive.0 & !clear) | set, (this.recursive.1 & !set) | clear);
            } else if option == "symfollow" {
                this.clear |= 256;
                this.set &= !256;
            } else if let Some(flags) = propagation(option) {
                this.propagation.push(flags);
            } else if option == "tmpcopyup" {
                this.copy_up = true;
            } else if option == "defaults" || option.is_empty() {
            } else if LATER.contains(&option.split('=').next().unwrap_or_default()) {
                return Err(Error::invalid(format!("{field}.options: {option:?} is not supported yet")));
            } else {
                this.data.push(option.clone());
            }
        }
        this.refuse_conflicts(options, field)?;
        Ok(this)
    }

    fn refuse_conflicts(&self, options: &[String], field: &str) -> Result<()> {
        let has = |name: &str| options.iter().any(|option| option == name);
        let atimes: Vec<_> = ["noatime", "relatime", "strictatime"].into_iter().filter(|name| has(name)).collect();
        let (bind, rbind) = (has("bind"), has("rbind"));
        if atimes.len() > 1 {
            let names = atimes.join(" and ");
            return Err(Error::invalid(format!("{field}.options: {names} conflict: keep one of them")));
        }
        if let [first, second, ..] = self.propagation.as_slice()
            && first & !libc::MS_REC != second & !libc::MS_REC
        {
            let names = format!("{} and {}", propagation_name(*first), propagation_name(*second));
            return Err(Error::invalid(format!("{field}.options: {names} conflict: keep one of them")));
        }
        for (i, option) in self.data.iter().enumerate() {
            let key = |option: &'_ String| option.split('=').next().unwrap_or_default().to_owned();
            if let Some(other) = self.data[..i].iter().find(|other| *other != option && key(other) == key(option)) {
                return Err(Error::invalid(format!(
                    "{field}.options: {other} and {option} conflict: keep one of them"
                )));
            }
        }
        if self.copy_up && (bind || rbind) {
            return Err(Error::invalid(format!("{field}.options: tmpcopyup and bind conflict: keep one of them")));
        }
        Ok(())
    }

    fn is_bind(&self) -> bool {
        self.set & libc::MS_BIND != 0
    }

    /// MOUNT_ATTR_* of the flags that a mount of its own can have: mount_setattr(2).
    fn attributes(&self) -> (u64, u64) {
        const SAME: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        const ATIME_MASK: u64 = 0x70;
        let (mut set, mut clear) = (self.set & SAME, self.clear & SAME);
        let atime = [(libc::MS_NOATIME, 0x10), (libc::MS_STRICTATIME, 0x20), (libc::MS_RELATIME, 0)];
        if let Some((_, value)) = atime.into_iter().find(|(flag, _)| self.set & flag != 0) {
            set |= value;
            clear |= ATIME_MASK;
        }
        for (flag, attribute) in [(libc::MS_NODIRATIME, 0x80), (256, 0x20_0000)] {
            if self.set & flag != 0 {
                set |= attribute;
            }
            if self.clear & flag != 0 {
                clear |= attribute;
            }
        }
        (set, clear)
    }

    fn data(&self) -> String {
        self.data.join(",")
    }
}

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
    /// Whether the container has a user namespace of its own.
    pub user_namespace: bool,
    /// The container's cgroup directories: the name to show and the directory on the host.
    pub cgroups: &'a [(String, PathBuf)],
    /// Whether the container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
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
        if set | clear != 0 && !options.is_bind() {
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
    let kind = mount.typ().as_deref().unwrap_or("");
    if is_bind(mount, options) {
        return bind(mount, target, options, (scene, field), draft);
    }
    if kind == "cgroup" || kind == "cgroup2" {
        return cgroups(target, options, (scene, field), draft);
    }
    if kind.is_empty() {
        return Err(Error::invalid(format!("{field}.type: is missing; name a filesystem, or add the option bind")));
    }
    if options.copy_up {
        return copied_tmpfs(kind, target, options, (scene, field, earlier), draft);
    }
    let target = text(field, target.as_os_str().as_bytes())?;
    let source = mount.source().as_deref().unwrap_or(Path::new(kind));
    let (source, kind) = (text(field, source.as_os_str().as_bytes())?, text(field, kind)?);
    let data = text(field, options.data())?;
    draft.step(Step::New {
        kind: Text(&kind),
        source: Text(&source),
        target: Text(&target),
        flags: options.set,
        data: Text(&data),
    });
    Ok(())
}

fn bind(
    mount: &Mount,
    target: &Path,
    options: &Options,
    (scene, field): (&Scene, &str),
    draft: &mut Draft,
) -> Result<()> {
    let Some(source) = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty()) else {
        return Err(Error::invalid(format!("{field}.source: is missing: name what to bind on {}", target.display())));
    };
    let source = scene.bundle.join(source);
    let directory = if scene.look {
        let found = std::fs::metadata(&source).context(|| {
            let (source, target) = (source.display(), target.display());
            format!("{field}.source: {source}, to be bound on {target}: stat")
        })?;
        found.is_dir()
    } else {
        true
    };
    if !options.data.is_empty() {
        return Err(Error::invalid(format!("{field}.options: {:?} is no option of a bind mount", options.data())));
    }
    let recursive = options.set & libc::MS_REC != 0;
    let tree = match scene.look && scene.user_namespace && !everyone_reaches(&source) {
        true => Some(draft.slot(hidden_tree(&source, scene, field)?)),
        false => None,
    };
    bind_path(&source, tree, recursive, (target, directory), options, field, draft)
}

/// Whether every directory on the way lets everybody pass, and so the root of any user namespace.
fn everyone_reaches(source: &Path) -> bool {
    let searchable = |directory: &Path| std::fs::metadata(directory).is_ok_and(|found| found.mode() & 0o001 != 0);
    source.canonicalize().is_ok_and(|real| real.ancestors().skip(1).all(searchable))
}

/// A source that only the runtime reaches. Flags and mounts below it would not be locked in the user namespace, so there
/// must be none: the runtime looks at the flags once it has the mount.
fn hidden_tree(source: &Path, scene: &Scene, field: &str) -> Result<Source> {
    let real = source.canonicalize().context(|| format!("{field}.source: {}", source.display()))?;
    let points = scene.mount_table.lines().filter_map(|line| line.split(' ').nth(4));
    if let Some(below) = points.map(Path::new).find(|point| *point != real && point.starts_with(&real)) {
        return Err(Error::invalid(format!(
            "{field}.source: {} cannot be reached by the user namespace's root and has a mount below it ({}), which that root could take off: make its parents searchable (chmod o+x)",
            source.display(),
            below.display()
        )));
    }
    Ok(Source::HiddenTree { path: real })
}

fn bind_path(
    source: &Path,
    tree: Option<Slot>,
    recursive: bool,
    (target, directory): (&Path, bool),
    options: &Options,
    field: &str,
    draft: &mut Draft,
) -> Result<()> {
    let ((set, clear), (deep_set, deep_clear)) = (options.attributes(), options.recursive);
    let (source, target) = (text(field, source.as_os_str().as_bytes())?, text(field, target.as_os_str().as_bytes())?);
    let (source, target) = (Text(&source), Text(&target));
    draft.step(Step::Bind { tree, source, recursive, target, directory, set, clear, deep_set, deep_clear });
    Ok(())
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
        most: scene.memory.unwrap_or(1 << 30),
    };
    let tree = draft.slot(what);
    let (set, clear) = options.attributes();
    let target = text(field, target.as_os_str().as_bytes())?;
    draft.step(Step::Attach { tree, target: Text(&target), set, clear });
    Ok(())
}

/// The v1 layout: a tmpfs with a directory for each hierarchy, and links for controllers that share one.
fn cgroups(target: &Path, options: &Options, (scene, field): (&Scene, &str), draft: &mut Draft) -> Result<()> {
    let flags = options.set & !libc::MS_RDONLY;
    let text_of = |path: &Path| text(field, path.as_os_str().as_bytes());
    let top = text_of(target)?;
    draft.step(Step::New {
        kind: Text(c"tmpfs"),
        source: Text(c"tmpfs"),
        target: Text(&top),
        flags: flags | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
        data: Text(c"mode=755"),
    });
    for (name, directory) in scene.cgroups {
        let place = target.join(name);
        if scene.cgroup_namespace {
            // A mount made inside the namespace shows its cgroup as the root.
            let kind = c"cgroup";
            let data = if name == "systemd" { "none,name=systemd".to_owned() } else { name.clone() };
            let (place, data) = (text_of(&place)?, text(field, data)?);
            let flags = options.set;
            draft.step(Step::New {
                kind: Text(kind),
                source: Text(kind),
                target: Text(&place),
                flags,
                data: Text(&data),
            });
        } else {
            bind_path(directory, None, false, (&place, true), options, field, draft)?;
        }
        for alias in name.split(',').filter(|_| name.contains(',')) {
            let (link, to) = (text_of(&target.join(alias))?, text(field, name.as_str())?);
            draft.step(devices::step::Step::Link { path: Text(&link), target: Text(&to) });
        }
    }
    if options.set & libc::MS_RDONLY != 0 {
        let flags =
            libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        draft.step(Step::Remount { target: Text(&top), flags, data: Text(c"") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Result<Options> {
        Options::read(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>(), "mounts[0]")
    }

    #[test]
    fn the_last_of_ro_and_rw_wins_as_in_runc() {
        assert_eq!(read(&["ro", "rw"]).unwrap().set, 0);
        assert_eq!(read(&["rw", "ro"]).unwrap().set, libc::MS_RDONLY);
    }

    #[test]
    fn what_is_no_flag_goes_to_the_filesystem() {
        let options = read(&["nosuid", "mode=755", "size=64k"]).unwrap();
        assert_eq!(options.data(), "mode=755,size=64k");
        assert_eq!(options.set, libc::MS_NOSUID);
    }

    #[test]
    fn conflicts_and_what_is_not_there_yet_are_refused_by_name() {
        assert!(
            read(&["noatime", "strictatime"])
                .unwrap_err()
                .to_string()
                .contains("mounts[0].options: noatime and strictatime")
        );
        assert!(read(&["idmap"]).unwrap_err().to_string().contains("\"idmap\" is not supported yet"));
        assert!(read(&["shared", "private"]).unwrap_err().to_string().contains("shared and private"));
        assert!(read(&["size=1m", "size=2m"]).unwrap_err().to_string().contains("size"));
        assert!(read(&["idmap=uids=0-1-2"]).is_err());
    }

    #[test]
    fn propagation_names_go_both_ways() {
        for name in ["private", "rslave", "rshared", "unbindable"] {
            assert_eq!(propagation_name(propagation(name).unwrap()), name);
        }
        assert_eq!(propagation("remount"), None);
    }
}
