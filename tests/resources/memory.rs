//! linux.resources.memory

use std::fs;

use super::common::outside::{cgroup_dir, is_v2};
use super::common::*;
use super::host::{MIB, Swap};
use super::row::{Row, update, with_resources};

fn memory_limit() -> Row {
    let limit = |mib: u64| json!({"memory": {"limit": mib * MIB}});
    Row::new("linux.resources.memory.limit", limit(64), limit(48))
        .v1("memory", "memory.limit_in_bytes", 64 * MIB, 48 * MIB)
        .v2("memory.max", 64 * MIB, 48 * MIB)
}

#[test]
fn memory_limit_is_set() {
    memory_limit().is_set();
}

#[test]
fn memory_limit_is_updated() {
    memory_limit().is_updated();
}

#[test]
fn memory_limit_is_felt() {
    let memory = json!({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}});
    let c = with_resources(Container::idle(), &memory);
    if fs::metadata(cgroup_dir("memory", "")).is_err() {
        skip!("no memory controller");
    }
    // The kernel may count no swap, and this machine have none.
    let c = match c.try_create().code {
        0 => c,
        _ => with_resources(c, &json!({"memory": {"limit": 16 * MIB}})),
    };
    if c.on_id(&["state"]).code != 0 {
        c.create();
    }
    c.start();
    assert_eq!(c.exec(&["tail", "/dev/zero"]).code, 137, "SIGKILL");
    assert_eq!(c.exec(&["echo", "alive"]).ok(), "alive", "the one that takes the memory is the one to go");
}

fn memory_reservation() -> Row {
    let reservation = |mib: u64| json!({"memory": {"reservation": mib * MIB}});
    Row::new("linux.resources.memory.reservation", reservation(32), reservation(24))
        .v1("memory", "memory.soft_limit_in_bytes", 32 * MIB, 24 * MIB)
        .v2("memory.low", 32 * MIB, 24 * MIB)
}

#[test]
fn memory_reservation_is_set() {
    memory_reservation().is_set();
}

#[test]
fn memory_reservation_is_updated() {
    memory_reservation().is_updated();
}

#[test]
fn memory_reservation_is_felt() {
    skip!("only when the whole machine runs out of memory, which is not a test's to bring about");
}

/// Memory and swap together, of which cgroup2 has a file for swap alone.
fn memory_swap() -> Row {
    let both = |limit: u64, swap: u64| json!({"memory": {"limit": limit * MIB, "swap": swap * MIB}});
    Row::new("linux.resources.memory.swap", both(64, 96), both(48, 64))
        .v1("memory", "memory.memsw.limit_in_bytes", 96 * MIB, 64 * MIB)
        .v2("memory.swap.max", 32 * MIB, 16 * MIB)
        .v2("memory.max", 64 * MIB, 48 * MIB)
}

#[test]
fn memory_swap_is_set() {
    memory_swap().is_set();
}

#[test]
fn memory_swap_is_updated() {
    memory_swap().is_updated();
}

#[test]
fn memory_swap_is_felt() {
    let Some(_swap) = Swap::on(96) else {
        skip!("to swap is the whole machine's, and this one is not the test's own");
    };
    let row = memory_swap();
    let Some(probe) = row.create(Container::idle()) else { return };
    if is_v2() && !probe.cgroup("").join("memory.swap.max").exists() {
        skip!("this kernel counts no swap");
    }
    // More than the limit, less than with swap.
    let takes = ["dd", "if=/dev/zero", "of=/dev/null", "bs=24M", "count=1"];
    let c = with_resources(Container::idle(), &json!({"memory": {"limit": 12 * MIB, "swap": 60 * MIB}})).up();
    assert_eq!(c.exec(&takes).code, 0);
    update(&c, &json!({"memory": {"limit": 12 * MIB, "swap": 12 * MIB}})).ok();
    assert_ne!(c.exec(&takes).code, 0, "without swap it does not fit");
}

fn memory_swappiness() -> Row {
    let swappiness = |n: u64| json!({"memory": {"swappiness": n}});
    Row::new("linux.resources.memory.swappiness", swappiness(30), swappiness(70)).v1(
        "memory",
        "memory.swappiness",
        30,
        70,
    )
}

#[test]
fn memory_swappiness_is_set() {
    memory_swappiness().is_set();
}

#[test]
fn memory_swappiness_is_updated() {
    memory_swappiness().is_updated();
}

#[test]
fn memory_swappiness_is_felt() {
    skip!("it is the kernel's inclination, and no number of pages follows from it");
}

fn memory_oom_killer() -> Row {
    let disabled = |disabled: bool| json!({"memory": {"limit": 16 * MIB, "disableOOMKiller": disabled}});
    Row::new("linux.resources.memory.disableOOMKiller", disabled(true), disabled(false)).v1(
        "memory",
        "memory.oom_control",
        "oom_kill_disable 1",
        "oom_kill_disable 0",
    )
}

#[test]
fn memory_oom_killer_is_set() {
    memory_oom_killer().is_set();
}

#[test]
fn memory_oom_killer_is_updated() {
    memory_oom_killer().is_updated();
}

#[test]
fn memory_oom_killer_is_felt() {
    let Some(c) = memory_oom_killer().create(Container::idle()) else { return };
    c.start();
    // By its own writes: a system call that meets the limit fails and waits for nobody.
    let script = "x=0123456789abcdef; while :; do x=$x$x; done";
    let mut greedy = c.command(&["exec", &c.id, "sh", "-c", script]).spawn().expect("start the runtime");
    eventually("a process waits for memory", || c.limit("memory", "memory.oom_control").contains("under_oom 1"));
    assert!(greedy.try_wait().expect("wait").is_none(), "it waits and is not killed");
    update(&c, &json!({"memory": {"disableOOMKiller": false}})).ok();
    assert_eq!(wait(&mut greedy, "the greedy process"), 137);
}

#[test]
fn memory_check_is_felt() {
    let script = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo up; while :; do sleep 1000; done; echo $x";
    let memory = json!({"memory": {"limit": 256 * MIB, "checkBeforeUpdate": true}});
    let c = with_resources(Container::sh(script), &memory);
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    update(&c, &json!({"memory": {"limit": MIB}}))
        .fails(1, &["linux.resources.memory.limit", "rejecting memory limit 1048576 <= usage", "checkBeforeUpdate"]);
    assert_eq!(
        c.limit("memory", if is_v2() { "memory.max" } else { "memory.limit_in_bytes" }),
        (256 * MIB).to_string()
    );
}

#[test]
fn memory_of_the_kernel_is_no_limit_and_that_is_said() {
    let c = with_resources(Container::idle(), &json!({"memory": {"kernel": MIB, "kernelTCP": MIB}}));
    let output = c.try_create();
    output.ok();
    assert!(output.stderr.contains("ignored"), "{output:?}");
}
