//! Steps into system calls. What a step makes is held open, and later steps write beneath what was made rather than
//! beneath a path that may have been replaced.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::Mode;

use super::devices::DeviceWrite;
use super::file::{open_dir, open_for_write, read_at, refused, write_all, write_at};
use super::freezer;
use super::place::{Place, pids_below};
use super::step::{Cgroup, IfAbsent, Step, Value, Version};
use super::{controllers, device_program, systemd};
use crate::{Context, Error, Result};

/// A directory that a step made, told from any later one of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its path.
    pub path: String,
    /// Its inode number, which cgroup file systems never use twice.
    pub inode: u64,
}

/// The cgroups of one container as they are being made, or as they are for an update.
#[derive(Debug, Default)]
pub struct Made {
    dirs: Vec<Held>,
    /// Who is put into them, where a process does not enter by itself.
    init: Option<i32>,
}

/// One cgroup's directory, held open.
#[derive(Debug)]
struct Held {
    cgroup: Cgroup,
    dir: OwnedFd,
    /// Who made it: what another has set in it stays.
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Origin {
    Made,
    Found,
}

impl Made {
    /// Executes one step, and returns the directories that it made, outermost first.
    ///
    /// # Errors
    /// Names the file, the value, what the kernel says, and what that means where it is known.
    pub fn run(&mut self, step: &Step) -> Result<Vec<Identity>> {
        match step {
            Step::Make { cgroup } => return self.make(cgroup),
            Step::Start(start) => return self.start(start),
            Step::Join { cgroup } => return self.join(cgroup),
            Step::Enter { cgroups } => systemd::enter(cgroups, self.init()?)?,
            Step::FillCpuset { cgroup, leaf } => fill_cpuset(self.hold(cgroup)?, leaf)?,
            Step::Write { cgroup, value } => {
                let dir = &self.hold(cgroup)?.dir;
                write_value(dir, value).map_err(|errno| explain(cgroup, value, errno))?;
            }
            Step::WriteTogether { cgroup, values } => write_together(&self.hold(cgroup)?.dir, cgroup, values)?,
            Step::EnableControllers { cgroup, needed } => controllers::enable(cgroup, &self.hold(cgroup)?.dir, needed)?,
            Step::Delegate { cgroup, uid } => delegate(cgroup, &self.hold(cgroup)?.dir, *uid)?,
            Step::DeviceProgram { cgroup, program, .. } => device_program::attach(&cgroup.dir(), program)?,
            Step::Devices { cgroup, writes } => write_devices(&self.hold(cgroup)?.dir, cgroup, writes)?,
        }
        Ok(Vec::new())
    }

    /// The container's first process, which is there before its cgroups are where systemd makes them around it.
    pub fn is_for(&mut self, init: i32) {
        self.init = Some(init);
    }

    fn init(&self) -> Result<i32> {
        self.init.ok_or_else(|| Error::new("there is no process to make a unit of"))
    }

    /// The files through which a process enters: one a v1 hierarchy, into each of which it writes "0" itself. That
    /// moves one thread and needs no grace period, unlike `cgroup.procs`. cgroup2 has no such file: see [`Made::v2_dir`].
    ///
    /// # Errors
    /// When a cgroup was removed meanwhile.
    pub fn open_tasks(&self) -> Result<Vec<OwnedFd>> {
        let v1 = self.dirs.iter().filter(|held| held.cgroup.version == Version::V1);
        let open_one =
            |held: &Held| open_for_write(&held.dir, "tasks").context(|| format!("open {}/tasks", held.cgroup.dir()));
        v1.map(open_one).collect()
    }

    /// The directory to clone into (`CLONE_INTO_CGROUP`) where the host has cgroup2.
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.dirs.iter().find(|held| held.cgroup.version == Version::V2).map(|held| held.dir.as_fd())
    }

    /// What an error of that clone means.
    pub fn explain_birth(&self, error: Error) -> Error {
        match self.dirs.iter().find(|held| held.cgroup.version == Version::V2) {
            Some(held) => explain_birth(&held.cgroup, &held.dir, error),
            None => error,
        }
    }

