//! The lifecycle of a container: create, start, exec, kill, pause, delete; the loop over the plan's runtime steps;
//! state on disk. Nothing here reads the command line or prints. Data comes from `bundle` as a plan and goes to the
//! kernel, and to one state directory per container.

mod agent;
mod attributes;
mod capture;
mod cleanup;
mod connect;
mod copy_up;
mod create;
mod device_node;
mod events;
mod exec;
mod fault;
mod hooks;
mod host_cgroups;
mod id_maps;
mod identity;
mod launch;
mod links;
mod map_mount;
mod networks;
mod notify;
mod obstacles;
mod processes;
mod run;
mod signal;
mod start;
mod status;
mod store;
mod terminal;
mod update;
mod usage;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use capture::{CaptureOptions, capture};
pub use cleanup::{delete, gc};
pub use connect::{connect, disconnect};
pub use create::{NewContainer, create, plan};
pub use events::{Event, counters, events, stats};
pub use exec::{exec, exec_detached};
pub use run::run;
pub use signal::{kill, pause, resume};
pub use start::start;
pub use status::{list, pids, state};
#[cfg(fuzzing)]
pub use store::State as RecordedState;
pub use store::write_whole;
pub use update::{Changes, update};
pub use usage::{Traffic, Used, check_running, usage};

use crate::network::attachment::Attachment;
use crate::network::request::Interface;
use crate::{Error, Result};

/// How long another command's lock, a killed process or a freeze is waited for before a command gives up and says why.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every command shares: where state lives and who manages cgroups.
#[derive(Debug, Clone)]
pub struct Globals {
    /// The state root, `/run/nfrun` by default.
    pub root: PathBuf,
    /// Whether the user named the root: `list` fails on a missing root only then, as runc's does.
    pub root_given: bool,
    /// Who manages cgroups.
    pub cgroup_manager: CgroupManager,
    /// Whether to do without what the caller may not have.
    pub rootless: Rootless,
    /// Where named networks are.
    pub networks: crate::network::Dirs,
}

/// Where root's containers are kept.
pub const DEFAULT_ROOT: &str = "/run/nfrun";

impl Globals {
    /// Whether the state is kept with what else of a user's session is.
    fn root_is_of_session(&self) -> bool {
        !self.root_given && self.root != std::path::Path::new(DEFAULT_ROOT)
    }
}

/// `--rootless`: whether cgroups that the kernel refuses to the caller are done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rootless {
    /// For a user other than root, and for the root of a user namespace.
    Auto,
    /// For root too.
    Always,
    /// For nobody: they are asked for as root asks, and a refusal is an error.
    Never,
}

/// `--cgroup-manager`, as crun names its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupManager {
    /// Files below /sys/fs/cgroup.
    Cgroupfs,
    /// systemd over D-Bus: the host's for root, a user's own otherwise.
    Systemd,
    /// No cgroup at all.
    Disabled,
}

/// A container's id: 1 to 255 of letters, digits and `_ + - .`, and not `.` or `..`; it names a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if text.is_empty() {
            return Err(Error::invalid("container id cannot be empty"));
        }
        if text == "." || text == ".." || !text.chars().all(valid) {
            return Err(Error::invalid(format!(
                "invalid container ID format: {text:?} (letters, digits and _ + - . only, and not . or ..)"
            )));
        }
        if text.len() > 255 {
            return Err(Error::invalid(format!(
                "container id is {} characters long; a directory is named after it, so 255 is the most",
                text.len()
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Options of `create`, shared by `run`.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Where the terminal's master goes (`--console-socket`).
    pub console: Option<Console>,
    /// Stdin, stdout and stderr of the process; without them it has the caller's.
    pub stdio: Option<Arc<[OwnedFd; 3]>>,
    /// A file that receives init's pid.
    pub pid_file: Option<PathBuf>,
    /// A unix socket that receives init's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// MS_MOVE and chroot in place of pivot_root, for a rootfs on a ramdisk.
    pub no_pivot: bool,
    /// Leave the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors after stderr the process inherits.
    pub preserve_fds: u32,
    /// What flags ask of the network.
    pub network: crate::bundle::network::Flags,
}

/// Options of `run` beyond those of `create`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Return once the process runs.
    pub detach: bool,
    /// Leave the container's state after its end.
    pub keep: bool,
    /// Do not become the reaper of what the container leaves.
    pub no_subreaper: bool,
}

/// What receives a terminal's master.
#[derive(Debug, Clone)]
pub enum Console {
    /// A unix socket that somebody listens on.
    Path(PathBuf),
    /// A unix socket that is connected.
    Socket(Arc<OwnedFd>),
}

/// A process document: config.json's `process`.
#[derive(Debug, Clone)]
pub enum Document {
    /// In a file (`--process`).
    File(PathBuf),
    /// As JSON.
    Text(String),
}

/// Options of `exec`.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// A document that replaces everything below but the descriptors.
    pub process: Option<Document>,
    /// The command and its arguments.
    pub args: Vec<String>,
    /// See [`CreateOptions`].
    pub console: Option<Console>,
    /// See [`CreateOptions`].
    pub stdio: Option<Arc<[OwnedFd; 3]>>,
    /// See [`CreateOptions`].
    pub pid_file: Option<PathBuf>,
    /// See [`CreateOptions`].
    pub pidfd_socket: Option<PathBuf>,
    /// Allocate a terminal.
    pub tty: bool,
    /// UID[:GID], as numbers.
    pub user: Option<(u32, Option<u32>)>,
    /// Additional gids.
    pub additional_gids: Vec<u32>,
    /// The working directory.
    pub cwd: Option<String>,
    /// NAME=VALUE, added to the container's own.
    pub env: Vec<String>,
    /// Return once the process runs.
    pub detach: bool,
    /// The CPUs to run on, before and after it enters the container's cgroups: a list such as `0-3,7`.
    pub exec_cpus: Option<String>,
    /// Capabilities added to the container's own.
    pub caps: Vec<String>,
    /// An SELinux label.
    pub process_label: Option<String>,
    /// An AppArmor profile.
    pub apparmor: Option<String>,
    /// Set no_new_privs.
    pub no_new_privs: bool,
    /// See [`CreateOptions`].
    pub preserve_fds: u32,
    /// `PATH` or `CONTROLLER[,CONTROLLER]:PATH`: a cgroup beneath the container's own to enter.
    pub cgroup: Vec<String>,
    /// Enter a paused container, and hang until it is resumed.
    pub ignore_paused: bool,
}

/// Where a container is in its life, with runc's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `create` has not finished.
    Creating,
    /// Set up and waiting for `start`.
    Created,
    /// The user's process runs.
    Running,
    /// Frozen by `pause`.
    Paused,
    /// The process has ended.
    Stopped,
}

impl Status {
    /// The word that `state` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// What `state` and `list` print of a container.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The version of the bundle's runtime-spec.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// Init's pid, 0 when it has ended.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The rootfs's absolute path.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The name of the user who owns its state directory, `#UID` when he has none.
    pub owner: String,
    /// The bundle's annotations.
    pub annotations: BTreeMap<String, String>,
    /// What it has on networks, and of its own.
    pub interfaces: Interfaces,
}

/// The interfaces that nfrun has given a container.
#[derive(Debug, Clone, Default)]
pub struct Interfaces {
    /// On networks, and those that lead to the host or another container.
    pub attached: Vec<Attachment>,
    /// The others, as they were asked for.
    pub apart: Vec<Interface>,
}
