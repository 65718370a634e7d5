//! The counters of the v1 controllers: Documentation/admin-guide/cgroup-v1.

use std::collections::BTreeMap;

use super::super::place::Place;
use super::files::{Files, parse_list};
use super::{BlockEntry, BlockIo, Cpu, CpuSet, Hugepages, Memory, MemoryCounter, Pids, Stats};
use crate::{Context, Result};

/// cpuacct.stat counts in ticks of 1/100 s on every architecture: USER_HZ.
const NANOSECONDS_A_TICK: u64 = 1_000_000_000 / 100;

pub(super) fn read(place: &Place) -> Result<Stats> {
    let at = |controller: &str| place.with(controller).map(Files::of);
    let mut stats = Stats::default();
    if let Some(files) = at("cpu") {
        throttling(&files, &mut stats.cpu)?;
    }
    if let Some(files) = at("cpuacct") {
        cpu_usage(&files, &mut stats.cpu)?;
    }
    if let Some(files) = at("cpuset") {
        stats.cpuset = cpuset(&files)?;
    }
    if let Some(files) = at("memory") {
        stats.memory = memory(&files)?;
    }
    if let Some(files) = at("pids") {
        stats.pids = Pids { current: files.number("pids.current")?, limit: files.number("pids.max")? };
    }
    if let Some(files) = at("blkio") {
        stats.blkio = block_io(&files)?;
    }
    if let Some(files) = at("hugetlb") {
        stats.hugetlb = hugepages(&files)?;
    }
    Ok(stats)
}

fn throttling(files: &Files, cpu: &mut Cpu) -> Result<()> {
    let table = files.table("cpu.stat")?;
    let of = |name: &str| table.get(name).copied().unwrap_or(0);
    cpu.throttling.periods = of("nr_periods");
    cpu.throttling.throttled_periods = of("nr_throttled");
    cpu.throttling.throttled_time = of("throttled_time");
    Ok(())
}

fn cpu_usage(files: &Files, cpu: &mut Cpu) -> Result<()> {
    let usage = &mut cpu.usage;
    usage.total = files.number("cpuacct.usage")?;
    usage.percpu = files.numbers("cpuacct.usage_percpu")?;
    let ticks = files.table("cpuacct.stat")?;
    let of = |name: &str| ticks.get(name).copied().unwrap_or(0).saturating_mul(NANOSECONDS_A_TICK);
    (usage.user, usage.kernel) = (of("user"), of("system"));
    // A head, then for each processor its number and the time in user and in kernel mode.
    let all = files.text("cpuacct.usage_all")?;
    for line in all.lines().skip(1) {
        let row = |line: &str| {
            let mut words = line.split(' ').skip(1).map(str::parse::<u64>);
            Some((words.next()?.ok()?, words.next()?.ok()?))
        };
        let (user, kernel) = files.parsed("cpuacct.usage_all", line, row)?;
        usage.percpu_user.push(user);
        usage.percpu_kernel.push(kernel);
    }
    Ok(())
}

