//! Where a container's processes are: one cgroup a hierarchy. It is worked out once, before anything exists, and
//! written into the container's state; every later command starts from it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::events::Events;
use super::file::{is_gone, open_dir, open_for_write, read_at, read_list, read_list_at};
use super::hierarchy::Layout;
use super::step::{Cgroup, Version};
use super::systemd::Unit;
use crate::{Context, Error, Result};

/// A container's cgroups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// One a hierarchy.
    pub cgroups: Vec<Cgroup>,
    /// Whether a user other than root made it, to whom the kernel refuses rules about devices.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_user: bool,
    /// The unit of systemd whose cgroups they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// Which interface has the controllers that limit, freeze and count a container.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interface<'a> {
    /// Each is in a v1 hierarchy. A cgroup2 with the rest, or with none, may be beside.
    V1(&'a Place),
    /// All are in cgroup2, and this is the container's one cgroup there.
    V2(&'a Cgroup),
}

/// The place for a linux.cgroupsPath: absolute below each mount point, relative below the caller's own cgroup, absent
/// by the name `fallback` there. `.` and `..` are taken out before, so it never leaves where it starts.
///
/// # Errors
/// When the path is that start itself, or the caller's own cgroup cannot be reached.
pub fn place(layout: &Layout, path: Option<&Path>, fallback: &str) -> Result<Place> {
    let given = path.filter(|path| !path.as_os_str().is_empty());
    let text = match given {
        Some(path) => path
            .to_str()
            .ok_or_else(|| Error::invalid(format!("linux.cgroupsPath: {} is not UTF-8", path.display())))?,
        None => fallback,
    };
    let below = clean(text);
    if below.is_empty() {
        return Err(Error::invalid(format!(
            "linux.cgroupsPath: {text:?} is no cgroup of the container's own; name one below it"
        )));
    }
    let cgroups = layout.hierarchies.iter().map(|hierarchy| {
        let start = if text.starts_with('/') { "" } else { hierarchy.own_below_mount()? };
        Ok(Cgroup {
            hierarchy: hierarchy.name.clone(),
            mount: hierarchy.mount_point.clone(),
            path: format!("{start}{below}"),
            version: hierarchy.version,
        })
    });
    Ok(Place { cgroups: cgroups.collect::<Result<_>>()?, of_user: false, unit: None })
}

/// The path with a leading slash before each part, and no `.`, `..` or empty part.
fn clean(path: &str) -> String {
    let mut clean = String::with_capacity(path.len() + 1);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => clean.truncate(clean.rfind('/').unwrap_or(0)),
            _ => {
                clean.push('/');
                clean.push_str(part);
            }
        }
    }
    clean
}

impl Place {
    /// The cgroup of the hierarchy that carries `controller`.
    pub fn with(&self, controller: &str) -> Option<&Cgroup> {
        self.cgroups.iter().find(|cgroup| cgroup.has(controller))
    }

    /// The cgroup of the cgroup2 hierarchy.
    pub fn v2(&self) -> Option<&Cgroup> {
        self.cgroups.iter().find(|cgroup| cgroup.version == Version::V2)
    }

    /// Whether cgroup2 has the controllers. A v1 hierarchy without any (`name=systemd`) may be beside it.
    pub fn is_v2(&self) -> bool {
        matches!(self.interface(), Interface::V2(_))
    }

