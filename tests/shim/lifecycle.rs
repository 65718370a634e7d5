//! A task from its creation to its end.

use std::process::Stdio;

use crate::common::machine::{Manager, unit_property};
use crate::common::*;
use crate::{SERVICE, common, shims};

#[test]
fn run_gives_output_and_exit_code_and_leaves_nothing() {
    let d = with_containerd!();
    let output = d.run(&["--rm"], "one", &["/bin/sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((output.code, output.stdout.as_str()), (42, "out\n"), "{output:?}");
    assert!(output.stderr.contains("err\n"), "{output:?}");
    assert_eq!(d.status("one"), "absent");
    assert!(!outside::cgroup_dir("pids", &d.cgroup_of("one")).exists(), "its cgroup is gone");
    eventually("its shim is gone", || shims(&d).is_empty());
    let look = ["find", "/run/containerd/s", "/run/containerd/nfrun/default", "-mindepth", "1"];
    let left = d.aside.command(&look).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "no socket and no state is left");
}

#[test]
fn a_missing_command_is_told() {
    let d = with_containerd!();
    d.run(&["--rm"], "one", &["/bin/nosuch"])
        .fails(1, &["OCI runtime create failed", "/bin/nosuch", "no such file or directory"]);
    d.run(&["--rm"], "two", &["nosuch"]).fails(1, &["executable file not found in $PATH"]);
    eventually("no shim is left", || shims(&d).is_empty());
}

#[test]
fn a_task_is_run_entered_paused_killed_and_deleted() {
    let d = with_containerd!();
    d.run(&["--detach"], "s", SERVICE).ok();
    assert_eq!(d.status("s"), "RUNNING");
    let exec = d.ctr(&["tasks", "exec", "--exec-id", "e", "s", "/bin/sh", "-c", "echo execd; exit 7"]);
    assert_eq!((exec.code, exec.stdout.as_str()), (7, "execd\n"), "{exec:?}");
    let exec = d.ctr(&["tasks", "exec", "--exec-id", "e", "s", "/bin/nosuch"]);
    exec.fails(1, &["OCI runtime exec failed", "/bin/nosuch"]);
    d.ctr(&["tasks", "pause", "s"]).ok();
    assert_eq!(d.status("s"), "PAUSED");
    let frozen = outside::limit_of(d.pid("s"), "freezer", "freezer.state", "cgroup.events");
    assert!(frozen.contains("FROZEN") || frozen.contains("frozen 1"), "frozen by the kernel: {frozen}");
    d.ctr(&["tasks", "resume", "s"]).ok();
    assert_eq!(d.status("s"), "RUNNING");
    let pid = d.pid("s").to_string();
    assert!(d.ctr(&["tasks", "ps", "s"]).ok().lines().any(|line| line.starts_with(&pid)));
    d.ctr(&["tasks", "kill", "s"]).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
    let deleted = d.ctr(&["tasks", "delete", "s"]);
    assert!(deleted.code == 3 || deleted.stderr.contains("exit code 3"), "{deleted:?}");
    d.ctr(&["containers", "delete", "s"]).ok();
    eventually("no shim is left", || shims(&d).is_empty());
}

#[test]
fn limits_arrive_are_updated_and_metrics_are_the_kernels() {
    let d = with_containerd!();
    d.run(&["--detach", "--memory-limit", "67108864"], "s", SERVICE).ok();
    let pid = d.pid("s");
    assert_eq!(outside::limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    let metrics = d.ctr(&["tasks", "metrics", "--format", "json", "s"]);
    let metrics: Value = serde_json::from_str(metrics.ok()).expect("JSON");
    let field = |v1: [&str; 3], v2: [&str; 2]| {
        let found = v1.iter().try_fold(&metrics, |at, name| at.get(name));
        found.or_else(|| v2.iter().try_fold(&metrics, |at, name| at.get(name))).cloned()
    };
    assert_eq!(field(["memory", "usage", "limit"], ["memory", "usage_limit"]), Some(json!(67108864)), "{metrics}");
    let pids = field(["pids", "current", ""], ["pids", "current"]).and_then(|pids| pids.as_u64()).unwrap();
    assert!((1..=2).contains(&pids), "the shell and its child: {metrics}");
    let cpu = field(["cpu", "usage", "total"], ["cpu", "usage_usec"]).and_then(|usage| usage.as_u64());
    assert!(cpu > Some(0), "{metrics}");
}

#[test]
fn nothing_of_the_shim_is_inherited() {
    let d = with_containerd!();
    d.run(&["--detach"], "s", SERVICE).ok();
    // ls has the directory open.
    let descriptors = ["/bin/ls", "/proc/self/fd"];
    let signals = ["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    let exec = |id: &str, words: &[&str]| d.ctr(&[&["tasks", "exec", "--exec-id", id, "s"], words].concat());
    for output in [d.run(&["--rm"], "one", &descriptors), exec("e", &descriptors)] {
        assert_eq!(output.ok().split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    }
    for output in [d.run(&["--rm"], "two", &signals), exec("f", &signals)] {
        assert!(output.ok().lines().all(|line| line.ends_with("\t0000000000000000")), "{output:?}");
    }
}

#[test]
fn what_a_killed_shim_leaves_is_removed_by_its_record() {
    let d = with_containerd!();
    d.run(&["--detach"], "s", SERVICE).ok();
    let process = pidfd(d.pid("s")).unwrap();
    let cgroup = outside::cgroup_of(d.pid("s"), "pids");
    let [shim] = shims(&d)[..] else { panic!("one shim") };
    let shim_fd = pidfd(shim).unwrap();
    events::signal(&shim_fd, libc::SIGKILL);
    assert!(ends_within(&process, LIMIT), "containerd has the container ended");
    eventually("its cgroup is gone", || !cgroup.exists());
    let look = ["find", "/run/containerd/s", "/run/containerd/nfrun/default", "-mindepth", "1"];
    let left = || String::from_utf8_lossy(&d.aside.command(&look).output().unwrap().stdout).into_owned();
    eventually("no socket and no state is left", || left().is_empty());
    eventually("containerd knows", || d.status("s") != "RUNNING");
}

#[test]
fn a_containerd_that_is_started_anew_finds_its_tasks_and_their_ends() {
    let mut d = with_containerd!();
    d.run(&["--detach"], "stays", SERVICE).ok();
    d.run(&["--detach"], "ends", &["/bin/sh", "-c", "while [ ! -e /go ]; do /bin/usleep 10000; done; exit 5"]).ok();
    let (stays, ends) = (d.pid("stays"), d.pid("ends"));
    let root = format!("/proc/{ends}/root/go");
    let ended = pidfd(ends).unwrap();
    d.end_daemon();
    std::fs::write(root, "").unwrap();
    assert!(ends_within(&ended, LIMIT));
    assert!(pidfd(stays).is_some(), "it runs on");
    d.start_daemon();
    assert_eq!((d.status("stays"), d.pid("stays")), ("RUNNING".into(), stays));
    eventually("the end that nobody saw is known", || d.status("ends") == "STOPPED");
    let deleted = d.ctr(&["tasks", "delete", "ends"]);
    assert!(deleted.code == 5 || deleted.stderr.contains("exit code 5"), "{deleted:?}");
    let exec = d.ctr(&["tasks", "exec", "--exec-id", "e", "stays", "/bin/echo", "still"]);
    assert_eq!(exec.ok(), "still");
}

#[test]
fn fifty_containers_at_once_all_end_with_their_own_code() {
    let d = with_containerd!();
    let mut runs = Vec::new();
    for number in 0..50 {
        let (id, script) = (format!("n{number}"), format!("echo {number}; exit {number}"));
        let words = d.run_words(&["--rm"], &id, &["/bin/sh", "-c", &script]);
        let mut command = d.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        runs.push(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start ctr"));
    }
    for (number, run) in runs.into_iter().enumerate() {
        let output = run.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number}\n"), "{output:?}");
        assert_eq!(output.status.code(), Some(number as i32));
    }
    eventually("no shim is left", || shims(&d).is_empty());
}

#[test]
fn a_task_that_ends_at_once_is_seen_to_end() {
    let d = with_containerd!();
    for number in 0..20 {
        let id = format!("n{number}");
        let output = d.run(&["--rm"], &id, &["/bin/echo", &id]);
        assert_eq!(output.ok(), id);
    }
    d.run(&["--detach"], "s", SERVICE).ok();
    for number in 0..20 {
        let id = format!("e{number}");
        let output = d.ctr(&["tasks", "exec", "--exec-id", &id, "s", "/bin/sh", "-c", &format!("exit {number}")]);
        assert_eq!(output.code, number, "{output:?}");
    }
}

#[test]
fn options_come_as_toml_and_the_command_line_finds_the_container() {
    let d = with_containerd!();
    let (file, root) = (d.c.dir.join("options.toml"), d.c.dir.join("root-of-shim"));
    std::fs::write(&file, format!("Root = {:?}\nDebug = true\n", root.to_str().unwrap())).unwrap();
    let option = ["--detach", "--runtime-config-path", file.to_str().unwrap()];
    d.run(&option, "s", SERVICE).ok();
    let nfrun = |words: &[&str]| {
        let root = root.join("default");
        let mut command = d.aside.command(&[binary().to_str().unwrap(), "--root", root.to_str().unwrap()]);
        command.args(words);
        d.c.finish_within(&mut command, LIMIT)
    };
    let state: Value = serde_json::from_str(nfrun(&["state", "s"]).ok()).unwrap();
    assert_eq!((state["status"].as_str(), state["pid"].as_i64()), (Some("running"), Some(d.pid("s").into())));
    assert_eq!(nfrun(&["exec", "s", "/bin/echo", "in"]).ok(), "in");
    nfrun(&["kill", "s", "KILL"]).ok();
    eventually("the shim has seen what the command line did", || d.status("s") == "STOPPED");
    d.ctr(&["tasks", "delete", "s"]);
    assert!(!root.join("default/s").exists());
    std::fs::write(&file, "SystemdCgroups = true\n").unwrap();
    d.run(&option, "t", SERVICE).fails(1, &["SystemdCgroups"]);
    eventually("no shim is left", || shims(&d).is_empty());
}

#[test]
fn systemd_makes_the_cgroups_when_it_is_asked() {
    let mut d = with_containerd!();
    if Manager::here() != Manager::Systemd {
        skip!("this machine is not the tests' own, or systemd does not run it");
    }
    d.manager = Manager::Systemd;
    let file = d.c.dir.join("options.toml");
    std::fs::write(&file, "SystemdCgroup = true\n").unwrap();
    d.run(&["--detach", "--memory-limit", "67108864", "--runtime-config-path", file.to_str().unwrap()], "s", SERVICE)
        .ok();
    assert_eq!(unit_property("nfrun-ctr-s.scope", "ActiveState"), "active");
    assert_eq!(unit_property("nfrun-ctr-s.scope", "MemoryMax"), "67108864");
    d.ctr(&["tasks", "kill", "--signal", "KILL", "s"]).ok();
    eventually("it stopped", || d.status("s") == "STOPPED");
    d.ctr(&["tasks", "delete", "s"]);
    eventually("its scope is gone", || unit_property("nfrun-ctr-s.scope", "LoadState") == "not-found");
}

#[test]
fn a_network_by_annotation_is_as_from_the_command_line() {
    needs_veth!();
    let d = with_containerd!();
    let config = d.c.dir.join("networks");
    std::fs::create_dir(&config).unwrap();
    let words =
        ["--network-config-dir", config.to_str().unwrap(), "network", "create", "nf0", "--subnet", "10.99.0.0/24"];
    let mut create = d.aside.command(&[binary().to_str().unwrap()]);
    d.c.finish_within(create.args(words), LIMIT).ok();
    let file = d.c.dir.join("options.toml");
    std::fs::write(&file, format!("NetworkConfigDir = {:?}\n", config.to_str().unwrap())).unwrap();
    let request = json!({"interfaces": [{"network": "nf0", "name": "eth7"}]}).to_string();
    let annotation = format!("io.nfrun.network={request}");
    let options = ["--rm", "--runtime-config-path", file.to_str().unwrap(), "--annotation", &annotation];
    let output = d.run(&options, "one", &["/bin/cat", "/proc/net/fib_trie", "/proc/net/dev"]);
    assert!(output.ok().contains("10.99.0.2") && output.stdout.contains("eth7:"), "{output:?}");
    let links = d.aside.command(&["ip", "-o", "link"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("nf0"), "the bridge went with its last container");
}
