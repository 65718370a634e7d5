//! Many containers, and many processes in one: whatever was there is gone afterwards, soon.

#[macro_use]
mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::events::slow;
use common::*;

/// A bundle of its own for each, whose rootfs is the first's.
fn bundle_of(c: &Container, n: u32) -> (String, String) {
    let dir = c.dir.join(format!("bundle-{n}"));
    fs::create_dir(&dir).expect("make a directory");
    let mut config = c.config.clone();
    config["root"]["path"] = json!(c.bundle.join("rootfs"));
    let path = config["linux"]["cgroupsPath"].as_str().expect("a path");
    config["linux"]["cgroupsPath"] = json!(format!("{path}{n}"));
    fs::write(dir.join("config.json"), config.to_string()).expect("write config.json");
    (format!("{}-{n}", c.id), dir.to_str().expect("a text path").to_owned())
}

#[test]
fn two_hundred_containers_leave_nothing() {
    // Where everything is emulated, fewer tell the same in the same time.
    let count = if slow() > 1 { 40 } else { 200 };
    let c = Container::idle();
    let before = c.leftovers();
    let began = Instant::now();
    let all: Vec<_> = (0..count).map(|n| bundle_of(&c, n)).collect();
    let dirs = c.leftovers();
    for (id, bundle) in &all {
        c.runtime(&["create", "--bundle", bundle, id]).ok();
        c.runtime(&["start", id]).ok();
    }
    let listed = c.runtime(&["list", "--quiet"]).ok().lines().count();
    assert_eq!(listed, all.len(), "all are there at once");
    for verb in ["pause", "resume"] {
        for (id, _) in &all {
            c.runtime(&[verb, id]).ok();
        }
    }
    for (id, _) in &all {
        let state: Value = serde_json::from_str(c.runtime(&["state", id]).ok()).expect("state prints JSON");
        assert_eq!(state["status"], "running");
        let init = pidfd(state["pid"].as_i64().expect("a pid") as i32).expect("a live init");
        c.runtime(&["kill", id, "KILL"]).ok();
        assert!(ends_within(&init, LIMIT), "{id} did not end");
        eventually("a stopped container", || c.runtime(&["state", id]).stdout.contains("\"stopped\""));
        c.runtime(&["delete", id]).ok();
    }
    assert!(c.runtime(&["list", "--quiet"]).ok().is_empty());
    before.assert_nothing_new();
    dirs.assert_nothing_new();
    let limit = Duration::from_secs(120) * slow();
    assert!(began.elapsed() < limit, "{count} containers took {:?}", began.elapsed());
}

#[test]
fn delete_force_of_a_container_with_a_fork_bomb_ends_within_two_seconds() {
    let script = "bomb() { bomb | bomb & }; bomb 2>/dev/null; while :; do bomb 2>/dev/null; usleep 1000; done";
    for namespace in ["a pid namespace of its own", "the host's"] {
        let c = Container::sh(script).with(|config| {
            // Enough to be a bomb, and to spare the machine, of which an emulated one can do less at a time.
            config["linux"]["resources"]["pids"] = json!({"limit": 400 / slow()});
            if namespace == "the host's" {
                bundle::drop_namespace(config, "pid");
            }
        });
        let before = c.leftovers();
        let c = c.up();
        eventually("the bomb has gone off", || {
            c.limit("pids", "pids.current").parse::<u32>().is_ok_and(|count| count > 300 / slow())
        });
        let began = Instant::now();
        c.on_id(&["delete", "--force"]).ok();
        let took = began.elapsed();
        before.assert_nothing_new();
        assert!(took < Duration::from_secs(2) * slow(), "in {namespace}: delete --force took {took:?}");
    }
}
