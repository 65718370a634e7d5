//! Which hierarchies the host has, where they are mounted, and where in each the caller is, from one read of
//! /proc/self/mountinfo and one of /proc/self/cgroup (proc(5), cgroups(7)). Nothing is looked up on the file system.

use super::file::read_list;
use super::step::Version;
use crate::{Context, Error, Result};

/// The v1 controllers whose hierarchies a container joins, which are those that runc joins.
const JOINED: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "misc",
    "name=systemd",
];

/// The name under which cgroup2 goes beside v1 hierarchies, as systemd calls its mount point.
pub(super) const UNIFIED: &str = "unified";

/// What the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// v1 hierarchies only.
    V1,
    /// v1 hierarchies, and a cgroup2 hierarchy without controllers.
    Hybrid,
    /// cgroup2 only.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers as /proc/self/cgroup lists them (`cpu,cpuacct`, `name=systemd`), or `unified`.
    pub name: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// Which of its cgroups is mounted there: `/`, but in a container.
    pub root: String,
    /// The caller's own cgroup, from the hierarchy's root.
    pub own: String,
    /// The interface it speaks.
    pub version: Version,
}

impl Hierarchy {
    /// Whether it carries `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.name.split(',').any(|name| name == controller)
    }

    /// Whether it has no controller.
    fn is_only_named(&self) -> bool {
        self.name.starts_with("name=")
    }

    /// The caller's own cgroup as a path below the mount point: empty for the mount's root.
    ///
    /// # Errors
    /// When the caller's cgroup is not beneath what is mounted.
    pub fn own_below_mount(&self) -> Result<&str> {
        let below = if self.root == "/" { Some(self.own.as_str()) } else { self.own.strip_prefix(self.root.as_str()) };
        match below {
            Some("" | "/") => Ok(""),
            // A cgroup above the caller's cgroup namespace shows as /.. in /proc/self/cgroup.
            Some(path) if path.starts_with('/') && !path.split('/').any(|part| part == "..") => Ok(path),
            _ => Err(Error::new(format!(
                "{}: the caller's cgroup {} is outside of {}, which {} shows; give an absolute linux.cgroupsPath",
                self.name, self.own, self.root, self.mount_point
            ))),
        }
    }
}

/// The host's hierarchies that a container joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In the order of /proc/self/cgroup, cgroup2 where it is mounted included.
    pub hierarchies: Vec<Hierarchy>,
}

impl Layout {
    /// Reads both files.
    ///
    /// # Errors
    /// When /proc is not mounted, and as [`Layout::parse`].
    pub fn read() -> Result<Self> {
        let text = |path: &str| read_list(path).context(|| format!("open {path}"));
        Self::parse(&text("/proc/self/mountinfo")?, &text("/proc/self/cgroup")?)
    }

    /// Takes the contents of /proc/self/mountinfo and /proc/self/cgroup.
    ///
    /// # Errors
    /// When no hierarchy is mounted where the caller can reach it.
    pub fn parse(mountinfo: &str, own: &str) -> Result<Self> {
        let lines: Vec<Line> = mountinfo.lines().filter_map(Line::parse).collect();
        let visible: Vec<&Line> =
            lines.iter().filter(|line| line.fs_type.starts_with("cgroup") && !line.is_hidden(&lines)).collect();
        let mut hierarchies = Vec::with_capacity(16);
        for line in own.lines() {
            // hierarchy-id:controllers:path, where a path may hold colons.
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(own)) = (fields.next(), fields.next()) else { continue };
            let found = match controllers {
                "" => best(visible.iter().filter(|line| line.fs_type == "cgroup2")),
                _ if !controllers.split(',').any(|name| JOINED.contains(&name)) => None,
                // Controllers mounted together share one superblock, so the first finds them all.
                _ => best(visible.iter().filter(|line| {
                    line.fs_type == "cgroup"
                        && line.super_options.split(',').any(|o| controllers.split(',').next() == Some(o))
                })),
            };
            let Some(mount) = found else { continue };
            hierarchies.push(Hierarchy {
                name: if controllers.is_empty() { UNIFIED } else { controllers }.to_owned(),
                mount_point: unescape(mount.mount_point),
                root: unescape(mount.root),
                own: own.to_owned(),
                version: if controllers.is_empty() { Version::V2 } else { Version::V1 },
            });
        }
        if hierarchies.is_empty() {
            return Err(Error::new(
                "no cgroup hierarchy is mounted; mount them below /sys/fs/cgroup, or do without limits by --cgroup-manager disabled",
            ));
        }
        // A host of cgroup2 may have a v1 hierarchy somewhere, as VPN programs mount net_cls: it is theirs, and what limits
        // containers is cgroup2. runc asks the same, what lies at this path.
        if hierarchies.iter().any(|h| h.version == Version::V2 && h.mount_point == "/sys/fs/cgroup") {
            hierarchies.retain(|h| h.version == Version::V2 || h.is_only_named());
        }
        Ok(Self { hierarchies })
    }

    /// Which interface the host offers. A v1 hierarchy without controllers (`name=systemd`) does not count.
    pub fn mode(&self) -> Mode {
        let v1 = self.hierarchies.iter().any(|h| h.version == Version::V1 && !h.is_only_named());
        match (v1, self.hierarchies.iter().any(|h| h.version == Version::V2)) {
            (false, true) => Mode::V2,
            (true, true) => Mode::Hybrid,
            (_, false) => Mode::V1,
        }
    }
}

