//! The bytes that init reads, as nfrun writes them, and the way back from bytes to steps.

use std::ffi::{CStr, CString};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::failure::{Act, Failure};
use super::namespaces::ids::IdMaps;
use super::step::{FAILED, Step};
use super::wire::{Bytes, List, Reader, Sink, Slot, Text, Wire};
use crate::{Error, Result};

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The steps of init, encoded one after the other, each behind its number in the plan.
#[derive(Debug, Default, Clone)]
pub struct Program {
    bytes: Vec<u8>,
    ranges: Vec<std::ops::Range<usize>>,
}

impl Program {
    /// Adds an encoded step with its number in the plan; returns its place in this program.
    pub fn push(&mut self, number: u32, step: &[u8]) -> usize {
        number.write(&mut self.bytes);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(step);
        self.ranges.push(start..self.bytes.len());
        self.ranges.len() - 1
    }

    /// The step at a place in this program.
    pub fn step(&self, place: usize) -> Option<Step<'_>> {
        Step::read(&mut Reader(self.bytes.get(self.ranges.get(place)?.clone())?))
    }

    /// Everything that init reads behind the head.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Items of a [`List`] on nfrun's side.
#[derive(Debug, Default)]
pub struct Items {
    count: u32,
    bytes: Vec<u8>,
}

impl Items {
    /// Encodes items.
    pub fn new<'a, T: Wire<'a>>(items: impl IntoIterator<Item = T>) -> Self {
        let mut this = Self::default();
        for item in items {
            item.write(&mut this.bytes);
            this.count += 1;
        }
        this
    }

    /// The list over them.
    pub fn list<'a, T: Wire<'a>>(&'a self) -> List<'a, T> {
        List::new(self.count, &self.bytes)
    }
}

/// Something that the runtime opens before it starts init, and that steps name by slot.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A detached clone of the mount at a path that the root of the user namespace cannot reach: open_tree(2).
    HiddenTree {
        /// The path on the host.
        path: PathBuf,
    },
    /// A detached clone of the directory of the socket for NOTIFY_SOCKET, for a user namespace.
    NotifyDirectory {
        /// The path on the host.
        path: PathBuf,
    },
    /// A device on a tmpfs that holds nothing else.
    Device(DeviceNode),
    /// A fresh tmpfs filled with what the rootfs has at its place (`tmpcopyup`).
    CopiedTmpfs {
        /// The rootfs on the host.
        rootfs: PathBuf,
        /// The place beneath it.
        target: PathBuf,
        /// tmpfs's own options.
        data: String,
        /// The SELinux label of its files.
        label: Option<String>,
        /// How many bytes may be copied.
        most: u64,
    },
    /// A namespace's file.
    Namespace {
        /// The path on the host.
        path: PathBuf,
        /// Its CLONE_NEW* flag.
        kind: u64,
    },
    /// A cgroup's `tasks` file, by its place among the container's cgroups.
    Tasks {
        /// The file on the host.
        path: PathBuf,
    },
    /// `cgroup.procs` of the cgroup2 that a process of the container is put into.
    Procs,
    /// The socket in the state directory that `start` connects to.
    Listener,
    /// The socket that receives the terminal.
    Console,
    /// The pidfd of the container's init, for exec.
    Process,
}

/// A device that the runtime makes, as the host has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceNode {
    /// Its path in the container.
    pub path: PathBuf,
    /// Kind and permissions.
    pub mode: u32,
    /// Its numbers.
    pub major: u32,
    /// Its numbers.
    pub minor: u32,
    /// The owner on the host.
    pub uid: u32,
    /// The group on the host.
    pub gid: u32,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HiddenTree { path } => write!(f, "open {} for a user namespace that cannot reach it", path.display()),
            Self::NotifyDirectory { path } => write!(f, "open {}", path.display()),
            Self::Device(DeviceNode { path, mode, major, minor, uid, gid }) => write!(
                f,
                "make device {major}:{minor} mode {:04o} owner {uid}:{gid} on a tmpfs, for {}",
                mode & 0o7777,
                path.display()
            ),
            Self::CopiedTmpfs { target, .. } => {
                write!(f, "make a tmpfs with what the rootfs has at {}", target.display())
            }
            Self::Namespace { path, .. } => write!(f, "open namespace {}", path.display()),
            Self::Tasks { path } => write!(f, "open {}", path.display()),
            Self::Procs => f.write_str("open cgroup.procs of the container's cgroup2"),
            Self::Listener => f.write_str("listen for start"),
            Self::Console => f.write_str("connect to the console socket"),
            Self::Process => f.write_str("open the container's init"),
        }
    }
}

