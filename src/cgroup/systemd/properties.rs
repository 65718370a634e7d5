//! The steps that write a cgroup's files into properties of its unit (org.freedesktop.systemd1(5)): what systemd knows it
//! writes again whenever it likes, at a `systemctl daemon-reload` for one, and what it does not know it leaves or takes
//! back to its default. The table goes by the kernel's files, so that what `unified` names is in it as well.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::devices::DeviceWrite;
use super::super::step::{Step, Value as FileValue, Version};
use super::devices;
use crate::dbus::Value;
use crate::{Error, Result};

/// A property of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl Property {
    pub(super) fn new(name: &str, value: Value) -> Self {
        Self { name: name.to_owned(), value }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.value)
    }
}

/// systemd's USEC_INFINITY and CGROUP_LIMIT_MAX.
const INFINITY: u64 = u64::MAX;

/// What the kernel has where nobody has set a period.
const PERIOD: u64 = 100_000;

/// The version of the manager that has a property, where not every one has that is in use (since 244).
fn since(file: &str, text: &str) -> u32 {
    match (file, text) {
        ("cpu.idle", "1") => 252,
        ("memory.oom.group", _) | ("memory.zswap.max", _) => 253,
        _ => 0,
    }
}

/// The properties that stand for what the steps write. `version` asks for the manager's version, and only when something
/// depends on it.
///
/// # Errors
/// When a value is none that its property can have, and as `version`.
pub(super) fn properties(steps: &[Step], version: &mut dyn FnMut() -> Result<u32>) -> Result<Vec<Property>> {
    let mut properties = Properties::default();
    for step in steps {
        match step {
            Step::Write { cgroup, value } => properties.add(cgroup.version, value, version)?,
            Step::WriteTogether { cgroup, values } => {
                values.iter().try_for_each(|value| properties.add(cgroup.version, value, version))?;
            }
            Step::Devices { writes, .. } => properties.restrict_devices(writes, Version::V1),
            Step::DeviceProgram { rules, .. } => properties.restrict_devices(rules, Version::V2),
            _ => {}
        }
    }
    Ok(properties.finish())
}

/// The value that a property of this name has where nobody has set it.
pub(super) fn unset(property: &Property) -> Property {
    let value = match (property.name.as_str(), &property.value) {
        ("MemoryLow" | "MemoryMin", _) => Value::U64(0),
        ("DevicePolicy", _) => Value::Text("auto".into()),
        ("OOMPolicy", _) => Value::Text("continue".into()),
        (_, Value::U64(_)) => Value::U64(INFINITY),
        (_, Value::Bytes(_)) => Value::Bytes(Vec::new()),
        (_, Value::Pairs(_)) => Value::Pairs(Vec::new()),
        (_, Value::Rates(_)) => Value::Rates(Vec::new()),
        (_, other) => other.clone(),
    };
    Property { name: property.name.clone(), value }
}

/// Whether a list is added to the one that is there rather than put in its place: an empty one clears it.
pub(super) fn is_added(property: &Property) -> bool {
    matches!(&property.value, Value::Pairs(items) if !items.is_empty())
}

#[derive(Default)]
struct Properties {
    list: Vec<Property>,
    quota: Option<i64>,
    period: Option<u64>,
}

impl Properties {
    fn add(&mut self, version: Version, value: &FileValue, manager: &mut dyn FnMut() -> Result<u32>) -> Result<()> {
        let text = value.text.trim();
        let refuse = || Error::invalid(format!("{}: {text:?} is no value of {}", value.property, value.file));
        let asked = since(&value.file, text);
        if asked > 0 && manager()? < asked {
            log::debug!(
                "{} has no property in this systemd, which is older than {asked}: set by file alone",
                value.file
            );
            return Ok(());
        }
        match version {
            Version::V1 => self.add_v1(&value.file, text),
            Version::V2 => self.add_v2(&value.file, text),
        }
        .ok_or_else(refuse)
    }

    /// None for a text that is no value of the file. A file that has no property adds none.
    fn add_v2(&mut self, file: &str, text: &str) -> Option<()> {
        let name = match file {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "memory.zswap.max" => "MemoryZSwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            _ => return self.add_special(file, text),
        };
        self.set(name, Value::U64(limit(text)?));
        Some(())
    }

