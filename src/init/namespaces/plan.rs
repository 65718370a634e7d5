//! linux.namespaces and what is named in them, as steps: config-linux.md, "Namespaces".

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, LinuxTimeOffset};

use super::step::{Joined, Step};
use crate::init::program::{Draft, Items, Source, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// Every kind with its name in config.json, its CLONE_NEW* flag and its file in /proc/PID/ns.
const KINDS: [(LinuxNamespaceType, &str, i32, &str); 8] = [
    (LinuxNamespaceType::User, "user", libc::CLONE_NEWUSER, "user"),
    (LinuxNamespaceType::Ipc, "ipc", libc::CLONE_NEWIPC, "ipc"),
    (LinuxNamespaceType::Uts, "uts", libc::CLONE_NEWUTS, "uts"),
    (LinuxNamespaceType::Network, "network", libc::CLONE_NEWNET, "net"),
    (LinuxNamespaceType::Pid, "pid", libc::CLONE_NEWPID, "pid"),
    (LinuxNamespaceType::Mount, "mount", libc::CLONE_NEWNS, "mnt"),
    (LinuxNamespaceType::Cgroup, "cgroup", libc::CLONE_NEWCGROUP, "cgroup"),
    (LinuxNamespaceType::Time, "time", 0x80, "time"),
];
/// CLONE_NEWTIME.
const TIME: u64 = 0x80;

/// The names of a set of kinds.
pub fn names(kinds: u64) -> String {
    let names: Vec<_> = KINDS.iter().filter(|kind| kinds & kind.2 as u64 != 0).map(|kind| kind.1).collect();
    if names.is_empty() { "none".into() } else { names.join(",") }
}

/// The words for every kind, sorted.
pub fn kind_names() -> Vec<&'static str> {
    let mut names: Vec<_> = KINDS.iter().map(|kind| kind.1).collect();
    names.sort_unstable();
    names
}

/// The caller's own namespace of a kind, in /proc.
pub fn own_file(kind: u64) -> String {
    let name = KINDS.iter().find(|known| known.2 as u64 == kind).map_or("", |known| known.3);
    format!("/proc/self/ns/{name}")
}

/// A set of namespace kinds: new ones, and joined ones with their files.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// CLONE_NEW* flags of those to be made.
    pub new: u64,
    /// Those to be joined: kind and path.
    pub joined: Vec<(u64, PathBuf)>,
}

impl Namespaces {
    /// Reads the list; a kind named twice and an unusable path are errors.
    pub fn read(list: &[LinuxNamespace]) -> Result<Self> {
        let mut this = Self::default();
        for (i, namespace) in list.iter().enumerate() {
            let kind = KINDS.iter().find(|kind| kind.0 == namespace.typ());
            let Some(&(_, name, flag, _)) = kind else {
                return Err(Error::invalid(format!("linux.namespaces[{i}].type: {:?} is not known", namespace.typ())));
            };
            let flag = flag as u64;
            if (this.new | this.joined_kinds()) & flag != 0 {
                return Err(Error::invalid(format!("linux.namespaces[{i}]: duplicate namespace {name}: name it once")));
            }
            match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => {
                    if !path.is_absolute() {
                        let path = path.display();
                        return Err(Error::invalid(format!("linux.namespaces[{i}].path: {path} is not absolute")));
                    }
                    this.joined.push((flag, path.clone()));
                }
                _ => this.new |= flag,
            }
        }
        Ok(this)
    }

    fn joined_kinds(&self) -> u64 {
        self.joined.iter().fold(0, |all, (kind, _)| all | kind)
    }

    /// Every kind that the container does not share with its creator.
    pub fn all(&self) -> u64 {
        self.new | self.joined_kinds()
    }

    /// Whether the container has a kind of its own, new or joined.
    pub fn has(&self, kind: i32) -> bool {
        self.all() & kind as u64 != 0
    }

    /// Whether the container makes a kind.
    pub fn makes(&self, kind: i32) -> bool {
        self.new & kind as u64 != 0
    }

    /// Whether the container joins a kind.
    pub fn joins(&self, kind: i32) -> bool {
        self.joined_kinds() & kind as u64 != 0
    }

    /// What clone3 itself makes. A cgroup namespace is made once the cgroup is entered; and where a namespace is joined
    /// that decides about the others (user), or that holds only children (pid, time), init makes them as it forks.
    pub fn at_clone(&self) -> u64 {
        if self.forks() { 0 } else { self.new & !(libc::CLONE_NEWCGROUP as u64) }
    }

    /// Whether init goes on as a child.
    pub fn forks(&self) -> bool {
        let joined = self.joined_kinds();
        joined & (libc::CLONE_NEWUSER as u64 | libc::CLONE_NEWPID as u64 | TIME) != 0
            || self.new & TIME != 0
            || (self.new & libc::CLONE_NEWUSER as u64 != 0 && joined != 0)
    }
}

