//! linux.resources.cpu

use super::common::events::slow;
use super::common::outside::is_v2;
use super::common::*;
use super::host::{beside, by_host, cpu_time, processors, share, stat, with_host_programs, write_in_parent};
use super::row::{Row, update, with_resources};

const BUSY: &str = "while :; do :; done";

/// Weights by the curve through (2, 1), (1024, 100) and (262144, 10000).
fn cpu_shares() -> Row {
    let shares = |n: u64| json!({"cpu": {"shares": n}});
    Row::new("linux.resources.cpu.shares", shares(512), shares(2048)).v1("cpu", "cpu.shares", 512, 2048).v2(
        "cpu.weight",
        59,
        174,
    )
}

#[test]
fn cpu_shares_is_set() {
    cpu_shares().is_set();
}

#[test]
fn cpu_shares_is_updated() {
    cpu_shares().is_updated();
}

/// Two that want the same processor.
fn rivals(first: &Value, second: &Value) -> [Container; 2] {
    let busy = |resources: &Value| {
        let c = with_resources(Container::sh(BUSY), resources);
        c.with(|config| config["linux"]["resources"]["cpu"]["cpus"] = json!("0"))
    };
    let first = busy(first);
    let second = beside(&first, busy(second));
    // Beside one that is busy, one that gets nothing would not even start.
    first.create();
    second.create().start();
    first.start();
    [first, second]
}

#[test]
fn cpu_shares_is_felt() {
    let [first, second] = rivals(&json!({"cpu": {"shares": 4096}}), &json!({"cpu": {"shares": 256}}));
    let had = share(&first, &second);
    assert!(had > 3.0, "sixteen times the share had {had:.2} times the time");
    update(&first, &json!({"cpu": {"shares": 256}})).ok();
    update(&second, &json!({"cpu": {"shares": 4096}})).ok();
    let had = share(&first, &second);
    assert!(had < 0.33, "a sixteenth of the share had {had:.2} times the time");
}

fn cpu_quota() -> Row {
    let quota = |n: i64| json!({"cpu": {"quota": n}});
    Row::new("linux.resources.cpu.quota", quota(25000), quota(40000))
        .v1("cpu", "cpu.cfs_quota_us", 25000, 40000)
        .v1("cpu", "cpu.cfs_period_us", 100_000, 100_000)
        .v2("cpu.max", "25000 100000", "40000 100000")
}

#[test]
fn cpu_quota_is_set() {
    cpu_quota().is_set();
}

#[test]
fn cpu_quota_is_updated() {
    cpu_quota().is_updated();
}

/// What a container uses in a number of periods is at most its quota in each, and on each processor what was handed out
/// to it before: slices of 5 ms (sched-bwc.rst).
#[track_caller]
fn assert_within(c: &Container, quota: u64) {
    let (before, periods) = (cpu_time(c), stat(c, "nr_periods"));
    eventually("ten more periods", || stat(c, "nr_periods") >= periods + 10);
    let used = cpu_time(c) - before;
    let periods = stat(c, "nr_periods") - periods;
    // One more has begun; the clock ticks, and a tick may come late. In an emulated machine what the host takes away
    // meanwhile counts as used.
    let most = (quota * (periods + 1) + 10_000 * processors() as u64) * u64::from(slow());
    assert!(used <= most, "{used} us used in {periods} periods of {quota} us");
    // What it took too much of is paid back first, for which it may stand still for longer.
    eventually("it goes on", || cpu_time(c) > before);
    eventually("it is throttled", || stat(c, "nr_throttled") > 2);
}

#[test]
fn cpu_quota_is_felt() {
    let c = with_resources(Container::sh(BUSY), &json!({"cpu": {"quota": 12000, "period": 100_000}})).up();
    assert_within(&c, 12000);
    update(&c, &json!({"cpu": {"quota": 6000}})).ok();
    assert_within(&c, 6000);
}

fn cpu_period() -> Row {
    let period = |quota: i64, period: u64| json!({"cpu": {"quota": quota, "period": period}});
    Row::new("linux.resources.cpu.period", period(25000, 50000), json!({"cpu": {"period": 200_000}}))
        .v1("cpu", "cpu.cfs_period_us", 50000, 200_000)
        .v1("cpu", "cpu.cfs_quota_us", 25000, 25000)
        .v2("cpu.max", "25000 50000", "25000 200000")
}

#[test]
fn cpu_period_is_set() {
    cpu_period().is_set();
}

#[test]
fn cpu_period_is_updated() {
    cpu_period().is_updated();
}

#[test]
fn cpu_period_is_felt() {
    let c = with_resources(Container::sh(BUSY), &json!({"cpu": {"quota": 12000, "period": 100_000}})).up();
    assert_within(&c, 12000);
    // Half the share.
    update(&c, &json!({"cpu": {"period": 200_000}})).ok();
    assert_within(&c, 12000);
}

fn cpu_burst() -> Row {
    let burst = |n: u64| json!({"cpu": {"quota": 30000, "period": 100_000, "burst": n}});
    Row::new("linux.resources.cpu.burst", burst(20000), json!({"cpu": {"burst": 10000}}))
        .v1("cpu", "cpu.cfs_burst_us", 20000, 10000)
        .v2("cpu.max.burst", 20000, 10000)
}

#[test]
fn cpu_burst_is_set() {
    cpu_burst().is_set();
}

#[test]
fn cpu_burst_is_updated() {
    cpu_burst().is_updated();
    // Below the burst that was, which the kernel refuses until the new one is there.
    let both = |quota: u64, burst: u64| json!({"cpu": {"quota": quota, "period": 100_000, "burst": burst}});
    Row::new("linux.resources.cpu.burst", both(30000, 20000), both(12000, 10000))
        .v1("cpu", "cpu.cfs_burst_us", 20000, 10000)
        .v2("cpu.max.burst", 20000, 10000)
        .v2("cpu.max", "30000 100000", "12000 100000")
        .is_updated();
}

