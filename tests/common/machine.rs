//! Whose the machine is. A virtual machine of tests/vm belongs to the tests: there they start daemons as its administrator
//! would, under its service manager. Anywhere else a driver stays in namespaces and cgroups of its own.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Whether the tests may do with the machine as they like.
pub fn is_ours() -> bool {
    super::outside::is_own_machine()
}

/// Whether systemd is the service manager.
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// Holds what a machine has but once (a bridge, a range of addresses) for one test at a time.
pub fn whole() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who makes the cgroups of an engine's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    Cgroupfs,
    Systemd,
}

impl Manager {
    /// systemd on a machine that is ours and has it, when the runtime under test can talk to it.
    pub fn here() -> Self {
        static HERE: OnceLock<Manager> = OnceLock::new();
        *HERE.get_or_init(|| match is_ours() && has_systemd() && runtime_talks_to_systemd() {
            true => Self::Systemd,
            false => Self::Cgroupfs,
        })
    }

    /// The same for an ordinary user, whose systemd manages cgroup2 alone.
    pub fn of_user() -> Self {
        if super::outside::is_v2() { Self::here() } else { Self::Cgroupfs }
    }

    /// The word that engines have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }
}

fn runtime_talks_to_systemd() -> bool {
    let features = Command::new(super::binary()).arg("features").output().expect("run the runtime");
    let features: super::Value = serde_json::from_slice(&features.stdout).unwrap_or_default();
    features["linux"]["cgroup"]["systemd"] == true
}

/// A property of a unit, as systemd knows it.
#[track_caller]
pub fn unit_property(unit: &str, property: &str) -> String {
    show(Command::new("systemctl"), unit, property)
}

/// The same of a user's service manager.
#[track_caller]
pub fn unit_property_of_user(user: &str, unit: &str, property: &str) -> String {
    let mut systemctl = Command::new("systemctl");
    systemctl.args(["--user", "--machine", &format!("{user}@.host")]);
    show(systemctl, unit, property)
}

#[track_caller]
fn show(mut systemctl: Command, unit: &str, property: &str) -> String {
    let shown = systemctl.args(["show", "--value", "--property", property, unit]).output().expect("start systemctl");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    String::from_utf8_lossy(&shown.stdout).trim().to_owned()
}

/// The words of a command that fetches a page. Debian's static busybox has a wget that dies.
pub fn fetch(url: &str) -> [String; 3] {
    let script = format!("import urllib.request as u; print(u.urlopen('{url}', timeout=5).read().decode(), end='')");
    ["python3".to_owned(), "-c".to_owned(), script]
}
