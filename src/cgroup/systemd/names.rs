//! linux.cgroupsPath as systemd's drivers write it, `slice:prefix:name`, into a unit and the cgroup that systemd gives it:
//! systemd.unit(5), systemd.slice(5). Nothing is looked up.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Whose systemd manages a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Manager {
    /// The host's.
    System,
    /// A user's own.
    User {
        /// The address of the bus that it is on, as the environment said when the container was created.
        bus: String,
    },
}

/// A unit of systemd: the scope that holds a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name, which ends in `.scope`.
    pub name: String,
    /// The slice that it lies in.
    pub slice: String,
    /// Who manages it.
    pub manager: Manager,
}

/// The most that a unit's name may have: UNIT_NAME_MAX.
const LONGEST: usize = 255;

impl Unit {
    /// The unit for a linux.cgroupsPath; without one, `nfrun-ID.scope` in the manager's own slice.
    ///
    /// # Errors
    /// When the path is not of the form, or what it names can be no unit that holds processes.
    pub fn new(path: Option<&str>, id: &str, manager: Manager) -> Result<Self> {
        let own_slice = if manager == Manager::System { "system.slice" } else { "user.slice" };
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            let name = format!("nfrun-{}.scope", escape(id));
            check_length(&name)?;
            return Ok(Self { name, slice: own_slice.to_owned(), manager });
        };
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            return Err(refuse(
                path,
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, such as machine.slice:nfrun:web; with a path, use --cgroup-manager cgroupfs",
            ));
        };
        if name.ends_with(".slice") {
            return Err(refuse(path, "a slice holds no processes, only other units: give a name without .slice"));
        }
        let name = format!("{prefix}-{name}.scope");
        if let Some(odd) = name.chars().find(|c| !is_valid(*c)) {
            return Err(refuse(
                path,
                &format!("{odd:?} cannot be in a unit's name, which is made of letters, digits and : - _ . \\ @"),
            ));
        }
        check_length(&name)?;
        let slice = if slice.is_empty() { own_slice } else { slice };
        expand(slice).map_err(|error| error.context(format!("linux.cgroupsPath: {path:?}")))?;
        Ok(Self { name, slice: slice.to_owned(), manager })
    }

    /// Whether a user's own manager has it, to whom the kernel gives no devices to restrict.
    pub fn is_a_users(&self) -> bool {
        self.manager != Manager::System
    }

    /// The unit's cgroup below the manager's own.
    ///
    /// # Errors
    /// When the slice's name is none.
    pub fn cgroup(&self) -> Result<String> {
        Ok(format!("{}/{}", expand(&self.slice)?, self.directory()))
    }

    /// The name of that cgroup's directory.
    pub(super) fn directory(&self) -> String {
        directory(&self.name)
    }
}

fn refuse(path: &str, why: &str) -> Error {
    Error::invalid(format!("linux.cgroupsPath: {path:?}: {why}"))
}

fn check_length(name: &str) -> Result<()> {
    if name.len() <= LONGEST {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "linux.cgroupsPath: the unit's name {name} would be {} characters long, and systemd takes {LONGEST}: use a shorter id or path",
        name.len()
    )))
}

/// What systemd takes in a unit's name.
fn is_valid(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":-_.\\@".contains(c)
}