    fn add_special(&mut self, file: &str, text: &str) -> Option<()> {
        match file {
            // A weight of 0 is systemd's word for idle; what is not idle has a weight anyway.
            "cpu.idle" if text == "1" => self.set("CPUWeight", Value::U64(0)),
            "cpu.max" => {
                let mut words = text.split_whitespace();
                let quota = words.next()?;
                self.quota = Some(if quota == "max" { -1 } else { quota.parse().ok()? });
                if let Some(period) = words.next() {
                    self.period = Some(period.parse().ok()?);
                }
            }
            "cpuset.cpus" => self.set("AllowedCPUs", Value::Bytes(bits(text)?)),
            "cpuset.mems" => self.set("AllowedMemoryNodes", Value::Bytes(bits(text)?)),
            "memory.oom.group" => {
                let policy = if text == "1" { "kill" } else { "continue" };
                self.set("OOMPolicy", Value::Text(policy.into()));
            }
            "io.weight" => self.weigh(text, |weight| weight)?,
            // systemd writes both files, and what it takes is io.weight's scale.
            "io.bfq.weight" => self.weigh(text, weight_of_bfq)?,
            "io.max" => {
                let (device, rates) = text.split_once(char::is_whitespace)?;
                for rate in rates.split_whitespace() {
                    let (key, rate) = rate.split_once('=')?;
                    let name = match key {
                        "rbps" => "IOReadBandwidthMax",
                        "wbps" => "IOWriteBandwidthMax",
                        "riops" => "IOReadIOPSMax",
                        "wiops" => "IOWriteIOPSMax",
                        _ => return None,
                    };
                    self.rate(name, device, limit(rate)?)?;
                }
            }
            _ => {}
        }
        Some(())
    }

    /// `N`, `default N` or `MAJOR:MINOR N`.
    fn weigh(&mut self, text: &str, scale: fn(u64) -> u64) -> Option<()> {
        let (device, weight) = text.rsplit_once(char::is_whitespace).unwrap_or(("default", text));
        let weight = scale(weight.parse().ok()?);
        if device == "default" {
            self.set("IOWeight", Value::U64(weight));
            return Some(());
        }
        self.rate("IODeviceWeight", device, weight)
    }

    fn add_v1(&mut self, file: &str, text: &str) -> Option<()> {
        let device = || text.split_once(char::is_whitespace);
        match file {
            "memory.limit_in_bytes" => self.set("MemoryLimit", Value::U64(limit(text)?)),
            "pids.max" => self.set("TasksMax", Value::U64(limit(text)?)),
            "cpu.shares" => self.set("CPUShares", Value::U64(text.parse().ok()?)),
            "cpu.cfs_quota_us" => self.quota = Some(text.parse().ok()?),
            "cpu.cfs_period_us" => self.period = Some(text.parse().ok()?),
            "blkio.weight" => self.set("BlockIOWeight", Value::U64(text.parse().ok()?)),
            "blkio.weight_device" => {
                let (device, weight) = device()?;
                self.rate("BlockIODeviceWeight", device, weight.parse().ok()?)?;
            }
            "blkio.throttle.read_bps_device" | "blkio.throttle.write_bps_device" => {
                let (device, rate) = device()?;
                let read = file.contains("read");
                let name = if read { "BlockIOReadBandwidth" } else { "BlockIOWriteBandwidth" };
                // The spec's 0 is no limit.
                let rate = Some(rate.parse().ok()?).filter(|rate| *rate != 0).unwrap_or(INFINITY);
                self.rate(name, device, rate)?;
            }
            _ => {}
        }
        Some(())
    }

    fn restrict_devices(&mut self, writes: &[DeviceWrite], version: Version) {
        let (policy, allowed) = devices::policy(writes, version);
        self.set("DevicePolicy", Value::Text(policy.into()));
        // What is given is added to what is there.
        self.list.push(Property::new("DeviceAllow", Value::Pairs(Vec::new())));
        if !allowed.is_empty() {
            self.list.push(Property::new("DeviceAllow", Value::Pairs(allowed)));
        }
    }

    /// The last value counts.
    fn set(&mut self, name: &str, value: Value) {
        match self.list.iter_mut().find(|property| property.name == name) {
            Some(property) => property.value = value,
            None => self.list.push(Property::new(name, value)),
        }
    }

