//! The limits of a spec, or of a later update, into writes. A value that is absent, or 0 where runc takes 0 for
//! absent, writes nothing. The files are those of Documentation/admin-guide/cgroup-v1.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources,
    LinuxThrottleDevice,
};

use super::place::{Interface, Place};
use super::step::{Cgroup, IfAbsent, Step, Value};
use super::unified;
use crate::{Error, Result};

/// The steps that set every limit named in `resources`, device rules excepted: for a new cgroup and for an update
/// alike, since the order of writes that one refuses is found by trying the other.
///
/// # Errors
/// Names the property whose value is out of range or whose controller is not mounted.
pub fn limits(place: &Place, resources: &LinuxResources) -> Result<Vec<Step>> {
    if resources.memory().as_ref().is_some_and(|memory| memory.kernel().is_some() || memory.kernel_tcp().is_some()) {
        log::warn!("Kernel memory settings are ignored and will be removed");
    }
    match place.interface() {
        Interface::V1(place) => v1(place, resources),
        Interface::V2(cgroup) => super::v2::limits(cgroup, resources),
    }
}

fn v1(place: &Place, resources: &LinuxResources) -> Result<Vec<Step>> {
    let mut steps = unified::settings_beside_v1(place, resources)?;
    if let Some(memory) = resources.memory() {
        steps.extend(limit_memory(place, memory)?);
    }
    if let Some(cpu) = resources.cpu() {
        steps.extend(limit_cpu(place, cpu)?);
        steps.extend(limit_cpuset(place, cpu)?);
    }
    if let Some(pids) = resources.pids() {
        steps.push(one(place, "pids", pids_value(pids))?);
    }
    if let Some(block_io) = resources.block_io() {
        steps.extend(limit_block_io(place, block_io)?);
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        steps.extend(limit_hugepages(place, limit)?);
    }
    if let Some(network) = resources.network() {
        steps.extend(mark_network(place, network)?);
    }
    for text in rdma_texts(resources)? {
        steps.push(one(place, "rdma", value("linux.resources.rdma", "rdma.max", text))?);
    }
    Ok(steps)
}

/// The cgroup of the hierarchy that carries `controller`.
pub(super) fn find<'a>(place: &'a Place, controller: &str, property: &str) -> Result<&'a Cgroup> {
    place.with(controller).ok_or_else(|| {
        Error::invalid(format!(
            "{property}: the {controller} controller is not mounted on this host; mount it or drop the limit"
        ))
    })
}

/// A limit of processes, whose file is the same in both interfaces.
pub(super) fn pids_value(pids: &LinuxPids) -> Value {
    // With 0 the kernel refuses every fork, as with 1: the one process there is needs no fork. runc writes 1 then.
    let text = if pids.limit() < 0 { "max".to_owned() } else { pids.limit().max(1).to_string() };
    value("linux.resources.pids.limit", "pids.max", text)
}

/// A line of rdma.max for each device.
pub(super) fn rdma_texts(resources: &LinuxResources) -> Result<Vec<String>> {
    let mut rdma: Vec<_> = resources.rdma().iter().flatten().collect();
    rdma.sort_by_key(|(device, _)| *device);
    let line = |(device, limit): (&String, &LinuxRdma)| {
        let part = |name: &str, n: Option<u32>| n.map_or_else(String::new, |n| format!(" {name}={n}"));
        let text = [part("hca_handle", limit.hca_handles()), part("hca_object", limit.hca_objects())].concat();
        if text.is_empty() {
            return Err(Error::invalid(format!(
                "linux.resources.rdma.{device}: says nothing: give hcaHandles, hcaObjects or both"
            )));
        }
        Ok(format!("{device}{text}"))
    };
    rdma.into_iter().map(line).collect()
}

pub(super) fn value(property: &'static str, file: impl Into<String>, text: impl ToString) -> Value {
    Value { property, file: file.into(), text: text.to_string(), if_absent: IfAbsent::Fail }
}

