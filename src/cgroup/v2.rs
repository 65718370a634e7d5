//! The limits of a spec into writes for cgroup2 (Documentation/admin-guide/cgroup-v2.rst). Where its files count in
//! other units than the spec, which was written for v1, values are converted as runc converts them. What cgroup2 has no
//! file for is refused by its name.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};

use super::devices::policy;
use super::limits::{check_hugepages, check_list, check_shares, check_swap, is_given, rdma_texts, value};
use super::step::{Cgroup, IfAbsent, Step, Value};
use super::{controllers, device_program, unified};
use crate::{Error, Result};

/// As [`super::limits()`], for a cgroup on cgroup2.
pub(super) fn limits(cgroup: &Cgroup, resources: &LinuxResources) -> Result<Vec<Step>> {
    Ok(writes(cgroup, values(resources)?))
}

/// A step for each value, and one for a quota with its burst: which is written first depends on the old ones.
pub(super) fn writes(cgroup: &Cgroup, values: Vec<Value>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(values.len());
    for value in values {
        let cgroup = cgroup.clone();
        match steps.pop_if(|step| value.file == "cpu.max.burst" && step.values().iter().any(|v| v.file == "cpu.max")) {
            Some(Step::Write { value: quota, .. }) => {
                steps.push(Step::WriteTogether { cgroup, values: vec![quota, value] });
            }
            other => {
                steps.extend(other);
                steps.push(Step::Write { cgroup, value });
            }
        }
    }
    steps
}

fn values(resources: &LinuxResources) -> Result<Vec<Value>> {
    refuse_what_is_v1s(resources)?;
    let mut values = Vec::new();
    if let Some(memory) = resources.memory() {
        values.extend(memory_values(memory)?);
    }
    if let Some(cpu) = resources.cpu() {
        values.extend(cpu_values(cpu)?);
    }
    if let Some(pids) = resources.pids() {
        values.push(super::limits::pids_value(pids));
    }
    if let Some(io) = resources.block_io() {
        values.extend(io_values(io));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        check_hugepages(limit)?;
        values.extend(hugepage_values(limit));
    }
    values.extend(rdma_texts(resources)?.into_iter().map(|text| value("linux.resources.rdma", "rdma.max", text)));
    values.extend(unified::values(resources)?);
    Ok(values)
}

/// Properties that no file of cgroup2 stands for.
fn refuse_what_is_v1s(resources: &LinuxResources) -> Result<()> {
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let io = resources.block_io().as_ref();
    let network = resources.network().as_ref();
    let asked = [
        ("memory.disableOOMKiller", memory.and_then(|memory| memory.disable_oom_killer()) == Some(true)),
        ("memory.swappiness", memory.and_then(|memory| memory.swappiness()).is_some_and(|n| n != u64::MAX)),
        ("cpu.realtimePeriod", cpu.and_then(|cpu| cpu.realtime_period()).is_some_and(|n| n != 0)),
        ("cpu.realtimeRuntime", cpu.and_then(|cpu| cpu.realtime_runtime()).is_some_and(|n| n != 0)),
        ("blockIO.leafWeight", io.and_then(|io| io.leaf_weight()).is_some_and(|n| n != 0)),
        (
            "blockIO.weightDevice.leafWeight",
            io.and_then(|io| io.weight_device().as_ref())
                .is_some_and(|devices| devices.iter().any(|device| device.leaf_weight().is_some_and(|n| n != 0))),
        ),
        ("network.classID", network.and_then(|network| network.class_id()).is_some_and(|n| n != 0)),
        (
            "network.priorities",
            network.and_then(|network| network.priorities().as_ref()).is_some_and(|list| !list.is_empty()),
        ),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((property, _)) => Err(Error::invalid(format!(
            "linux.resources.{property}: cgroup v2, which this host has, knows no such limit; remove it"
        ))),
        None => Ok(()),
    }
}

fn number_or_max(n: i64) -> String {
    if n < 0 { "max".to_owned() } else { n.to_string() }
}

fn memory_values(memory: &LinuxMemory) -> Result<Vec<Value>> {
    let (limit, swap) = (is_given(memory.limit()), is_given(memory.swap()));
    check_swap(limit, swap)?;
    let property = "linux.resources.memory.swap";
    // The spec's swap counts memory and swap together, the file swap alone.
    let swap = match (limit, swap) {
        (_, Some(swap)) if swap < 0 => Some("max".to_owned()),
        (Some(limit), Some(swap)) => Some((swap - limit).to_string()),
        (None, Some(_)) => {
            return Err(Error::invalid(format!("{property}: unable to set swap limit without memory limit")));
        }
        (Some(limit), None) if limit < 0 => Some("max".to_owned()),
        (_, None) => None,
    };
    let mut values = Vec::new();
    values.extend(swap.map(|text| Value {
        // Without swap in the kernel none is used, so a limit on it holds.
        if_absent: IfAbsent::Skip,
        ..value(property, "memory.swap.max", text)
    }));
    values.extend(limit.map(|limit| value("linux.resources.memory.limit", "memory.max", number_or_max(limit))));
    let reservation = is_given(memory.reservation());
    values.extend(reservation.map(|n| value("linux.resources.memory.reservation", "memory.low", number_or_max(n))));
    Ok(values)
}