/// Something that the runtime does in the middle of init's steps, while init waits for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Map the ids of the mount that init's step shows.
    MapMount(MapMount),
}

/// A mount whose ids are mapped: mount_setattr(2), MOUNT_ATTR_IDMAP.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MapMount {
    /// The mount's place in config.json.
    pub field: String,
    /// What is bound.
    pub source: PathBuf,
    /// The mappings; those of the container's user namespace where there are none of the mount's own.
    pub maps: Option<IdMaps>,
    /// Whether the mounts below are mapped too.
    pub recursive: bool,
}

impl std::fmt::Display for MapMount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.recursive { " and all mounts below" } else { "" };
        write!(f, "map ids of {}{what}: ", self.source.display())?;
        match &self.maps {
            Some(maps) => maps.fmt(f),
            None => f.write_str("as the container's user namespace"),
        }
    }
}

/// Init's steps while a plan is being made, not numbered yet, and what the runtime must do for them.
#[derive(Debug, Default)]
pub struct Draft {
    steps: Vec<Vec<u8>>,
    sources: Vec<Source>,
    requests: Vec<(usize, Request)>,
}

impl Draft {
    /// Adds a step.
    pub fn step<'a>(&mut self, step: impl Into<Step<'a>>) {
        let mut bytes = Vec::new();
        step.into().write(&mut bytes);
        self.steps.push(bytes);
    }

    /// Asks the runtime to open something.
    pub fn slot(&mut self, source: Source) -> Slot {
        self.sources.push(source);
        Slot(self.sources.len() as u32 - 1)
    }

    /// Asks the runtime to do something once the last step waits for it.
    pub fn request(&mut self, request: Request) {
        self.requests.push((self.steps.len(), request));
    }

    /// How many steps there are so far.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The encoded steps, what is to be opened, and what is to be done after how many steps.
    #[expect(clippy::type_complexity, reason = "taken apart by the one who assembles plans")]
    pub fn finish(self) -> (Vec<Vec<u8>>, Vec<Source>, Vec<(usize, Request)>) {
        (self.steps, self.sources, self.requests)
    }
}

/// Text for a system call; an error that names the field where it holds a NUL.
pub fn text(field: &str, value: impl Into<Vec<u8>>) -> Result<CString> {
    CString::new(value)
        .map_err(|_| Error::invalid(format!("{field}: holds a NUL character, which no path or name can")))
}

/// What init wrote when a step failed, in words; None where the bytes are no failure.
pub fn describe_failure(message: &[u8]) -> Option<Error> {
    if message.first() != Some(&FAILED) || message.len() < 9 {
        return None;
    }
    let act = u32::from_le_bytes(message[1..5].try_into().ok()?);
    let errno = i32::from_le_bytes(message[5..9].try_into().ok()?);
    let failure = Failure { act: Act::from_number(act), errno };
    let mut rest = Reader(&message[9..]);
    Some(match Step::read(&mut rest) {
        Some(step) => super::words::explain(&step, failure, &String::from_utf8_lossy(rest.0)),
        None => Error::new(format!("init failed: {}", crate::error::errno_words(errno))),
    })
}

fn lossy(text: &CStr) -> std::borrow::Cow<'_, str> {
    text.to_string_lossy()
}

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&lossy(self.0))
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&lossy(self.0))
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }
}

impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'a, T: Wire<'a> + Serialize> Serialize for List<'a, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'a, T: Wire<'a> + std::fmt::Debug> std::fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::step;

    #[test]
    fn a_step_comes_back_from_its_bytes() {
        let (args, env) = (Items::new([Text(c"sh"), Text(c"-c")]), Items::new([Text(c"A=1")]));
        let mut draft = Draft::default();
        draft.step(step::Exec::Prepare { args: args.list(), env: env.list() });
        let mut program = Program::default();
        let place = program.push(7, &draft.finish().0[0]);
        let Some(Step::Exec(step::Exec::Prepare { args, env })) = program.step(place) else { panic!("another step") };
        assert_eq!(args.iter().map(|text| text.to_string()).collect::<Vec<_>>(), ["sh", "-c"]);
        assert_eq!(env.len(), 1);
    }

    #[test]
    fn truncated_bytes_are_no_step() {
        let mut draft = Draft::default();
        draft.step(step::Namespaces::SetHostname { name: Text(c"host") });
        let bytes = &draft.finish().0[0];
        for end in 0..bytes.len() {
            assert!(Step::read(&mut Reader(&bytes[..end])).is_none(), "{end}");
        }
    }
}
