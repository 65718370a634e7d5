//! nfrun's own flags, which stand before the command: where state lives, who manages cgroups, where the log goes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::arguments::{Arguments, Given};
use super::flag::{Flag, Value};
use crate::container::{CgroupManager, DEFAULT_ROOT, Globals, Rootless};
use crate::logger::{self, Format, Target};
use crate::network::Dirs;
use crate::{Error, Result};

static ROOT: Flag = Flag::new(
    "root",
    Value::Dir("DIR"),
    "Keep the containers' state below DIR, which should be on a tmpfs. The default is /run/nfrun, and \
     $XDG_RUNTIME_DIR/nfrun or /run/user/UID/nfrun for a user other than root.",
);
static LOG: Flag = Flag::new(
    "log",
    Value::File("FILE"),
    "Append log messages to FILE, which is created when missing, in place of stderr. file:FILE is the same. An error \
     that ends the command is always written to stderr too.",
);
static LOG_FORMAT: Flag =
    Flag::new("log-format", Value::OneOf("FORMAT", &["text", "json"]), "Write log messages as text or as JSON lines.");
static DEBUG: Flag = Flag::switch("debug", "Log what is done, step by step.");
static CGROUP_MANAGER: Flag = Flag::new(
    "cgroup-manager",
    Value::OneOf("MANAGER", &["cgroupfs", "systemd", "disabled"]),
    "Who makes the containers' cgroups: nfrun through the file system, systemd, or nobody.",
);
static SYSTEMD_CGROUP: Flag = Flag::switch(
    "systemd-cgroup",
    "The same as --cgroup-manager systemd: a container is a scope of systemd, the host's for root and the user's own \
     otherwise, and linux.cgroupsPath is slice:prefix:name. Later commands need no flag.",
);
static ROOTLESS: Flag = Flag::new(
    "rootless",
    Value::OneOf("WHEN", &["auto", "true", "false"]),
    "Do without cgroups that the user may not write to, where the bundle names none and sets no limit. With auto, \
     that is for users other than root and for the root of a user namespace.",
);
static NETWORK_CONFIG_DIR: Flag = Flag::new(
    "network-config-dir",
    Value::Dir("DIR"),
    "Where named networks are defined, a file a network. The default is /etc/nfrun/networks, and \
     $XDG_CONFIG_HOME/nfrun/networks or ~/.config/nfrun/networks for a user other than root.",
);
static CRIU: Flag = Flag::new("criu", Value::File("FILE"), "Ignored, as by newer runc.").hide();
/// Prints the version.
pub(super) static VERSION: Flag = Flag::switch("version", "Print the version.").letter('v');

/// The flags in the order of the help.
pub(super) static FLAGS: &[&Flag] = &[
    &ROOT,
    &LOG,
    &LOG_FORMAT,
    &DEBUG,
    &CGROUP_MANAGER,
    &SYSTEMD_CGROUP,
    &ROOTLESS,
    &NETWORK_CONFIG_DIR,
    &CRIU,
    &VERSION,
];

/// Starts the log where the flags say.
pub(super) fn start_log(arguments: &Arguments) -> Result<()> {
    let format = if arguments.choice(&LOG_FORMAT)? == "json" { Format::Json } else { Format::Text };
    let target = match arguments.text(&LOG)?.as_deref() {
        // Opening /dev/stderr fails where stderr is a socket, as below systemd.
        None | Some("/dev/stderr") => Target::Stderr,
        Some(text) => Target::File(log_path(text)?),
    };
    logger::start(target, format, arguments.on(&DEBUG))
}

/// What the library wants to know of the flags.
pub(super) fn read(arguments: &Arguments) -> Result<Globals> {
    let root = arguments.path(&ROOT)?;
    let root_given = root.is_some();
    // That another's runtime directory is passed over matters less to one who has named the root.
    let session = session(if root_given { log::Level::Debug } else { log::Level::Warn });
    let mut networks = network_dirs(session.as_deref());
    if let Some(config) = arguments.path(&NETWORK_CONFIG_DIR)? {
        networks.config = config;
    }
    Ok(Globals {
        root_given,
        root: root.or_else(|| session.map(|dir| dir.join("nfrun"))).unwrap_or_else(|| PathBuf::from(DEFAULT_ROOT)),
        networks,
        cgroup_manager: manager(arguments)?,
        rootless: match arguments.choice(&ROOTLESS)? {
            "true" => Rootless::Always,
            "false" => Rootless::Never,
            _ => Rootless::Auto,
        },
    })
}

/// crun names a backend before the path.
fn log_path(text: &str) -> Result<PathBuf> {
    match text.split_once(':') {
        Some(("file", path)) => Ok(PathBuf::from(path)),
        Some((backend @ ("journald" | "syslog"), _)) => Err(Error::invalid(format!(
            "--log {text}: nfrun does not log to {backend}; name a file (a file of this name is ./{text})"
        ))),
        _ => Ok(PathBuf::from(text)),
    }
}

/// The last of `--cgroup-manager` and `--systemd-cgroup` counts, as with crun.
fn manager(arguments: &Arguments) -> Result<CgroupManager> {
    let named = arguments.choice(&CGROUP_MANAGER)?;
    let last = arguments.given.iter().rev().find(|(long, _)| [CGROUP_MANAGER.long, SYSTEMD_CGROUP.long].contains(long));
    Ok(match (last, named) {
        (Some((_, Given::Switch(true))), _) | (Some((_, Given::Value(_))), "systemd") => CgroupManager::Systemd,
        (Some((_, Given::Value(_))), "disabled") => CgroupManager::Disabled,
        _ => CgroupManager::Cgroupfs,
    })
}

