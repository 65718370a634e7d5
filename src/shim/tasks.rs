//! What the shim knows of its containers and their processes.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use super::failure::Failure;
use super::messages::Timestamp;
use super::messages::events::TaskIo;
use super::messages::task::{Status, WaitResponse};
use super::options::Options;
use super::stdio::Streams;
use crate::cgroup::OomNotice;
use crate::container::{ContainerId, Globals};

/// Where an answer goes: a connection, and the request's stream on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub connection: u64,
    pub stream: u32,
}

/// A container.
pub struct Task {
    pub id: ContainerId,
    pub bundle: PathBuf,
    pub options: Options,
    pub globals: Globals,
    /// Whether the kernel ends its other processes with the first.
    pub ends_with_init: bool,
    pub paused: bool,
    /// Whether something that must not be begun twice is under way.
    pub is_being_deleted: bool,
    pub oom: Option<OomNotice>,
    pub init: Process,
    /// The processes that were added, by their ids.
    pub execs: BTreeMap<String, Process>,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Asked for; there is no process yet, or there never was.
    Added,
    /// Being made.
    Making,
    /// The first process, waiting for `start`.
    Created,
    /// Being started.
    Starting,
    Running,
    Stopped,
}

/// A process of a container.
pub struct Process {
    /// What the server knows it by.
    pub key: u64,
    pub phase: Phase,
    /// 0 before there is one.
    pub pid: i32,
    pub pidfd: Option<OwnedFd>,
    pub io: TaskIo,
    /// What the shim keeps open for it.
    pub streams: Streams,
    pub is_stdin_closed: bool,
    /// config.json's `process`, of one that was added.
    pub document: String,
    pub exit: Option<Exit>,
    /// Until when its end is kept to itself, for somebody to read what it has written.
    pub unread: Option<Instant>,
    /// Who waits for its end.
    pub waiters: Vec<Call>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, or 128+N for signal N.
    pub status: u32,
    pub at: Timestamp,
    /// Whether it was told as an event: the first process's end comes after those of the others.
    pub is_told: bool,
}

impl Process {
    pub fn new(key: u64, phase: Phase, io: TaskIo, document: String) -> Self {
        Self {
            key,
            phase,
            pid: 0,
            pidfd: None,
            io,
            streams: Streams::default(),
            is_stdin_closed: false,
            document,
            exit: None,
            unread: None,
            waiters: Vec::new(),
        }
    }

    /// Whether its end is to be waited for: an end that comes while it is being started is told after the start.
    pub fn is_watched(&self) -> bool {
        self.pidfd.is_some() && matches!(self.phase, Phase::Created | Phase::Running)
    }

    /// The word for its state.
    pub fn status(&self, paused: bool) -> Status {
        match self.phase {
            Phase::Added | Phase::Making | Phase::Created | Phase::Starting => Status::Created,
            Phase::Running if paused => Status::Paused,
            Phase::Running => Status::Running,
            Phase::Stopped => Status::Stopped,
        }
    }

    pub fn wait_response(&self) -> Option<WaitResponse> {
        let exit = self.exit?;
        Some(WaitResponse { exit_status: exit.status, exited_at: Some(exit.at) })
    }
}

impl Task {
    /// The first process, or one that was added.
    pub fn process(&mut self, exec_id: &str) -> Result<&mut Process, Failure> {
        if exec_id.is_empty() {
            return Ok(&mut self.init);
        }
        self.execs.get_mut(exec_id).ok_or_else(|| Failure::not_found(&format!("process {exec_id} in {}", self.id)))
    }

    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        std::iter::once(&self.init).chain(self.execs.values())
    }
}

/// All containers, by their ids.
#[derive(Default)]
pub struct Tasks(pub BTreeMap<String, Task>);

impl Tasks {
    pub fn get(&mut self, id: &str) -> Result<&mut Task, Failure> {
        self.0.get_mut(id).ok_or_else(|| Failure::not_found(&format!("container {id}")))
    }

    /// The container of a process, and the process's id, empty for the first.
    pub fn of_process(&mut self, key: u64) -> Option<(&mut Task, String)> {
        self.0.values_mut().find_map(|task| {
            if task.init.key == key {
                return Some((task, String::new()));
            }
            let exec = task.execs.iter().find(|(_, process)| process.key == key).map(|(id, _)| id.clone())?;
            Some((task, exec))
        })
    }
}
