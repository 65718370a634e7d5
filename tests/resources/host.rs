//! What the tests of resources measure and use of the host.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::common::outside::{cgroup_dir, is_v2};
use super::common::*;

pub const MIB: u64 = 1 << 20;

/// Processor time that a container has had, in microseconds.
#[track_caller]
pub fn cpu_time(c: &Container) -> u64 {
    if is_v2() {
        stat(c, "usage_usec")
    } else {
        c.limit("cpuacct", "cpuacct.usage").parse::<u64>().expect("a number") / 1000
    }
}

/// A line of cpu.stat; 0 where this kernel has none of it.
#[track_caller]
pub fn stat(c: &Container, name: &str) -> u64 {
    let text = c.limit("cpu", "cpu.stat");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or(0)
}

/// The same container with the host's own programs below /host, run by [`by_host`].
pub fn with_host_programs(c: Container) -> Container {
    fs::create_dir_all(c.rootfs("host")).expect("make a directory");
    c.with(|config| {
        for (source, target) in [("/", "/host"), ("/dev", "/host/dev"), ("/proc", "/host/proc")] {
            let mount = json!({"destination": target, "type": "bind", "source": source, "options": ["bind", "ro"]});
            bundle::push(&mut config["mounts"], mount);
        }
        bundle::set_capabilities(&mut config["process"], &["CAP_SYS_CHROOT", "CAP_SYS_NICE", "CAP_NET_RAW"]);
    })
}

/// Runs a program of the host's in the container.
#[track_caller]
pub fn by_host(c: &Container, words: &[&str]) -> Output {
    c.exec(&[&["busybox", "chroot", "/host", "/usr/bin/env", "LC_ALL=C"], words].concat())
}

/// Runs a command on the host and gives what it printed; None where it fails or is not there.
pub fn host(words: &[&str]) -> Option<String> {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How many processors this machine has.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A second container beside the first, in the same parent cgroup.
pub fn beside(first: &Container, second: Container) -> Container {
    let path = first.config["linux"]["cgroupsPath"].as_str().expect("a path");
    let path = format!("{path}d");
    let mut second = second.with(|config| config["linux"]["cgroupsPath"] = json!(path));
    second.cgroup_parent.clone_from(&first.cgroup_parent);
    second.cgroup_leaf = match first.cgroup_leaf.strip_suffix(".scope") {
        Some(name) => format!("{name}d.scope"),
        None => format!("{}d", first.cgroup_leaf),
    };
    second
}

/// How often as much processor time the first has had as the second, while both want one processor's for a while.
#[track_caller]
pub fn share(first: &Container, second: &Container) -> f64 {
    let before = [cpu_time(first), cpu_time(second)];
    let mut had = [0, 0];
    eventually("both have used a second of the processor", || {
        had = [cpu_time(first) - before[0], cpu_time(second) - before[1]];
        had[0] + had[1] > 1_000_000
    });
    had[0] as f64 / had[1].max(1) as f64
}

/// Writes to a file of the test's own parent cgroup, which is made before its container is.
#[track_caller]
pub fn write_in_parent(c: &Container, hierarchy: &str, file: &str, text: &str) -> std::io::Result<()> {
    let dir = cgroup_dir(hierarchy, &c.cgroup_parent);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join(file), text)
}

/// Swap on a file for as long as it is held, on a machine of the tests' own.
pub struct Swap(String);

impl Swap {
    pub fn on(megabytes: u32) -> Option<Self> {
        if !outside::is_own_machine() {
            return None;
        }
        let file = format!("/var/tmp/nfrun-test-{}.swap", std::process::id());
        host(&["dd", "if=/dev/zero", &format!("of={file}"), "bs=1M", &format!("count={megabytes}")])?;
        host(&["chmod", "600", &file])?;
        host(&["mkswap", &file])?;
        host(&["swapon", &file])?;
        Some(Self(file))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        host(&["swapoff", &self.0]);
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether the hierarchy of a v1 controller is mounted.
pub fn has_v1(controller: &str) -> bool {
    !is_v2() && Path::new("/sys/fs/cgroup").join(controller).is_dir()
}