/// Joins and makes what clone3 did not; `Some(position)` is where the runtime has to write id maps for the child.
pub fn enter(namespaces: &Namespaces, clocks: Option<&CStr>, draft: &mut Draft) -> Option<usize> {
    if !namespaces.joined.is_empty() {
        let joined = namespaces.joined.iter().map(|(kind, path)| Joined {
            file: draft.slot(Source::Namespace { path: path.clone(), kind: *kind }),
            kind: *kind,
        });
        let joined = Items::new(joined.collect::<Vec<_>>());
        draft.step(Step::Join { namespaces: joined.list() });
    }
    if !namespaces.forks() {
        return None;
    }
    let user = namespaces.new & libc::CLONE_NEWUSER as u64;
    let others = namespaces.new & !(libc::CLONE_NEWCGROUP as u64) & !TIME & !user;
    let time = namespaces.new & TIME;
    let mut maps = None;
    if user != 0 && time == 0 {
        draft.step(Step::Fork { kinds: user | others });
    } else if user != 0 {
        draft.step(Step::Fork { kinds: user });
    }
    if user != 0 {
        draft.step(crate::init::control::step::Step::AwaitRuntime {});
        maps = Some(draft.len());
        draft.step(Step::BecomeRoot {});
    }
    if time != 0 {
        draft.step(Step::Unshare { kinds: TIME });
        if let Some(offsets) = clocks {
            draft.step(Step::OffsetClocks { offsets: Text(offsets) });
        }
    }
    if user == 0 || time != 0 {
        draft.step(Step::Fork { kinds: others });
    }
    maps
}

/// The text of timens_offsets: config-linux.md, "Offset for Time Namespace".
pub fn clock_offsets(offsets: &HashMap<String, LinuxTimeOffset>, namespaces: &Namespaces) -> Result<Option<CString>> {
    if offsets.is_empty() {
        return Ok(None);
    }
    if namespaces.new & TIME == 0 {
        return Err(Error::invalid("linux.timeOffsets: needs a new time namespace; add one to linux.namespaces"));
    }
    let mut lines = String::new();
    for (clock, offset) in offsets.iter().collect::<BTreeMap<_, _>>() {
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::invalid(format!("linux.timeOffsets.{clock}: only monotonic and boottime have offsets")));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        lines.push_str(&format!("{clock} {seconds} {nanoseconds}\n"));
    }
    text("linux.timeOffsets", lines).map(Some)
}

/// A session and, unless kept, a session keyring of its own.
pub fn session(keyring: Option<&str>, draft: &mut Draft) -> Result<()> {
    draft.step(Step::NewSession {});
    session_keyring(keyring, draft)
}

/// The keyring alone, which a child keeps.
pub fn session_keyring(keyring: Option<&str>, draft: &mut Draft) -> Result<()> {
    if let Some(id) = keyring {
        let name = text("container id", format!("_ses.{id}"))?;
        draft.step(Step::NewKeyring { name: Text(&name) });
    }
    Ok(())
}

/// linux.namespaces: a cgroup namespace, once the cgroup is entered; hostname and domainname.
pub fn name_host(
    namespaces: &Namespaces,
    hostname: Option<&str>,
    domainname: Option<&str>,
    draft: &mut Draft,
) -> Result<()> {
    for (field, value) in [("hostname", hostname), ("domainname", domainname)] {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        if !namespaces.has(libc::CLONE_NEWUTS) {
            return Err(Error::invalid(format!(
                "{field}: unable to set it without a UTS namespace of the container's own; add one to linux.namespaces"
            )));
        }
        if value.len() > 64 {
            return Err(Error::invalid(format!("{field}: {} bytes long; the kernel takes at most 64", value.len())));
        }
        let name = text(field, value)?;
        draft.step(match field {
            "hostname" => Step::SetHostname { name: Text(&name) },
            _ => Step::SetDomainname { name: Text(&name) },
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> Vec<LinuxNamespace> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_kind_named_twice_is_refused_by_name() {
        let error = Namespaces::read(&list(r#"[{"type":"pid"},{"type":"pid","path":"/proc/1/ns/pid"}]"#)).unwrap_err();
        assert!(error.to_string().contains("linux.namespaces[1]: duplicate namespace pid"), "{error}");
    }

    #[test]
    fn plain_new_namespaces_are_made_by_the_clone() {
        let namespaces = Namespaces::read(&list(r#"[{"type":"pid"},{"type":"mount"},{"type":"cgroup"}]"#)).unwrap();
        assert!(!namespaces.forks());
        assert_eq!(namespaces.at_clone(), (libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64);
    }

    #[test]
    fn a_joined_pid_namespace_makes_init_fork() {
        let namespaces =
            Namespaces::read(&list(r#"[{"type":"pid","path":"/proc/1/ns/pid"},{"type":"mount"}]"#)).unwrap();
        assert!(namespaces.forks());
        assert_eq!(namespaces.at_clone(), 0);
    }
}