fn cpu_values(cpu: &LinuxCpu) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    // Weight and idle exclude each other: the kernel refuses a weight of what is idle.
    if let Some(idle) = cpu.idle() {
        values.push(value("linux.resources.cpu.idle", "cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares().filter(|n| *n != 0) {
        check_shares(shares)?;
        if cpu.idle() != Some(1) {
            values.push(value("linux.resources.cpu.shares", "cpu.weight", weight_of_shares(shares)));
        }
    }
    let burst = cpu.burst().map(|burst| value("linux.resources.cpu.burst", "cpu.max.burst", burst));
    let (quota, period) = (is_given(cpu.quota()), cpu.period().filter(|n| *n != 0));
    let quota_text = quota.map_or_else(|| "max".to_owned(), number_or_max);
    let max = match (quota, period) {
        (None, None) => None,
        // The period that is there stays.
        (Some(_), None) => Some(quota_text),
        (_, Some(period)) => Some(format!("{quota_text} {period}")),
    };
    let property = if quota.is_some() { "linux.resources.cpu.quota" } else { "linux.resources.cpu.period" };
    values.extend(max.map(|text| value(property, "cpu.max", text)));
    // No larger than the quota, which is written before.
    values.extend(burst);
    for (property, file, list) in [
        ("linux.resources.cpu.cpus", "cpuset.cpus", cpu.cpus()),
        ("linux.resources.cpu.mems", "cpuset.mems", cpu.mems()),
    ] {
        values.extend(check_list(property, list.as_deref())?.map(|list| value(property, file, list)));
    }
    Ok(values)
}

/// cpu.shares, 2 to 262144 and usually 1024, as a cpu.weight, 1 to 10000 and usually 100: the quadratic of logarithms
/// through these three pairs, which runc uses since its 1.4 (before, a straight line made 1024 a weight of 39).
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// A blkio weight, 10 to 1000, as an io.weight, 1 to 10000.
fn weight_of_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

fn io_values(io: &LinuxBlockIo) -> Vec<Value> {
    let mut values = Vec::new();
    // BFQ's file has the scale of blkio, and it is the one that counts where BFQ is the scheduler.
    let weight = |property, text: String, other: String| Value {
        if_absent: IfAbsent::Instead { file: "io.weight".into(), text: other },
        ..value(property, "io.bfq.weight", text)
    };
    if let Some(n) = io.weight().filter(|n| *n != 0) {
        let property = "linux.resources.blockIO.weight";
        values.push(weight(property, n.to_string(), weight_of_blkio(n).to_string()));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(n) = device.weight().filter(|n| *n != 0) {
            let text = |n: u64| format!("{}:{} {n}", device.major(), device.minor());
            let property = "linux.resources.blockIO.weightDevice";
            values.push(weight(property, text(n.into()), text(weight_of_blkio(n))));
        }
    }
    let mut throttle = |property, key: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            // The spec's 0 is no limit, as v1 has it.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            values.push(value(property, "io.max", format!("{}:{} {key}={rate}", device.major(), device.minor())));
        }
    };
    throttle("linux.resources.blockIO.throttleReadBpsDevice", "rbps", io.throttle_read_bps_device());
    throttle("linux.resources.blockIO.throttleWriteBpsDevice", "wbps", io.throttle_write_bps_device());
    throttle("linux.resources.blockIO.throttleReadIOPSDevice", "riops", io.throttle_read_iops_device());
    throttle("linux.resources.blockIO.throttleWriteIOPSDevice", "wiops", io.throttle_write_iops_device());
    values
}

/// What is used, and what is reserved, which the kernel counts since Linux 5.7.
pub(super) fn hugepage_values(limit: &LinuxHugepageLimit) -> [Value; 2] {
    let property = "linux.resources.hugepageLimits";
    let (size, bytes) = (limit.page_size(), limit.limit());
    let reserved = Value { if_absent: IfAbsent::Skip, ..value(property, format!("hugetlb.{size}.rsvd.max"), bytes) };
    [value(property, format!("hugetlb.{size}.max"), bytes), reserved]
}

/// The step that makes the parents' controllers available to a cgroup.
pub(super) fn enable(cgroup: &Cgroup, resources: Option<&LinuxResources>) -> Result<Step> {
    let values = resources.map(values).transpose()?.unwrap_or_default();
    Ok(controllers::step(cgroup, &values))
}

