//! The config.json that `spec` writes: byte for byte runc's, but for ociVersion.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};

use crate::{Context, Error, Result};

/// The host's part in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// For a user other than root: the uid and gid on the host that root inside stands for.
    pub rootless: Option<(u32, u32)>,
    /// Whether the host has nothing but cgroup v2, where a container gets a cgroup namespace.
    pub cgroup_namespace: bool,
}

/// Writes config.json into the bundle; one that exists is left alone.
pub fn write(bundle: &Path, rootless: bool) -> Result<()> {
    let path = bundle.join("config.json");
    let variant = Variant {
        rootless: rootless.then(|| (geteuid().as_raw(), getegid().as_raw())),
        cgroup_namespace: statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC),
    };
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::new("File config.json exists. Remove it first"));
        }
        opened => opened.context(|| format!("create {}", path.display()))?,
    };
    file.write_all(document(variant).as_bytes()).context(|| format!("write {}", path.display()))
}

/// The document's text.
pub fn document(variant: Variant) -> String {
    let (devpts, sys, owner) = match variant.rootless {
        None => (DEVPTS_WITH_GROUP, SYSFS, NO_DEVICES.to_owned()),
        Some((uid, gid)) => (DEVPTS, BOUND_SYS, mapping("uidMappings", uid) + &mapping("gidMappings", gid)),
    };
    let mut namespaces = match variant.rootless {
        None => vec!["pid", "network", "ipc", "uts", "mount"],
        Some(_) => vec!["pid", "ipc", "uts", "mount"],
    };
    if variant.cgroup_namespace {
        namespaces.push("cgroup");
    }
    if variant.rootless.is_some() {
        namespaces.push("user");
    }
    let namespaces: Vec<_> =
        namespaces.iter().map(|kind| format!("\t\t\t{{\n\t\t\t\t\"type\": \"{kind}\"\n\t\t\t}}")).collect();
    let namespaces = namespaces.join(",\n");
    format!(
        "{PROCESS_AND_MOUNTS}{devpts}{SHM_AND_MQUEUE}{sys}{CGROUP}{owner}\t\t\"namespaces\": [\n{namespaces}\n{PATHS}"
    )
}

/// One id on the host as root inside.
fn mapping(key: &str, id: u32) -> String {
    format!(
        "\t\t\"{key}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
    )
}

/// Up to the options of /dev/pts.
const PROCESS_AND_MOUNTS: &str = r#"{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": true,
		"user": {
			"uid": 0,
			"gid": 0
		},
		"args": [
			"sh"
		],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"effective": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			],
			"permitted": [
				"CAP_AUDIT_WRITE",
				"CAP_KILL",
				"CAP_NET_BIND_SERVICE"
			]
		},
		"rlimits": [
			{
				"type": "RLIMIT_NOFILE",
				"hard": 1024,
				"soft": 1024
			}
		],
		"noNewPrivileges": true
	},
	"root": {
		"path": "rootfs",
		"readonly": true
	},
	"hostname": "runc",
	"mounts": [
		{
			"destination": "/proc",
			"type": "proc",
			"source": "proc"
		},
		{
			"destination": "/dev",
			"type": "tmpfs",
			"source": "tmpfs",
			"options": [
				"nosuid",
				"strictatime",
				"mode=755",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/pts",
			"type": "devpts",
			"source": "devpts",
			"options": [
				"nosuid",
				"noexec",
				"newinstance",
				"ptmxmode=0666",
"#;

/// Terminals belong to the group tty.
const DEVPTS_WITH_GROUP: &str = r#"				"mode=0620",
				"gid=5"
"#;

/// The group tty does not exist in a user namespace with one id.
const DEVPTS: &str = r#"				"mode=0620"
"#;

/// From there to /sys.
const SHM_AND_MQUEUE: &str = r#"			]
		},
		{
			"destination": "/dev/shm",
			"type": "tmpfs",
			"source": "shm",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"mode=1777",
				"size=65536k"
			]
		},
		{
			"destination": "/dev/mqueue",
			"type": "mqueue",
			"source": "mqueue",
			"options": [
				"nosuid",
				"noexec",
				"nodev"
			]
		},
		{
			"destination": "/sys",
"#;

/// A sysfs of the network namespace.
const SYSFS: &str = r#"			"type": "sysfs",
			"source": "sysfs",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"ro"
			]
		},
"#;

/// The host's /sys: a user namespace without a network namespace of its own may not mount a sysfs.
const BOUND_SYS: &str = r#"			"type": "none",
			"source": "/sys",
			"options": [
				"rbind",
				"nosuid",
				"noexec",
				"nodev",
				"ro"
			]
		},
"#;

/// From there to what differs in `linux`.
const CGROUP: &str = r#"		{
			"destination": "/sys/fs/cgroup",
			"type": "cgroup",
			"source": "cgroup",
			"options": [
				"nosuid",
				"noexec",
				"nodev",
				"relatime",
				"ro"
			]
		}
	],
	"linux": {
"#;

/// No device but the default ones, which root can enforce.
const NO_DEVICES: &str = r#"		"resources": {
			"devices": [
				{
					"allow": false,
					"access": "rwm"
				}
			]
		},
"#;

/// Behind the namespaces.
const PATHS: &str = r#"		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/sys/firmware",
			"/proc/scsi"
		],
		"readonlyPaths": [
			"/proc/bus",
			"/proc/fs",
			"/proc/irq",
			"/proc/sys",
			"/proc/sysrq-trigger"
		]
	}
}"#;