    /// The cgroup that a step made, or else the one that is there.
    fn hold(&mut self, cgroup: &Cgroup) -> Result<&Held> {
        let at = match self.dirs.iter().position(|held| held.cgroup.hierarchy == cgroup.hierarchy) {
            Some(at) => at,
            None => {
                let path = cgroup.dir();
                let dir = open_dir(&path).context(|| format!("open {path}"))?;
                self.dirs.push(Held { cgroup: cgroup.clone(), dir, origin: Origin::Found });
                self.dirs.len() - 1
            }
        };
        Ok(&self.dirs[at])
    }

    /// Has systemd start the unit, and holds the cgroup that it made.
    fn start(&mut self, start: &systemd::Start) -> Result<Vec<Identity>> {
        systemd::start(start, self.init()?)?;
        let cgroup = &start.cgroup;
        let path = cgroup.dir();
        let dir = open_dir(&path).context(|| format!("open {path}"))?;
        let inode = nix::sys::stat::fstat(&dir).context(|| format!("stat {path}"))?.st_ino;
        if cgroup.version == Version::V2 {
            refuse_frozen(cgroup, &dir)?;
        }
        self.dirs.push(Held { cgroup: cgroup.clone(), dir, origin: Origin::Made });
        Ok(vec![Identity { path, inode }])
    }

    /// A directory beside the one that systemd made, unless that has made this one too. One without processes is left of
    /// another who had the unit's name, and goes with this one.
    fn join(&mut self, cgroup: &Cgroup) -> Result<Vec<Identity>> {
        if self.dirs.iter().any(|held| held.cgroup == *cgroup) {
            return Ok(Vec::new());
        }
        let path = cgroup.dir();
        let mut made = Vec::new();
        let origin = make_dir(cgroup, &path, &mut made).context(|| format!("make cgroup {path}"))?;
        let dir = open_dir(&path).context(|| format!("open {path}"))?;
        if origin == Origin::Made || pids_below(&path)?.is_empty() {
            let inode = nix::sys::stat::fstat(&dir).context(|| format!("stat {path}"))?.st_ino;
            made.push(Identity { path, inode });
        }
        if cgroup.has("freezer") {
            refuse_frozen(cgroup, &dir)?;
        }
        self.dirs.push(Held { cgroup: cgroup.clone(), dir, origin });
        Ok(made)
    }

    fn make(&mut self, cgroup: &Cgroup) -> Result<Vec<Identity>> {
        let path = cgroup.dir();
        let mut made = Vec::new();
        let origin =
            make_dir(cgroup, &path, &mut made).context(|| format!("make cgroup {path}")).map_err(explain_make)?;
        let dir = open_dir(&path).context(|| format!("open {path}"))?;
        match origin {
            Origin::Made => {
                let inode = nix::sys::stat::fstat(&dir).context(|| format!("stat {path}"))?.st_ino;
                made.push(Identity { path, inode });
            }
            Origin::Found => {
                refuse_threaded(cgroup, &dir)?;
                refuse_inhabited(cgroup)?;
            }
        }
        // A process that enters a frozen cgroup stops beyond the reach of SIGKILL. A new one is born frozen below a
        // frozen parent; the hierarchy's root cannot be frozen.
        // On a hybrid host v1 has the freezer, and comes first.
        let v1_freezer = || self.dirs.iter().any(|held| held.cgroup.has("freezer"));
        let freezes = cgroup.has("freezer") || cgroup.version == Version::V2 && !v1_freezer();
        if freezes && (origin == Origin::Found || cgroup.depth() > 1) {
            refuse_frozen(cgroup, &dir)?;
        }
        self.dirs.push(Held { cgroup: cgroup.clone(), dir, origin });
        Ok(made)
    }
}

