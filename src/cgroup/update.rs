//! New limits for a cgroup in use. Everything that will be written is read before, so that an update that the kernel
//! refuses in the middle is taken back as a whole; what was read is data, which a later command can use when this one
//! was killed.

use std::collections::VecDeque;
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use serde::{Deserialize, Serialize};

use super::devices::{DeviceWrite, transition};
use super::file::{is_gone, read, read_list, write};
use super::limits::{find, limits};
use super::place::Place;
use super::run::Made;
use super::step::{Cgroup, IfAbsent, Step, Value};
use crate::{Context, Error, Result};

/// What an update is going to write, and what is there before.
#[derive(Debug)]
pub struct Update {
    steps: Vec<Step>,
    /// What to write, the last first, to put everything back.
    pub before: Vec<Old>,
    /// Whether the processes have to stand still meanwhile: device rules whose default changes.
    pub at_rest: bool,
}

/// The value of a file before an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    /// The file's path.
    pub path: String,
    /// What to write to it.
    pub text: String,
    /// In their place, the device rules of the cgroup2 whose directory the path is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<LinuxDeviceCgroup>>,
}

/// Plans an update: the limits in `new`, and its device rules as a change from those of `old`. Writes nothing.
///
/// # Errors
/// As [`limits`]; when a limit of memory is below what is used and the caller wants that checked
/// (`checkBeforeUpdate`, config-linux.md "Memory"); when the cgroup is gone.
pub fn plan_update(place: &Place, old: Option<&LinuxResources>, new: &LinuxResources) -> Result<Update> {
    check_memory(place, old, new)?;
    let mut steps = limits(place, new)?;
    // At creation there is nothing to turn back on; an update may come after one that turned it off.
    if !place.is_v2() && new.memory().and_then(|memory| memory.disable_oom_killer()) == Some(false) {
        let property = "linux.resources.memory.disableOOMKiller";
        let value = Value { property, file: "memory.oom_control".into(), text: "0".into(), if_absent: IfAbsent::Fail };
        steps.push(Step::Write { cgroup: find(place, "memory", property)?.clone(), value });
    }
    keep_quota(&mut steps, new)?;
    let mut before = Vec::new();
    for step in &steps {
        match step {
            Step::Write { cgroup, value } => before.extend(read_old(cgroup, value)?),
            Step::WriteTogether { cgroup, values } => {
                for value in values {
                    before.extend(read_old(cgroup, value)?);
                }
            }
            _ => {}
        }
    }
    let mut update = Update { steps, before, at_rest: false };
    // Go's encoder cannot tell an empty list from none.
    if let Some(rules) = new.devices().as_deref().filter(|rules| !rules.is_empty()) {
        let known = old.and_then(|old| old.devices().as_deref()).unwrap_or_default();
        update.change_devices(place, known, rules)?;
    }
    Ok(update)
}

/// cpu.max of cgroup2 holds quota and period, and the kernel takes no period alone: the quota that is there stays.
fn keep_quota(steps: &mut [Step], new: &LinuxResources) -> Result<()> {
    if new.cpu().as_ref().and_then(|cpu| cpu.quota()).is_some_and(|quota| quota != 0) {
        return Ok(());
    }
    for step in steps {
        if let Step::Write { cgroup, value } = step
            && value.property == "linux.resources.cpu.period"
            && let Some(period) = value.text.strip_prefix("max ")
        {
            let path = format!("{}/cpu.max", cgroup.dir());
            let now = read(&path).context(|| format!("read {path}"))?;
            value.text = format!("{} {period}", now.split(' ').next().unwrap_or("max"));
        }
    }
    Ok(())
}

impl Update {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn change_devices(&mut self, place: &Place, from: &[LinuxDeviceCgroup], to: &[LinuxDeviceCgroup]) -> Result<()> {
        if let (true, Some(cgroup)) = (place.is_v2(), place.v2()) {
            // The new program takes the place of the old one in one step, so nothing has to stand still.
            self.before.push(Old { path: cgroup.dir(), text: String::new(), devices: Some(from.to_vec()) });
            self.steps.push(super::v2::restrict_devices(cgroup, to)?);
            return Ok(());
        }
        let change = transition(from, to)?;
        if change.writes.is_empty() {
            return Ok(());
        }
        let cgroup = find(place, "devices", "linux.resources.devices")?;
        let old = |write: &DeviceWrite| {
            let (file, text) = write.parts();
            Old { path: format!("{}/{file}", cgroup.dir()), text: text.to_owned(), devices: None }
        };
        // Put back first, and so listed last; among themselves the way back has an order of its own.
        self.before.extend(transition(to, from)?.writes.iter().rev().map(old));
        self.at_rest = change.at_rest;
        self.steps.push(Step::Devices { cgroup: cgroup.clone(), writes: change.writes });
        Ok(())
    }