fn one(place: &Place, controller: &str, value: Value) -> Result<Step> {
    Ok(Step::Write { cgroup: find(place, controller, value.property)?.clone(), value })
}

/// Values that the kernel checks against each other; no step for none.
fn together(place: &Place, controller: &str, mut values: Vec<Value>) -> Result<Option<Step>> {
    let Some(first) = values.first() else { return Ok(None) };
    let cgroup = find(place, controller, first.property)?.clone();
    Ok(Some(match values.len() {
        1 => Step::Write { cgroup, value: values.remove(0) },
        _ => Step::WriteTogether { cgroup, values },
    }))
}

/// A number that the spec's writers leave out as 0.
pub(super) fn is_given(n: Option<i64>) -> Option<i64> {
    n.filter(|n| *n != 0)
}

/// The spec's swap counts memory and swap together.
pub(super) fn check_swap(limit: Option<i64>, swap: Option<i64>) -> Result<()> {
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap > 0
        && (limit < 0 || swap < limit)
    {
        return Err(Error::invalid(format!(
            "linux.resources.memory.swap: {swap} is less than the limit {limit}; swap counts memory and swap together"
        )));
    }
    Ok(())
}

fn limit_memory(place: &Place, memory: &LinuxMemory) -> Result<Vec<Step>> {
    let (limit, swap) = (is_given(memory.limit()), is_given(memory.swap()));
    check_swap(limit, swap)?;
    let mut values = Vec::with_capacity(2);
    if let Some(limit) = limit {
        values.push(value("linux.resources.memory.limit", "memory.limit_in_bytes", limit));
    }
    match (limit, swap) {
        (_, Some(swap)) => values.push(value("linux.resources.memory.swap", "memory.memsw.limit_in_bytes", swap)),
        // Unlimited memory means unlimited swap too, where the kernel counts swap at all.
        (Some(-1), None) => values.push(Value {
            if_absent: IfAbsent::Skip,
            ..value("linux.resources.memory.limit", "memory.memsw.limit_in_bytes", -1)
        }),
        _ => {}
    }
    let mut steps: Vec<Step> = together(place, "memory", values)?.into_iter().collect();
    if let Some(reservation) = is_given(memory.reservation()) {
        let soft = value("linux.resources.memory.reservation", "memory.soft_limit_in_bytes", reservation);
        steps.push(one(place, "memory", soft)?);
    }
    if memory.disable_oom_killer() == Some(true) {
        steps.push(one(place, "memory", value("linux.resources.memory.disableOOMKiller", "memory.oom_control", 1))?);
    }
    // -1, which arrives as the largest number, leaves the kernel's own value.
    if let Some(swappiness) = memory.swappiness().filter(|n| *n != u64::MAX) {
        if swappiness > 100 {
            return Err(Error::invalid(format!(
                "linux.resources.memory.swappiness: invalid value: {swappiness}. valid memory swappiness range is 0-100"
            )));
        }
        steps.push(one(place, "memory", value("linux.resources.memory.swappiness", "memory.swappiness", swappiness))?);
    }
    Ok(steps)
}

pub(super) fn check_shares(shares: u64) -> Result<()> {
    // The kernel would clamp the value without a word.
    if shares < 2 {
        return Err(Error::invalid("linux.resources.cpu.shares: the minimum allowed cpu-shares is 2"));
    }
    if shares > 262_144 {
        return Err(Error::invalid("linux.resources.cpu.shares: the maximum allowed cpu-shares is 262144"));
    }
    Ok(())
}

