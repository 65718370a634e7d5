//! Containers on disk: a directory below the root for each, with its lock, state.json and undo record. state.json is
//! written to a temporary name and renamed, so it is whole or not there; while it is not there the container is
//! half-made. The lock is flock(2) on the directory itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::identity::Program;
use super::{ContainerId, Globals, PATIENCE};
use crate::init::hooks::plan::Hook;
use crate::undo::Identity;
use crate::{Context, Error, Kind, Result, cgroup};

/// state.json: what later commands need of a container.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The format.
    pub version: u32,
    /// The id.
    pub id: String,
    /// The bundle's ociVersion.
    pub oci_version: String,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The rootfs's absolute path.
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// The first process.
    pub init: Identity,
    /// The file that init was started from.
    pub program: Program,
    /// CLONE_NEW* flags of the namespaces that it does not share with its creator.
    pub namespaces: u64,
    /// Whether the pid namespace is one that it joined, as in a pod: then the first process's end ends nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined_pids: bool,
    /// Its cgroups.
    pub place: Option<cgroup::Place>,
    /// Its class of service, which exec enters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<crate::resctrl::Group>,
    /// Whether it has a session keyring of its own, which exec joins.
    pub own_keyring: bool,
    /// How many updates have changed its resources: a record of an update that was cut short says which it was.
    #[serde(default)]
    pub updates: u64,
    /// The seccomp agent, where the filter hands calls to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<crate::seccomp::Listener>,
    /// The bundle's annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Whether hooks run at `start` before the process, whose end init tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_hooks: bool,
    /// The hooks to run at `start`, once the process runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// Its interfaces that are on no network, as they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<crate::network::request::Interface>,
    /// The container whose network it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<String>,
    /// config.json, as it was when the container was created, with what updates have changed of linux.resources.
    pub config: Box<RawValue>,
}

impl State {
    /// Whether the kernel ends all of the container with its first process: that is pid 1 of a namespace of its own.
    pub fn ends_with_init(&self) -> bool {
        crate::bundle::create::ends_with_init(self.namespaces, self.joined_pids)
    }
}

/// A container's directory.
#[derive(Debug)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    fd: OwnedFd,
}

/// A directory whose lock is held.
#[derive(Debug)]
pub struct Locked {
    /// The directory.
    pub directory: Directory,
    _lock: Flock<OwnedFd>,
}

const STATE: &std::ffi::CStr = c"state.json";
const TEMPORARY: &std::ffi::CStr = c"state.json.new";
/// state.json of a container whose removal has begun.
const DELETED: &std::ffi::CStr = c"state.json.deleted";
/// What an update that was cut short has to put back.
pub const UPDATE: &std::ffi::CStr = c"update";
/// The socket that `start` connects to.
pub const START_SOCKET: &str = "start";

/// Where the container's network namespace is held while interfaces of the host are in it, and the one that they are from.
pub const NETWORK: &std::ffi::CStr = c"netns";
/// See [`NETWORK`].
pub const HOME_NETWORK: &std::ffi::CStr = c"netns.home";

/// The directory of the socket to which the container tells that it is ready: see `notify`.
pub const NOTIFY: &str = "notify";

/// "container does not exist", as drivers parse it.
pub fn no_such_container(id: &ContainerId) -> Error {
    Error::new(format!("container does not exist: {id}")).kind_of(Kind::NoSuchContainer)
}