    /// One device's value in a list.
    fn rate(&mut self, name: &str, device: &str, rate: u64) -> Option<()> {
        let (major, minor) = device.split_once(':')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        let entry = (block_node(major, minor), rate);
        match self.list.iter_mut().find(|property| property.name == name) {
            Some(Property { value: Value::Rates(rates), .. }) => rates.push(entry),
            _ => self.list.push(Property::new(name, Value::Rates(vec![entry]))),
        }
        Some(())
    }

    /// With the quota, which systemd has per second of time, and in its files in whole percents: rounded up as runc does,
    /// so that what is below can have its own. The kernel's file has the exact one.
    fn finish(mut self) -> Vec<Property> {
        if let Some(period) = self.period {
            self.set("CPUQuotaPeriodUSec", Value::U64(period));
        }
        if let Some(quota) = self.quota {
            let period = self.period.unwrap_or(PERIOD).max(1);
            let per_second = match u64::try_from(quota) {
                Ok(quota) if quota > 0 => {
                    let exact = quota.saturating_mul(1_000_000).div_euclid(period).max(1);
                    exact.checked_next_multiple_of(10_000).unwrap_or(INFINITY)
                }
                _ => INFINITY,
            };
            self.set("CPUQuotaPerSecUSec", Value::U64(per_second));
        }
        self.list
    }
}

/// A block device's node. /dev/block has a link for each, but where there is no udev; the kernel has the name.
fn block_node(major: u32, minor: u32) -> String {
    let name = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let name = name.ok().and_then(|path| Some(path.file_name()?.to_str()?.replace('!', "/")));
    name.map_or_else(|| format!("/dev/block/{major}:{minor}"), |name| format!("/dev/{name}"))
}

/// A number, or what stands for none.
fn limit(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(INFINITY),
        _ => text.parse().ok(),
    }
}

/// The weight of io.weight's scale, 1 to 10000, that systemd writes to io.bfq.weight, 1 to 1000, as this one.
fn weight_of_bfq(weight: u64) -> u64 {
    if weight <= 100 { weight } else { (weight - 100).saturating_mul(11).saturating_add(100) }
}

