//! `start`: containerd asks where the shim of a container listens. Containers of one pod have one shim: whoever comes first
//! becomes it, by a fork, so that there is no second program to start; the others are told its address.
//!
//! containerd before 2.3 gives the options on stdin and takes an address; later ones give a BootstrapParams and take a
//! BootstrapResult. Both parse as either, so it is by id and namespace that they are told apart.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use prost::Message;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::flags::Flags;
use super::messages::Any;
use super::messages::bootstrap::{BootstrapParams, BootstrapResult};
use super::options::Options;
use super::publisher::Way;
use super::server::{self, Beginning};
use super::{print, read_stdin};
use crate::logger::{self, Format, Target};
use crate::{Context, Error, Result};

/// Where shims listen: the same directory as containerd's own shims.
const SOCKETS: &str = "/run/containerd/s";
/// Annotations that say which pod a container is of; the first that is there counts.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
/// The file of a bundle that tells its shim's address to a containerd that was started anew.
const ADDRESS_FILE: &str = "address";

/// What containerd says beside the flags.
struct Asked {
    options: Options,
    /// Whether it wants a BootstrapResult.
    is_bootstrap: bool,
    debug: bool,
    way: Way,
}

/// Tells the address, of a shim that is there or of the one that this process forks.
pub fn start(flags: &Flags) -> Result<()> {
    let asked = read_asked(flags)?;
    let path = socket_path(flags, &group(flags)?);
    let address = format!("unix://{}", path.display());
    let listener = listen(&path)?;
    crate::container::write_whole(Path::new(ADDRESS_FILE), address.as_bytes())
        .context(|| format!("write {ADDRESS_FILE}"))?;
    let answer = if asked.is_bootstrap {
        BootstrapResult { version: 3, address, protocol: "ttrpc".into() }.encode_to_vec()
    } else {
        address.into_bytes()
    };
    let Some(listener) = listener else { return print(&answer) };
    let log = open_log();
    if !crate::sys::fork().context(|| "fork the shim")? {
        return print(&answer);
    }
    become_shim(asked, flags, Beginning { listener, path }, log)
}

/// The child's part, which lives on.
fn become_shim(asked: Asked, flags: &Flags, beginning: Beginning, log: Option<File>) -> Result<()> {
    let debug = flags.debug || asked.debug || asked.options.debug;
    if let Some(log) = log {
        logger::start(Target::Open(log), Format::Text, debug)?;
    }
    // What systemd has said to containerd is not meant for containers.
    crate::sys::forget_variables(&["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"])?;
    // containerd waits until nobody has the pipes of `start` any more.
    detach()?;
    if let Err(error) = settle(&asked.options) {
        log::warn!("{error}");
    }
    let served = server::serve(&flags.namespace, asked.way, beginning);
    if let Err(error) = &served {
        log::error!("{error}");
    }
    std::process::exit(i32::from(served.is_err()));
}

fn detach() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null").context(|| "open /dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    nix::unistd::setsid()?;
    // The bundle it was called in goes with its container, and the shim may have others.
    nix::unistd::chdir("/")?;
    Ok(())
}

/// The shim is killed for memory after its containers, and before containerd; and it may have a cgroup of its own.
fn settle(options: &Options) -> Result<()> {
    let file = "/proc/self/oom_score_adj";
    let inherited = std::fs::read_to_string(file)?;
    let score = inherited.trim().parse::<i32>().unwrap_or(0);
    std::fs::write(file, (score + 1).min(1000).to_string()).context(|| format!("write {file}"))?;
    if options.shim_cgroup.is_empty() {
        return Ok(());
    }
    let pid = std::process::id().to_string();
    let path = options.shim_cgroup.trim_start_matches('/');
    let mut entered = false;
    for hierarchy in crate::cgroup::Layout::read()?.hierarchies {
        let root = hierarchy.mount_point;
        match std::fs::write(format!("{root}/{path}/cgroup.procs"), &pid) {
            Ok(()) => entered = true,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::from(error).context(format!("shim_cgroup {path}, in {root}"))),
        }
    }
    if entered { Ok(()) } else { Err(Error::invalid(format!("shim_cgroup {path}: there is no such cgroup"))) }
}

