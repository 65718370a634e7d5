//! What an update of a cgroup2 is besides the limits themselves.

use nix::errno::Errno;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};

use super::super::file::read;
use super::super::step::{Cgroup, Step};
use super::super::v2;
use super::{Counted, DeviceChange, Old};
use crate::{Context, Result};

/// The limits. cpu.max holds quota and period, and the kernel takes no period alone: the quota that is there stays.
pub(super) fn limits(cgroup: &Cgroup, new: &LinuxResources) -> Result<Vec<Step>> {
    let mut steps = v2::limits(cgroup, new)?;
    if new.cpu().as_ref().and_then(|cpu| cpu.quota()).is_some_and(|quota| quota != 0) {
        return Ok(steps);
    }
    for value in steps.iter_mut().flat_map(Step::values_mut) {
        if value.property == "linux.resources.cpu.period"
            && let Some(period) = value.text.strip_prefix("max ")
        {
            let path = format!("{}/cpu.max", cgroup.dir());
            let now = read(&path).context(|| format!("read {path}"))?;
            value.text = format!("{} {period}", now.split(' ').next().unwrap_or("max"));
        }
    }
    Ok(steps)
}

/// The new program takes the place of the old one in one step, so nothing has to stand still.
pub(super) fn change_devices(
    cgroup: &Cgroup,
    from: &[LinuxDeviceCgroup],
    to: &[LinuxDeviceCgroup],
) -> Result<DeviceChange> {
    Ok(DeviceChange {
        before: vec![Old { devices: Some(from.to_vec()), ..Old::of_file(cgroup.dir(), "") }],
        step: Some(v2::restrict_devices(cgroup, to)?),
        at_rest: false,
    })
}

/// The bytes in use: memory and swap are counted apart, and without swap in the kernel there is no file of it.
pub(super) fn used(cgroup: &Cgroup, counted: Counted) -> Result<i64> {
    let number = |file: &str| -> Result<i64> {
        let path = format!("{}/{file}", cgroup.dir());
        match read(&path) {
            Err(Errno::ENOENT) => Ok(0),
            text => Ok(text.context(|| format!("read {path}"))?.parse().unwrap_or(0)),
        }
    };
    match counted {
        Counted::Memory => number("memory.current"),
        Counted::MemoryAndSwap => Ok(number("memory.current")? + number("memory.swap.current")?),
    }
}