/// The step that restricts devices.
pub(super) fn restrict_devices(cgroup: &Cgroup, rules: &[LinuxDeviceCgroup]) -> Result<Step> {
    let policy = policy(rules)?;
    let program = device_program::compile(&policy);
    Ok(Step::DeviceProgram { cgroup: cgroup.clone(), rules: policy.writes(), program })
}

/// As [`restrict_devices`], at once, for an update that is taken back.
pub(super) fn put_back_devices(dir: &str, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    device_program::attach(dir, &device_program::compile(&policy(rules)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(resources: &str) -> Result<Vec<String>> {
        let resources = serde_json::from_str(resources).unwrap();
        Ok(values(&resources)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn shares_become_weights_through_the_three_known_pairs() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000), (512, 60), (2048, 172)] {
            let found = weight_of_shares(shares);
            assert!(found.abs_diff(weight) <= weight / 20, "{shares} {found} {weight}");
        }
        assert_eq!((weight_of_shares(2), weight_of_shares(1024), weight_of_shares(262_144)), (1, 100, 10_000));
    }

    #[test]
    fn memory_and_swap_are_counted_apart() {
        let all = r#"{"memory": {"limit": 1048576, "swap": 3145728, "reservation": 4096}}"#;
        assert_eq!(lines(all).unwrap(), ["memory.swap.max = 2097152", "memory.max = 1048576", "memory.low = 4096"]);
        let unlimited = r#"{"memory": {"limit": -1}}"#;
        assert_eq!(lines(unlimited).unwrap(), ["memory.swap.max = max", "memory.max = max"]);
        let alone = lines(r#"{"memory": {"swap": 5}}"#).unwrap_err().to_string();
        assert!(alone.contains("without memory limit"), "{alone}");
    }

    #[test]
    fn a_quota_alone_keeps_the_period_and_a_period_alone_has_no_quota() {
        assert_eq!(lines(r#"{"cpu": {"quota": 50000}}"#).unwrap(), ["cpu.max = 50000"]);
        assert_eq!(lines(r#"{"cpu": {"quota": -1}}"#).unwrap(), ["cpu.max = max"]);
        assert_eq!(lines(r#"{"cpu": {"period": 20000}}"#).unwrap(), ["cpu.max = max 20000"]);
        let both = r#"{"cpu": {"quota": 10000, "period": 20000, "burst": 500}}"#;
        assert_eq!(lines(both).unwrap(), ["cpu.max = 10000 20000", "cpu.max.burst = 500"]);
    }

    #[test]
    fn a_quota_and_its_burst_are_written_in_an_order_that_the_kernel_takes() {
        let cgroup = Cgroup {
            hierarchy: "unified".into(),
            mount: "/m".into(),
            path: "/c".into(),
            version: super::super::step::Version::V2,
        };
        let resources = serde_json::from_str(r#"{"cpu": {"quota": 10000, "burst": 500}, "pids": {"limit": 3}}"#);
        let steps: Vec<_> = limits(&cgroup, &resources.unwrap()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            steps,
            ["write cpu.max = 10000, cpu.max.burst = 500 in unified:/c", "write pids.max = 3 in unified:/c"]
        );
    }

    #[test]
    fn what_cgroup2_has_no_file_for_is_refused_by_its_name() {
        for (resources, property) in [
            (r#"{"memory": {"swappiness": 5}}"#, "linux.resources.memory.swappiness"),
            (r#"{"memory": {"disableOOMKiller": true}}"#, "linux.resources.memory.disableOOMKiller"),
            (r#"{"cpu": {"realtimeRuntime": 5}}"#, "linux.resources.cpu.realtimeRuntime"),
            (r#"{"network": {"classID": 5}}"#, "linux.resources.network.classID"),
            (r#"{"blockIO": {"leafWeight": 15}}"#, "linux.resources.blockIO.leafWeight"),
        ] {
            let error = lines(resources).unwrap_err().to_string();
            assert!(error.starts_with(property), "{error}");
        }
        assert!(lines(r#"{"memory": {"disableOOMKiller": false}}"#).unwrap().is_empty());
    }

    #[test]
    fn the_controllers_that_limits_need_are_known() {
        let resources = r#"{"memory": {"limit": 5}, "cpu": {"quota": 5, "cpus": "0"}, "pids": {"limit": 3},
            "unified": {"io.max": "8:0 rbps=1", "cgroup.max.depth": "2"}}"#;
        let values = values(&serde_json::from_str(resources).unwrap()).unwrap();
        assert_eq!(controllers::needed(&values), ["memory", "cpu", "cpuset", "pids", "io"]);
    }
}
