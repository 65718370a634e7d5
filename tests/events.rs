//! `events`: what a container uses, and that its memory ran out, as drivers of runc read it.

#[macro_use]
mod common;

use std::fs;
use std::process::{Child, Stdio};

use common::*;

/// One `events` that runs, and its lines.
struct Listener {
    child: Child,
    lines: Lines,
}

impl Listener {
    fn start(c: &Container, flags: &[&str]) -> Self {
        let (lines, writer) = Lines::pipe();
        let mut command = c.command(&[&["events"], flags, &[&c.id]].concat());
        let child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("start the runtime");
        drop(command);
        Self { child, lines }
    }

    /// The next event, or none at the end.
    #[track_caller]
    fn event(&mut self) -> Option<Value> {
        self.lines.next().map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    #[track_caller]
    fn ends(&mut self) {
        assert_eq!(wait(&mut self.child, "events"), 0);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn stats(c: &Container) -> Value {
    let output = c.on_id(&["events", "--stats"]);
    let event: Value = serde_json::from_str(output.ok()).expect("one JSON document");
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    event["data"].clone()
}

#[test]
fn stats_are_what_the_kernels_files_say_in_runcs_shape() {
    v1_only!();
    let c = Container::sh("sleep 1000 & wait").with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 67108864});
        config["linux"]["resources"]["pids"] = json!({"limit": 77});
        config["linux"]["resources"]["cpu"] = json!({"cpus": "0"});
    });
    let c = c.up();
    eventually("both processes are there", || c.limit("pids", "pids.current") == "2");
    let data = stats(&c);
    for name in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.get(name).is_some(), "{name} in {data:#}");
    }
    assert_eq!(data["pids"], json!({"current": 2, "limit": 77}));
    assert_eq!(data["cpuset"]["cpus"], json!([0]));
    assert_eq!(data["cpuset"]["sched_relax_domain_level"], -1);
    let memory = &data["memory"];
    assert_eq!(memory["usage"]["limit"], 67108864);
    assert_eq!(memory["usage"]["failcnt"], 0);
    for file in c.limit("memory", "memory.stat").lines() {
        let (name, _) = file.split_once(' ').unwrap();
        assert!(memory["raw"][name].is_u64(), "{name}");
    }
    assert_eq!(memory["cache"], memory["raw"].get("cache").filter(|n| **n != json!(0)).cloned().unwrap_or(Value::Null));
    let usage: u64 = c.limit("memory", "memory.usage_in_bytes").parse().unwrap();
    let told = memory["usage"]["usage"].as_u64().unwrap();
    assert!(told > 0 && told.abs_diff(usage) < 8 << 20, "{told} and {usage}");
    let cpu = &data["cpu"]["usage"];
    let total: u64 = c.limit("cpuacct", "cpuacct.usage").parse().unwrap();
    assert!((1..=total).contains(&cpu["total"].as_u64().unwrap()), "{cpu}");
    let processors = c.limit("cpuacct", "cpuacct.usage_percpu").split_whitespace().count();
    for name in ["percpu", "percpu_user", "percpu_kernel"] {
        assert_eq!(cpu[name].as_array().unwrap().len(), processors, "{name}");
    }
    assert!(cpu["kernel"].is_u64() && cpu["user"].is_u64());
}

#[test]
fn throttling_and_reads_are_counted() {
    let c = Container::sh("while :; do :; done").with(|config| {
        config["linux"]["resources"]["cpu"] = json!({"quota": 5000, "period": 50000});
    });
    let c = c.up();
    eventually("it is throttled", || stats(&c)["cpu"]["throttling"]["throttledPeriods"].as_u64() > Some(2));
    let throttling = stats(&c)["cpu"]["throttling"].clone();
    assert!(throttling["periods"].as_u64() >= throttling["throttledPeriods"].as_u64(), "{throttling}");
    assert!(throttling["throttledTime"].as_u64() > Some(1_000_000), "{throttling}");
}

#[test]
fn interfaces_of_the_containers_network_are_counted_and_the_hosts_are_not_shown() {
    not_in_runc!("it shows the interfaces that it made itself: none");
    let c = Container::idle().up();
    c.exec(&["sh", "-c", "echo x | nc -w 1 127.0.0.1 9; true"]).ok();
    let interfaces = stats(&c)["network_interfaces"].clone();
    let lo = interfaces.as_array().unwrap().iter().find(|interface| interface["Name"] == "lo").expect("lo").clone();
    let text = fs::read_to_string(format!("/proc/{}/net/dev", c.pid())).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("lo:")).unwrap();
    let counters: Vec<u64> = line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect();
    assert!(counters[0] > 0, "something was sent: {line}");
    for (name, at) in
        [("RxBytes", 0), ("RxPackets", 1), ("RxErrors", 2), ("RxDropped", 3), ("TxBytes", 8), ("TxPackets", 9)]
    {
        assert_eq!(lo[name], counters[at], "{name}");
    }
    let shared = Container::idle().with(|config| bundle::drop_namespace(config, "network")).up();
    assert_eq!(stats(&shared)["network_interfaces"], Value::Null);
}

