//! The undo record: what a container has made on the host, written before it is made, as data that any later command
//! can replay. Nothing here knows a container or a cgroup, and of an interface or a unit only its description; callers say what an
//! undo means. The file is JSON lines: a head and all intents in one write before the first effect, then the identity of each thing once it is made.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::cgroup::systemd::Unit;
use crate::network::attachment::Attachment;
use crate::network::{Dirs, Origin};
use crate::{Context, Error, Result};

/// The record's name in a state directory.
pub const FILE: &std::ffi::CStr = c"undo";

/// The longest record in bytes: more than a config.json can ask for.
const MOST: u64 = 64 << 20;

/// A process, told apart from a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its pid.
    pub pid: i32,
    /// Its pidfd's inode (Linux 6.9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// Before that, when it was started: field 22 of /proc/PID/stat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
}

/// Who and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The record's format.
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// How long the machine had been up, in milliseconds: a record of a longer time than now is another boot's.
    pub uptime: u64,
}

/// A line after the head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// A cgroup directory that did not exist, and is going to be made. `leaf` is the container's own, as opposed to one
    /// on the way to it.
    Cgroup {
        /// Its path.
        path: PathBuf,
        /// Whether it is the container's own.
        leaf: bool,
    },
    /// A unit of systemd is going to be started.
    Unit {
        /// Its name, and who manages it.
        unit: Unit,
        /// The cgroup that it will have, whose inode tells it from another of its name.
        path: PathBuf,
    },
    /// A directory of resctrl that did not exist, and is going to be made. `own`: by the container's id.
    Resctrl {
        /// Its path.
        path: PathBuf,
        /// Whether it is the container's alone.
        own: bool,
    },
    /// A directory was made.
    Made {
        /// Its path.
        path: PathBuf,
        /// Its inode.
        inode: u64,
    },
    /// A process was started.
    Process(Identity),
    /// The container's network namespace and the one that interfaces come from are going to be held.
    HoldNetworks,
    /// They are held.
    Networks(Networks),
    /// An interface is going to be moved into the container's network namespace.
    Link(Box<Origin>),
    /// It was moved.
    Moved {
        /// What it was called before.
        name: crate::network::Ifname,
        /// Its number in the container's network namespace.
        index: u32,
    },
    /// From here on the interfaces are the container's.
    LinksLeft,
    /// The container is going to be attached to a network.
    Attach(Box<Attached>),
    /// An interface is going to be made in a network namespace that goes on without the container.
    Interface(Interface),
    /// What the deferred commands are told, as whoever wrote it understands it.
    Told(serde_json::Value),
    /// A command to be run once all else is undone, as whoever wrote it understands it.
    Deferred {
        /// Its number among them.
        number: u32,
        /// The command.
        what: serde_json::Value,
    },
    /// A deferred command is about to be run by this process: it is never run again.
    Begun {
        /// Its number.
        number: u32,
        /// Who runs it.
        process: Identity,
    },
}

impl Line {
    /// The number of the deferred command that it marks.
    fn begun(&self) -> Option<u32> {
        match self {
            Self::Begun { number, .. } => Some(*number),
            _ => None,
        }
    }
}

/// An attachment to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// Where networks are on disk.
    pub dirs: Dirs,
    /// What is attached.
    pub attachment: Attachment,
    /// Whether the interface does not go with its network namespace, which is another's.
    pub stays: bool,
}

/// An interface of the container's in a network namespace of another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// The namespace's file.
    pub netns: PathBuf,
    /// Its inode: what tells it from another at the same place.
    pub inode: u64,
    /// The interface's name.
    pub name: crate::network::Ifname,
    /// The number that was chosen for it.
    pub index: u32,
}

/// The inodes of two network namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// The container's.
    pub container: u64,
    /// The one that its interfaces come from.
    pub home: u64,
}

/// What there is to undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// End a process.
    EndProcess(Identity),
    /// Remove a cgroup directory, of this inode where it is known.
    RemoveCgroup {
        /// Its path.
        path: PathBuf,
        /// Its inode.
        inode: Option<u64>,
        /// Whether what runs in it is the container's.
        leaf: bool,
    },
    /// Stop a unit of systemd, with a cgroup of this inode where it is known.
    StopUnit {
        /// The unit.
        unit: Unit,
        /// Its cgroup.
        path: PathBuf,
        /// The cgroup's inode.
        inode: Option<u64>,
    },
    /// Remove a directory of resctrl, of this inode where it is known.
    RemoveResctrl {
        /// Its path.
        path: PathBuf,
        /// Its inode.
        inode: Option<u64>,
        /// Whether it is the container's alone.
        own: bool,
    },
    /// Bring an interface back.
    BringBack {
        /// As it was.
        origin: Box<Origin>,
        /// Its number in the container's network namespace, where it is known.
        index: Option<u32>,
        /// Between which namespaces.
        networks: Networks,
    },
    /// Hold network namespaces no longer.
    LetNetworksGo,
    /// Take the container off a network.
    Detach(Box<Attached>),
    /// Remove an interface.
    RemoveInterface(Interface),
}

