//! The root filesystem, as containerd's snapshotter says how it is mounted: overlays, binds, images of erofs or ext4 by loop
//! devices, or whatever else the kernel mounts. Options are those of fstab(5).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::messages::task::Mount;
use crate::{Context, Error, Result};

/// The most that mount(2) takes of options, in bytes: a page with the zero behind them.
const MOST: usize = 4095;

/// Where a bundle's root filesystem is.
pub fn of(bundle: &Path) -> PathBuf {
    bundle.join("rootfs")
}

/// Mounts all of them; on an error none is left. To be called in a thread of its own: the current directory may become
/// another's for it.
pub fn mount_all(bundle: &Path, mounts: &[Mount]) -> Result<()> {
    if mounts.is_empty() {
        return Ok(());
    }
    let rootfs = of(bundle);
    std::fs::create_dir_all(&rootfs).context(|| format!("make {}", rootfs.display()))?;
    for mount in mounts {
        let target = target(&rootfs, &mount.target)?;
        if let Err(error) = mount_one(mount, &target) {
            unmount(bundle);
            let what = format!("mount rootfs: {} {} on {}", mount.kind, mount.source, target.display());
            return Err(error.context(what));
        }
    }
    Ok(())
}

/// Unmounts whatever is mounted there and below, however busy it is.
pub fn unmount(bundle: &Path) {
    let rootfs = of(bundle);
    // One may lie on top of another.
    for _ in 0..64 {
        match umount2(&rootfs, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return,
            Err(errno) => return log::warn!("unmount {}: {}", rootfs.display(), errno.desc()),
        }
    }
}

fn target(rootfs: &Path, below: &str) -> Result<PathBuf> {
    let below = Path::new(below.trim_start_matches('/'));
    if below.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(Error::invalid(format!("mount rootfs: the target {} leads elsewhere", below.display())));
    }
    Ok(if below.as_os_str().is_empty() { rootfs.to_owned() } else { rootfs.join(below) })
}

/// What options say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    flags: u64,
    propagation: u64,
    data: Vec<String>,
    /// The source is a file that a loop device shows as a disk.
    is_image: bool,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for word in words {
            let set = |flag: MsFlags| flag.bits();
            let (on, off) = match word.as_str() {
                "" | "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "atime" | "diratime" | "norelatime"
                | "nostrictatime" | "nomand" | "loud" => match word.as_str() {
                    "rw" => (0, set(MsFlags::MS_RDONLY)),
                    "suid" => (0, set(MsFlags::MS_NOSUID)),
                    "dev" => (0, set(MsFlags::MS_NODEV)),
                    "exec" => (0, set(MsFlags::MS_NOEXEC)),
                    "atime" => (0, set(MsFlags::MS_NOATIME)),
                    "diratime" => (0, set(MsFlags::MS_NODIRATIME)),
                    "async" => (0, set(MsFlags::MS_SYNCHRONOUS)),
                    _ => (0, 0),
                },
                "ro" => (set(MsFlags::MS_RDONLY), 0),
                "nosuid" => (set(MsFlags::MS_NOSUID), 0),
                "nodev" => (set(MsFlags::MS_NODEV), 0),
                "noexec" => (set(MsFlags::MS_NOEXEC), 0),
                "sync" => (set(MsFlags::MS_SYNCHRONOUS), 0),
                "dirsync" => (set(MsFlags::MS_DIRSYNC), 0),
                "noatime" => (set(MsFlags::MS_NOATIME), 0),
                "nodiratime" => (set(MsFlags::MS_NODIRATIME), 0),
                "relatime" => (set(MsFlags::MS_RELATIME), 0),
                "strictatime" => (set(MsFlags::MS_STRICTATIME), 0),
                "mand" => (libc::MS_MANDLOCK, 0),
                "bind" => (set(MsFlags::MS_BIND), 0),
                "rbind" => (set(MsFlags::MS_BIND | MsFlags::MS_REC), 0),
                "remount" => (set(MsFlags::MS_REMOUNT), 0),
                "loop" => {
                    options.is_image = true;
                    (0, 0)
                }
                "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" | "unbindable" | "runbindable" => {
                    options.propagation = propagation(word);
                    (0, 0)
                }
                // Maps of ids are containerd's to make, by a mount that it then binds.
                _ if word.starts_with("uidmap=") || word.starts_with("gidmap=") => {
                    return Err(Error::invalid(format!("option {word:?} is not supported for the root filesystem")));
                }
                // For programs, not for the kernel.
                _ if word.starts_with("X-") || word.starts_with("x-") => (0, 0),
                _ => {
                    options.data.push(word.clone());
                    (0, 0)
                }
            };
            options.flags = (options.flags & !off) | on;
        }
        Ok(options)
    }
}

fn propagation(word: &str) -> u64 {
    let (recursive, kind) = match word.strip_prefix('r') {
        Some(kind) => (libc::MS_REC, kind),
        None => (0, word),
    };
    recursive
        | match kind {
            "private" => libc::MS_PRIVATE,
            "slave" => libc::MS_SLAVE,
            "shared" => libc::MS_SHARED,
            _ => libc::MS_UNBINDABLE,
        }
}