#[test]
fn a_paused_container_has_stats_and_a_stopped_or_absent_one_has_not() {
    let c = Container::idle().up();
    c.on_id(&["pause"]).ok();
    assert_eq!(stats(&c)["pids"]["current"], 1);
    c.on_id(&["resume"]).ok();
    c.kill("KILL");
    let words = format!("container with id {} is not running", c.id);
    c.on_id(&["events", "--stats"]).fails(1, &[&words]);
    c.on_id(&["events"]).fails(1, &[&words]);
    c.runtime(&["events", "--stats", "nobody"]).fails(1, &["container does not exist"]);
}

#[test]
fn an_interval_is_a_duration_above_zero() {
    let c = Container::idle().up();
    c.on_id(&["events", "--interval", "0s"]).fails(1, &["duration interval must be greater than 0"]);
    c.on_id(&["events", "--interval", "-5s"]).fails(1, &["duration interval must be greater than 0"]);
    c.on_id(&["events", "--interval", "often"]).fails(1, &["invalid value", "often", "for flag -interval"]);
}

#[test]
fn stats_come_at_intervals_until_the_container_ends() {
    let c = Container::idle().up();
    let mut listener = Listener::start(&c, &["--interval", "20ms"]);
    for _ in 0..3 {
        assert_eq!(listener.event().expect("an event")["type"], "stats");
    }
    c.kill("KILL");
    if is_reference() {
        // It waits for the cgroup's end.
        c.on_id(&["delete"]).ok();
    }
    while listener.event().is_some() {}
    listener.ends();
}

#[test]
fn it_ends_when_the_container_is_deleted_and_when_nobody_reads() {
    let c = Container::idle().up();
    let mut deleted = Listener::start(&c, &["--interval", "20ms"]);
    deleted.event().expect("an event");
    if !is_reference() {
        // The next event is an hour away: the reader's going alone ends it.
        let (lines, writer) = Lines::pipe();
        let mut unread = c.command(&["events", "--interval", "1h", &c.id]).stdout(writer).spawn().unwrap();
        drop(lines);
        assert_eq!(wait(&mut unread, "events without a reader"), 0);
    }
    c.on_id(&["delete", "--force"]).ok();
    while deleted.event().is_some() {}
    deleted.ends();
}

#[test]
fn each_listener_is_told_that_memory_ran_out_once_for_each_time() {
    let script = "while read line; do tail /dev/zero; echo survived; done";
    let c = Container::sh(script).with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 33554432, "swap": 33554432});
        // The one that takes the memory is the one to go.
        config["process"]["oomScoreAdj"] = json!(0);
    });
    let fifo = c.rootfs("/in");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let c = c.with(|config| config["process"]["args"] = json!(["sh", "-c", format!("exec < /in; {script}")]));
    let mut lines = c.up_with_lines();
    // Read and write, so that the open does not wait for the other side.
    let mut stdin = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let mut listeners = [0, 1].map(|_| Listener::start(&c, &["--interval", "200ms"]));
    for listener in &mut listeners {
        // From its first event on it listens.
        assert_eq!(listener.event().expect("an event")["type"], "stats");
    }
    for _ in 0..2 {
        std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
        assert_eq!(lines.until("survived").lines().last(), Some("survived"));
        for listener in &mut listeners {
            let oom = std::iter::from_fn(|| listener.event()).find(|event| event["type"] == "oom");
            assert_eq!(oom, Some(json!({"type": "oom", "id": c.id})));
        }
    }
    c.kill("KILL");
    if is_reference() {
        c.on_id(&["delete"]).ok();
    }
    for listener in &mut listeners {
        while listener.event().is_some() {}
        listener.ends();
    }
}

#[test]
fn the_end_of_memory_that_ends_the_container_is_told() {
    let c = Container::sh("read line < /in; exec tail /dev/zero").with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 33554432, "swap": 33554432});
    });
    let fifo = c.rootfs("/in");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let c = c.up();
    let mut listener = Listener::start(&c, &["--interval", "50ms"]);
    listener.event().expect("it listens");
    let mut stdin = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
    let oom = std::iter::from_fn(|| listener.event()).find(|event| event["type"] == "oom");
    assert!(oom.is_some(), "no notice before the end");
    c.wait_for("stopped");
    if is_reference() {
        c.on_id(&["delete"]).ok();
    }
    while listener.event().is_some() {}
    listener.ends();
}
