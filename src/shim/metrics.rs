//! What a container uses, in the shape of containerd's metrics: one for cgroup v1 and one for v2. The numbers are those of
//! `nfrun events --stats`.

use std::collections::BTreeMap;

use super::messages::{Any, metrics, metrics_v1};
use crate::Result;
use crate::cgroup::Stats;
use crate::container::{self, ContainerId, Globals};

/// What runc's shim gives for "no limit".
const NO_LIMIT: u64 = u64::MAX;

/// The counters of a container.
pub fn of(globals: &Globals, id: &ContainerId) -> Result<Any> {
    let (stats, is_v2) = container::counters(globals, id)?;
    Ok(match is_v2 {
        true => Any::of("io.containerd.cgroups.v2.Metrics", &v2(&stats)),
        false => Any::of("io.containerd.cgroups.v1.Metrics", &v1(&stats)),
    })
}

fn pids(stats: &Stats) -> metrics::Pids {
    metrics::Pids { current: stats.pids.current, limit: stats.pids.limit }
}

fn v1(stats: &Stats) -> metrics_v1::Metrics {
    let hugetlb = stats.hugetlb.iter().map(|(size, pages)| metrics_v1::Hugepages {
        usage: pages.usage,
        max: pages.max,
        failcnt: pages.failcnt,
        page_size: size.clone(),
    });
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    let entry = |counter: &crate::cgroup::MemoryCounter| {
        Some(metrics_v1::MemoryEntry {
            limit: counter.limit,
            usage: counter.usage,
            max: counter.max,
            failcnt: counter.failcnt,
        })
    };
    let lines = Lines(&stats.memory.raw);
    let memory = metrics_v1::Memory {
        cache: lines.get("cache"),
        rss: lines.get("rss"),
        rss_huge: lines.get("rss_huge"),
        mapped_file: lines.get("mapped_file"),
        dirty: lines.get("dirty"),
        writeback: lines.get("writeback"),
        pgpgin: lines.get("pgpgin"),
        pgpgout: lines.get("pgpgout"),
        pgfault: lines.get("pgfault"),
        pgmajfault: lines.get("pgmajfault"),
        inactive_anon: lines.get("inactive_anon"),
        active_anon: lines.get("active_anon"),
        inactive_file: lines.get("inactive_file"),
        active_file: lines.get("active_file"),
        unevictable: lines.get("unevictable"),
        hierarchical_memory_limit: lines.get("hierarchical_memory_limit"),
        hierarchical_memsw_limit: lines.get("hierarchical_memsw_limit"),
        total_cache: lines.get("total_cache"),
        total_rss: lines.get("total_rss"),
        total_rss_huge: lines.get("total_rss_huge"),
        total_mapped_file: lines.get("total_mapped_file"),
        total_dirty: lines.get("total_dirty"),
        total_writeback: lines.get("total_writeback"),
        total_pgpgin: lines.get("total_pgpgin"),
        total_pgpgout: lines.get("total_pgpgout"),
        total_pgfault: lines.get("total_pgfault"),
        total_pgmajfault: lines.get("total_pgmajfault"),
        total_inactive_anon: lines.get("total_inactive_anon"),
        total_active_anon: lines.get("total_active_anon"),
        total_inactive_file: lines.get("total_inactive_file"),
        total_active_file: lines.get("total_active_file"),
        total_unevictable: lines.get("total_unevictable"),
        usage: entry(&stats.memory.usage),
        swap: entry(&stats.memory.swap),
        kernel: entry(&stats.memory.kernel),
        kernel_tcp: entry(&stats.memory.kernel_tcp),
    };
    metrics_v1::Metrics {
        hugetlb: hugetlb.collect(),
        pids: Some(pids(stats)),
        cpu: Some(metrics_v1::Cpu {
            usage: Some(metrics_v1::CpuUsage {
                total: usage.total,
                kernel: usage.kernel,
                user: usage.user,
                per_cpu: usage.percpu.clone(),
            }),
            throttling: Some(metrics_v1::Throttling {
                periods: throttling.periods,
                throttled_periods: throttling.throttled_periods,
                throttled_time: throttling.throttled_time,
            }),
        }),
        memory: Some(memory),
        blkio: Some(blkio(stats)),
    }
}

