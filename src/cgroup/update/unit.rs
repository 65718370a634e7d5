//! What an update of a unit of systemd is besides files: its properties, told before any file is written.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::super::devices::{DeviceWrite, rules_to_writes};
use super::super::limits::find;
use super::super::place::Place;
use super::super::plan;
use super::super::step::Step;
use super::super::systemd::Change;
use super::{DeviceChange, Old};
use crate::Result;

/// On v1 systemd writes the device rules as it knows them at any change of a unit, all denied first: they are written again
/// as a whole, while nothing runs.
pub(super) fn write_devices(
    place: &Place,
    from: &[LinuxDeviceCgroup],
    to: &[LinuxDeviceCgroup],
) -> Result<DeviceChange> {
    let cgroup = find(place, "devices", "linux.resources.devices")?;
    let old = |write: &DeviceWrite| {
        let (file, text) = write.parts();
        Old::of_file(format!("{}/{file}", cgroup.dir()), text)
    };
    Ok(DeviceChange {
        before: rules_to_writes(from)?.iter().rev().map(old).collect(),
        step: Some(Step::Devices { cgroup: cgroup.clone(), writes: rules_to_writes(to)? }),
        at_rest: true,
    })
}

/// What the unit is told, and what puts it back; None where there is no unit, or nothing that systemd has a word for.
pub(super) fn change(place: &Place, old: Option<&LinuxResources>, steps: &[Step]) -> Result<Option<(Change, Old)>> {
    if place.unit.is_none() {
        return Ok(None);
    }
    let change = Change::plan(place, &plan::limit(place, old)?, steps)?;
    Ok(change.map(|(change, back)| (change, Old { unit: Some(back), ..Old::of_file("", "") })))
}