/// A record as read.
#[derive(Debug)]
pub struct Record {
    /// Who and when.
    pub head: Head,
    lines: Vec<Line>,
}

/// Milliseconds since boot, suspend included: CLOCK_BOOTTIME.
pub fn uptime() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| now.tv_sec() as u64 * 1000 + now.tv_nsec() as u64 / 1_000_000)
}

/// Writes a new record with all intents, and keeps it open for what follows.
pub fn begin(directory: impl AsFd, head: &Head, intents: &[Line]) -> Result<File> {
    let mut text = serde_json::to_vec(head)?;
    text.push(b'\n');
    for line in intents {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CLOEXEC;
    let file = openat(directory, FILE, flags, Mode::from_bits_truncate(0o600)).context(|| "make the undo record")?;
    let mut file = File::from(file);
    file.write_all(&text).context(|| "write the undo record")?;
    Ok(file)
}

/// Opens a record to add to it. A last line that its writer did not finish is cut off, since it tells nothing.
pub fn reopen(directory: impl AsFd) -> Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let open = || -> Result<File> {
        let mut file = File::from(openat(directory, FILE, flags, Mode::empty())?);
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            file.rewind()?;
            let mut text = Vec::new();
            (&file).take(MOST).read_to_end(&mut text)?;
            let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            file.set_len(whole as u64)?;
        }
        Ok(file)
    };
    open().context(|| "open the undo record")
}

/// Adds what was made, in one write.
pub fn append(file: &mut File, lines: &[Line]) -> Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    file.write_all(&text).context(|| "write the undo record")
}

/// Reads the record of a state directory; None where there is none, or not even its head was written.
pub fn read(directory: impl AsFd) -> Result<Option<Record>> {
    let file = match openat(directory, FILE, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty()) {
        Err(nix::errno::Errno::ENOENT) => return Ok(None),
        other => other.context(|| "open the undo record")?,
    };
    let mut text = String::new();
    File::from(file).take(MOST).read_to_string(&mut text).context(|| "read the undo record")?;
    parse(&text)
}

/// Reads a record's text; None where not even its head is whole.
///
/// A last line without its end was being written when the writer died: what it names was not made, or was made after an
/// intent that still stands.
pub fn parse(text: &str) -> Result<Option<Record>> {
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let Some(head) = lines.next() else { return Ok(None) };
    let head: Head = serde_json::from_str(head).context(|| "the undo record's head")?;
    if head.version != 1 {
        let version = head.version;
        return Err(Error::new(format!(
            "the undo record has format {version}, and this nfrun knows 1: use a newer one"
        )));
    }
    let lines = lines.map(serde_json::from_str).collect::<Result<_, _>>().context(|| "the undo record")?;
    Ok(Some(Record { head, lines }))
}

impl Record {
    /// Whether the record is of an earlier boot, in which everything but files has gone.
    pub fn is_of_earlier_boot(&self) -> bool {
        self.head.uptime > uptime()
    }

    /// The process that was started first: the container's.
    pub fn process(&self) -> Option<Identity> {
        self.lines.iter().find_map(|line| match line {
            Line::Process(identity) => Some(*identity),
            _ => None,
        })
    }

    /// What to undo, the last first.
    pub fn undos(&self) -> Vec<Undo> {
        let inode_of = |wanted: &PathBuf| {
            self.lines.iter().rev().find_map(|line| match line {
                Line::Made { path, inode } if path == wanted => Some(*inode),
                _ => None,
            })
        };
        let index_of = |wanted: &crate::network::Ifname| {
            self.lines.iter().find_map(|line| match line {
                Line::Moved { name, index } if name == wanted => Some(*index),
                _ => None,
            })
        };
        let networks = self.lines.iter().find_map(|line| match line {
            Line::Networks(networks) => Some(*networks),
            _ => None,
        });
        let networks = networks.filter(|_| !self.lines.contains(&Line::LinksLeft));
        let undos = self.lines.iter().rev().filter_map(|line| match line {
            Line::Process(process) | Line::Begun { process, .. } => Some(Undo::EndProcess(*process)),
            Line::Cgroup { path, leaf } => {
                Some(Undo::RemoveCgroup { path: path.clone(), inode: inode_of(path), leaf: *leaf })
            }
            Line::Unit { unit, path } => {
                Some(Undo::StopUnit { unit: unit.clone(), path: path.clone(), inode: inode_of(path) })
            }
            Line::Resctrl { path, own } => {
                Some(Undo::RemoveResctrl { path: path.clone(), inode: inode_of(path), own: *own })
            }
            Line::HoldNetworks => Some(Undo::LetNetworksGo),
            Line::Attach(attached) => Some(Undo::Detach(attached.clone())),
            Line::Interface(interface) => Some(Undo::RemoveInterface(interface.clone())),
            // Before the namespaces were held nothing was moved.
            Line::Link(origin) => networks.map(|networks| Undo::BringBack {
                origin: origin.clone(),
                index: index_of(&origin.name),
                networks,
            }),
            Line::Made { .. }
            | Line::Networks(_)
            | Line::Moved { .. }
            | Line::LinksLeft
            | Line::Told(_)
            | Line::Deferred { .. } => None,
        });
        undos.collect()
    }

