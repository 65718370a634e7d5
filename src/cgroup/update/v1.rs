//! What an update of v1 hierarchies is besides the limits themselves.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::super::devices::{DeviceWrite, transition};
use super::super::file::read;
use super::super::limits::{self, find, value};
use super::super::place::Place;
use super::super::step::Step;
use super::{Counted, DeviceChange, Old};
use crate::{Context, Result};

/// The limits, and the OOM killer back: at creation it is on, but an update may come after one that turned it off.
pub(super) fn limits(place: &Place, new: &LinuxResources) -> Result<Vec<Step>> {
    let mut steps = limits::limits(place, new)?;
    if new.memory().and_then(|memory| memory.disable_oom_killer()) == Some(false) {
        let value = value("linux.resources.memory.disableOOMKiller", "memory.oom_control", 0);
        steps.push(Step::Write { cgroup: find(place, "memory", value.property)?.clone(), value });
    }
    Ok(steps)
}

/// The fewest writes, among which nothing that is allowed before and after is denied.
pub(super) fn change_devices(
    place: &Place,
    from: &[LinuxDeviceCgroup],
    to: &[LinuxDeviceCgroup],
) -> Result<DeviceChange> {
    let change = transition(from, to)?;
    if change.writes.is_empty() {
        return Ok(DeviceChange::default());
    }
    let cgroup = find(place, "devices", "linux.resources.devices")?;
    let old = |write: &DeviceWrite| {
        let (file, text) = write.parts();
        Old::of_file(format!("{}/{file}", cgroup.dir()), text)
    };
    Ok(DeviceChange {
        // Put back first, and so listed last; among themselves the way back has an order of its own.
        before: transition(to, from)?.writes.iter().rev().map(old).collect(),
        step: Some(Step::Devices { cgroup: cgroup.clone(), writes: change.writes }),
        at_rest: change.at_rest,
    })
}

/// The bytes in use.
pub(super) fn used(place: &Place, counted: Counted) -> Result<i64> {
    let file = match counted {
        Counted::Memory => "memory.usage_in_bytes",
        Counted::MemoryAndSwap => "memory.memsw.usage_in_bytes",
    };
    let path = format!("{}/{file}", find(place, "memory", "linux.resources.memory")?.dir());
    Ok(read(&path).context(|| format!("read {path}"))?.parse().unwrap_or(0))
}
