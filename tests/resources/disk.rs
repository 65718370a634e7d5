//! A block device of the test's own: a loop device over a file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::common::*;
use super::host::{by_host, host, with_host_programs};
use super::row::with_resources;

/// A loop device, detached when it is dropped.
pub struct Disk {
    /// Its node, /dev/loopN.
    pub node: String,
    pub major: u64,
    pub minor: u64,
    file: PathBuf,
}

/// How a disk is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    Read,
    Write,
}

impl Disk {
    /// None where this machine has no loop devices.
    pub fn new() -> Option<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        host(&["modprobe", "loop"]);
        let name = format!("nfrun-test-{}-{}.img", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = std::env::temp_dir().join(name);
        fs::File::create(&file).and_then(|disk| disk.set_len(16 << 20)).expect("make a file");
        let node = host(&["losetup", "--find", "--show", file.to_str().expect("a text path")]);
        let Some(node) = node else {
            let _ = fs::remove_file(&file);
            return None;
        };
        let number = fs::metadata(&node).expect("a device's node").rdev();
        Some(Self { node, major: nix::sys::stat::major(number), minor: nix::sys::stat::minor(number), file })
    }

    /// A file of its scheduler.
    pub fn queue(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/sys/block/{}/queue/{file}", self.node.trim_start_matches("/dev/")))
    }

    /// `MAJOR:MINOR`
    pub fn number(&self) -> String {
        format!("{}:{}", self.major, self.minor)
    }

    /// A container that may use it, with these resources besides.
    pub fn container(&self, resources: &Value) -> Container {
        let rule = json!({"devices": [
            {"allow": true, "type": "b", "major": self.major, "minor": self.minor, "access": "rw"}]});
        with_resources(with_resources(with_host_programs(Container::idle()), &rule), resources)
    }

    /// The seconds that a container needs to read or write so many blocks, each at once and past every cache.
    #[track_caller]
    pub fn seconds(&self, c: &Container, way: Way, block: &str, count: u32) -> f64 {
        let (from, to, flag) = match way {
            Way::Read => (self.node.as_str(), "/dev/null", "iflag=direct"),
            Way::Write => ("/dev/zero", self.node.as_str(), "oflag=direct"),
        };
        let words =
            [&format!("if={from}"), &format!("of={to}"), &format!("bs={block}"), &format!("count={count}"), flag]
                .map(str::to_owned);
        let words: Vec<&str> = std::iter::once("dd").chain(words.iter().map(String::as_str)).collect();
        let output = by_host(c, &words);
        output.ok();
        // "2097152 bytes (2.1 MB, 2.0 MiB) copied, 2.00012 s, 1.0 MB/s"
        let told = output.stderr.split(" copied, ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        told.unwrap_or_else(|| panic!("dd tells its time: {output:?}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        host(&["losetup", "--detach", &self.node]);
        let _ = fs::remove_file(&self.file);
    }
}
