//! The plan: one ordered list of steps, each with its side. `plan` prints it, create and exec carry it out.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use super::network::Made;
use super::notify::{SOCKET, ServiceManager};
use crate::cgroup;
use crate::init::hooks::plan::Hook;
pub use crate::init::namespaces::ids::IdMaps;
use crate::init::namespaces::plan::names;
use crate::init::program::{Draft, MapMount, Program, Request, Source};
use crate::init::user::plan::{Limit, limit_name};
use crate::network::Origin;
use crate::resctrl;
use crate::seccomp::Listener;
use crate::sys::sched::{IoPriority, Scheduling};

/// A step of the runtime.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RuntimeStep {
    /// Make the state directory, take its lock and write the undo record.
    MakeState,
    /// Connect to the service manager that waits for the container's readiness: NOTIFY_SOCKET.
    MeetManager(ServiceManager),
    /// Make the directory of the socket to which the container tells its readiness.
    MakeNotify {
        /// The directory.
        directory: PathBuf,
        /// Whether to listen already; otherwise `start` does.
        listens: bool,
    },
    /// A step of the cgroup family.
    Cgroup(cgroup::Step),
    /// A step about a class of service of the processor's caches and memory bandwidth, on a resctrl mounted there.
    Resctrl(String, resctrl::Step),
    /// Make a file of the container's own in its state directory.
    MakeFile(Made),
    /// A step that connects the container to a network.
    Connect(crate::network::step::Step),
    /// Open something for init, as the slot of this number.
    Open(u32, Source),
    /// Start init in new namespaces.
    Spawn {
        /// CLONE_NEW* flags.
        kinds: u64,
        /// The id maps' text where clone3 makes a user namespace.
        maps: Option<IdMaps>,
    },
    /// Note who init is, so that it can be ended.
    Record,
    /// Wait until init waits for the runtime.
    AwaitInit,
    /// Write the id maps of the user namespace that init made as it forked.
    MapIds(IdMaps),
    /// Map the ids of a mount that init shows, and let it go on.
    MapMount(MapMount),
    /// Let a waiting init go on.
    Release,
    /// Hold init's network namespace and this one in the state directory, so that interfaces can be brought back.
    HoldNetwork,
    /// Move an interface into init's network namespace.
    MoveLink(Origin),
    /// Once the process runs, or waits for `start`: leave the moved interfaces to the container, and hold no namespace.
    LeaveLinks,
    /// Write init's oom_score_adj: in a user namespace of its own it may not lower that itself.
    OomScoreAdj(i32),
    /// Set init's limits, for the same reason.
    Limits(Vec<Limit>),
    /// Set how init is scheduled: sched_setattr(2).
    Scheduling(Scheduling),
    /// Set init's I/O priority: ioprio_set(2).
    IoPriority(IoPriority),
    /// Write state.json, the pid file, and send the pidfd.
    Save,
    /// See that somebody listens as the seccomp agent.
    FindAgent(Listener),
    /// Connect to the seccomp agent.
    ConnectAgent(Listener),
    /// Take the listener of the loaded filter from init and give it to the seccomp agent.
    ServeAgent,
    /// Run a hook of the runtime's namespaces. One of poststart is run by whoever starts the process.
    Hook(Hook),
    /// Note a poststop hook in the undo record.
    Defer(Hook),
}

impl Display for RuntimeStep {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeState => f.write_str("make the state directory and write the undo record"),
            Self::MeetManager(manager) => {
                write!(f, "connect to the service manager at {} (NOTIFY_SOCKET)", manager.address())
            }
            Self::MakeNotify { directory, listens: false } => write!(f, "make directory {}", directory.display()),
            Self::MakeNotify { directory, listens: true } => {
                write!(f, "make directory {0} and listen at {0}/{SOCKET}", directory.display())
            }
            Self::Cgroup(step) => step.fmt(f),
            Self::Resctrl(_, step) => step.fmt(f),
            Self::MakeFile(made) => write!(f, "make file {} for {}", made.path.display(), made.inside),
            Self::Connect(step) => step.fmt(f),
            Self::Open(_, source) => source.fmt(f),
            Self::Spawn { kinds, maps } => {
                write!(f, "start init in new namespaces {}", names(*kinds))?;
                if maps.is_some() { f.write_str(" and write its id maps") } else { Ok(()) }
            }
            Self::Record => f.write_str("record init"),
            Self::AwaitInit => f.write_str("wait for init"),
            Self::MapIds(_) => f.write_str("write the id maps of init's user namespace"),
            Self::MapMount(map) => map.fmt(f),
            Self::Release => f.write_str("let init go on"),
            Self::HoldNetwork => f.write_str("hold init's network namespace in the state directory"),
            Self::MoveLink(origin) => {
                write!(f, "move interface {} into init's network namespace as {}", origin.name, origin.inside)?;
                let addresses: Vec<_> = origin.travelling().map(ToString::to_string).collect();
                if addresses.is_empty() { Ok(()) } else { write!(f, " with {}", addresses.join(", ")) }
            }
            Self::LeaveLinks => f.write_str("leave the moved interfaces to the container"),
            Self::Limits(limits) => {
                let names: Vec<_> = limits
                    .iter()
                    .map(|(resource, soft, hard)| format!("{} {soft} {hard}", limit_name(*resource)))
                    .collect();
                write!(f, "set limits of init: {}", names.join(", "))
            }
            Self::OomScoreAdj(score) => write!(f, "set oom_score_adj {score} of init"),
            Self::Scheduling(scheduling) => write!(f, "schedule init by {scheduling}"),
            Self::IoPriority(priority) => write!(f, "set the I/O priority of init to {priority}"),
            Self::Save => f.write_str("write state.json, pid file and pidfd"),
            Self::FindAgent(agent) => write!(f, "look for the seccomp agent at {}", agent.path.display()),
            Self::ConnectAgent(agent) => write!(f, "connect to the seccomp agent at {}", agent.path.display()),
            Self::ServeAgent => f.write_str("give the filter's listener to the seccomp agent"),
            Self::Hook(hook) => write!(f, "run {hook}"),
            Self::Defer(hook) => write!(f, "note for the end {hook}"),
        }
    }
}