    /// The deferred commands that were not begun, with their numbers and in their order.
    pub fn deferred(&self) -> Vec<(u32, &serde_json::Value)> {
        let begun: HashSet<u32> = self.lines.iter().filter_map(Line::begun).collect();
        let commands = self.lines.iter().filter_map(|line| match line {
            Line::Deferred { number, what } => Some((*number, what)),
            _ => None,
        });
        commands.filter(|(number, _)| !begun.contains(number)).collect()
    }

    /// What deferred commands are told.
    pub fn told(&self) -> Option<&serde_json::Value> {
        self.lines.iter().find_map(|line| match line {
            Line::Told(what) => Some(what),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        r#"{"version":1,"id":"a","bundle":"/b","uptime":5}"#,
        "\n",
        r#"{"cgroup":{"path":"/c/p","leaf":false}}"#,
        "\n",
        r#"{"cgroup":{"path":"/c/p/a","leaf":true}}"#,
        "\n",
        r#"{"made":{"path":"/c/p/a","inode":7}}"#,
        "\n",
        r#"{"process":{"pid":42,"inode":9}}"#,
        "\n",
    );

    #[test]
    fn undos_come_backwards_with_their_identities() {
        let record = parse(TEXT).unwrap().unwrap();
        let identity = Identity { pid: 42, inode: Some(9), start: None };
        assert_eq!(
            record.undos(),
            [
                Undo::EndProcess(identity),
                Undo::RemoveCgroup { path: "/c/p/a".into(), inode: Some(7), leaf: true },
                Undo::RemoveCgroup { path: "/c/p".into(), inode: None, leaf: false },
            ]
        );
    }

    #[test]
    fn interfaces_come_back_before_their_namespaces_are_let_go_and_never_once_they_are_the_containers() {
        let origin =
            r#"{"name":"eth1","index":7,"hardware":"02:00:00:00:00:01","up":true,"inside":"net0","addresses":[]}"#;
        let begin = format!("{}\n\"holdNetworks\"\n{{\"link\":{origin}}}\n", TEXT.lines().next().unwrap());
        let undos = |more: &str| parse(&format!("{begin}{more}")).unwrap().unwrap().undos();
        assert_eq!(undos(""), [Undo::LetNetworksGo], "nothing was moved yet");
        let held = "{\"networks\":{\"container\":5,\"home\":4}}\n";
        let networks = Networks { container: 5, home: 4 };
        let origin: Box<Origin> = serde_json::from_str(origin).unwrap();
        let back = |index| [Undo::BringBack { origin: origin.clone(), index, networks }, Undo::LetNetworksGo];
        assert_eq!(undos(held), back(None));
        let moved = format!("{held}{{\"moved\":{{\"name\":\"eth1\",\"index\":9}}}}\n");
        assert_eq!(undos(&moved), back(Some(9)));
        assert_eq!(undos(&format!("{moved}\"linksLeft\"\n")), [Undo::LetNetworksGo]);
    }

    #[test]
    fn a_deferred_command_that_was_begun_is_not_begun_again_and_ends() {
        let line = |line: &Line| serde_json::to_string(line).unwrap() + "\n";
        let deferred = |number: u32| line(&Line::Deferred { number, what: number.into() });
        let text = TEXT.to_owned() + &deferred(0) + &deferred(1);
        let numbers = |record: &Record| record.deferred().iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(&parse(&text).unwrap().unwrap()), [0, 1]);
        let process = Identity { pid: 43, inode: Some(10), start: None };
        let record = parse(&(text + &line(&Line::Begun { number: 0, process }))).unwrap().unwrap();
        assert_eq!(numbers(&record), [1]);
        assert_eq!(record.undos()[0], Undo::EndProcess(process));
    }

    #[test]
    fn what_is_added_to_a_record_does_not_continue_an_unfinished_line() {
        let directory = std::env::temp_dir().join(format!("nfrun-undo-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("undo");
        let open = || File::open(&directory).unwrap();
        std::fs::write(&path, TEXT.to_owned() + r#"{"told":"unfi"#).unwrap();
        for number in [0, 1] {
            append(&mut reopen(open()).unwrap(), &[Line::Deferred { number, what: "x".into() }]).unwrap();
        }
        let record = read(open()).unwrap().unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((record.told(), record.deferred().len(), record.undos().len()), (None, 2, 3));
    }

    #[test]
    fn a_record_cut_anywhere_is_read_as_far_as_it_goes() {
        for end in 0..TEXT.len() {
            let record = parse(&TEXT[..end]).unwrap();
            assert_eq!(record.is_none(), !TEXT[..end].contains('\n'), "{end}");
        }
    }
}
