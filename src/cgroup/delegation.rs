//! What of the host's hierarchies an ordinary user has been given, who may make cgroups only where a directory is his:
//! cgroup-v2.rst, "Delegation".

use nix::unistd::{AccessFlags, access};

use super::hierarchy::{Hierarchy, Layout};
use super::place::Place;
use super::step::Version;
use crate::Result;

/// What a user has of a layout.
#[derive(Debug, PartialEq, Eq)]
pub struct Delegated {
    /// The hierarchies in which he may make cgroups; None where there is none.
    pub layout: Option<Layout>,
    /// The names of the others.
    pub withheld: Vec<String>,
}

impl Layout {
    /// Leaves out the hierarchies in which the caller may make no cgroup, and has the others begin where he may.
    pub fn delegated(self) -> Delegated {
        let (mut hierarchies, mut withheld) = (Vec::new(), Vec::new());
        for hierarchy in self.hierarchies {
            match begin(&hierarchy) {
                Some(own) => hierarchies.push(Hierarchy { own, ..hierarchy }),
                None => withheld.push(hierarchy.name),
            }
        }
        let layout = (!hierarchies.is_empty()).then_some(Self { hierarchies });
        Delegated { layout, withheld }
    }

    /// The same hierarchies, which begin where the caller may make cgroups: a relative path lies below that.
    #[must_use]
    pub fn begun(mut self) -> Self {
        for hierarchy in &mut self.hierarchies {
            if let Some(own) = begin(hierarchy) {
                hierarchy.own = own;
            }
        }
        self
    }
}

/// The cgroup below which the caller may make his, from the hierarchy's root. On cgroup2 that is the parent of his own
/// where it is his too, as with runc: his own holds processes, and so hands no controller on.
fn begin(hierarchy: &Hierarchy) -> Option<String> {
    let below = hierarchy.own_below_mount().ok()?;
    let parent = match (hierarchy.version, hierarchy.own.rsplit_once('/')) {
        (Version::V2, Some((parent, _))) if !below.is_empty() => Some(parent),
        _ => None,
    };
    let own = hierarchy.own.trim_end_matches('/');
    let candidates = parent.into_iter().chain([own]);
    candidates.map(str::to_owned).find(|own| is_ours(&Hierarchy { own: own.clone(), ..hierarchy.clone() }))
}

/// Whether the caller may make cgroups in his own of a hierarchy, and move processes between those. On cgroup2 that takes
/// the right to write to the list of the cgroup that has both in it; on v1 there is no such rule.
fn is_ours(hierarchy: &Hierarchy) -> bool {
    let Ok(below) = hierarchy.own_below_mount() else { return false };
    let dir = format!("{}{below}", hierarchy.mount_point);
    let may_write = |path: &str| access(path, AccessFlags::W_OK).is_ok();
    may_write(&dir) && (hierarchy.version == Version::V1 || may_write(&format!("{dir}/cgroup.procs")))
}

impl Place {
    /// The cgroup that holds both the caller's and the place's on cgroup2, where he may not write to its list: then the
    /// kernel lets him move no process between the two (cgroup-v2.rst, "Delegation Containment").
    ///
    /// # Errors
    /// When the host's cgroups cannot be read.
    pub fn wall(&self) -> Result<Option<String>> {
        let Some(cgroup) = self.v2() else { return Ok(None) };
        let layout = Layout::read()?;
        let v2 = layout.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2);
        let own = v2.and_then(|hierarchy| hierarchy.own_below_mount().ok()).unwrap_or("");
        let dir = format!("{}{}", cgroup.mount, shared(own, &cgroup.path));
        let open = access(format!("{dir}/cgroup.procs").as_str(), AccessFlags::W_OK).is_ok();
        Ok((!open).then_some(dir))
    }
}

/// What two paths begin with alike, by whole parts.
fn shared<'a>(path: &'a str, other: &str) -> &'a str {
    let parts = path.split('/').skip(1).zip(other.split('/').skip(1));
    let length: usize = parts.take_while(|(part, other)| part == other).map(|(part, _)| part.len() + 1).sum();
    &path[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(mount: &std::path::Path, own: &str, version: Version) -> Hierarchy {
        let mount_point = mount.to_str().unwrap().to_owned();
        Hierarchy { name: "unified".into(), mount_point, root: "/".into(), own: own.into(), version }
    }

    #[test]
    fn paths_share_whole_parts() {
        assert_eq!(shared("/a/b/c", "/a/b/d"), "/a/b");
        assert_eq!(shared("/a/bc", "/a/b"), "/a");
        assert_eq!(shared("/a", "/a/b"), "/a");
        assert_eq!(shared("", "/a"), "");
    }

    /// Directories that look like cgroup2's; root may write to what is there, and to nothing that is not.
    #[test]
    fn a_cgroup_begins_at_the_parent_where_that_is_ours() {
        let mount = std::env::temp_dir().join(format!("nfrun-unit-delegation-{}", std::process::id()));
        std::fs::create_dir_all(mount.join("a/b/c")).unwrap();
        let v2 = |own: &str| begin(&hierarchy(&mount, own, Version::V2));
        assert_eq!(v2("/a/b"), None);
        std::fs::write(mount.join("a/b/cgroup.procs"), "").unwrap();
        assert_eq!(v2("/a/b/c").as_deref(), Some("/a/b"));
        assert_eq!(v2("/a/b").as_deref(), Some("/a/b"));
        assert_eq!(v2("/../elsewhere"), None);
        assert_eq!(begin(&hierarchy(&mount, "/a", Version::V1)).as_deref(), Some("/a"), "v1 knows no such rule");
        std::fs::write(mount.join("cgroup.procs"), "").unwrap();
        assert_eq!(v2("/").as_deref(), Some(""));
        let found = Layout { hierarchies: vec![hierarchy(&mount, "/", Version::V2)] }.delegated();
        assert!(found.layout.is_some() && found.withheld.is_empty());
        let none = Layout { hierarchies: vec![hierarchy(&mount.join("none"), "/", Version::V2)] }.delegated();
        assert_eq!(none, Delegated { layout: None, withheld: vec!["unified".into()] });
        std::fs::remove_dir_all(&mount).unwrap();
    }
}
