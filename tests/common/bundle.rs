//! A bundle to start from: the document that `spec` writes, without a terminal, and a root filesystem of busybox.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

/// The applets that tests use.
const APPLETS: &str = "sh ash cat chmod chown cp cut date dd df dirname echo env false find grep head hostname id kill ln \
    ls mkdir mkfifo mknod mount mv nc od printf ps pwd readlink rm rmdir sed setsid sleep sort stat stty sync tail tee \
    test touch tr true tty umount uname unshare wc which yes usleep umask getopt ulimit";

/// Fills a directory with busybox and what a container needs of the rest.
pub fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "dev", "etc", "mnt", "proc", "root", "sys", "tmp"] {
        std::fs::create_dir_all(rootfs.join(dir)).expect("make the rootfs");
    }
    // By another process: what another test starts meanwhile would hold a descriptor of this one's that writes to the copy,
    // until it is executed, and a program that somebody writes to is busy.
    let copied = std::process::Command::new("cp").arg("/bin/busybox").arg(rootfs.join("bin")).status();
    assert!(copied.is_ok_and(|status| status.success()), "copy /bin/busybox (Debian's busybox-static)");
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("link an applet");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n";
    std::fs::write(rootfs.join("etc/passwd"), passwd).expect("write passwd");
    std::fs::write(rootfs.join("etc/group"), "root:x:0:\ntty:x:5:\nalice:x:1000:\n").expect("write group");
}

/// The document that `spec` writes, without its terminal.
pub fn base() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "inside",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// Adds an entry to a list of the document, which may not be there yet.
pub fn push(list: &mut Value, entry: Value) {
    match list {
        Value::Array(entries) => entries.push(entry),
        _ => *list = json!([entry]),
    }
}

/// Takes a kind of namespace out of the document, so that the container shares the host's.
pub fn drop_namespace(config: &mut Value, kind: &str) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.retain(|namespace| namespace["type"] != kind);
}

/// Gives all five sets (bounding, effective, permitted, inheritable, ambient) of `process` these capabilities.
pub fn set_capabilities(process: &mut Value, names: &[&str]) {
    let names = json!(names);
    process["capabilities"] =
        json!({"bounding": names, "effective": names, "permitted": names, "inheritable": names, "ambient": names});
}
