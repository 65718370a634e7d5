//! New limits for a cgroup in use. Everything that will be written is read before, so that an update that the kernel
//! refuses in the middle is taken back as a whole; what was read is data, which a later command can use when this one
//! was killed. What only one of the kernel's interfaces does is in `v1` and `v2`; nothing here writes a file but by a step.

mod unit;
mod v1;
mod v2;

use std::collections::VecDeque;
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxMemory, LinuxResources};
use serde::{Deserialize, Serialize};

use super::file::{is_gone, read, read_list, write};
use super::place::{Interface, Place};
use super::run::Made;
use super::step::{Cgroup, IfAbsent, Step, Value};
use super::systemd::Change;
use crate::{Context, Error, Result};

/// What an update is going to write, and what is there before.
#[derive(Debug)]
pub struct Update {
    steps: Vec<Step>,
    /// What systemd is told before.
    unit: Option<Change>,
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
    /// Or properties of a unit of systemd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Change>,
}

impl Old {
    /// The text of a file.
    pub fn of_file(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), devices: None, unit: None }
    }
}

/// Plans an update: the limits in `new`, and its device rules as a change from those of `old`. Writes nothing.
///
/// # Errors
/// As [`super::limits()`]; when a limit of memory is below what is used and the caller wants that checked
/// (`checkBeforeUpdate`, config-linux.md "Memory"); when the cgroup is gone.
pub fn plan_update(place: &Place, old: Option<&LinuxResources>, new: &LinuxResources) -> Result<Update> {
    let interface = place.interface();
    if let Some(memory) = new.memory().as_ref().filter(|_| checks_before(old, new)) {
        check_memory(interface, memory)?;
    }
    let steps = match interface {
        Interface::V1(place) => v1::limits(place, new)?,
        Interface::V2(cgroup) => v2::limits(cgroup, new)?,
    };
    let mut before = Vec::new();
    for step in &steps {
        for value in step.values() {
            before.extend(read_old(step.cgroup(), value)?);
        }
    }
    let mut update = Update { steps, unit: None, before, at_rest: false };
    // Go's encoder cannot tell an empty list from none.
    let known = old.and_then(|old| old.devices().as_deref()).unwrap_or_default();
    let rules = new.devices().as_deref().filter(|rules| !rules.is_empty());
    let change = match (interface, &place.unit, rules) {
        // The kernel takes none from a user, and at creation they were left out.
        _ if place.of_user => DeviceChange::default(),
        (Interface::V1(place), Some(_), _) if rules.is_some() || !update.is_empty() => {
            unit::write_devices(place, known, rules.unwrap_or(known))?
        }
        (_, _, None) => DeviceChange::default(),
        (Interface::V1(place), _, Some(rules)) => v1::change_devices(place, known, rules)?,
        (Interface::V2(cgroup), _, Some(rules)) => v2::change_devices(cgroup, known, rules)?,
    };
    update.steps.extend(change.step);
    update.before.extend(change.before);
    update.at_rest = change.at_rest;
    if let Some((change, back)) = unit::change(place, old, &update.steps)? {
        update.unit = Some(change);
        update.before.push(back);
    }
    Ok(update)
}

/// New device rules for a cgroup.
#[derive(Debug, Default)]
struct DeviceChange {
    /// None where nothing changes.
    step: Option<Step>,
    before: Vec<Old>,
    at_rest: bool,
}

impl Update {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Writes everything, with a call of `between` before each step; on an error all is put back.
    ///
    /// # Errors
    /// Names the property and file that the kernel refused, and why; and what could not be put back.
    pub fn apply(&self, between: impl Fn()) -> Result<()> {
        let mut made = Made::default();
        if let Some(change) = &self.unit {
            between();
            // All of it or nothing: there is nothing to put back.
            change.apply()?;
        }
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
        let written = match (&old.devices, &old.unit) {
            (Some(rules), _) => super::v2::put_back_devices(&old.path, rules),
            (None, Some(change)) => change.apply(),
            (None, None) => write(&old.path, &old.text),
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

/// `checkBeforeUpdate`, of the update or else of what it updates.
fn checks_before(old: Option<&LinuxResources>, new: &LinuxResources) -> bool {
    let asked = |resources: &LinuxResources| resources.memory().and_then(|memory| memory.check_before_update());
    asked(new).or_else(|| old.and_then(asked)) == Some(true)
}

/// What a limit of memory counts, as the spec has it.
#[derive(Debug, Clone, Copy)]
enum Counted {
    Memory,
    MemoryAndSwap,
}

fn check_memory(interface: Interface<'_>, memory: &LinuxMemory) -> Result<()> {
    for (field, name, limit, counted) in [
        ("limit", "memory limit", memory.limit(), Counted::Memory),
        ("swap", "memory+swap limit", memory.swap(), Counted::MemoryAndSwap),
    ] {
        let Some(limit) = limit.filter(|limit| *limit > 0) else { continue };
        let usage = match interface {
            Interface::V1(place) => v1::used(place, counted)?,
            Interface::V2(cgroup) => v2::used(cgroup, counted)?,
        };
        if limit <= usage {
            return Err(Error::invalid(format!(
                "linux.resources.memory.{field}: rejecting {name} {limit} <= usage {usage} (checkBeforeUpdate): free memory first, or give a higher limit"
            )));
        }
    }
    Ok(())
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
    if let IfAbsent::Instead { file: other, .. } = &value.if_absent
        && !Path::new(&path).exists()
    {
        path = format!("{}/{other}", cgroup.dir());
    }
    match read_list(&path) {
        Ok(text) => Ok(as_written(&value.file, &value.text, &text).map(|text| Old::of_file(path, text))),
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
    fn device_rules_are_left_out_of_a_users_update_as_at_creation() {
        let resources = serde_json::from_str(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#).unwrap();
        for version in [super::super::step::Version::V1, super::super::step::Version::V2] {
            let cgroup = Cgroup { hierarchy: "pids".into(), mount: "/m".into(), path: "/c".into(), version };
            let place = Place { cgroups: vec![cgroup], of_user: true, unit: None };
            let update = plan_update(&place, None, &resources).unwrap();
            assert!(update.is_empty() && update.before.is_empty() && !update.at_rest, "{update:?}");
        }
    }

    #[test]
    fn values_that_depend_on_each_other_are_put_back_in_an_order_that_works() {
        let file = std::env::temp_dir().join(format!("nfrun-unit-{}-old", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let path = file.to_str().unwrap().to_owned();
        let gone = Old::of_file("/nonexistent/cgroup/file", "1");
        let old = |text: &str| Old::of_file(path.clone(), text);
        put_back(&[old("first"), gone, old("second")]).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        // The last first: "first" is written over the start of "second".
        assert_eq!(text, "firstd");
    }
}
