//! The counters of cgroup2: Documentation/admin-guide/cgroup-v2.rst. They are told in v1's names and units, as runc does;
//! pressure (Documentation/accounting/psi.rst) has none there.

use std::collections::BTreeMap;

use super::super::step::Cgroup;
use super::files::{Files, parse_list};
use super::{BlockEntry, BlockIo, Cpu, CpuSet, Hugepages, Memory, MemoryCounter, Pids, Pressure, Psi, Stats};
use crate::{Context, Result};

const NANOSECONDS_A_MICROSECOND: u64 = 1000;

pub(super) fn read(cgroup: &Cgroup) -> Result<Stats> {
    let files = Files::of(cgroup);
    Ok(Stats {
        cpu: cpu(&files)?,
        cpuset: cpuset(&files)?,
        memory: memory(&files)?,
        pids: Pids { current: files.number("pids.current")?, limit: files.number("pids.max")? },
        blkio: io(&files)?,
        hugetlb: hugepages(&files)?,
    })
}

fn cpu(files: &Files) -> Result<Cpu> {
    let table = files.table("cpu.stat")?;
    let of = |name: &str| table.get(name).copied().unwrap_or(0);
    let time = |name: &str| of(name).saturating_mul(NANOSECONDS_A_MICROSECOND);
    let mut cpu = Cpu { psi: pressure(files, "cpu.pressure")?, ..Cpu::default() };
    (cpu.usage.total, cpu.usage.user, cpu.usage.kernel) = (time("usage_usec"), time("user_usec"), time("system_usec"));
    cpu.throttling.periods = of("nr_periods");
    cpu.throttling.throttled_periods = of("nr_throttled");
    cpu.throttling.throttled_time = time("throttled_usec");
    Ok(cpu)
}

/// What it may use, whether it has a list of its own or its parent's.
fn cpuset(files: &Files) -> Result<CpuSet> {
    let list = |name: &str| {
        let text = files.text(name)?;
        files.parsed(name, &text, parse_list)
    };
    Ok(CpuSet { cpus: list("cpuset.cpus.effective")?, mems: list("cpuset.mems.effective")?, ..CpuSet::default() })
}

fn memory(files: &Files) -> Result<Memory> {
    let raw = files.table("memory.stat")?;
    let failures = files.table("memory.events")?.get("max").copied().unwrap_or(0);
    let counter = |name: &str, failcnt| -> Result<MemoryCounter> {
        Ok(MemoryCounter {
            limit: limit(files, &format!("{name}.max"))?,
            usage: files.number(&format!("{name}.current"))?,
            max: files.number(&format!("{name}.peak"))?,
            failcnt,
        })
    };
    let usage = counter("memory", failures)?;
    let mut swap = counter("memory.swap", 0)?;
    // v1 counts memory and swap together.
    swap.usage = swap.usage.saturating_add(usage.usage);
    swap.limit = swap.limit.saturating_add(usage.limit);
    let psi = pressure(files, "memory.pressure")?;
    let cache = raw.get("file").copied().unwrap_or(0);
    Ok(Memory { cache, usage, swap, raw, psi, ..Memory::default() })
}

/// A limit, of which `max` is the largest number there is, as v1 shows it.
fn limit(files: &Files, name: &str) -> Result<u64> {
    let text = files.text(name)?;
    files.parsed(name, &text, |text| match text {
        "max" => Some(u64::MAX),
        "" => Some(0),
        _ => text.parse().ok(),
    })
}

/// `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N dbytes=N dios=N`, whatever of that the kernel has.
fn io(files: &Files) -> Result<BlockIo> {
    let mut io = BlockIo { psi: pressure(files, "io.pressure")?, ..BlockIo::default() };
    for line in files.text("io.stat")?.lines() {
        let mut words = line.split(' ');
        let number = |text: &str| text.parse::<u64>().ok();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((major, minor)) = device.and_then(|(major, minor)| Some((number(major)?, number(minor)?))) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut io.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut io.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut io.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut io.io_serviced_recursive, "Read"),
                "wios" => (&mut io.io_serviced_recursive, "Write"),
                "dios" => (&mut io.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            let value = files.parsed("io.stat", value, number)?;
            list.push(BlockEntry { major, minor, op: op.to_owned(), value });
        }
    }
    Ok(io)
}

fn hugepages(files: &Files) -> Result<BTreeMap<String, Hugepages>> {
    let mut sizes = BTreeMap::new();
    let entries = std::fs::read_dir(&files.dir).context(|| format!("read {}", files.dir))?;
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(".current"));
        // hugetlb.SIZE.rsvd: what is reserved.
        let Some(size) = size.filter(|size| !size.contains('.')) else { continue };
        let failcnt = files.table(&format!("hugetlb.{size}.events"))?.get("max").copied().unwrap_or(0);
        sizes.insert(size.to_owned(), Hugepages { usage: files.number(&name)?, max: 0, failcnt });
    }
    Ok(sizes)
}

/// None where the kernel does not measure it.
fn pressure(files: &Files, name: &str) -> Result<Option<Psi>> {
    let text = files.text(name)?;
    if text.is_empty() {
        return Ok(None);
    }
    let line = |kind: &str| {
        let Some(rest) = text.lines().find_map(|line| line.strip_prefix(kind)) else { return Ok(Pressure::default()) };
        files.parsed(name, rest, parse_pressure)
    };
    Ok(Some(Psi { some: line("some ")?, full: line("full ")? }))
}

/// `avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn parse_pressure(text: &str) -> Option<Pressure> {
    let value = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let share = |name: &str| value(name)?.parse::<f64>().ok();
    let total = value("total")?.parse().ok()?;
    Some(Pressure { avg10: share("avg10")?, avg60: share("avg60")?, avg300: share("avg300")?, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_pressure_is_read() {
        let read = parse_pressure("avg10=1.50 avg60=0.00 avg300=0.25 total=77").unwrap();
        assert_eq!(read, Pressure { avg10: 1.5, avg60: 0.0, avg300: 0.25, total: 77 });
        assert_eq!(parse_pressure("avg10=x"), None);
    }
}