fn read_asked(flags: &Flags) -> Result<Asked> {
    let bytes = read_stdin()?;
    let params = BootstrapParams::decode(bytes.as_slice()).ok();
    let params = params.filter(|params| params.instance_id == flags.id && params.namespace == flags.namespace);
    let Some(params) = params else {
        let options = Any::decode(bytes.as_slice()).map_err(|error| Error::invalid(error.to_string()));
        let options = options.context(|| "read the runtime's options from stdin")?;
        let socket = std::env::var_os("TTRPC_ADDRESS").filter(|address| !address.is_empty()).map(PathBuf::from);
        let way = way(socket, flags.publish_binary.clone(), &flags.address);
        return Ok(Asked { options: Options::of(Some(&options))?, is_bootstrap: false, debug: false, way });
    };
    let given = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let known = ["containerd.runc.v1.Options", "runtimeoptions.v1.Options"];
    let mut options = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
    let way =
        way(given(&params.containerd_ttrpc_address), given(&params.containerd_binary), &params.containerd_grpc_address);
    Ok(Asked {
        options: Options::of(options.find(|any| known.contains(&any.name())))?,
        is_bootstrap: true,
        debug: params.log_level < 0,
        way,
    })
}

fn way(socket: Option<PathBuf>, program: Option<PathBuf>, address: &str) -> Way {
    let without_scheme =
        |path: PathBuf| path.to_str().and_then(|path| path.strip_prefix("unix://")).map_or(path.clone(), PathBuf::from);
    match (socket, program) {
        (Some(socket), _) => Way::Socket(without_scheme(socket)),
        (None, Some(program)) => Way::Program(program, address.to_owned()),
        (None, None) => Way::None,
    }
}

/// Which shim a container belongs to: its pod's, or its own.
fn group(flags: &Flags) -> Result<String> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let text = std::fs::read_to_string("config.json").context(|| "read config.json")?;
    let annotations =
        serde_json::from_str::<Annotated>(&text).context(|| "config.json")?.annotations.unwrap_or_default();
    let named = GROUPS.iter().find_map(|group| annotations.get(*group));
    Ok(named.unwrap_or(&flags.id).clone())
}

/// A path that only this containerd, namespace and group have, and that is short enough for a socket.
fn socket_path(flags: &Flags, group: &str) -> PathBuf {
    // Another runtime's shim of the same pod must not be met.
    let text = format!("nfrun\n{}\n{}\n{group}", flags.address, flags.namespace);
    let digest = Sha256::digest(text.as_bytes());
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(SOCKETS).join(name)
}

/// A socket that listens; None where a shim does so already. Nobody but root may connect (CVE-2020-15257).
fn listen(path: &Path) -> Result<Option<UnixListener>> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o711).create(dir).context(|| format!("make {}", dir.display()))?;
    // Whoever else is called for the same pod waits until it is known who listens.
    let lock = File::open(dir).context(|| format!("open {}", dir.display()))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::from(errno).context(format!("lock {}", dir.display())))?;
    if UnixStream::connect(path).is_ok() {
        return Ok(None);
    }
    // Of a shim that was killed.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::from(error).context(format!("remove {}", path.display())));
        }
        _ => {}
    }
    // The mode is the socket's from its first moment on; this process has one thread and makes nothing else.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    let listener = listener.context(|| format!("listen at {}", path.display()))?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).context(|| format!("chmod {}", path.display()))?;
    Ok(Some(listener))
}

/// The FIFO that containerd reads the log from. Opened for both, it takes what fits although nobody reads.
fn open_log() -> Option<File> {
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("log").ok()
}

/// Removes the socket of a bundle's shim, if nobody listens there any more.
pub fn remove_dead_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join(ADDRESS_FILE)) else { return };
    let path = Path::new(address.trim().strip_prefix("unix://").unwrap_or_default());
    if path.starts_with(SOCKETS)
        && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    {
        let _ = std::fs::remove_file(path);
    }
}
