//! podman as an ordinary user drives the runtime: ranges of ids, a cgroup of his service manager's, or none.

#[macro_use]
mod common;

use std::io::Write;

use common::machine::{Manager, unit_property_of_user};
use common::podman::{self, Podman};
use common::terminal::{control, lines_of, pty};
use common::*;

macro_rules! alice {
    ($manager:expr) => {{
        if let Some(reason) = podman::lacks_for_alice() {
            skip!("{reason}");
        }
        if $manager == Manager::Systemd && Manager::of_user() != Manager::Systemd {
            skip!("the runtime does not talk to systemd here");
        }
        let podman = Podman::of_alice($manager);
        podman.import();
        podman
    }};
}

/// A program that says what happens to it.
const SERVICE: &str = "trap 'echo bye; exit 3' TERM; echo started; while :; do usleep 20000; done";

/// The life of a service, whoever makes its cgroup.
fn a_life(p: &Podman) {
    let output = p.run(&["--rm"], &["sh", "-c", "id -u; echo err >&2; exit 42"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (42, "0\n", "err\n"));
    assert_eq!(p.run(&["--rm"], &["nosuch"]).code, 127);
    p.run(&["--detach", "--name", "s"], &["sh", "-c", SERVICE]).ok();
    let pid = p.pid("s");
    assert_eq!(proc_status(pid, "Uid"), "1000 1000 1000 1000", "inside it is root, here it is alice");
    eventually("it started", || p.podman(&["logs", "s"]).stdout == "started\n");
    assert_eq!(p.podman(&["exec", "s", "sh", "-c", "exit 7"]).code, 7);
    p.podman(&["stop", "--time", "20", "s"]).ok();
    assert_eq!(p.status("s"), "exited 3", "it had the time to end by itself");
    p.podman(&["start", "s"]).ok();
    p.podman(&["kill", "s"]).ok();
    assert_eq!(p.podman(&["wait", "s"]).ok(), "137");
    p.podman(&["rm", "s"]).ok();
    assert_eq!(p.podman(&["ps", "--all", "--quiet"]).ok(), "");
}

#[test]
fn a_service_lives_without_a_service_manager() {
    let p = alice!(Manager::Cgroupfs);
    a_life(&p);
}

#[test]
fn a_service_lives_in_a_scope_of_the_users_own_manager() {
    let p = alice!(Manager::Systemd);
    a_life(&p);
}

#[test]
fn its_limits_are_felt_changed_and_counted_and_its_scope_goes_with_it() {
    let p = alice!(Manager::Systemd);
    v2_only!();
    p.run(&["--detach", "--rm", "--name", "s", "--memory", "64m", "--pids-limit", "55"], &["sleep", "1000"]).ok();
    let (pid, id) = (p.pid("s"), p.inspect("s", "{{.Id}}"));
    let cgroup = outside::cgroup_of(pid, "");
    let path = cgroup.to_str().unwrap();
    assert!(path.contains("user@1000.service") && path.contains(&id), "{path}");
    let limit = |file: &str| outside::limit_of(pid, "", "", file);
    assert_eq!((limit("memory.max").as_str(), limit("pids.max").as_str()), ("67108864", "55"));
    let stats = p.podman(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "s"]);
    assert!(stats.ok().starts_with("s 1 ") && stats.stdout.contains("/ 67.11MB"), "{stats:?}");
    if p.is_at_least(4, 3) {
        p.podman(&["update", "--memory", "32m", "s"]).ok();
        assert_eq!((limit("memory.max").as_str(), limit("pids.max").as_str()), ("33554432", "55"));
    }
    p.podman(&["pause", "s"]).ok();
    assert!(limit("cgroup.events").contains("frozen 1"));
    p.podman(&["unpause", "s"]).ok();
    p.podman(&["stop", "--time", "0", "s"]).ok();
    eventually("its cgroup is gone", || !cgroup.exists());
    let scope = format!("libpod-{id}.scope");
    eventually("its scope is gone", || unit_property_of_user("alice", &scope, "LoadState") == "not-found");
}

#[test]
fn a_terminal_is_typed_into() {
    let p = alice!(Manager::of_user());
    let (master, slave) = pty(30, 100);
    let mut run =
        p.command(&p.run_words(&["--rm", "--interactive", "--tty"], &["sh", "-c", "tty; read a; echo got $a; exit 9"]));
    control(&mut run, &slave);
    let mut run = run.spawn().expect("start podman");
    drop(slave);
    let mut lines = lines_of(&master);
    lines.until("/dev/pts/");
    std::fs::File::from(master.try_clone().unwrap()).write_all(b"typed\n").unwrap();
    lines.until("got typed");
    assert_eq!(wait_within(&mut run, "podman run -it", LIMIT * 2), 9);
}

#[test]
fn ids_are_kept_and_mapped_as_asked_for() {
    let p = alice!(Manager::of_user());
    p.run(&["--detach", "--name", "kept", "--userns", "keep-id"], &["sleep", "1000"]).ok();
    assert_eq!(proc_status(p.pid("kept"), "Uid"), "1000 1000 1000 1000");
    assert_eq!(p.podman(&["exec", "kept", "id", "-u"]).ok(), "1000");
    p.run(&["--detach", "--name", "other", "--user", "1000"], &["sleep", "1000"]).ok();
    assert_eq!(proc_status(p.pid("other"), "Uid"), "100999 100999 100999 100999");
}

#[test]
fn a_published_port_is_reached() {
    let p = alice!(Manager::of_user());
    if !aside::installed("pasta") && !aside::installed("slirp4netns") {
        skip!("neither pasta nor slirp4netns is installed");
    }
    let network = if aside::installed("pasta") && p.is_at_least(5, 0) { "pasta" } else { "slirp4netns" };
    let page = "mkdir -p /tmp/www; echo hello from inside > /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www";
    let options = ["--detach", "--name", "web", "--network", network, "--publish", "8082:80"];
    let run = p.podman(&p.words("run", &options, &["busybox"], &["sh", "-c", page]));
    // It copies the routes of the host's uplink, or of whatever it takes for that.
    if run.code != 0 && ["No external interface", "route(s) in guest"].iter().any(|words| run.stderr.contains(words)) {
        skip!("pasta wants a host that is connected");
    }
    if run.stderr.contains("/dev/net/tun") {
        skip!("this kernel has no tun devices");
    }
    run.ok();
    let words = machine::fetch("http://127.0.0.1:8082/");
    let fetch = || p.c.finish(std::process::Command::new(&words[0]).args(&words[1..]));
    eventually("the page is there", || fetch().stdout == "hello from inside\n");
    p.remove("web").ok();
    assert_ne!(fetch().code, 0, "the port is closed");
}