fn mount_one(what: &Mount, target: &Path) -> Result<()> {
    let mut options = Options::parse(&what.options)?;
    if matches!(what.kind.as_str(), "bind" | "rbind") && options.flags & libc::MS_BIND == 0 {
        options.flags |= libc::MS_BIND | if what.kind == "rbind" { libc::MS_REC } else { 0 };
    }
    let is_bind = options.flags & libc::MS_BIND != 0;
    let flags = MsFlags::from_bits_truncate(options.flags);
    let image = if options.is_image { Some(attach(&what.source, flags.contains(MsFlags::MS_RDONLY))?) } else { None };
    let source = image.as_ref().map_or(what.source.as_str(), |(path, _)| path.as_str());
    let mut data = options.data.join(",");
    if data.len() > MOST && what.kind == "overlay" {
        data = shorten(&options.data)?;
    }
    if data.len() > MOST {
        let length = data.len();
        return Err(Error::invalid(format!(
            "its options are {length} bytes long; the kernel takes {MOST}: fewer layers"
        )));
    }
    let kind = (!is_bind).then_some(what.kind.as_str());
    let text = (!data.is_empty()).then_some(data.as_str());
    let first = if is_bind { flags & (MsFlags::MS_BIND | MsFlags::MS_REC) } else { flags };
    mount(Some(source), target, kind, first, text)?;
    // Of a bind the kernel takes other flags only afterwards.
    let others = flags - (MsFlags::MS_BIND | MsFlags::MS_REC);
    if is_bind && !others.is_empty() {
        let again = others | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        mount(None::<&str>, target, None::<&str>, again, None::<&str>)?;
    }
    if options.propagation != 0 {
        let how = MsFlags::from_bits_truncate(options.propagation);
        mount(None::<&str>, target, None::<&str>, how, None::<&str>)?;
    }
    Ok(())
}

/// An overlay's options with its lower directories named from the directory that they have in common, which becomes this
/// thread's current one.
fn shorten(data: &[String]) -> Result<String> {
    let lower = data.iter().find_map(|word| word.strip_prefix("lowerdir="));
    let lower: Vec<&str> = lower.map(|lower| lower.split(':').collect()).unwrap_or_default();
    let common = common_directory(&lower);
    unshare(CloneFlags::CLONE_FS).context(|| "unshare the current directory")?;
    nix::unistd::chdir(&common).context(|| format!("enter {}", common.display()))?;
    let short = |path: &&str| {
        Path::new(path).strip_prefix(&common).map_or(*path, |path| path.to_str().unwrap_or_default()).to_owned()
    };
    let lower = lower.iter().map(short).collect::<Vec<_>>().join(":");
    let words =
        data.iter().map(|word| if word.starts_with("lowerdir=") { format!("lowerdir={lower}") } else { word.clone() });
    Ok(words.collect::<Vec<_>>().join(","))
}

fn common_directory(paths: &[&str]) -> PathBuf {
    let mut common = paths.first().and_then(|path| Path::new(path).parent()).unwrap_or(Path::new("/")).to_owned();
    while !paths.iter().all(|path| Path::new(path).starts_with(&common)) {
        if !common.pop() {
            return "/".into();
        }
    }
    common
}

/// Shows a file as a disk, for as long as it is mounted or the descriptor is open: loop(4), LO_FLAGS_AUTOCLEAR.
fn attach(image: &str, read_only: bool) -> Result<(String, File)> {
    let file = File::options().read(true).write(!read_only).open(image).context(|| format!("open {image}"))?;
    let control =
        File::options().read(true).write(true).open("/dev/loop-control").context(|| "open /dev/loop-control")?;
    // Another may take the free one between the two steps.
    for _ in 0..100 {
        let number = crate::sys::free_loop_device(&control)?;
        let path = format!("/dev/loop{number}");
        let device = File::options().read(true).write(!read_only).open(&path).context(|| format!("open {path}"))?;
        match crate::sys::attach_loop_device(&device, file.as_raw_fd(), read_only) {
            Ok(()) => return Ok((path, device)),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(Error::from(errno).context(format!("attach {image} to {path}"))),
        }
    }
    Err(Error::new(format!("attach {image}: every free loop device was taken at once")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn options_are_flags_data_and_more() {
        let options = parse(&["ro", "nosuid", "suid", "lowerdir=/a:/b", "rslave", "loop", "x-gvfs-hide"]);
        assert_eq!(options.flags, libc::MS_RDONLY);
        assert_eq!(options.data, ["lowerdir=/a:/b"]);
        assert_eq!(options.propagation, libc::MS_SLAVE | libc::MS_REC);
        assert!(options.is_image);
        assert!(Options::parse(&["uidmap=0:1:2".into()]).is_err());
    }

    #[test]
    fn layers_are_named_from_their_common_directory() {
        assert_eq!(common_directory(&["/s/1/fs", "/s/22/fs"]), PathBuf::from("/s"));
        assert_eq!(common_directory(&["/s/1/fs"]), PathBuf::from("/s/1"));
        assert_eq!(common_directory(&["/a", "/b/c"]), PathBuf::from("/"));
    }

    #[test]
    fn a_target_stays_below_the_root() {
        let root = Path::new("/r");
        assert_eq!(target(root, "").unwrap(), PathBuf::from("/r"));
        assert_eq!(target(root, "/a/b").unwrap(), PathBuf::from("/r/a/b"));
        assert!(target(root, "a/../../b").is_err());
    }
}