/// Makes the directory, and its parents only when it turns out that they are missing.
fn make_dir(cgroup: &Cgroup, path: &str, made: &mut Vec<Identity>) -> nix::Result<Origin> {
    let mode = Mode::from_bits_truncate(0o755);
    // A neighbour's delete may remove a shared parent between two calls; that it happens again and again is no race.
    for _ in 0..16 {
        match nix::unistd::mkdir(path, mode) {
            Ok(()) => return Ok(Origin::Made),
            Err(Errno::EEXIST) => return Ok(Origin::Found),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > cgroup.mount.len()) {
            match nix::unistd::mkdir(&path[..at], mode) {
                Ok(()) => {
                    // Gone again already: then it is no longer ours to remove.
                    if let Ok(stat) = nix::sys::stat::stat(&path[..at]) {
                        made.push(Identity { path: path[..at].to_owned(), inode: stat.st_ino });
                    }
                }
                Err(Errno::EEXIST) => {}
                Err(Errno::ENOENT) => break,
                Err(errno) => return Err(errno),
            }
        }
    }
    Err(Errno::ENOENT)
}

fn because(error: Error, why: impl std::fmt::Display) -> Error {
    let words = format!("{error} ({why})");
    error.reworded(words)
}

fn explain_make(error: Error) -> Error {
    match error.errno() {
        Some(libc::EROFS) => because(
            error,
            "cgroups are mounted read-only here: remount them to be written, or do without limits by --cgroup-manager disabled",
        ),
        _ => error,
    }
}

/// A threaded cgroup2 tells nobody which processes are in it, so that a container in it could not be listed or ended.
fn refuse_threaded(cgroup: &Cgroup, dir: &OwnedFd) -> Result<()> {
    if cgroup.version == Version::V1 {
        return Ok(());
    }
    match read_at(dir, "cgroup.type").unwrap_or_default().as_str() {
        kind @ ("threaded" | "domain invalid") => Err(wrong_type(&cgroup.dir(), kind)),
        _ => Ok(()),
    }
}

fn wrong_type(dir: &str, kind: &str) -> Error {
    Error::new(format!(
        "linux.cgroupsPath: {dir} is of type {kind:?} (cgroup.type), which a container cannot live in: give one that is not below a cgroup with threaded ones"
    ))
}

/// Why cgroup2 does not let a process be born in a cgroup.
fn explain_birth(cgroup: &Cgroup, dir: &OwnedFd, error: Error) -> Error {
    let text = |file: &str| read_at(dir, file).unwrap_or_default();
    let path = cgroup.dir();
    match error.errno() {
        Some(libc::EOPNOTSUPP) => wrong_type(&path, &text("cgroup.type")),
        Some(libc::EBUSY) => because(
            error,
            format!(
                "{path} hands controllers on ({}), and then it can hold no process itself: give a linux.cgroupsPath below it, or another",
                text("cgroup.subtree_control")
            ),
        ),
        _ => error,
    }
}

/// A cgroup that holds processes belongs to somebody: to limit or kill it would hit them.
fn refuse_inhabited(cgroup: &Cgroup) -> Result<()> {
    let pids = Place { cgroups: vec![cgroup.clone()], of_user: false, unit: None }.pids()?;
    let Some(first) = pids.first() else { return Ok(()) };
    Err(Error::new(format!(
        "container's cgroup is not empty: {} process(es) found in {}, pid {first} first; give another linux.cgroupsPath or end them",
        pids.len(),
        cgroup.dir(),
    )))
}

fn refuse_frozen(cgroup: &Cgroup, dir: &OwnedFd) -> Result<()> {
    let file = if cgroup.version == Version::V2 { "cgroup.events" } else { "freezer.state" };
    let state = read_at(dir, file).context(|| format!("read {}/{file}", cgroup.dir()))?;
    let frozen = match cgroup.version {
        Version::V1 => state != freezer::THAWED,
        Version::V2 => state.lines().any(|line| line == "frozen 1"),
    };
    if !frozen {
        return Ok(());
    }
    let state = state.replace('\n', ", ");
    Err(Error::new(format!(
        "container's cgroup unexpectedly frozen: {}/{file} says {state}; thaw it or the parent that is frozen",
        cgroup.dir()
    )))
}

