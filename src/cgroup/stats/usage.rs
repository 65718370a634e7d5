//! The few counters that a table of all containers has. Each is read for itself, and left open where it cannot be.

use super::super::place::{Interface, Place};
use super::super::step::Cgroup;
use super::files::Files;

/// From here on v1 means that there is no limit: it rounds the greatest number to pages.
const NO_LIMIT: u64 = i64::MAX as u64 - 65_535;

/// What a container uses now, and has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Nanoseconds of processor time.
    pub processor: Option<u64>,
    /// Bytes of memory, without those of files that nobody has used for a while: they are given back when asked for.
    pub memory: Option<u64>,
    /// The most bytes that it may have.
    pub memory_limit: Option<Limit>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// A limit, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Limit {
    Of(u64),
    None,
}

impl Place {
    /// What its processes use.
    pub fn usage(&self) -> Usage {
        match self.interface() {
            Interface::V1(place) => v1(place),
            Interface::V2(cgroup) => v2(cgroup),
        }
    }
}

fn v1(place: &Place) -> Usage {
    let at = |controller: &str| place.with(controller).map(Files::of);
    let memory = at("memory");
    let memory = memory.as_ref();
    Usage {
        processor: at("cpuacct").and_then(|files| number(&files, "cpuacct.usage")),
        memory: memory.and_then(|files| in_use(files, "memory.usage_in_bytes", "total_inactive_file")),
        memory_limit: memory.and_then(|files| limit(files, "memory.limit_in_bytes")),
        pids: at("pids").and_then(|files| number(&files, "pids.current")),
    }
}

fn v2(cgroup: &Cgroup) -> Usage {
    let files = Files::of(cgroup);
    let microseconds = files.table("cpu.stat").ok().and_then(|table| table.get("usage_usec").copied());
    Usage {
        processor: microseconds.map(|time| time.saturating_mul(1000)),
        memory: in_use(&files, "memory.current", "inactive_file"),
        memory_limit: limit(&files, "memory.max"),
        pids: number(&files, "pids.current"),
    }
}

fn number(files: &Files, name: &str) -> Option<u64> {
    files.text(name).ok()?.parse().ok()
}

fn in_use(files: &Files, name: &str, unused: &str) -> Option<u64> {
    let unused = files.table("memory.stat").ok().and_then(|table| table.get(unused).copied());
    Some(number(files, name)?.saturating_sub(unused.unwrap_or(0)))
}

fn limit(files: &Files, name: &str) -> Option<Limit> {
    match files.text(name).ok()?.as_str() {
        "max" => Some(Limit::None),
        text => match text.parse().ok()? {
            NO_LIMIT.. => Some(Limit::None),
            bytes => Some(Limit::Of(bytes)),
        },
    }
}