/// Where an ordinary user's session has its files, if he has one; what is passed over is logged at this level.
fn session(passed_over: log::Level) -> Option<PathBuf> {
    let run = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let is_ordinary = run.is_some() && is_ordinary_user();
    match run.filter(|dir| !is_ordinary || !is_anothers(dir, passed_over)) {
        Some(dir) if is_ordinary => Some(dir),
        None if !geteuid().is_root() => of_session(&format!("/run/user/{}", geteuid())),
        _ => None,
    }
}

/// Whether a runtime directory, or what is kept in it, is another user's: su(1) leaves the variable as it was, and of what he
/// writes there hooks would be run as this user. One of root's is open to all, such as /tmp, and has no known owner in a user
/// namespace.
fn is_anothers(dir: &Path, level: log::Level) -> bool {
    const NOBODY: u32 = 65534;
    let own = geteuid().as_raw();
    let is_of_other_than = |path: &Path, owners: &[u32]| {
        let other = std::fs::metadata(path).is_ok_and(|found| !owners.contains(&found.uid()));
        if other {
            log::log!(level, "XDG_RUNTIME_DIR is passed over: {} is another user's", path.display());
        }
        other
    };
    is_of_other_than(dir, &[own, 0, NOBODY])
        || ["nfrun", "nfrun-networks"].iter().any(|name| is_of_other_than(&dir.join(name), &[own]))
}

/// Where a session has its files, although nobody has told: su(1) and sudo(8) take the variable away.
fn of_session(dir: &str) -> Option<PathBuf> {
    let found = std::fs::symlink_metadata(dir).ok()?;
    (found.is_dir() && found.uid() == geteuid().as_raw()).then(|| PathBuf::from(dir))
}

/// Root's networks, or those of the user whose session that is.
fn network_dirs(session: Option<&Path>) -> Dirs {
    let root = Dirs::of_root();
    let Some(session) = session else { return root };
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    match variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config"))) {
        Some(config_home) => Dirs::of_user(&config_home, session),
        None => Dirs { run: Dirs::of_user(Path::new("/"), session).run, ..root },
    }
}

/// Whether an ordinary user runs this, be it as root of a user namespace of his own, as rootless podman does.
fn is_ordinary_user() -> bool {
    if !geteuid().is_root() {
        return true;
    }
    // podman keeps the user's name where there is one; a service of his has none.
    let is_named_root = std::env::var_os("USER").is_some_and(|user| user == "root");
    !is_named_root && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !maps_all_ids(&map))
}

fn maps_all_ids(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Order, parse};
    use super::*;

    fn read_line(words: &[&str]) -> Result<Globals> {
        let words: Vec<_> = words.iter().map(std::ffi::OsString::from).collect();
        read(&parse(&mut words.into_iter(), FLAGS, Order::BeforeWord).unwrap())
    }

    #[test]
    fn the_last_cgroup_manager_counts() {
        let manager = |words: &[&str]| read_line(words).unwrap().cgroup_manager;
        assert_eq!(manager(&[]), CgroupManager::Cgroupfs);
        assert_eq!(manager(&["--systemd-cgroup"]), CgroupManager::Systemd);
        assert_eq!(manager(&["--systemd-cgroup=false"]), CgroupManager::Cgroupfs);
        assert_eq!(manager(&["--systemd-cgroup", "--cgroup-manager", "disabled"]), CgroupManager::Disabled);
        assert_eq!(manager(&["--cgroup-manager=cgroupfs", "--systemd-cgroup"]), CgroupManager::Systemd);
    }

    #[test]
    fn a_wrong_choice_names_the_right_ones() {
        let error = read_line(&["--cgroup-manager", "openrc"]).unwrap_err().to_string();
        assert!(error.contains("openrc") && error.contains("cgroupfs or systemd or disabled"), "{error}");
    }

    #[test]
    fn a_given_root_is_made_absolute_and_known_as_given() {
        let globals = read_line(&["--root", "x"]).unwrap();
        assert_eq!(globals.root, std::env::current_dir().unwrap().join("x"));
        assert!(globals.root_given && !read_line(&[]).unwrap().root_given);
    }

    #[test]
    fn networks_are_roots_or_the_users_and_where_the_flag_says() {
        let globals = read_line(&["--network-config-dir", "x"]).unwrap();
        assert_eq!(globals.networks.config, std::env::current_dir().unwrap().join("x"));
        assert_eq!(network_dirs(None), Dirs::of_root());
        assert_eq!(network_dirs(Some(Path::new("/run/user/7"))).run, PathBuf::from("/run/user/7/nfrun-networks"));
    }

    #[test]
    fn a_log_may_name_cruns_backend() {
        assert_eq!(log_path("file:/a").unwrap(), PathBuf::from("/a"));
        assert_eq!(log_path("/a:b").unwrap(), PathBuf::from("/a:b"));
        assert!(log_path("journald:x").is_err());
    }

    #[test]
    fn a_user_namespace_is_told_by_its_map() {
        assert!(maps_all_ids("         0          0 4294967295\n"));
        assert!(!maps_all_ids("         0       1000          1\n"));
    }
}