impl Directory {
    /// Opens a container's directory.
    pub fn open(root: &Path, id: &ContainerId) -> Result<Self> {
        match Self::at(root.join(id.as_str())) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Err(no_such_container(id)),
            other => other,
        }
    }

    /// Opens the directory at a path.
    pub fn at(path: PathBuf) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd = open(&path, flags, Mode::empty()).context(|| format!("open {}", path.display()))?;
        Ok(Self { path, fd })
    }

    /// Makes a new container's directory and takes its lock.
    pub fn make(globals: &Globals, id: &ContainerId) -> Result<Locked> {
        let root = globals.root.as_path();
        let path = root.join(id.as_str());
        let builder = &mut std::fs::DirBuilder::new();
        let builder = builder.mode(0o700);
        for _ in 0..100 {
            match builder.create(&path) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    make_root(globals)?;
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                    return Err(
                        Error::new(format!("container with given ID already exists: {id}")).kind_of(Kind::Exists)
                    );
                }
                Err(error) => {
                    return Err(Error::from(error).context(format!("make state directory {}", path.display())));
                }
            }
            // A gc that saw the directory before its lock was taken removes it as a half-made one: begin anew.
            if let Some(locked) = Self::open(root, id).ok().map(Self::lock).transpose()?.flatten() {
                return Ok(locked);
            }
        }
        Err(Error::new(format!("make state directory {}: something removes it again and again", path.display())))
    }

    /// Waits for the lock, but not for ever; None where the directory was removed meanwhile.
    pub fn lock(self) -> Result<Option<Locked>> {
        self.lock_against(|_| Ok(()))
    }

    /// As `lock`; `against` is called with the directory again and again while another command holds the lock.
    pub fn lock_against(self, against: impl Fn(&Self) -> Result<()>) -> Result<Option<Locked>> {
        let end = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        let mut directory = self;
        loop {
            match directory.try_lock()? {
                Ok(locked) => return Ok(locked),
                Err(_) if Instant::now() > end => {
                    return Err(Error::new(
                        "another command has been at work on the container for too long; end that one first",
                    ));
                }
                Err(again) => directory = again,
            }
            against(&directory)?;
            // flock(2) knows neither a time limit nor an event.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Takes the lock if nobody holds it. Err(self) where somebody does.
    pub fn try_lock(self) -> Result<Result<Option<Locked>, Self>> {
        let again = Self { path: self.path.clone(), fd: self.fd.try_clone()? };
        match self.take_lock(FlockArg::LockExclusiveNonblock) {
            Err(error) if error.errno() == Some(libc::EWOULDBLOCK) => Ok(Err(again)),
            other => other.map(Ok),
        }
    }

    fn take_lock(self, how: FlockArg) -> Result<Option<Locked>> {
        let fd = self.fd.try_clone()?;
        let lock = Flock::lock(fd, how)
            .map_err(|(_, errno)| Error::from(errno).context(format!("lock {}", self.path.display())))?;
        // Whoever removed the container held the lock, and the name may be another's by now.
        let ours = nix::sys::stat::fstat(&self.fd)?;
        let named = std::fs::symlink_metadata(&self.path);
        let same = named.is_ok_and(|named| named.ino() == ours.st_ino && named.dev() == ours.st_dev);
        Ok(same.then_some(Locked { directory: self, _lock: lock }))
    }

    /// state.json; None for a container that is half-made or half-deleted.
    pub fn state(&self) -> Result<Option<State>> {
        self.read_state(STATE)
    }

    /// From here on the container is half-deleted, and whoever comes next finishes that. Its state, if it had one.
    pub fn begin_removal(&self) -> Result<Option<State>> {
        match nix::fcntl::renameat(&self.fd, STATE, &self.fd, DELETED) {
            Ok(()) | Err(Errno::ENOENT) => self.read_state(DELETED),
            Err(errno) => Err(Error::from(errno).context(format!("rename {}/state.json", self.path.display()))),
        }
    }

    fn read_state(&self, name: &std::ffi::CStr) -> Result<Option<State>> {
        let Some(text) = self.read_file(name)? else { return Ok(None) };
        let state = serde_json::from_str(&text).context(|| format!("{}/state.json", self.path.display()))?;
        Ok(Some(state))
    }

    /// Writes state.json, whole or not at all.
    pub fn save(&self, state: &State) -> Result<()> {
        self.write_file(STATE, &serde_json::to_vec(state)?)
    }

    /// Writes a small file of the directory, whole or not at all.
    pub fn write_file(&self, name: &std::ffi::CStr, text: &[u8]) -> Result<()> {
        let flags = OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let write = || -> Result<()> {
            let mut file = File::from(openat(&self.fd, TEMPORARY, flags, Mode::from_bits_truncate(0o600))?);
            file.write_all(text)?;
            Ok(nix::fcntl::renameat(&self.fd, TEMPORARY, &self.fd, name)?)
        };
        write().context(|| format!("write {}/{}", self.path.display(), name.to_string_lossy()))
    }

    /// Reads a small file of the directory; None where there is none.
    pub fn read_file(&self, name: &std::ffi::CStr) -> Result<Option<String>> {
        let what = || format!("read {}/{}", self.path.display(), name.to_string_lossy());
        let file = match openat(&self.fd, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other.context(what)?,
        };
        let mut text = String::new();
        File::from(file).take(64 << 20).read_to_string(&mut text).context(what)?;
        Ok(Some(text))
    }

    /// Removes a file of the directory, if it is there.
    pub fn remove_file(&self, name: &std::ffi::CStr) -> Result<()> {
        match nix::unistd::unlinkat(&self.fd, name, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => {
                let name = name.to_string_lossy();
                Err(errno).context(|| format!("remove {}/{name}", self.path.display()))
            }
        }
    }

    /// Removes the directory that the container's socket is in. A container that may mount can have made it writable, and
    /// left something there.
    fn remove_notify(&self) -> Result<()> {
        match nix::unistd::unlinkat(&self.fd, NOTIFY, nix::unistd::UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::ENOTEMPTY) => {
                let path = self.join(NOTIFY);
                std::fs::remove_dir_all(&path).context(|| format!("remove {}", path.display()))
            }
            Err(errno) => Err(errno).context(|| format!("remove {}", self.join(NOTIFY).display())),
        }
    }

    /// Whether the container's removal has begun.
    pub fn is_being_removed(&self) -> bool {
        nix::sys::stat::fstatat(&self.fd, DELETED, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// The uid of its owner.
    pub fn owner(&self) -> u32 {
        nix::sys::stat::fstat(&self.fd).map_or(0, |found| found.st_uid)
    }

    /// When it was made, for a container that has no state yet.
    pub fn modified(&self) -> std::time::SystemTime {
        std::fs::metadata(&self.path).and_then(|found| found.modified()).unwrap_or(std::time::UNIX_EPOCH)
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Locked {
    /// Removes the directory with all that is in it; the record goes last, so that an interrupted removal is finished.
    pub fn remove(self) -> Result<()> {
        self.directory.remove_notify()?;
        for name in [STATE, TEMPORARY, DELETED, c"start", UPDATE, NETWORK, HOME_NETWORK] {
            self.directory.remove_file(name)?;
        }
        for name in crate::bundle::network::FILES.iter().copied().chain([crate::undo::FILE]) {
            self.directory.remove_file(name)?;
        }
        match std::fs::remove_dir(&self.directory.path) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.context(|| format!("remove {}", self.directory.path.display())),
        }
    }
}

/// Makes the state root. What has lain in XDG_RUNTIME_DIR for long may be removed, but for what has the sticky bit.
fn make_root(globals: &Globals) -> Result<()> {
    let mode = if globals.root_is_of_session() { 0o1700 } else { 0o700 };
    let made = std::fs::DirBuilder::new().mode(mode).recursive(true).create(&globals.root);
    made.map_err(|error| {
        let error = Error::from(error).context(format!("make state root {}", globals.root.display()));
        match error.errno() {
            Some(libc::EACCES | libc::EPERM | libc::EROFS) if !globals.root_given => {
                let message =
                    format!("{error} (set XDG_RUNTIME_DIR to a directory of yours on a tmpfs, or name one by --root)");
                error.reworded(message)
            }
            _ => error,
        }
    })
}

/// The ids of a root, sorted. A missing root has none; None says that it is missing.
pub fn ids(root: &Path) -> Result<Option<Vec<ContainerId>>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        other => other.context(|| format!("open root {}", root.display()))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("read root {}", root.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(Ok(id)) = entry.file_name().to_str().map(str::parse)
        {
            ids.push(id);
        }
    }
    ids.sort();
    Ok(Some(ids))
}

/// Writes a file under a temporary name beside it and renames it, so that a reader finds it whole or not at all.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::invalid("it names no file"))?;
    let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    // A link that somebody put there must not be followed: O_EXCL.
    let _ = std::fs::remove_file(&temporary);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary);
    let written = made.and_then(|mut file| file.write_all(content)).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        error.into()
    })
}
