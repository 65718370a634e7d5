//! A crash at every step of a container with two interfaces and a published port, and many containers of which some are
//! killed half-way: after `gc` nothing of them is on the host, as the kernel says. Needs the cargo feature `fault`.

#[macro_use]
mod common;

use common::lab::Host;
use common::*;

/// More steps than any plan has.
const MOST_STEPS: usize = 500;

const FLAGS: [&str; 6] = ["--network", "nf0", "--network", "nf1,rate-in=8mbit", "--publish", "8080:80"];

fn lab() -> Host {
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24", "--subnet", "fd00:88::/64", "--ipv6"]);
    host.make(&["nf1", "--subnet", "10.89.0.0/24"]);
    host
}

/// A command with a fault in it.
#[track_caller]
fn faulty(host: &Host, fault: &str, words: &[&str]) -> Output {
    host.c.finish(host.command(words).env("NFRUN_FAULT", fault))
}

/// `gc` clears what is half-made; what was whole already is deleted as a user does.
#[track_caller]
fn clear(host: &Host, before: &str, what: &str) {
    assert_eq!(host.nfrun(&["gc"]).code, 0, "gc after {what}");
    if host.nfrun(&["state", "x"]).code == 0 {
        host.delete("x");
    }
    host.is_as_before(before);
    assert_eq!(host.exec("bystander", "ping -c 1 -W 5 10.88.0.1").code, 0, "the one beside it, after {what}");
}

/// Goes through every step of a side until the command meets no fault any more.
#[track_caller]
fn every_step(side: &str, mut at: impl FnMut(&str) -> bool) {
    let steps = (0..MOST_STEPS).find(|k| at(&format!("kill:{side}:{k}")));
    let steps = steps.unwrap_or_else(|| panic!("{side}: {MOST_STEPS} steps and no end"));
    assert!(steps > 0, "{side}: no fault was ever met; is the feature `fault` built in?");
    println!("{side}: {steps} steps");
}

#[test]
fn either_side_killed_before_any_step_of_create_leaves_nothing() {
    needs_veth!();
    let host = lab();
    host.run("bystander", &["--network", "nf0"]);
    let before = host.traces();
    let bundle = host.bundle("sleep 1000", |_| {});
    let words = [&["create", "--bundle", bundle.to_str().unwrap()], &FLAGS[..], &["x"]].concat();
    every_step("runtime", |fault| {
        let output = faulty(&host, fault, &words);
        assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
        clear(&host, &before, fault);
        output.code == 0
    });
    every_step("init", |fault| {
        let output = faulty(&host, fault, &words);
        if output.code != 0 {
            assert!(output.code == 1 && !output.stderr.trim().is_empty(), "the runtime says what happened: {output:?}");
            // The runtime has undone it itself.
            host.is_as_before(&before);
        }
        clear(&host, &before, fault);
        output.code == 0
    });
}

#[test]
fn a_delete_killed_before_any_step_is_finished_by_gc() {
    needs_veth!();
    let host = lab();
    host.run("bystander", &["--network", "nf0"]);
    let before = host.traces();
    every_step("runtime", |fault| {
        host.run("x", &FLAGS);
        let output = faulty(&host, fault, &["delete", "--force", "x"]);
        assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
        clear(&host, &before, fault);
        output.code == 0
    });
}

/// How often: a fifth of it where everything is emulated.
fn cycles() -> usize {
    if events::slow() > 1 { 100 } else { 500 }
}

#[test]
fn after_many_cycles_with_some_killed_nothing_is_left() {
    needs_veth!();
    let host = lab();
    let before = host.traces();
    let bundle = host.bundle("sleep 1000", |_| {});
    // Steps that are as good as random, and the same each time.
    let mut number: u32 = 12345;
    let mut killed = 0;
    for cycle in 0..cycles() {
        let words = [&["create", "--bundle", bundle.to_str().unwrap()], &FLAGS[..], &["x"]].concat();
        number = number.wrapping_mul(1_103_515_245).wrapping_add(12345);
        if cycle % 5 == 0 {
            let (verb, step) = (number >> 16 & 1, (number >> 17) % 40);
            let fault = format!("kill:runtime:{step}");
            let created = faulty(&host, if verb == 0 { &fault } else { "" }, &words).code;
            let deleted = faulty(&host, if verb == 1 { &fault } else { "" }, &["delete", "--force", "x"]).code;
            killed += usize::from(created == 137 || deleted == 137);
        } else {
            // What was killed before is in nobody's way.
            host.nfrun(&["delete", "--force", "x"]).ok();
            let output = host.nfrun(&words);
            assert_eq!(output.code, 0, "cycle {cycle}: {output:?}");
            host.nfrun(&["delete", "--force", "x"]).ok();
        }
    }
    println!("{} cycles, {killed} killed", cycles());
    assert!(killed * 10 > cycles(), "{killed} were killed; is the feature `fault` built in?");
    host.nfrun(&["gc"]).ok();
    host.is_as_before(&before);
    // A network namespace is held by a process or a mount.
    let config: Value = serde_json::from_str(&std::fs::read_to_string(bundle.join("config.json")).unwrap()).unwrap();
    let place = config["linux"]["cgroupsPath"].as_str().unwrap();
    // A process that has ended and is not reaped yet holds none.
    let holders =
        format!("for p in $(grep -l {place} /proc/[0-9]*/cgroup 2> /dev/null); do readlink ${{p%cgroup}}ns/net; done");
    assert_eq!(host.try_sh(&holders).stdout, "", "processes");
    assert_eq!(host.try_sh("grep nsfs /proc/self/mountinfo").stdout, "", "mounts");
}

/// What a boot takes is taken by hand: processes, interfaces, the packet filter, and /run. The root is on a disk.
#[test]
fn after_a_reboot_gc_leaves_nothing_and_all_can_be_made_again() {
    needs_veth!();
    for run_outlives in [false, true] {
        let host = lab();
        let before = host.traces();
        let bundle = host.bundle("sleep 1000", |_| {});
        let create = |id: &str, fault: &str| {
            let words = [&["create", "--bundle", bundle.to_str().unwrap()], &FLAGS[..4], &[id]].concat();
            faulty(&host, fault, &words).code
        };
        for k in 0..20 {
            create(&format!("c{k}"), if k % 2 == 0 { "" } else { "kill:runtime:9" });
        }
        for k in 0..20 {
            let record = host.c.root.join(format!("c{k}/undo"));
            let Ok(text) = std::fs::read_to_string(&record) else { continue };
            for line in text.lines().skip(1).filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                if let Some(pid) = line["process"]["pid"].as_i64() {
                    // SAFETY: a plain system call; the process is one that this test has started.
                    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                }
            }
            // A record of a later uptime than now is another boot's.
            let (head, rest) = text.split_once('\n').unwrap();
            let mut head: Value = serde_json::from_str(head).unwrap();
            head["uptime"] = json!(u64::MAX);
            std::fs::write(&record, format!("{head}\n{rest}")).unwrap();
        }
        host.sh("nft flush ruleset
             for link in $(ip -o link | sed 's/^[0-9]*: //; s/[@:].*//' | grep -v '^lo$'); do ip link del $link 2> /dev/null || true; done");
        if !run_outlives {
            host.sh("rm -rf /run/nfrun-networks");
        }
        host.nfrun(&["gc"]).ok();
        assert_eq!(host.nfrun(&["list", "--quiet"]).ok().trim(), "", "no container is left");
        host.is_as_before(&before);
        assert_eq!(create("again", ""), 0);
        host.delete("again");
        host.is_as_before(&before);
    }
}