/// An id may have what a unit's name may not, `+`: written as systemd-escape(1) writes it.
fn escape(id: &str) -> String {
    id.bytes()
        .map(|byte| match char::from(byte) {
            c if is_valid(c) => c.to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect()
}

/// A unit's directory has its name, but where that might be a file of the kernel's.
fn directory(unit: &str) -> String {
    const OF_KERNEL: [&str; 14] = [
        "cgroup",
        "cpu",
        "cpuacct",
        "cpuset",
        "io",
        "blkio",
        "memory",
        "devices",
        "pids",
        "bpf-firewall",
        "bpf-devices",
        "bpf-foreign",
        "bpf-socket-bind",
        "bpf-restrict-network-interfaces",
    ];
    let first = unit.split('.').next().unwrap_or_default();
    let is_odd = unit.starts_with(['_', '.']) || OF_KERNEL.contains(&first);
    if is_odd { format!("_{unit}") } else { unit.to_owned() }
}

/// The cgroup of a slice below its manager's: `a-b.slice` lies in `a.slice`, and `-.slice` is the root.
fn expand(slice: &str) -> Result<String> {
    let refuse = || {
        Error::invalid(format!(
            "invalid slice name {slice:?}: it is made of letters, digits and : _ . \\ @, with single dashes between the levels, and ends in .slice"
        ))
    };
    let name = slice.strip_suffix(".slice").ok_or_else(refuse)?;
    if name == "-" {
        return Ok(String::new());
    }
    if slice.len() > LONGEST || !slice.chars().all(is_valid) {
        return Err(refuse());
    }
    let mut path = String::new();
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    let mut start = 0;
    for end in ends {
        if end == start {
            return Err(refuse());
        }
        path.push_str(&format!("/{}", directory(&format!("{}.slice", &name[..end]))));
        start = end + 1;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str) -> Result<Unit> {
        Unit::new(Some(path), "id", Manager::System)
    }

    #[test]
    fn a_path_names_slice_prefix_and_name() {
        for (path, name, cgroup) in [
            ("machine.slice:libpod:0af", "libpod-0af.scope", "/machine.slice/libpod-0af.scope"),
            (":crio:1", "crio-1.scope", "/system.slice/crio-1.scope"),
            (
                "kubelet-pods-x.slice:cri-containerd:1",
                "cri-containerd-1.scope",
                "/kubelet.slice/kubelet-pods.slice/kubelet-pods-x.slice/cri-containerd-1.scope",
            ),
            ("-.slice:a:b", "a-b.scope", "/a-b.scope"),
            ("system.slice::b", "-b.scope", "/system.slice/-b.scope"),
            // What the kernel might have a file of, systemd writes with an underscore.
            ("a.slice:.x:b", ".x-b.scope", "/a.slice/_.x-b.scope"),
            ("memory-x.slice:_x:b", "_x-b.scope", "/_memory.slice/memory-x.slice/__x-b.scope"),
            ("_a.slice:cgroup.x:b", "cgroup.x-b.scope", "/__a.slice/_cgroup.x-b.scope"),
        ] {
            let unit = unit(path).unwrap();
            assert_eq!((unit.name.as_str(), unit.cgroup().unwrap().as_str()), (name, cgroup));
        }
    }

    #[test]
    fn without_a_path_the_id_names_it_in_the_managers_own_slice() {
        let unit = Unit::new(None, "a+b", Manager::System).unwrap();
        assert_eq!(unit.cgroup().unwrap(), "/system.slice/nfrun-a\\x2bb.scope");
        let user = Unit::new(Some(""), "c", Manager::User { bus: String::new() }).unwrap();
        assert_eq!(user.cgroup().unwrap(), "/user.slice/nfrun-c.scope");
        assert!(Unit::new(None, &"x".repeat(250), Manager::System).is_err());
    }

    #[test]
    fn what_is_no_unit_is_refused_in_words() {
        for (path, words) in [
            ("/a/b", "slice:prefix:name"),
            ("a.slice:b", "slice:prefix:name"),
            ("a.slice:b:c:d", "slice:prefix:name"),
            ("a:b:c", "invalid slice name \"a\""),
            ("a/b.slice:b:c", "invalid slice name"),
            ("a--b.slice:b:c", "invalid slice name"),
            ("-a.slice:b:c", "invalid slice name"),
            (".slice:b:c", "invalid slice name"),
            ("a.slice:b:c.slice", "a slice holds no processes"),
            ("a.slice:b:../c", "'/' cannot be in a unit's name"),
        ] {
            let error = unit(path).unwrap_err().to_string();
            assert!(error.starts_with("linux.cgroupsPath: ") && error.contains(words), "{error}");
        }
    }
}