/// One entry of the list.
#[derive(Debug, Clone)]
enum Entry {
    Runtime(RuntimeStep),
    /// Its place in the program.
    Init(usize),
}

/// A whole plan.
#[derive(Debug, Default)]
pub struct Plan {
    entries: Vec<Entry>,
    program: Program,
    slots: usize,
    /// What was left out because the host was not to be looked at.
    pub notes: Vec<String>,
}

impl Plan {
    /// Puts the parts in their order: what the runtime does first, what it opens, the start of init, then init's steps
    /// with the runtime's own in between (`between`: after how many of init's, ascending).
    pub fn assemble(
        first: Vec<RuntimeStep>,
        spawn: RuntimeStep,
        draft: Draft,
        mut between: Vec<(usize, RuntimeStep)>,
    ) -> Self {
        let (steps, sources, requests) = draft.finish();
        for (after, Request::MapMount(map)) in requests {
            let at = between.partition_point(|(earlier, _)| *earlier <= after);
            between.insert(at, (after, RuntimeStep::MapMount(map)));
        }
        let mut plan = Self { slots: sources.len(), ..Self::default() };
        let opens = sources.into_iter().enumerate().map(|(slot, source)| RuntimeStep::Open(slot as u32, source));
        plan.entries.extend(first.into_iter().chain(opens).chain([spawn]).map(Entry::Runtime));
        let mut between = between.into_iter().peekable();
        for (done, step) in steps.iter().enumerate() {
            while let Some((_, step)) = between.next_if(|(after, _)| *after <= done) {
                plan.entries.push(Entry::Runtime(step));
            }
            let number = plan.entries.len() as u32 + 1;
            let place = plan.program.push(number, step);
            plan.entries.push(Entry::Init(place));
        }
        plan.entries.extend(between.map(|(_, step)| Entry::Runtime(step)));
        plan
    }

    /// The runtime's steps with their numbers, from 1.
    pub fn runtime_steps(&self) -> impl Iterator<Item = (u32, &RuntimeStep)> {
        self.entries.iter().zip(1..).filter_map(|(entry, number)| match entry {
            Entry::Runtime(step) => Some((number, step)),
            Entry::Init(_) => None,
        })
    }

    /// What init reads behind the head.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// How many descriptors init is given.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// A step in words, by its number; None for a number that is not in the plan.
    pub fn describe(&self, number: u32) -> Option<String> {
        Some(match self.entries.get((number as usize).checked_sub(1)?)? {
            Entry::Runtime(step) => step.to_string(),
            Entry::Init(place) => self.program.step(*place)?.to_string(),
        })
    }

    /// The number of init's last step.
    pub fn last_init_step(&self) -> u32 {
        let last = self.entries.iter().rposition(|entry| matches!(entry, Entry::Init(_)));
        last.map_or(0, |last| last as u32 + 1)
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (entry, number) in self.entries.iter().zip(1..) {
            let side = if matches!(entry, Entry::Init(_)) { "init" } else { "runtime" };
            writeln!(f, "{number:>4}  {side:<7}  {}", self.describe(number).unwrap_or_default())?;
        }
        let inits = self.entries.iter().filter(|entry| matches!(entry, Entry::Init(_))).count();
        writeln!(f, "{} steps: {} of the runtime, {inits} of init", self.entries.len(), self.entries.len() - inits)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "left out: {note}"))
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut plan = serializer.serialize_struct("Plan", 2)?;
        plan.serialize_field("steps", &Steps(self))?;
        plan.serialize_field("leftOut", &self.notes)?;
        plan.end()
    }
}

struct Steps<'a>(&'a Plan);

impl Serialize for Steps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.entries.len()))?;
        for (entry, number) in self.0.entries.iter().zip(1..) {
            list.serialize_element(&Line { plan: self.0, entry, number })?;
        }
        list.end()
    }
}

struct Line<'a> {
    plan: &'a Plan,
    entry: &'a Entry,
    number: u32,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Line", 4)?;
        line.serialize_field("number", &self.number)?;
        match self.entry {
            Entry::Runtime(step) => {
                line.serialize_field("side", "runtime")?;
                line.serialize_field("step", step)?;
            }
            Entry::Init(place) => {
                line.serialize_field("side", "init")?;
                line.serialize_field("step", &self.plan.program.step(*place))?;
            }
        }
        line.serialize_field("words", &self.plan.describe(self.number))?;
        line.end()
    }
}