    /// Writes everything, with a call of `between` before each step; on an error all is put back.
    ///
    /// # Errors
    /// Names the property and file that the kernel refused, and why; and what could not be put back.
    pub fn apply(&self, between: impl Fn()) -> Result<()> {
        let mut made = Made::default();
        for step in &self.steps {
            between();
            log::debug!("update: {step}");
            if let Err(error) = made.run(step).map_err(|error| with_usage(error, step)) {
                return Err(match put_back(&self.before) {
                    Ok(()) => error,
                    Err(left) => error.context(format!("the limits could not all be put back ({left})")),
                });
            }
        }
        Ok(())
    }
}

/// Writes what was there before, the last first. Values that the kernel checks against others are tried again after those.
///
/// # Errors
/// Names the first file that stays as it is, once all others are done.
pub fn put_back(before: &[Old]) -> Result<()> {
    let mut left: VecDeque<&Old> = before.iter().rev().collect();
    let (mut refusals, mut first) = (0, None);
    while let Some(old) = left.pop_front() {
        let written = match &old.devices {
            Some(rules) => super::v2::put_back_devices(&old.path, rules),
            None => write(&old.path, &old.text),
        };
        match written {
            Ok(()) => refusals = 0,
            // The container has gone meanwhile, and its limits with it.
            Err(error) if error.errno().is_some_and(|errno| is_gone(Errno::from_raw(errno))) => {}
            Err(error) if error.errno() == Some(libc::EINVAL) && refusals < left.len() => {
                refusals += 1;
                left.push_back(old);
            }
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    first.map_or(Ok(()), Err)
}

fn check_memory(place: &Place, old: Option<&LinuxResources>, new: &LinuxResources) -> Result<()> {
    let asked = |resources: &LinuxResources| resources.memory().and_then(|memory| memory.check_before_update());
    if asked(new).or_else(|| old.and_then(asked)) != Some(true) {
        return Ok(());
    }
    let Some(memory) = new.memory() else { return Ok(()) };
    let limits = [
        ("limit", "memory limit", memory.limit(), "memory.usage_in_bytes"),
        ("swap", "memory+swap limit", memory.swap(), "memory.memsw.usage_in_bytes"),
    ];
    for (field, name, limit, file) in limits {
        let Some(limit) = limit.filter(|limit| *limit > 0) else { continue };
        if let (true, Some(cgroup)) = (place.is_v2(), place.v2()) {
            check_usage(field, name, limit, used_v2(&cgroup.dir(), field)?)?;
            continue;
        }
        let cgroup = find(place, "memory", "linux.resources.memory")?;
        let path = format!("{}/{file}", cgroup.dir());
        let usage = read(&path).context(|| format!("read {path}"))?;
        check_usage(field, name, limit, usage.parse().unwrap_or(0))?;
    }
    Ok(())
}

fn check_usage(field: &str, name: &str, limit: i64, usage: i64) -> Result<()> {
    if limit > usage {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "linux.resources.memory.{field}: rejecting {name} {limit} <= usage {usage} (checkBeforeUpdate): free memory first, or give a higher limit"
    )))
}

/// cgroup2 counts memory and swap apart.
fn used_v2(dir: &str, field: &str) -> Result<i64> {
    let number = |file: &str| -> Result<i64> {
        let path = format!("{dir}/{file}");
        match read(&path) {
            Err(Errno::ENOENT) => Ok(0),
            text => Ok(text.context(|| format!("read {path}"))?.parse().unwrap_or(0)),
        }
    };
    let swap = if field == "swap" { number("memory.swap.current")? } else { 0 };
    Ok(number("memory.current")? + swap)
}