#[test]
fn cpu_burst_is_felt() {
    // It saves what it may use while it sleeps, and then wants more than a period's.
    let script = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; usleep 200000; done";
    let row = Row::new("linux.resources.cpu.burst", json!({"cpu": {"quota": 10000, "burst": 10000}}), json!({}))
        .v1("cpu", "cpu.cfs_burst_us", 10000, "")
        .v2("cpu.max.burst", 10000, "");
    let Some(c) = row.create(Container::sh(script)) else { return };
    c.start();
    eventually("it has burst", || stat(&c, "nr_bursts") > 0);
}

fn cpu_idle() -> Row {
    let idle = |n: i64| json!({"cpu": {"idle": n}});
    Row::new("linux.resources.cpu.idle", idle(1), idle(0)).v1("cpu", "cpu.idle", 1, 0).v2("cpu.idle", 1, 0)
}

#[test]
fn cpu_idle_is_set() {
    cpu_idle().is_set();
}

#[test]
fn cpu_idle_is_updated() {
    cpu_idle().is_updated();
}

#[test]
fn cpu_idle_is_felt() {
    let Some(probe) = cpu_idle().create(Container::idle()) else { return };
    drop(probe);
    let [first, second] = rivals(&json!({}), &json!({"cpu": {"idle": 1}}));
    let had = share(&first, &second);
    assert!(had > 5.0, "beside an idle one it had {had:.2} times the time");
}

fn cpu_realtime() -> Row {
    let runtime = |n: i64| json!({"cpu": {"realtimeRuntime": n, "realtimePeriod": 500_000}});
    Row::new("linux.resources.cpu.realtime", runtime(20000), runtime(10000))
        .v1("cpu", "cpu.rt_runtime_us", 20000, 10000)
        .v1("cpu", "cpu.rt_period_us", 500_000, 500_000)
}

/// The container's parent, which has to have some to give, with as much as it may.
fn realtime_in_parent() -> Container {
    let c = with_host_programs(Container::idle());
    if !is_v2() {
        let _ = write_in_parent(&c, "cpu", "cpu.rt_runtime_us", "100000");
    }
    c
}

#[test]
fn cpu_realtime_is_set() {
    let Some(c) = cpu_realtime().create(realtime_in_parent()) else { return };
    assert_eq!(c.limit("cpu", "cpu.rt_runtime_us"), "20000");
    assert_eq!(c.limit("cpu", "cpu.rt_period_us"), "500000");
}

#[test]
fn cpu_realtime_is_updated() {
    let Some(c) = cpu_realtime().create(realtime_in_parent()) else { return };
    c.start();
    update(&c, &json!({"cpu": {"realtimeRuntime": 10000}})).ok();
    assert_eq!(c.limit("cpu", "cpu.rt_runtime_us"), "10000");
    update(&c, &json!({"cpu": {"realtimeRuntime": 400_000}})).fails(1, &["linux.resources.cpu.realtimeRuntime"]);
    assert_eq!(c.limit("cpu", "cpu.rt_runtime_us"), "10000");
}

#[test]
fn cpu_realtime_is_felt() {
    let Some(c) = cpu_realtime().create(realtime_in_parent()) else { return };
    c.start();
    by_host(&c, &["chrt", "--fifo", "1", "true"]).ok();
    let none = with_host_programs(Container::idle()).up();
    assert_ne!(by_host(&none, &["chrt", "--fifo", "1", "true"]).code, 0, "without any, nothing may be realtime");
}

fn cpu_cpus() -> Row {
    let last = (processors() - 1).to_string();
    let cpus = |list: &str| json!({"cpu": {"cpus": list}});
    Row::new("linux.resources.cpu.cpus", cpus("0"), cpus(&last)).v1("cpuset", "cpuset.cpus", 0, &last).v2(
        "cpuset.cpus",
        0,
        &last,
    )
}

#[test]
fn cpu_cpus_is_set() {
    cpu_cpus().is_set();
}

#[test]
fn cpu_cpus_is_updated() {
    cpu_cpus().is_updated();
}

#[test]
fn cpu_cpus_is_felt() {
    let last = (processors() - 1).to_string();
    let c = with_resources(Container::idle(), &json!({"cpu": {"cpus": "0"}})).up();
    assert_eq!(proc_status(c.pid(), "Cpus_allowed_list"), "0");
    update(&c, &json!({"cpu": {"cpus": last}})).ok();
    assert_eq!(proc_status(c.pid(), "Cpus_allowed_list"), last);
    assert_eq!(c.exec(&["grep", "Cpus_allowed_list", "/proc/self/status"]).ok(), format!("Cpus_allowed_list:\t{last}"));
}

fn cpu_mems() -> Row {
    let mems = json!({"cpu": {"mems": "0"}});
    Row::new("linux.resources.cpu.mems", mems.clone(), mems).v1("cpuset", "cpuset.mems", 0, 0).v2("cpuset.mems", 0, 0)
}

#[test]
fn cpu_mems_is_set() {
    cpu_mems().is_set();
}

#[test]
fn cpu_mems_is_updated() {
    cpu_mems().is_updated();
}

#[test]
fn cpu_mems_is_felt() {
    let Some(c) = cpu_mems().create(Container::idle()) else { return };
    c.start();
    assert_eq!(proc_status(c.pid(), "Mems_allowed_list"), "0");
    update(&c, &json!({"cpu": {"mems": "63"}})).fails(1, &["linux.resources.cpu.mems"]);
    assert_eq!(proc_status(c.pid(), "Mems_allowed_list"), "0");
}
