//! Interfaces that move into a container (linux.netDevices), and what it takes to have them back.
//!
//! An interface in a network namespace ends with that (network_namespaces(7)): a virtual one is destroyed, a physical one
//! goes to the machine's first namespace. So before any is moved both namespaces, the container's and the one that the
//! interfaces come from, are held in the state directory, as bind mounts of their files. There the undo finds them
//! whichever process has died.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, fstatfs};

use super::store::{Directory, HOME_NETWORK, NETWORK};
use crate::bundle::net_devices::field;
use crate::network::{Origin, Socket, transfer};
use crate::sys::spawn::Spawned;
use crate::undo::Networks;
use crate::{Context, Error, Result, sys};

/// NSFS_MAGIC: statfs(2).
const NSFS: FsType = FsType(0x6e73_6673);

/// Holds init's network namespace and the caller's.
pub fn hold(directory: &Directory, init: &Spawned) -> Result<Networks> {
    let theirs = File::open(format!("/proc/{}/ns/net", init.pid)).context(|| "open init's network namespace")?;
    if sys::pidfd::has_ended(init.process.as_fd()) {
        return Err(Error::new("linux.netDevices: init has ended"));
    }
    let ours = File::open("/proc/thread-self/ns/net").context(|| "open this network namespace")?;
    let inode = |file: &File| nix::sys::stat::fstat(file).map(|found| found.st_ino);
    let networks = Networks { container: inode(&theirs)?, home: inode(&ours)? };
    if networks.container == networks.home {
        return Err(Error::new("linux.netDevices: init is in the network namespace that the interfaces come from"));
    }
    for (name, file) in [(NETWORK, &theirs), (HOME_NETWORK, &ours)] {
        bind(directory, name, file)
            .map_err(|error| error.context(format!("hold a network namespace at {}", path(directory, name))))?;
    }
    Ok(networks)
}

fn path(directory: &Directory, name: &CStr) -> String {
    format!("{}/{}", directory.path.display(), name.to_string_lossy())
}

/// The same by the directory's descriptor, whatever became of its path.
fn path_by_fd(directory: &Directory, name: &CStr) -> String {
    format!("/proc/self/fd/{}/{}", directory.as_fd().as_raw_fd(), name.to_string_lossy())
}

fn bind(directory: &Directory, name: &CStr, netns: &File) -> Result<()> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::from_bits_truncate(0o600))?;
    let (source, none) = (format!("/proc/self/fd/{}", netns.as_raw_fd()), None::<&str>);
    mount(Some(source.as_str()), path_by_fd(directory, name).as_str(), none, MsFlags::MS_BIND, none)?;
    Ok(())
}

/// A held namespace; None where it is not held, as seen from here, or is another.
fn open_held(directory: &Directory, name: &CStr, inode: u64) -> Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other.context(|| format!("open {}", path(directory, name)))?,
    };
    let held = fstatfs(&file)?.filesystem_type() == NSFS && nix::sys::stat::fstat(&file)?.st_ino == inode;
    Ok(held.then_some(file))
}

/// Moves an interface into the held namespace; `moved` is told its number there.
pub fn send(
    directory: &Directory,
    networks: Networks,
    origin: &Origin,
    moved: impl FnOnce(u32) -> Result<()>,
) -> Result<()> {
    let attempt = || {
        let netns = open_held(directory, NETWORK, networks.container)?
            .ok_or_else(|| Error::new("the container's network namespace is not held any more"))?;
        let (here, there) = (Socket::open()?, Socket::open_in(netns.as_fd())?);
        transfer::send(origin, &here, (&there, netns.as_fd()), moved)
    };
    attempt().map_err(|error| {
        error.context(format!(
            "{}: move {} into the container's network namespace as {}",
            field(&origin.name),
            origin.name,
            origin.inside
        ))
    })
}

/// Brings an interface back to where it came from. With the namespaces held no longer it was brought back before.
pub fn bring_back(directory: &Directory, networks: Networks, origin: &Origin, index: Option<u32>) -> Result<()> {
    let attempt = || {
        let there = open_held(directory, NETWORK, networks.container)?;
        let home = open_held(directory, HOME_NETWORK, networks.home)?;
        let (Some(there), Some(home)) = (there, home) else { return Ok(()) };
        let (from, to) = (Socket::open_in(there.as_fd())?, Socket::open_in(home.as_fd())?);
        transfer::bring_back(origin, index, &from, (&to, home.as_fd()))
    };
    attempt().map_err(|error| error.context(format!("{}: bring {} back", field(&origin.name), origin.name)))
}

/// Holds the namespaces no longer. What is left in the container's goes with that.
pub fn let_go(directory: &Directory) -> Result<()> {
    for name in [NETWORK, HOME_NETWORK] {
        // Not a mount, or nothing there: it was let go before.
        match umount2(path_by_fd(directory, name).as_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(Error::from(errno).context(format!("unmount {}", path(directory, name)))),
        }
    }
    Ok(())
}