fn blkio(stats: &Stats) -> metrics_v1::BlockIo {
    let entries = |list: &[crate::cgroup::BlockEntry]| {
        let entry = |entry: &crate::cgroup::BlockEntry| metrics_v1::BlockEntry {
            op: entry.op.clone(),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
        };
        list.iter().map(entry).collect()
    };
    let blkio = &stats.blkio;
    metrics_v1::BlockIo {
        io_service_bytes_recursive: entries(&blkio.io_service_bytes_recursive),
        io_serviced_recursive: entries(&blkio.io_serviced_recursive),
        io_queued_recursive: entries(&blkio.io_queued_recursive),
        io_service_time_recursive: entries(&blkio.io_service_time_recursive),
        io_wait_time_recursive: entries(&blkio.io_wait_time_recursive),
        io_merged_recursive: entries(&blkio.io_merged_recursive),
        io_time_recursive: entries(&blkio.io_time_recursive),
        sectors_recursive: entries(&blkio.sectors_recursive),
    }
}

fn v2(stats: &Stats) -> metrics::Metrics {
    let hugetlb = stats.hugetlb.iter().map(|(size, pages)| metrics::Hugepages {
        current: pages.usage,
        max: pages.max,
        page_size: size.clone(),
    });
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    let limit = |limit: u64| if limit == 0 { NO_LIMIT } else { limit };
    let (memory, swap) = (&stats.memory.usage, &stats.memory.swap);
    let lines = Lines(&stats.memory.raw);
    let memory = metrics::Memory {
        anon: lines.get("anon"),
        file: lines.get("file"),
        kernel_stack: lines.get("kernel_stack"),
        slab: lines.get("slab"),
        sock: lines.get("sock"),
        shmem: lines.get("shmem"),
        file_mapped: lines.get("file_mapped"),
        file_dirty: lines.get("file_dirty"),
        file_writeback: lines.get("file_writeback"),
        anon_thp: lines.get("anon_thp"),
        inactive_anon: lines.get("inactive_anon"),
        active_anon: lines.get("active_anon"),
        inactive_file: lines.get("inactive_file"),
        active_file: lines.get("active_file"),
        unevictable: lines.get("unevictable"),
        slab_reclaimable: lines.get("slab_reclaimable"),
        slab_unreclaimable: lines.get("slab_unreclaimable"),
        pgfault: lines.get("pgfault"),
        pgmajfault: lines.get("pgmajfault"),
        workingset_refault: lines.get("workingset_refault"),
        workingset_activate: lines.get("workingset_activate"),
        workingset_nodereclaim: lines.get("workingset_nodereclaim"),
        pgrefill: lines.get("pgrefill"),
        pgscan: lines.get("pgscan"),
        pgsteal: lines.get("pgsteal"),
        pgactivate: lines.get("pgactivate"),
        pgdeactivate: lines.get("pgdeactivate"),
        pglazyfree: lines.get("pglazyfree"),
        pglazyfreed: lines.get("pglazyfreed"),
        thp_fault_alloc: lines.get("thp_fault_alloc"),
        thp_collapse_alloc: lines.get("thp_collapse_alloc"),
        usage: memory.usage,
        usage_limit: limit(memory.limit),
        swap_usage: swap.usage.saturating_sub(memory.usage),
        swap_limit: if swap.limit == 0 { NO_LIMIT } else { swap.limit.saturating_sub(memory.limit) },
        max_usage: memory.max,
    };
    metrics::Metrics {
        pids: Some(pids(stats)),
        cpu: Some(metrics::Cpu {
            usage: usage.total / 1000,
            user: usage.user / 1000,
            system: usage.kernel / 1000,
            periods: throttling.periods,
            throttled_periods: throttling.throttled_periods,
            throttled: throttling.throttled_time / 1000,
        }),
        memory: Some(memory),
        io: Some(io(stats)),
        hugetlb: hugetlb.collect(),
        memory_events: None,
    }
}

/// One entry a device, of what is counted by kind of access.
fn io(stats: &Stats) -> metrics::Io {
    let mut devices: BTreeMap<(u64, u64), metrics::IoEntry> = BTreeMap::new();
    let lists = [&stats.blkio.io_service_bytes_recursive, &stats.blkio.io_serviced_recursive];
    for (list, counts_bytes) in lists.into_iter().zip([true, false]) {
        for entry in list {
            let (major, minor) = (entry.major, entry.minor);
            let device =
                devices.entry((major, minor)).or_insert(metrics::IoEntry { major, minor, ..Default::default() });
            match (entry.op.as_str(), counts_bytes) {
                ("Read", true) => device.read_bytes = entry.value,
                ("Write", true) => device.written_bytes = entry.value,
                ("Read", false) => device.reads = entry.value,
                ("Write", false) => device.writes = entry.value,
                _ => {}
            }
        }
    }
    metrics::Io { usage: devices.into_values().collect() }
}

/// memory.stat.
struct Lines<'a>(&'a BTreeMap<String, u64>);

impl Lines<'_> {
    /// The value of a line, 0 where this kernel has none.
    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}
