//! Every resource of config.json's linux.resources, on whatever hierarchies the host has.
//!
//! What a test is called says all that a table of resources needs: RESOURCE_is_set (by `create`), RESOURCE_is_updated (by
//! `update`), both read back from the kernel's own files, and RESOURCE_is_felt (what a process in the container meets).
//! So of RESOURCE the column "create" is `_is_set`, "update" `_is_updated`, "read" both of them, "felt" `_is_felt`:
//!
//! | file | RESOURCE |
//! |---|---|
//! | memory.rs | memory_limit, memory_reservation, memory_swap, memory_swappiness, memory_oom_killer, memory_check |
//! | cpu.rs | cpu_shares, cpu_quota, cpu_period, cpu_burst, cpu_idle, cpu_realtime, cpu_cpus, cpu_mems |
//! | pids.rs | pids_limit, pids_zero, pids_minus_one |
//! | block_io.rs | block_io_weight, block_io_device_weight, block_io_leaf_weight, block_io_{read,write}_{bps,iops} |
//! | rest.rs | hugepages, network_class, network_priority, rdma, unified, devices |
//!
//! With NFRUN_TEST_CGROUP_MANAGER=systemd the containers are scopes of systemd's.

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod block_io;
mod cpu;
mod disk;
mod host;
mod memory;
mod pids;
mod rest;
mod row;