/// A list of numbers and ranges as a mask, the lowest in the first byte's lowest bit.
fn bits(list: &str) -> Option<Vec<u8>> {
    // More than any kernel has processors.
    const MOST: usize = 1 << 16;
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first || last >= MOST {
            return None;
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0u8);
        }
        (first..=last).for_each(|n| bits[n / 8] |= 1 << (n % 8));
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::hierarchy::Layout;
    use super::super::super::place::place;
    use super::super::super::plan::plan;
    use super::*;

    const V2: (&str, &str) = ("1 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n");

    fn shown_by(version: u32, host: (&str, &str), resources: &str) -> Vec<String> {
        let layout = Layout::parse(host.0, host.1).unwrap();
        let place = place(&layout, Some(Path::new("/c")), "c").unwrap();
        let steps = plan(&place, Some(&serde_json::from_str(resources).unwrap()), None).unwrap();
        let properties = properties(&steps, &mut || Ok(version)).unwrap();
        let is_limit = |property: &&Property| !property.name.starts_with("Device");
        properties.iter().filter(is_limit).map(ToString::to_string).collect()
    }

    fn v2(resources: &str) -> Vec<String> {
        shown_by(257, V2, resources)
    }

    #[test]
    fn each_limit_of_cgroup2_is_a_property() {
        let all = r#"{"memory": {"limit": 1048576, "swap": 2097152, "reservation": 4096},
            "cpu": {"shares": 1024, "quota": 33333, "period": 100000, "cpus": "0-1,9", "mems": "0"},
            "pids": {"limit": 0},
            "blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 0, "rate": 5}, {"major": 4000, "minor": 16, "rate": 0}],
                "throttleWriteIOPSDevice": [{"major": 4000, "minor": 0, "rate": 7}]}}"#;
        assert_eq!(
            v2(all),
            [
                "MemorySwapMax 1048576",
                "MemoryMax 1048576",
                "MemoryLow 4096",
                "CPUWeight 100",
                "AllowedCPUs [0x03, 0x02]",
                "AllowedMemoryNodes [0x01]",
                "TasksMax 1",
                "IOReadBandwidthMax [/dev/block/4000:0 5, /dev/block/4000:16 infinity]",
                "IOWriteIOPSMax [/dev/block/4000:0 7]",
                "CPUQuotaPeriodUSec 100000",
                "CPUQuotaPerSecUSec 340000",
            ]
        );
    }

    #[test]
    fn a_quota_alone_has_the_usual_period_and_none_is_infinity() {
        assert_eq!(v2(r#"{"cpu": {"quota": 50000}}"#), ["CPUQuotaPerSecUSec 500000"]);
        assert_eq!(v2(r#"{"cpu": {"quota": -1}}"#), ["CPUQuotaPerSecUSec infinity"]);
        // No kernel takes it, which is for the kernel to say.
        let endless = v2(r#"{"cpu": {"quota": 9223372036854775807, "period": 1}}"#);
        assert_eq!(endless, ["CPUQuotaPeriodUSec 1", "CPUQuotaPerSecUSec infinity"]);
        assert_eq!(weight_of_bfq(u64::MAX), u64::MAX);
        assert_eq!(v2(r#"{"memory": {"limit": -1}}"#), ["MemorySwapMax infinity", "MemoryMax infinity"]);
    }

    #[test]
    fn what_unified_names_is_in_the_unit_where_this_systemd_has_it() {
        let keys = r#"{"unified": {"memory.high": "5", "memory.oom.group": "1", "cpu.idle": "1", "hugetlb.2MB.max": "0",
            "io.max": "4000:0 rbps=1 wiops=max"}}"#;
        assert_eq!(
            v2(keys),
            [
                "CPUWeight 0",
                "IOReadBandwidthMax [/dev/block/4000:0 1]",
                "IOWriteIOPSMax [/dev/block/4000:0 infinity]",
                "MemoryHigh 5",
                "OOMPolicy kill"
            ]
        );
        assert!(!shown_by(247, V2, keys).iter().any(|p| p.starts_with("OOMPolicy") || p.starts_with("CPUWeight")));
    }

    #[test]
    fn the_version_is_asked_for_only_when_something_depends_on_it() {
        let layout = Layout::parse(V2.0, V2.1).unwrap();
        let place = place(&layout, Some(Path::new("/c")), "c").unwrap();
        let resources = serde_json::from_str(r#"{"memory": {"limit": 5}, "cpu": {"idle": 0}}"#).unwrap();
        let steps = plan(&place, Some(&resources), None).unwrap();
        properties(&steps, &mut || panic!("nothing depends on it")).unwrap();
    }

    #[test]
    fn limits_of_v1_go_by_the_names_that_systemd_has_for_them() {
        let (mut mounts, mut own) = (String::new(), String::new());
        for (i, name) in ["cpu,cpuacct", "memory", "devices", "pids", "blkio"].iter().enumerate() {
            mounts += &format!("{} 31 0:{i} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n", i + 40);
            own += &format!("{i}:{name}:/\n");
        }
        let all = r#"{"memory": {"limit": 1048576, "swap": 2097152}, "cpu": {"shares": 512, "quota": 20000, "period": 40000},
            "pids": {"limit": -1}, "blockIO": {"weight": 300, "weightDevice": [{"major": 4000, "minor": 0, "weight": 200}],
            "throttleReadBpsDevice": [{"major": 4000, "minor": 0, "rate": 9}]}}"#;
        assert_eq!(
            shown_by(247, (&mounts, &own), all),
            [
                "MemoryLimit 1048576",
                "CPUShares 512",
                "TasksMax infinity",
                "BlockIOWeight 300",
                "BlockIODeviceWeight [/dev/block/4000:0 200]",
                "BlockIOReadBandwidth [/dev/block/4000:0 9]",
                "CPUQuotaPeriodUSec 40000",
                "CPUQuotaPerSecUSec 500000",
            ]
        );
    }

    #[test]
    fn a_weight_for_bfq_comes_out_of_systemds_scale_as_it_was() {
        // systemd: 1..100 as they are, 100..10000 onto 100..1000.
        let bfq = |weight: u64| if weight <= 100 { weight } else { 100 + (weight - 100) * 900 / 9900 };
        assert!((1..=1000).all(|weight| bfq(weight_of_bfq(weight)) == weight));
    }

    #[test]
    fn lists_are_masks() {
        assert_eq!(bits("0-3,8"), Some(vec![0x0f, 1]));
        assert_eq!(bits(" 1 , 3 "), Some(vec![0x0a]));
        assert_eq!(bits("3-1"), None);
        assert_eq!(bits("0-99999999"), None);
    }
}