/// What is used when the kernel says that a limit is below it.
fn with_usage(error: Error, step: &Step) -> Error {
    if error.errno() != Some(libc::EBUSY) || !step.cgroup().has("memory") {
        return error;
    }
    let number = |file: &str| read(&format!("{}/memory.{file}", step.cgroup().dir())).unwrap_or_else(|_| "?".into());
    let (usage, peak) = (number("usage_in_bytes"), number("max_usage_in_bytes"));
    let words = format!("{error} (current usage: {usage}, peak usage: {peak})");
    error.reworded(words)
}

/// The present value of what is going to be written, as it would be written; None where the file is not there.
fn read_old(cgroup: &Cgroup, value: &Value) -> Result<Option<Old>> {
    let mut path = format!("{}/{}", cgroup.dir(), value.file);
    if let IfAbsent::Use(other) | IfAbsent::Instead { file: other, .. } = &value.if_absent
        && !Path::new(&path).exists()
    {
        path = format!("{}/{other}", cgroup.dir());
    }
    match read_list(&path) {
        Ok(text) => Ok(as_written(&value.file, &value.text, &text).map(|text| Old { path, text, devices: None })),
        // Writing it will say so, in words of its own.
        Err(errno) if is_gone(errno) => Ok(None),
        Err(errno) => Err(errno).context(|| format!("read {path}")),
    }
}

/// What the kernel shows of a file, as it wants it written. Some files are tables with a row for a device or an interface.
fn as_written(file: &str, new: &str, shown: &str) -> Option<String> {
    let key = new.split(' ').next().unwrap_or_default();
    let row = || shown.lines().find(|line| line.split(' ').next() == Some(key)).map(str::to_owned);
    let word = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned());
    match file {
        "memory.oom_control" => word("oom_kill_disable "),
        "blkio.weight" | "blkio.leaf_weight" => Some(shown.rsplit(' ').next()?.to_owned()),
        "rdma.max" => row().or_else(|| Some(format!("{key} hca_handle=max hca_object=max"))),
        "net_prio.ifpriomap" => row(),
        "io.max" => row().or_else(|| Some(format!("{key} rbps=max wbps=max riops=max wiops=max"))),
        // The line of the device, or the one of all.
        "io.weight" | "io.bfq.weight" if key.contains(':') => row().or_else(|| Some(format!("{key} default"))),
        "io.weight" | "io.bfq.weight" => word("default "),
        // What is idle has a weight that cannot be written.
        "cpu.weight" if shown == "0" => None,
        // No row is no limit, which is written as 0.
        _ if file.starts_with("blkio.") => row().or_else(|| Some(format!("{key} 0"))),
        // Of cgroup2's tables one row at a time is written too.
        _ => row().filter(|_| new.contains(' ')).or_else(|| Some(shown.to_owned()).filter(|text| !text.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_shows_is_put_back_as_it_is_written() {
        let oom = "oom_kill_disable 1\nunder_oom 0\noom_kill 0";
        assert_eq!(as_written("memory.oom_control", "0", oom).unwrap(), "1");
        let rates = "8:0 1048576\n8:16 5";
        assert_eq!(as_written("blkio.throttle.read_bps_device", "8:16 9", rates).unwrap(), "8:16 5");
        assert_eq!(as_written("blkio.throttle.read_bps_device", "8:32 9", rates).unwrap(), "8:32 0");
        assert_eq!(as_written("blkio.weight", "5", "default 100").unwrap(), "100");
        assert_eq!(as_written("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 7").unwrap(), "eth0 7");
        assert_eq!(as_written("rdma.max", "m0 hca_handle=1", "").unwrap(), "m0 hca_handle=max hca_object=max");
        assert_eq!(as_written("pids.max", "7", "max").unwrap(), "max");
        assert_eq!(as_written("misc.max", "a 5", "a max\nb 3").unwrap(), "a max");
        assert_eq!(as_written("cpuset.cpus", "0", ""), None);
    }

    #[test]
    fn values_that_depend_on_each_other_are_put_back_in_an_order_that_works() {
        let file = std::env::temp_dir().join(format!("nfrun-unit-{}-old", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let path = file.to_str().unwrap().to_owned();
        let gone = Old { path: "/nonexistent/cgroup/file".into(), text: "1".into(), devices: None };
        let old = |text: &str| Old { path: path.clone(), text: text.into(), devices: None };
        put_back(&[old("first"), gone, old("second")]).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        // The last first: "first" is written over the start of "second".
        assert_eq!(text, "firstd");
    }
}