fn cpuset(files: &Files) -> Result<CpuSet> {
    let list = |name: &str| {
        let text = files.text(name)?;
        files.parsed(name, &text, parse_list)
    };
    let level = files.text("cpuset.sched_relax_domain_level")?;
    Ok(CpuSet {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: files.number("cpuset.cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: files.number("cpuset.mem_hardwall")?,
        mem_exclusive: files.number("cpuset.mem_exclusive")?,
        memory_migrate: files.number("cpuset.memory_migrate")?,
        memory_spread_page: files.number("cpuset.memory_spread_page")?,
        memory_spread_slab: files.number("cpuset.memory_spread_slab")?,
        memory_pressure: files.number("cpuset.memory_pressure")?,
        sched_load_balance: files.number("cpuset.sched_load_balance")?,
        sched_relax_domain_level: level.parse().unwrap_or(0),
    })
}

fn memory(files: &Files) -> Result<Memory> {
    let counter = |name: &str| -> Result<MemoryCounter> {
        let file = |of: &str| files.number(&format!("{name}.{of}"));
        Ok(MemoryCounter {
            limit: file("limit_in_bytes")?,
            usage: file("usage_in_bytes")?,
            max: file("max_usage_in_bytes")?,
            failcnt: file("failcnt")?,
        })
    };
    let raw = files.table("memory.stat")?;
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: counter("memory")?,
        swap: counter("memory.memsw")?,
        kernel: counter("memory.kmem")?,
        kernel_tcp: counter("memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

/// Each I/O scheduler counts under its own name: BFQ, before it CFQ; what no scheduler sees the throttle counts.
fn block_io(files: &Files) -> Result<BlockIo> {
    let entries = |name: String| -> Result<Vec<BlockEntry>> {
        let text = files.text(&name)?;
        let entries = text.lines().filter(|line| !line.starts_with("Total"));
        entries.map(|line| files.parsed(&name, line, parse_entry)).collect()
    };
    for scheduler in ["blkio.bfq.", "blkio."] {
        let file = |name: &str| entries(format!("{scheduler}{name}_recursive"));
        let serviced = file("io_serviced")?;
        if serviced.is_empty() {
            continue;
        }
        return Ok(BlockIo {
            io_service_bytes_recursive: file("io_service_bytes")?,
            io_serviced_recursive: serviced,
            io_queued_recursive: file("io_queued")?,
            io_service_time_recursive: file("io_service_time")?,
            io_wait_time_recursive: file("io_wait_time")?,
            io_merged_recursive: file("io_merged")?,
            io_time_recursive: file("time")?,
            sectors_recursive: file("sectors")?,
            psi: None,
        });
    }
    let throttle = |name: &str| -> Result<Vec<BlockEntry>> {
        let all = entries(format!("blkio.throttle.{name}_recursive"))?;
        // Before Linux 4.17 only the cgroup's own are counted.
        if all.is_empty() { entries(format!("blkio.throttle.{name}")) } else { Ok(all) }
    };
    Ok(BlockIo {
        io_service_bytes_recursive: throttle("io_service_bytes")?,
        io_serviced_recursive: throttle("io_serviced")?,
        ..BlockIo::default()
    })
}

/// `MAJOR:MINOR OPERATION COUNT`, or without an operation.
fn parse_entry(line: &str) -> Option<BlockEntry> {
    let (device, rest) = line.split_once(' ')?;
    let (major, minor) = device.split_once(':')?;
    let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
    let number = |text: &str| text.parse().ok();
    Some(BlockEntry { major: number(major)?, minor: number(minor)?, op: op.to_owned(), value: number(value)? })
}

fn hugepages(files: &Files) -> Result<BTreeMap<String, Hugepages>> {
    let mut sizes = BTreeMap::new();
    let entries = std::fs::read_dir(&files.dir).context(|| format!("read {}", files.dir))?;
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(size) = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(".usage_in_bytes")) else {
            continue;
        };
        if size.contains('.') {
            // hugetlb.SIZE.rsvd: what is reserved.
            continue;
        }
        let file = |of: &str| files.number(&format!("hugetlb.{size}.{of}"));
        let pages =
            Hugepages { usage: file("usage_in_bytes")?, max: file("max_usage_in_bytes")?, failcnt: file("failcnt")? };
        sizes.insert(size.to_owned(), pages);
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_the_kernel_prints_them() {
        let entry = |major, minor, op: &str, value| BlockEntry { major, minor, op: op.into(), value };
        assert_eq!(parse_entry("254:0 Read 4096").unwrap(), entry(254, 0, "Read", 4096));
        assert_eq!(parse_entry("8:16 77").unwrap(), entry(8, 16, "", 77));
        assert_eq!(parse_entry("Total 7"), None);
    }

    #[test]
    fn zeros_are_left_out_where_runc_leaves_them_out() {
        let text = serde_json::to_string(&Stats::default()).unwrap();
        let counter = r#"{"limit":0,"failcnt":0}"#;
        assert!(
            text.starts_with(r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"#)
        );
        let memory = format!(
            r#""memory":{{"usage":{counter},"swap":{counter},"kernel":{counter},"kernelTCP":{counter}}},"pids":{{}},"blkio":{{}},"hugetlb":{{}}}}"#
        );
        assert!(text.ends_with(&memory), "{text}");
    }
}