    /// The interface that has the controllers.
    pub(super) fn interface(&self) -> Interface<'_> {
        let has_controllers = |cgroup: &Cgroup| cgroup.version == Version::V1 && !cgroup.hierarchy.starts_with("name=");
        match self.v2() {
            Some(cgroup) if !self.cgroups.iter().any(has_controllers) => Interface::V2(cgroup),
            _ => Interface::V1(self),
        }
    }

    /// The files through which a process enters every v1 hierarchy, by writing "0" to each itself. cgroup2 has no such
    /// file: see [`Place::v2_dir`].
    ///
    /// # Errors
    /// When a cgroup does not exist any more.
    pub fn open_tasks(&self) -> Result<Vec<OwnedFd>> {
        let open_one = |cgroup: &Cgroup| {
            let path = format!("{}/tasks", cgroup.dir());
            open(path.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).context(|| format!("open {path}"))
        };
        self.cgroups.iter().filter(|cgroup| cgroup.version == Version::V1).map(open_one).collect()
    }

    /// The directory to clone into (`CLONE_INTO_CGROUP`) where the host has cgroup2.
    ///
    /// # Errors
    /// When it does not exist any more.
    pub fn v2_dir(&self) -> Result<Option<OwnedFd>> {
        let v2 = self.v2().map(Cgroup::dir);
        v2.map(|path| open_dir(&path).context(|| format!("open {path}"))).transpose()
    }

    /// As [`Place::v2_dir`], for a process that joins `init`'s container: where the container's cgroup hands controllers
    /// on, which it cannot while it holds processes itself (systemd in a container does so), the cgroup of `init` below.
    ///
    /// # Errors
    /// When the cgroup does not exist any more; when that one below is frozen, where whoever waits for the process to
    /// come up would wait for as long.
    pub fn v2_dir_beside(&self, init: i32) -> Result<Option<OwnedFd>> {
        let Some(dir) = self.v2_dir()? else { return Ok(None) };
        let Interface::V2(own) = self.interface() else { return Ok(Some(dir)) };
        if read_at(&dir, "cgroup.subtree_control").unwrap_or_default().is_empty() {
            return Ok(Some(dir));
        }
        let path = format!("/proc/{init}/cgroup");
        let list = read_list(&path).context(|| format!("read {path}"))?;
        // As seen from the caller's own cgroup namespace, which the mount point belongs to.
        let below =
            list.lines().find_map(|line| line.strip_prefix("0::")).and_then(|at| at.split(own.path.as_str()).nth(1));
        let Some(below) = below.filter(|below| !leaves(below)) else { return Ok(Some(dir)) };
        let inner = format!("{}{below}", own.dir());
        // With the whole container paused the caller has chosen to wait.
        if Events::of(&inner)?.frozen && !Events::of(&own.dir())?.frozen {
            return Err(Error::new(format!(
                "the container's init is in {inner}, a cgroup that the container has frozen: thaw it (write 0 to its cgroup.freeze)"
            )));
        }
        open_dir(&inner).context(|| format!("open {inner}")).map(Some)
    }

    /// All processes, those in sub-cgroups included, once each, as the caller's pid namespace numbers them; none when
    /// the cgroup is gone. The freezer's hierarchy is asked first, so that what can be seen is what can be frozen.
    ///
    /// # Errors
    /// When the kernel refuses to list them.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let cgroup = match self.interface() {
            Interface::V1(_) => self.with("freezer").or_else(|| self.with("devices")).or(self.cgroups.first()),
            Interface::V2(cgroup) => Some(cgroup),
        };
        let Some(cgroup) = cgroup else { return Ok(Vec::new()) };
        pids_below(cgroup.dir())
    }

    /// Every directory that making the place will make, each hierarchy's outermost first: what undo must know before.
    pub fn missing_dirs(&self) -> Vec<PathBuf> {
        let mut missing = Vec::new();
        for cgroup in &self.cgroups {
            let path = cgroup.dir();
            let start = missing.len();
            let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > cgroup.mount.len());
            let mut ends: Vec<usize> = ends.chain([path.len()]).collect();
            // From the leaf up: the first that exists ends it.
            while let Some(end) = ends.pop() {
                match nix::sys::stat::stat(&path[..end]) {
                    Err(Errno::ENOENT) => missing.push(PathBuf::from(&path[..end])),
                    _ => break,
                }
            }
            missing[start..].reverse();
        }
        missing
    }

    /// The place for `exec --cgroup`: each argument is `PATH`, for every hierarchy, or `CONTROLLER[,CONTROLLER]:PATH`;
    /// hierarchies that none names stay at the container's own.
    ///
    /// # Errors
    /// When a path would leave the container's cgroup or does not exist, or a controller is not mounted.
    pub fn sub_place(&self, arguments: &[String]) -> Result<Place> {
        let mut sub = self.clone();
        for argument in arguments {
            let (controllers, path) = match argument.split_once(':') {
                Some((controllers, path)) => (Some(controllers), path),
                None => (None, argument.as_str()),
            };
            let refuse = |why: &str| Error::invalid(format!("--cgroup {argument}: {why}"));
            if leaves(path) {
                return Err(refuse("bad sub cgroup path: it leaves the container's cgroup"));
            }
            if let Some(unknown) = controllers.iter().flat_map(|list| list.split(',')).find(|c| self.with(c).is_none())
            {
                return Err(refuse(&format!("unknown controller {unknown}: not mounted on this host")));
            }
            let named = |cgroup: &Cgroup| controllers.is_none_or(|list| list.split(',').any(|c| cgroup.has(c)));
            for (cgroup, own) in sub.cgroups.iter_mut().zip(&self.cgroups).filter(|(_, own)| named(own)) {
                cgroup.path = format!("{}{}", own.path, clean(path));
                let dir = cgroup.dir();
                nix::sys::stat::stat(dir.as_str()).context(|| format!("--cgroup {argument}: {dir}"))?;
            }
        }
        Ok(sub)
    }
}

