//! The machine as it looks from outside a container: processes, cgroups, mounts, and what a test leaves of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Container, events};

/// What the cgroup hierarchies of hosts go by: v1's controllers, each on its own or by a link to what it shares, and v2.
pub const HIERARCHIES: [&str; 10] =
    ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified"];

/// The hierarchies that this host has, each once, under the names of their directories.
pub fn hierarchies() -> Vec<String> {
    let mounts = mountinfo(std::process::id() as i32);
    let cgroups = mounts.iter().filter(|mount| mount.kind.starts_with("cgroup"));
    cgroups.filter_map(|mount| mount.target.strip_prefix("/sys/fs/cgroup/")).map(str::to_owned).collect()
}

/// Whether this machine has cgroup2 alone.
pub fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The directory of a cgroup in one hierarchy; with cgroup2 alone there is but one.
pub fn cgroup_dir(hierarchy: &str, path: &str) -> PathBuf {
    let top = Path::new("/sys/fs/cgroup");
    if is_v2() { top.to_owned() } else { top.join(hierarchy) }.join(path.trim_start_matches('/'))
}

/// Whether this machine is one of tests/vm, which ends with the tests, so that swap and huge pages may be made in it.
pub fn is_own_machine() -> bool {
    fs::read_to_string("/proc/sys/kernel/hostname").is_ok_and(|name| name.trim() == "nfrun-vm")
}

/// The directory of the cgroup that a process is in, in the hierarchy of a v1 controller or in the one of v2.
#[track_caller]
pub fn cgroup_of(pid: i32, controller: &str) -> PathBuf {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a live process");
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let wanted = if is_v2() { "" } else { controller };
        controllers.split(',').any(|name| name == wanted).then_some(path)
    });
    cgroup_dir(controller, path.unwrap_or_else(|| panic!("no {controller} in {own}")))
}

/// The file of the cgroup that a process is in, by what v1 and v2 call it.
#[track_caller]
pub fn limit_of(pid: i32, controller: &str, v1: &str, v2: &str) -> String {
    let file = cgroup_of(pid, controller).join(if is_v2() { v2 } else { v1 });
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned()
}

/// Whether this kernel is of a version or newer: uname(2).
pub fn kernel_has(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel's name");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// A line of /proc/PID/status, without its name.
#[track_caller]
pub fn proc_status(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The direct children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// One line of mountinfo.
#[derive(Debug, Clone)]
pub struct Mount {
    pub root: String,
    pub target: String,
    pub options: Vec<String>,
    /// `shared:N`, `master:N` and such.
    pub propagation: Vec<String>,
    pub kind: String,
    pub source: String,
    pub super_options: Vec<String>,
}

/// What a process has mounted, in the order of mountinfo.
#[track_caller]
pub fn mountinfo(pid: i32) -> Vec<Mount> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("a live process");
    text.lines().map(parse_mount).collect()
}

/// The topmost mount of a process on a target.
#[track_caller]
pub fn mount_at(pid: i32, target: &str) -> Mount {
    let mounts = mountinfo(pid);
    let found = mounts.iter().rev().find(|mount| mount.target == target).cloned();
    found.unwrap_or_else(|| panic!("nothing is mounted on {target}: {mounts:#?}"))
}

/// Parses a line of mountinfo, as a container may print it as well.
pub fn parse_mount(line: &str) -> Mount {
    let words: Vec<_> = line.split(' ').collect();
    let dash = words.iter().position(|word| *word == "-").expect("a dash in mountinfo");
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Mount {
        root: words[3].to_owned(),
        target: words[4].to_owned(),
        options: list(words[5]),
        propagation: words[6..dash].iter().map(|word| (*word).to_owned()).collect(),
        kind: words[dash + 1].to_owned(),
        source: words[dash + 2].to_owned(),
        super_options: list(words[dash + 3]),
    }
}

/// All cgroups below one, in one hierarchy, deepest last.
fn cgroups_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
            found.extend(cgroups_below(&entry.path()));
        }
    }
    found
}