/// Changes the owner of the directory, which lets him make cgroups in it, and of the files by which he moves processes.
fn delegate(cgroup: &Cgroup, dir: &OwnedFd, uid: u32) -> Result<()> {
    const LIST: &str = "/sys/kernel/cgroup/delegate";
    let owner = Some(nix::unistd::Uid::from_raw(uid));
    let attempt = |file: &str| format!("give {}/{file} to uid {uid}", cgroup.dir());
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    nix::unistd::fchownat(dir, "", owner, None, flags).context(|| attempt(""))?;
    // The kernel has the list since 4.15; these three are what it names at least.
    let listed =
        super::file::read_list(LIST).unwrap_or_else(|_| "cgroup.procs cgroup.subtree_control cgroup.threads".into());
    for file in listed.split_whitespace() {
        match nix::unistd::fchownat(dir, file, owner, None, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context(|| attempt(file)),
        }
    }
    Ok(())
}

/// Fills both files of the parents, and those of the leaf that are listed. A leaf that was found keeps what it has.
fn fill_cpuset(held: &Held, leaf: &[&str]) -> Result<()> {
    let Held { cgroup, dir, origin } = held;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let from_leaf = *origin == Origin::Found && leaf.contains(&file);
        let inherited = inherit(dir, cgroup, file, if from_leaf { 0 } else { 1 })?;
        if *origin == Origin::Made && leaf.contains(&file) {
            write_at(dir, file, &inherited).map_err(|errno| refused("", &cgroup.dir(), file, &inherited, errno))?;
        }
    }
    Ok(())
}

/// The value of `file` `up` levels above the leaf, taken from further up and written there when it is empty.
fn inherit(dir: &OwnedFd, cgroup: &Cgroup, file: &str, up: usize) -> Result<String> {
    let relative = format!("{}{file}", "../".repeat(up));
    let shown = || format!("{}/{relative}", cgroup.dir());
    let value = read_at(dir, &relative).context(|| format!("read {}", shown()))?;
    if !value.is_empty() {
        return Ok(value);
    }
    if up >= cgroup.depth() {
        return Err(Error::new(format!("{} is empty: no process can run below it; write one to it", shown())));
    }
    let value = inherit(dir, cgroup, file, up + 1)?;
    write_at(dir, &relative, &value).context(|| format!("write {value} to {}", shown()))?;
    Ok(value)
}

fn write_value(dir: &OwnedFd, value: &Value) -> nix::Result<()> {
    match (write_at(dir, &value.file, &value.text), &value.if_absent) {
        (Err(Errno::ENOENT), IfAbsent::Skip) => Ok(()),
        (Err(Errno::ENOENT), IfAbsent::Instead { file, text }) => write_at(dir, file, text),
        (done, _) => done,
    }
}

fn explain(cgroup: &Cgroup, value: &Value, errno: Errno) -> Error {
    refused(value.property, &cgroup.dir(), &value.file, &value.text, errno)
}

/// Whether a new limit must be written before or after the one that it is checked against depends on the old values.
/// Rather than read them, a value that does not fit yet is tried again once another has been written.
fn write_together(dir: &OwnedFd, cgroup: &Cgroup, values: &[Value]) -> Result<()> {
    let mut left: VecDeque<&Value> = values.iter().collect();
    let mut refusals = 0;
    while let Some(value) = left.pop_front() {
        match write_value(dir, value) {
            Ok(()) => refusals = 0,
            Err(Errno::EINVAL) if refusals < left.len() => {
                refusals += 1;
                left.push_back(value);
            }
            Err(errno) => return Err(explain(cgroup, value, errno)),
        }
    }
    Ok(())
}

/// Each rule is a write of its own, but neighbours in one file share its descriptor.
fn write_devices(dir: &OwnedFd, cgroup: &Cgroup, writes: &[DeviceWrite]) -> Result<()> {
    for run in writes.chunk_by(|a, b| a.parts().0 == b.parts().0) {
        let mut fd = None;
        for (file, text) in run.iter().map(DeviceWrite::parts) {
            let done = match &fd {
                Some(fd) => write_all(fd, text),
                None => open_for_write(dir, file).and_then(|new| write_all(fd.insert(new), text)),
            };
            done.map_err(|errno| refused("linux.resources.devices", &cgroup.dir(), file, text, errno))?;
        }
    }
    Ok(())
}