fn limit_cpu(place: &Place, cpu: &LinuxCpu) -> Result<Vec<Step>> {
    let mut weights = Vec::new();
    if let Some(shares) = cpu.shares().filter(|n| *n != 0) {
        check_shares(shares)?;
        weights.push(value("linux.resources.cpu.shares", "cpu.shares", shares));
    }
    if let Some(idle) = cpu.idle() {
        weights.push(value("linux.resources.cpu.idle", "cpu.idle", idle));
    }
    let mut bandwidth = Vec::new();
    if let Some(period) = cpu.period().filter(|n| *n != 0) {
        bandwidth.push(value("linux.resources.cpu.period", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota().filter(|n| *n != 0) {
        bandwidth.push(value("linux.resources.cpu.quota", "cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst() {
        bandwidth.push(value("linux.resources.cpu.burst", "cpu.cfs_burst_us", burst));
    }
    let mut realtime = Vec::new();
    if let Some(period) = cpu.realtime_period().filter(|n| *n != 0) {
        realtime.push(value("linux.resources.cpu.realtimePeriod", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|n| *n != 0) {
        realtime.push(value("linux.resources.cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime));
    }
    let steps = [weights, bandwidth, realtime].into_iter().map(|values| together(place, "cpu", values));
    Ok(steps.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// A list of numbers and ranges: cpuset(7), "List format". None where it is empty.
pub(super) fn check_list<'a>(property: &str, list: Option<&'a str>) -> Result<Option<&'a str>> {
    let list = list.unwrap_or("").trim();
    if !list.chars().all(|c| c.is_ascii_digit() || ",- :/\t".contains(c)) {
        return Err(Error::invalid(format!("{property}: {list:?} is no list of numbers and ranges such as 0-3,7")));
    }
    Ok(Some(list).filter(|list| !list.is_empty()))
}

fn limit_cpuset(place: &Place, cpu: &LinuxCpu) -> Result<Vec<Step>> {
    let lists = [
        ("linux.resources.cpu.cpus", "cpuset.cpus", cpu.cpus()),
        ("linux.resources.cpu.mems", "cpuset.mems", cpu.mems()),
    ];
    let mut steps = Vec::new();
    for (property, file, list) in lists {
        if let Some(list) = check_list(property, list.as_deref())? {
            steps.push(one(place, "cpuset", value(property, file, list))?);
        }
    }
    Ok(steps)
}

fn limit_block_io(place: &Place, io: &LinuxBlockIo) -> Result<Vec<Step>> {
    let mut values = Vec::new();
    // The weights were CFQ's; with BFQ in its place the files carry its name.
    let weight = |property: &'static str, file: &str, bfq: &str, text: String| Value {
        if_absent: IfAbsent::Instead { file: bfq.to_owned(), text: text.clone() },
        ..value(property, file, text)
    };
    if let Some(n) = io.weight().filter(|n| *n != 0) {
        values.push(weight("linux.resources.blockIO.weight", "blkio.weight", "blkio.bfq.weight", n.to_string()));
    }
    if let Some(n) = io.leaf_weight().filter(|n| *n != 0) {
        values.push(value("linux.resources.blockIO.leafWeight", "blkio.leaf_weight", n));
    }
    for (i, device) in io.weight_device().iter().flatten().enumerate() {
        if device.weight().is_none() && device.leaf_weight().is_none() {
            return Err(Error::invalid(format!(
                "linux.resources.blockIO.weightDevice[{i}]: says nothing: give weight, leafWeight or both"
            )));
        }
        let property = "linux.resources.blockIO.weightDevice";
        let text = |n: u16| format!("{}:{} {n}", device.major(), device.minor());
        if let Some(n) = device.weight().filter(|n| *n != 0) {
            values.push(weight(property, "blkio.weight_device", "blkio.bfq.weight_device", text(n)));
        }
        if let Some(n) = device.leaf_weight().filter(|n| *n != 0) {
            values.push(value(property, "blkio.leaf_weight_device", text(n)));
        }
    }
    let mut throttle = |property, file: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            values.push(value(property, file, format!("{}:{} {}", device.major(), device.minor(), device.rate())));
        }
    };
    let property = "linux.resources.blockIO.throttleReadBpsDevice";
    throttle(property, "blkio.throttle.read_bps_device", io.throttle_read_bps_device());
    let property = "linux.resources.blockIO.throttleWriteBpsDevice";
    throttle(property, "blkio.throttle.write_bps_device", io.throttle_write_bps_device());
    let property = "linux.resources.blockIO.throttleReadIOPSDevice";
    throttle(property, "blkio.throttle.read_iops_device", io.throttle_read_iops_device());
    let property = "linux.resources.blockIO.throttleWriteIOPSDevice";
    throttle(property, "blkio.throttle.write_iops_device", io.throttle_write_iops_device());
    values.into_iter().map(|value| one(place, "blkio", value)).collect()
}

pub(super) fn check_hugepages(limit: &LinuxHugepageLimit) -> Result<()> {
    let property = "linux.resources.hugepageLimits";
    let (size, bytes) = (limit.page_size(), limit.limit());
    let digits = size.strip_suffix("KB").or(size.strip_suffix("MB")).or(size.strip_suffix("GB"));
    if !digits.is_some_and(|n| !n.starts_with('0') && n.parse::<u64>().is_ok()) {
        return Err(Error::invalid(format!("{property}: pageSize {size:?} is no size such as 64KB, 2MB or 1GB")));
    }
    if bytes < 0 {
        return Err(Error::invalid(format!("{property}: limit {bytes} of {size} pages is negative")));
    }
    Ok(())
}

fn limit_hugepages(place: &Place, limit: &LinuxHugepageLimit) -> Result<Vec<Step>> {
    check_hugepages(limit)?;
    if place.with("hugetlb").is_none()
        && let Some(steps) = unified::hugepages_beside_v1(place, limit)?
    {
        return Ok(steps);
    }
    let property = "linux.resources.hugepageLimits";
    let (size, bytes) = (limit.page_size(), limit.limit());
    let used = value(property, format!("hugetlb.{size}.limit_in_bytes"), bytes);
    // Pages that are reserved but not touched count only here; the file is there since Linux 5.7.
    let reserved =
        Value { if_absent: IfAbsent::Skip, ..value(property, format!("hugetlb.{size}.rsvd.limit_in_bytes"), bytes) };
    Ok(vec![one(place, "hugetlb", used)?, one(place, "hugetlb", reserved)?])
}

fn mark_network(place: &Place, network: &LinuxNetwork) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(class) = network.class_id().filter(|n| *n != 0) {
        steps.push(one(place, "net_cls", value("linux.resources.network.classID", "net_cls.classid", class))?);
    }
    for interface in network.priorities().iter().flatten() {
        let text = format!("{} {}", interface.name(), interface.priority());
        let property = "linux.resources.network.priorities";
        steps.push(one(place, "net_prio", value(property, "net_prio.ifpriomap", text))?);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Version;

    fn lines(controllers: &[&str], resources: &str) -> Result<Vec<String>> {
        let cgroup = |name: &&str| Cgroup {
            hierarchy: (*name).to_owned(),
            mount: format!("/sys/fs/cgroup/{name}"),
            path: "/c".into(),
            version: Version::V1,
        };
        let place = Place { cgroups: controllers.iter().map(cgroup).collect(), of_user: false, unit: None };
        let steps = limits(&place, &serde_json::from_str(resources).unwrap())?;
        Ok(steps.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn memory_and_swap_go_together() {
        let all = r#"{"memory": {"limit": 1048576, "swap": 2097152, "reservation": 4096, "swappiness": 0,
            "disableOOMKiller": true, "kernel": 5}}"#;
        assert_eq!(
            lines(&["memory"], all).unwrap(),
            [
                "write memory.limit_in_bytes = 1048576, memory.memsw.limit_in_bytes = 2097152 in memory:/c",
                "write memory.soft_limit_in_bytes = 4096 in memory:/c",
                "write memory.oom_control = 1 in memory:/c",
                "write memory.swappiness = 0 in memory:/c",
            ]
        );
        let unlimited = lines(&["memory"], r#"{"memory": {"limit": -1}}"#).unwrap();
        assert_eq!(unlimited, ["write memory.limit_in_bytes = -1, memory.memsw.limit_in_bytes = -1 in memory:/c"]);
        assert!(lines(&["memory"], r#"{"memory": {"limit": 0, "disableOOMKiller": false}}"#).unwrap().is_empty());
    }

    #[test]
    fn cpu_period_quota_and_burst_go_together() {
        let cpu = r#"{"cpu": {"shares": 512, "period": 100000, "quota": 50000, "burst": 1000, "realtimeRuntime": 950,
            "realtimePeriod": 1000, "idle": 0, "cpus": "0-1", "mems": "0"}}"#;
        assert_eq!(
            lines(&["cpu,cpuacct", "cpuset"], cpu).unwrap(),
            [
                "write cpu.shares = 512, cpu.idle = 0 in cpu,cpuacct:/c",
                "write cpu.cfs_period_us = 100000, cpu.cfs_quota_us = 50000, cpu.cfs_burst_us = 1000 in cpu,cpuacct:/c",
                "write cpu.rt_period_us = 1000, cpu.rt_runtime_us = 950 in cpu,cpuacct:/c",
                "write cpuset.cpus = 0-1 in cpuset:/c",
                "write cpuset.mems = 0 in cpuset:/c",
            ]
        );
        let quota = lines(&["cpu"], r#"{"cpu": {"quota": -1}}"#).unwrap();
        assert_eq!(quota, ["write cpu.cfs_quota_us = -1 in cpu:/c"]);
    }

    #[test]
    fn pids_zero_means_none_besides_init_and_minus_one_means_no_limit() {
        for (limit, text) in [(0, "1"), (-1, "max"), (7, "7")] {
            let steps = lines(&["pids"], &format!(r#"{{"pids": {{"limit": {limit}}}}}"#)).unwrap();
            assert_eq!(steps, [format!("write pids.max = {text} in pids:/c")]);
        }
        assert!(lines(&["pids"], "{}").unwrap().is_empty());
    }

    #[test]
    fn the_other_controllers_write_what_the_kernel_documents() {
        let rest = r#"{"blockIO": {"weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 5, "leafWeight": 6}],
              "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
            "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
            "rdma": {"mlx4_0": {"hcaHandles": 2, "hcaObjects": 3}}}"#;
        let steps = lines(&["blkio", "hugetlb", "net_cls,net_prio", "rdma"], rest).unwrap();
        assert_eq!(
            steps,
            [
                "write blkio.weight = 100 in blkio:/c",
                "write blkio.weight_device = 8:0 5 in blkio:/c",
                "write blkio.leaf_weight_device = 8:0 6 in blkio:/c",
                "write blkio.throttle.read_bps_device = 8:0 600 in blkio:/c",
                "write hugetlb.2MB.limit_in_bytes = 4194304 in hugetlb:/c",
                "write hugetlb.2MB.rsvd.limit_in_bytes = 4194304 in hugetlb:/c",
                "write net_cls.classid = 1048577 in net_cls,net_prio:/c",
                "write net_prio.ifpriomap = eth0 5 in net_cls,net_prio:/c",
                "write rdma.max = mlx4_0 hca_handle=2 hca_object=3 in rdma:/c",
            ]
        );
    }

    #[test]
    fn bad_values_and_missing_controllers_are_refused_by_their_property() {
        for (resources, words) in [
            (r#"{"memory": {"limit": 2, "swap": 1}}"#, "linux.resources.memory.swap: 1 is less than the limit 2"),
            (r#"{"memory": {"swappiness": 101}}"#, "valid memory swappiness range is 0-100"),
            (r#"{"cpu": {"shares": 1}}"#, "the minimum allowed cpu-shares is 2"),
            (r#"{"cpu": {"shares": 262145}}"#, "the maximum allowed cpu-shares is 262144"),
            (r#"{"cpu": {"cpus": "all"}}"#, "linux.resources.cpu.cpus"),
            (r#"{"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}"#, "pageSize \"2M\""),
            (
                r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#,
                "hugepageLimits: the hugetlb controller is not mounted",
            ),
            (r#"{"network": {"classID": 1}}"#, "linux.resources.network.classID: the net_cls controller"),
            (r#"{"unified": {"memory.high": "1"}}"#, "linux.resources.unified: cannot use unified on cgroup v1"),
        ] {
            let error = lines(&["memory", "cpu", "cpuset"], resources).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