/// The pids of all processes.
pub fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The processes of this test: those whose cgroup in any hierarchy is below its own, whose root lies in its directory
/// (whatever became of their cgroup), or whose command line names it.
pub fn processes_of(cgroup_parent: &str, dir: &Path) -> BTreeSet<i32> {
    let below = format!("{}/", dir.display());
    let mut found = BTreeSet::new();
    for pid in all_pids() {
        let read = |file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let text = |file| String::from_utf8_lossy(&read(file)).into_owned();
        // A zombie holds nothing but its pid, until its parent looks.
        if pid == std::process::id() as i32 || text("stat").contains(") Z ") {
            continue;
        }
        let in_cgroup = |line: &str| line.ends_with(cgroup_parent) || line.contains(&format!("{cgroup_parent}/"));
        let rooted = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            words.get(4) == Some(&"/") && words[3].starts_with(&below)
        };
        if text("cgroup").lines().any(in_cgroup)
            || text("cmdline").contains(&below)
            || text("mountinfo").lines().any(rooted)
        {
            found.insert(pid);
        }
    }
    found
}

/// What a test has on the machine at one moment: processes, cgroups, mounts, state.
#[derive(Debug, PartialEq, Eq)]
pub struct Leftovers {
    processes: BTreeSet<i32>,
    cgroups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
    state: BTreeSet<PathBuf>,
    cgroup_parent: String,
    dir: PathBuf,
    root: PathBuf,
}

impl Leftovers {
    /// What there is now.
    pub fn snapshot(of: &Container) -> Self {
        Self::look(&of.cgroup_parent, &of.dir, &of.root)
    }

    fn look(cgroup_parent: &str, dir: &Path, root: &Path) -> Self {
        let text = dir.to_str().expect("a text path");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let state = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        Self {
            processes: processes_of(cgroup_parent, dir),
            cgroups: HIERARCHIES.iter().flat_map(|h| cgroups_below(&cgroup_dir(h, cgroup_parent))).collect(),
            mounts: mounts.lines().filter(|line| line.contains(&format!("{text}/"))).map(str::to_owned).collect(),
            // A dot marks what belongs to the root and not to a container, such as a lock.
            state: state.filter(|path| path.file_name().is_none_or(|n| n.as_encoded_bytes()[0] != b'.')).collect(),
            cgroup_parent: cgroup_parent.to_owned(),
            dir: dir.to_owned(),
            root: root.to_owned(),
        }
    }

    /// Checks that there is no more now than there was, once what is dying has died.
    #[track_caller]
    pub fn assert_nothing_new(&self) {
        let mut now = self.new_things();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(2) * events::slow();
        while !now.is_empty() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(2));
            now = self.new_things();
        }
        assert!(now.is_empty(), "left behind: {now:#?}");
    }

    /// What is there now and was not before.
    pub fn new_things(&self) -> Vec<String> {
        let now = Self::look(&self.cgroup_parent, &self.dir, &self.root);
        let mut new: Vec<_> = now.processes.difference(&self.processes).map(|pid| describe(*pid)).collect();
        new.extend(now.cgroups.difference(&self.cgroups).map(|path| format!("cgroup {}", path.display())));
        new.extend(now.mounts.difference(&self.mounts).map(|line| format!("mount {line}")));
        new.extend(now.state.difference(&self.state).map(|path| format!("state {}", path.display())));
        new
    }
}

fn describe(pid: i32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("process {pid} {}", String::from_utf8_lossy(&words).replace('\0', " "))
}

/// Unmounts what a test mounted. Detached, since what another test's processes do at that moment may hold any mount of
/// the machine for an instant (`EBUSY`).
pub fn unmount(target: &Path) -> nix::Result<()> {
    nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH)
}

/// Ends and removes whatever a test made; what it did not make has neither its cgroup nor its directory.
pub fn clear(cgroup_parent: &str, dir: &Path) {
    for path in std::iter::once(cgroup_dir("freezer", cgroup_parent))
        .chain(cgroups_below(&cgroup_dir("freezer", cgroup_parent)))
    {
        let _ = fs::write(path.join("freezer.state"), "THAWED");
    }
    for pid in processes_of(cgroup_parent, dir) {
        if let Some(process) = events::pidfd(pid) {
            events::signal(&process, libc::SIGKILL);
            events::ends_within(&process, events::LIMIT);
        }
    }
    for hierarchy in HIERARCHIES {
        let parent = cgroup_dir(hierarchy, cgroup_parent);
        for path in cgroups_below(&parent).iter().rev() {
            let _ = fs::remove_dir(path);
        }
        let _ = fs::remove_dir(parent);
    }
    let below = format!("{}/", dir.display());
    for mount in mountinfo(std::process::id() as i32).iter().rev() {
        if mount.target.starts_with(&below) {
            let _ = unmount(mount.target.as_ref());
        }
    }
    let _ = fs::remove_dir_all(dir);
}