/// A hierarchy may be mounted several times (into a chroot, say); the usual place is the one that is meant.
fn best<'a>(mut mounts: impl Iterator<Item = &'a &'a Line<'a>> + Clone) -> Option<&'a Line<'a>> {
    let usual = mounts.clone().find(|line| line.mount_point.starts_with("/sys/fs/cgroup"));
    usual.or_else(|| mounts.next()).copied()
}

/// What counts of one line of mountinfo.
struct Line<'a> {
    id: &'a str,
    parent: &'a str,
    root: &'a str,
    mount_point: &'a str,
    fs_type: &'a str,
    super_options: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, fs) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        let (id, parent, _device) = (mount.next()?, mount.next()?, mount.next()?);
        let (root, mount_point) = (mount.next()?, mount.next()?);
        let mut fs = fs.split(' ');
        let (fs_type, _source) = (fs.next()?, fs.next()?);
        Some(Self { id, parent, root, mount_point, fs_type, super_options: fs.next().unwrap_or("") })
    }

    /// Whether another mount lies over this one: it is at the same place or above, and the way to this one does not
    /// lead through it. The parents decide rather than the order, since a mount that was moved keeps its early line.
    fn is_hidden(&self, lines: &[Line<'_>]) -> bool {
        let covers = |over: &&Line<'_>| {
            over.id != self.id
                && self
                    .mount_point
                    .strip_prefix(over.mount_point.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        lines.iter().filter(covers).any(|over| !self.leads_through(over.id, lines))
    }

    fn leads_through(&self, id: &str, lines: &[Line<'_>]) -> bool {
        let mut at = self;
        // The root's parent is itself or not in the list; no chain is longer than the list.
        for _ in 0..lines.len() {
            if at.parent == id {
                return true;
            }
            match lines.iter().find(|line| line.id == at.parent) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }
}

/// mountinfo writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or("").to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            _ => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 254:0 / / rw - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const OWN: &str = "9:name=systemd:/\n4:memory:/a/b:c\n3:debug:/\n1:cpu,cpuacct:/\n0::/x\n";

    fn names(layout: &Layout) -> Vec<&str> {
        layout.hierarchies.iter().map(|h| h.name.as_str()).collect()
    }

    #[test]
    fn a_hybrid_host_has_v1_hierarchies_and_an_empty_unified_one() {
        let layout = Layout::parse(HYBRID, OWN).unwrap();
        assert_eq!(layout.mode(), Mode::Hybrid);
        assert_eq!(names(&layout), ["name=systemd", "memory", "cpu,cpuacct", "unified"]);
        let cpu = &layout.hierarchies[2];
        assert!(cpu.has("cpu") && cpu.has("cpuacct") && !cpu.has("cpuset"));
        assert_eq!(cpu.mount_point, "/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(layout.hierarchies[1].own_below_mount().unwrap(), "/a/b:c");
        assert_eq!(layout.hierarchies[2].own_below_mount().unwrap(), "");
    }

    #[test]
    fn a_mount_that_another_covers_is_left_out() {
        let covered = format!("{HYBRID}50 41 0:50 / /sys/fs/cgroup/unified rw - tmpfs tmpfs rw\n");
        let layout = Layout::parse(&covered, OWN).unwrap();
        assert_eq!((layout.mode(), names(&layout)), (Mode::V1, vec!["name=systemd", "memory", "cpu,cpuacct"]));
        let all_covered = format!("{HYBRID}50 31 0:50 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n");
        assert!(Layout::parse(&all_covered, OWN).is_err());
        let neighbour = format!("{HYBRID}50 31 0:50 / /sys/fs/cgroup/mem rw - tmpfs tmpfs rw\n");
        assert_eq!(Layout::parse(&neighbour, OWN).unwrap().hierarchies.len(), 4);
    }

    #[test]
    fn a_root_that_was_moved_into_place_late_covers_nothing() {
        let moved = "\
22 27 0:20 / /sys rw - sysfs sysfs rw
26 22 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 1 8:1 / / rw - ext4 /dev/sda1 rw
";
        assert_eq!(names(&Layout::parse(moved, OWN).unwrap()), ["memory"]);
    }

    #[test]
    fn a_v2_host_is_told_apart_although_systemd_keeps_a_named_hierarchy() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::parse(v2, "0::/init.scope\n").unwrap().mode(), Mode::V2);
        let named = format!("{v2}31 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n");
        assert_eq!(Layout::parse(&named, OWN).unwrap().mode(), Mode::V2);
    }

    #[test]
    fn a_v1_controller_that_somebody_has_mounted_on_a_v2_host_is_his() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let vpn = format!("{v2}31 23 0:27 / /opt/vpn/net_cls rw - cgroup cgroup rw,net_cls\n");
        let layout = Layout::parse(&vpn, "3:net_cls:/\n0::/init.scope\n").unwrap();
        assert_eq!((layout.mode(), names(&layout)), (Mode::V2, vec!["unified"]));
    }

    #[test]
    fn inside_a_container_the_own_cgroup_is_counted_from_what_is_mounted() {
        let mount = "32 31 0:32 /docker/c1 /sys/fs/cgroup/my\\040memory ro - cgroup cgroup rw,memory\n";
        let at = |own: &str| Layout::parse(mount, &format!("4:memory:{own}\n")).unwrap().hierarchies.remove(0);
        assert_eq!(at("/docker/c1").mount_point, "/sys/fs/cgroup/my memory");
        assert_eq!(at("/docker/c1").own_below_mount().unwrap(), "");
        assert_eq!(at("/docker/c1/sub").own_below_mount().unwrap(), "/sub");
        for outside in ["/docker/c10", "/else", "/../x"] {
            let error = at(outside).own_below_mount().unwrap_err().to_string();
            assert!(error.contains("absolute linux.cgroupsPath"), "{error}");
        }
    }
}