/// The file of a cgroup2's directory by which a process enters that writes "0" to it.
///
/// # Errors
/// When the cgroup is gone.
pub fn open_procs(dir: OwnedFd) -> Result<OwnedFd> {
    open_for_write(&dir, "cgroup.procs").context(|| "open cgroup.procs of the container's cgroup")
}

/// Whether `..` parts lead above the path's start.
fn leaves(path: &str) -> bool {
    let mut depth = 0i32;
    path.split('/').any(|part| {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth < 0
    })
}

/// The processes of a cgroup and those below it, sorted.
pub(super) fn pids_below(path: impl AsRef<Path>) -> Result<Vec<i32>> {
    let path = path.as_ref();
    let mut pids = Vec::new();
    walk(path, &mut |dir| {
        let text = match read_list_at(dir, "cgroup.procs") {
            // A threaded cgroup2 lists its processes only at the root of its threads.
            Err(errno) if is_gone(errno) || errno == Errno::EOPNOTSUPP => return Ok(()),
            text => text.context(|| format!("read cgroup.procs below {}", path.display()))?,
        };
        // A process outside of the caller's pid namespace shows as 0 and cannot be named from here.
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        Ok(())
    })?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Calls `visit` with the directory and each one below it, parents first. What disappears meanwhile is skipped.
pub(super) fn walk(path: &Path, visit: &mut dyn FnMut(&Dir) -> Result<()>) -> Result<()> {
    let mut dir = match Dir::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(errno) if is_gone(errno) => return Ok(()),
        dir => dir.context(|| format!("open {}", path.display()))?,
    };
    visit(&dir)?;
    for name in subdirs(&mut dir) {
        walk(&path.join(name), visit)?;
    }
    Ok(())
}

/// The names of the cgroups directly below, which a container may have made of any bytes. The link count says without
/// listing whether there are any.
pub(super) fn subdirs(dir: &mut Dir) -> Vec<OsString> {
    if nix::sys::stat::fstat(dir.as_fd()).is_ok_and(|stat| stat.st_nlink == 2) {
        return Vec::new();
    }
    let entries = dir.iter().flatten().filter(|entry| entry.file_type() == Some(nix::dir::Type::Directory));
    entries
        .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
        .filter(|n| n != "." && n != "..")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_escapes_are_seen() {
        assert_eq!(clean("/a//b/./c/../d/"), "/a/b/d");
        assert_eq!(clean("../../x"), "/x");
        assert_eq!(clean("a/.."), "");
        assert!(leaves("a/../../b") && leaves(".."));
        assert!(!leaves("a/../b") && !leaves("/a/b") && !leaves("/"));
    }

    #[test]
    fn a_place_survives_the_state_file() {
        let cgroup = Cgroup { hierarchy: "memory".into(), mount: "/m".into(), path: "/c".into(), version: Version::V1 };
        let place = Place { cgroups: vec![cgroup], of_user: false, unit: None };
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(text, r#"{"cgroups":[{"hierarchy":"memory","mount":"/m","path":"/c","version":"v1"}]}"#);
        assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), place);
    }
}
