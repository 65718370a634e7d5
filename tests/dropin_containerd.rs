//! Debian's containerd and its shim drive the runtime, as `ctr` asks them to.

#[macro_use]
mod common;

use std::process::Command;

use common::aside::installed;
use common::containerd::Containerd;
use common::machine::{Manager, unit_property};
use common::*;

macro_rules! containerd {
    () => {{
        if !installed("containerd") || !installed("ctr") || !installed("containerd-shim-runc-v2") {
            skip!("containerd, ctr or containerd-shim-runc-v2 is not installed");
        }
        Containerd::new()
    }};
}

/// ctr gives a root filesystem no PATH.
const SERVICE: &[&str] = &["/bin/sh", "-c", "trap 'exit 3' TERM; while :; do /bin/usleep 20000; done"];

#[test]
fn run_gives_output_and_exit_code_and_leaves_no_task() {
    let d = containerd!();
    let output = d.run(&["--rm"], "one", &["/bin/sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((output.code, output.stdout.as_str()), (42, "out\n"), "{output:?}");
    assert!(output.stderr.contains("err\n"), "{output:?}");
    assert_eq!(d.status("one"), "absent");
    match d.manager {
        Manager::Cgroupfs => assert!(!outside::cgroup_dir("pids", &d.cgroup_of("one")).exists(), "its cgroup is gone"),
        Manager::Systemd => {
            eventually("its scope is gone", || unit_property("nfrun-ctr-one.scope", "LoadState") == "not-found");
        }
    }
}

#[test]
fn installed_as_runc_the_shim_finds_it_in_its_path() {
    if !installed("containerd") || !installed("ctr") || !installed("containerd-shim-runc-v2") {
        skip!("containerd, ctr or containerd-shim-runc-v2 is not installed");
    }
    let c = Container::new(&["true"]);
    let path = install::path_with(&install::as_runc(&c));
    let d = Containerd::of(c, |daemon| {
        daemon.env("PATH", &path);
    });
    let run = |options: &[&str], id: &str, words: &[&str]| {
        let all = d.run_words_with(None, options, id, words);
        d.ctr(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let error = run(&["--rm"], "one", &["nosuch"]);
    error.fails(1, &["OCI runtime create failed", "executable file not found in $PATH"]);
    run(&["--detach"], "s", SERVICE).ok();
    let state = d.c.dir.join("ctd-state/io.containerd.runtime.v2.task/default/s");
    assert!(state.exists(), "{}", state.display());
    let undo = d.aside.command(&["find", "/run/containerd/runc/default/s", "-name", "undo"]).output().unwrap();
    assert!(!undo.stdout.is_empty(), "the state of the container is nfrun's");
    d.ctr(&["tasks", "kill", "s"]).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
    assert!(d.ctr(&["tasks", "delete", "s"]).code != 1);
}

#[test]
fn a_missing_command_is_told_through_the_shim() {
    let d = containerd!();
    let output = d.run(&["--rm"], "one", &["/bin/nosuch"]);
    output.fails(1, &["OCI runtime create failed", "/bin/nosuch", "no such file or directory"]);
    let output = d.run(&["--rm"], "two", &["nosuch"]);
    output.fails(1, &["executable file not found in $PATH"]);
}

#[test]
fn a_task_is_run_entered_paused_killed_and_deleted() {
    let d = containerd!();
    d.run(&["--detach"], "s", SERVICE).ok();
    assert_eq!(d.status("s"), "RUNNING");
    let exec = d.ctr(&["tasks", "exec", "--exec-id", "e", "s", "/bin/sh", "-c", "echo execd; exit 7"]);
    assert_eq!((exec.code, exec.stdout.as_str()), (7, "execd\n"), "{exec:?}");
    d.ctr(&["tasks", "pause", "s"]).ok();
    assert_eq!(d.status("s"), "PAUSED");
    d.ctr(&["tasks", "resume", "s"]).ok();
    assert_eq!(d.status("s"), "RUNNING");
    let processes = d.ctr(&["tasks", "ps", "s"]).ok().lines().count();
    assert!(processes >= 2, "a head and at least the service");
    d.ctr(&["tasks", "kill", "s"]).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
    let deleted = d.ctr(&["tasks", "delete", "s"]);
    assert!(deleted.code == 3 || deleted.stderr.contains("exit code 3"), "{deleted:?}");
    d.ctr(&["containers", "delete", "s"]).ok();
    assert_eq!(d.ctr(&["containers", "ls", "--quiet"]).ok(), "");
}

#[test]
fn a_task_that_does_not_listen_is_killed_by_force() {
    let d = containerd!();
    d.run(&["--detach"], "deaf", &["/bin/sleep", "1000"]).ok();
    d.ctr(&["tasks", "kill", "--signal", "KILL", "deaf"]).ok();
    eventually("it stopped", || d.status("deaf") == "STOPPED");
    let deleted = d.ctr(&["tasks", "delete", "deaf"]);
    assert!(deleted.code == 137 || deleted.stderr.contains("137"), "{deleted:?}");
}

#[test]
fn a_running_task_is_deleted_by_force_with_all_its_processes() {
    let d = containerd!();
    d.run(&["--detach"], "s", SERVICE).ok();
    let cgroup = outside::cgroup_of(d.pid("s"), "pids");
    let inside = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    let inside: Vec<i32> = inside.lines().map(|pid| pid.parse().unwrap()).collect();
    assert!(!inside.is_empty());
    let inside: Vec<_> = inside.into_iter().filter_map(pidfd).collect();
    d.ctr(&["tasks", "delete", "--force", "s"]);
    assert!(inside.iter().all(|process| ends_within(process, LIMIT)));
    eventually("its cgroup is gone", || !cgroup.exists());
}

#[test]
fn a_terminal_passes_keys_and_exit_code() {
    let d = containerd!();
    let script = "/bin/tty; read a; echo got $a; exit 9";
    let words = d.run_words(&["--rm", "--tty"], "t", &["/bin/sh", "-c", script]);
    assert_eq!(d.type_into(&words.iter().map(String::as_str).collect::<Vec<_>>()), 9);
}

#[test]
fn limits_arrive_and_metrics_are_the_kernels() {
    let d = containerd!();
    let options = ["--detach", "--memory-limit", "67108864", "--cpu-quota", "50000", "--cpu-period", "100000"];
    d.run(&options, "s", SERVICE).ok();
    let pid = d.pid("s");
    assert_eq!(outside::limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    let quota = outside::limit_of(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next().unwrap(), "50000");
    let metrics = d.ctr(&["tasks", "metrics", "--format", "json", "s"]);
    let metrics: Value = serde_json::from_str(metrics.ok()).expect("JSON");
    let text = metrics.to_string();
    assert!(text.contains("67108864"), "the limit is in {text}");
    assert!(text.contains("\"pids\""), "{text}");
    if d.manager == Manager::Systemd {
        assert_eq!(unit_property("nfrun-ctr-s.scope", "MemoryMax"), "67108864");
        assert!(Command::new("systemctl").arg("daemon-reload").status().expect("start systemctl").success());
        assert_eq!(outside::limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    }
    d.ctr(&["tasks", "kill", "--signal", "KILL", "s"]).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
}

#[test]
fn exec_with_a_terminal_has_one() {
    let d = containerd!();
    d.run(&["--detach"], "s", SERVICE).ok();
    let script = "/bin/tty; read a; echo got $a; exit 4";
    assert_eq!(d.type_into(&["tasks", "exec", "--tty", "--exec-id", "e", "s", "/bin/sh", "-c", script]), 4);
}
