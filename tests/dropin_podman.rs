//! Debian's podman with conmon drives the runtime through what a user of podman does all day.

#[macro_use]
mod common;

use std::io::Write;
use std::process::Command;

use common::machine::{Manager, unit_property};
use common::podman::Podman;
use common::terminal::{control, lines_of, pty, resize};
use common::*;

macro_rules! podman {
    () => {{
        if !podman::is_installed() {
            skip!("podman or conmon is not installed");
        }
        Podman::new()
    }};
}

/// A program that says what happens to it.
const SERVICE: &str = "trap 'echo bye; exit 3' TERM; echo started; while :; do usleep 20000; done";

#[test]
fn run_gives_output_and_exit_code_and_leaves_nothing() {
    let p = podman!();
    let before = p.c.leftovers();
    let output = p.run(&["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (42, "out\n", "err\n"));
    assert_eq!(p.podman(&["ps", "--all", "--quiet"]).ok(), "");
    // podman keeps its own parent cgroups and the mount of its storage; processes and the container's are gone.
    let left: Vec<_> = before.new_things().into_iter().filter(|thing| thing.starts_with("process")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_command_that_is_missing_or_not_executable_is_127_or_126() {
    let p = podman!();
    assert_eq!(p.run(&["--rm"], &["nosuch"]).code, 127);
    assert_eq!(p.run(&["--rm"], &["/etc/passwd"]).code, 126);
    p.run(&["--detach", "--name", "s"], &["sh", "-c", SERVICE]).ok();
    p.podman(&["exec", "s", "nosuch"]).fails(127, &["executable file not found in $PATH"]);
    p.podman(&["exec", "s", "/etc/passwd"]).fails(126, &["permission denied"]);
}

#[test]
fn a_service_is_run_paused_logged_stopped_started_killed_and_removed() {
    let p = podman!();
    p.run(&["--detach", "--name", "s"], &["sh", "-c", SERVICE]).ok();
    eventually("it started", || p.podman(&["logs", "s"]).stdout == "started\n");
    assert_eq!(p.podman(&["exec", "s", "echo", "execd"]).ok(), "execd");
    assert_eq!(p.podman(&["exec", "s", "sh", "-c", "exit 7"]).code, 7);
    p.podman(&["pause", "s"]).ok();
    assert_eq!(p.status("s"), "paused 0");
    p.podman(&["unpause", "s"]).ok();
    assert_eq!(p.status("s"), "running 0");
    p.podman(&["stop", "--time", "5", "s"]).ok();
    assert_eq!(p.status("s"), "exited 3", "it had the time to end by itself");
    assert_eq!(p.podman(&["logs", "s"]).ok(), "started\nbye");
    p.podman(&["start", "s"]).ok();
    p.podman(&["kill", "s"]).ok();
    assert_eq!(p.podman(&["wait", "s"]).ok(), "137");
    p.podman(&["rm", "s"]).ok();
    assert_eq!(p.podman(&["ps", "--all", "--quiet"]).ok(), "");
}

#[test]
fn stop_kills_what_does_not_listen() {
    let p = podman!();
    p.run(&["--detach", "--name", "deaf"], &["sleep", "1000"]).ok();
    p.podman(&["stop", "--time", "0", "deaf"]).ok();
    assert_eq!(p.status("deaf"), "exited 137");
    p.podman(&["rm", "deaf"]).ok();
}

#[test]
fn rm_force_removes_a_running_and_a_paused_container() {
    let p = podman!();
    for pause in [false, true] {
        p.run(&["--detach", "--name", "s"], &["sleep", "1000"]).ok();
        if pause {
            p.podman(&["pause", "s"]).ok();
        }
        let removed = p.remove("s");
        if pause && removed.stderr.contains("container not paused") {
            // podman 3.0 resumes what it has killed, and fails with runc too where that lets the killed end (since 1.1).
            p.remove("s").ok();
        } else {
            removed.ok();
        }
        assert_eq!(p.podman(&["ps", "--all", "--quiet"]).ok(), "");
    }
}

#[test]
fn a_terminal_is_typed_into_read_from_and_resized() {
    let p = podman!();
    let (master, slave) = pty(30, 100);
    // No trap of SIGWINCH: busybox 1.37 may spin when one comes as it reads.
    let script = "read go; stty size; echo ready; read a; echo got $a; \
        until [ \"$(stty size)\" = '40 120' ]; do usleep 20000; done; echo resized; read b; exit 9";
    let mut run = p.command(&p.run_words(&["--rm", "--interactive", "--tty"], &["sh", "-c", script]));
    control(&mut run, &slave);
    let mut run = run.spawn().expect("start podman");
    drop(slave);
    let mut lines = lines_of(&master);
    let mut keys = std::fs::File::from(master.try_clone().unwrap());
    keys.write_all(b"\n").unwrap();
    lines.until("30 100");
    lines.until("ready");
    keys.write_all(b"typed\n").unwrap();
    lines.until("got typed");
    resize(&master, 40, 120);
    lines.until("resized");
    keys.write_all(b"\n").unwrap();
    assert_eq!(wait(&mut run, "podman run -it"), 9);
}

#[test]
fn exec_with_a_terminal_has_one() {
    let p = podman!();
    p.run(&["--detach", "--name", "s"], &["sleep", "1000"]).ok();
    let (master, slave) = pty(30, 100);
    let mut exec = p.command(&["exec", "--interactive", "--tty", "s", "sh", "-c", "tty; read a; echo got $a; exit 4"]);
    control(&mut exec, &slave);
    let mut exec = exec.spawn().expect("start podman");
    drop(slave);
    let mut lines = lines_of(&master);
    lines.until("/dev/pts/");
    std::fs::File::from(master.try_clone().unwrap()).write_all(b"typed\n").unwrap();
    lines.until("got typed");
    assert_eq!(wait(&mut exec, "podman exec -it"), 4);
}

#[test]
fn limits_environment_user_and_volumes_arrive() {
    let p = podman!();
    std::fs::create_dir(p.c.dir.join("volume")).unwrap();
    std::fs::write(p.c.dir.join("volume/file"), "shared\n").unwrap();
    let volume = format!("{}/volume:/data:ro", p.c.dir.display());
    let options = [
        "--memory",
        "64m",
        "--pids-limit",
        "55",
        "--cpus",
        "0.5",
        "--env",
        "GREETING=hello world",
        "--user",
        "1000:1000",
        "--hostname",
        "pod",
        "--volume",
        &volume,
        "--cap-drop",
        "all",
        "--read-only",
    ];
    let script = "echo $GREETING; id -u; hostname; cat /data/file; grep CapEff /proc/self/status; \
        touch /new 2>/dev/null || echo read-only; exec sleep 1000";
    p.run(&[&["--detach", "--name", "s"], &options[..]].concat(), &["sh", "-c", script]).ok();
    let expected = "hello world\n1000\npod\nshared\nCapEff:\t0000000000000000\nread-only\n";
    eventually("it has told all", || p.podman(&["logs", "s"]).stdout == expected);
    let limits = Limits::of(p.pid("s"));
    assert_eq!(limits, Limits { memory: "67108864".into(), pids: "55".into(), quota: "50000".into() });
}

/// What the kernel's files say of a process's cgroup.
#[derive(Debug, PartialEq, Eq)]
struct Limits {
    memory: String,
    pids: String,
    quota: String,
}

impl Limits {
    fn of(pid: i32) -> Self {
        let quota = outside::limit_of(pid, "cpu", "cpu.cfs_quota_us", "cpu.max");
        Self {
            memory: outside::limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max"),
            pids: outside::limit_of(pid, "pids", "pids.max", "pids.max"),
            quota: quota.split(' ').next().unwrap().to_owned(),
        }
    }
}

#[test]
fn installed_as_runc_it_is_podmans_runc() {
    let p = podman!();
    let runc = install::as_runc(&p.c).join("runc");
    let conf = p.c.dir.join("containers.conf");
    std::fs::write(&conf, format!("[engine.runtimes]\nrunc = [\"{}\"]\n", runc.display())).unwrap();
    let podman = |words: &[&str]| p.c.finish(p.command_with("runc", words).env("CONTAINERS_CONF", &conf));
    let info = podman(&["info", "--format", "{{.Host.OCIRuntime.Path}} {{.Host.OCIRuntime.Version}}"]);
    assert!(
        info.ok().starts_with(&format!("{} runc version {}", runc.display(), env!("CARGO_PKG_VERSION"))),
        "{info:?}"
    );
    podman(&p.run_words(&["--detach", "--name", "s"], &["sleep", "1000"])).ok();
    assert_eq!(podman(&["exec", "s", "sh", "-c", "echo execd; exit 7"]).code, 7);
    let pid: i32 = podman(&["inspect", "--format", "{{.State.Pid}}", "s"]).ok().parse().unwrap();
    assert!(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().starts_with("sleep"));
    podman(&["rm", "--force", "s"]).ok();
    assert_eq!(podman(&["ps", "--all", "--quiet"]).ok(), "");
    let error = podman(&p.run_words(&["--rm"], &["nosuch"]));
    // podman 3 names the runtime once.
    error.fails(127, &["runc create failed", "executable file not found in $PATH"]);
}

#[test]
fn an_imported_image_runs() {
    let p = podman!();
    p.import();
    let words = p.words("run", &["--rm", "--network", "none"], &["busybox"], &["cat", "/etc/group"]);
    assert_eq!(p.podman(&words).ok(), "root:x:0:\ntty:x:5:\nalice:x:1000:");
}

/// podman gives the runtime no NOTIFY_SOCKET: conmon listens to the container in its place.
#[test]
fn a_container_under_a_service_manager_says_that_it_is_ready() {
    let p = podman!();
    if !p.is_at_least(4, 0) {
        skip!("podman 3 waits for the word itself, and so does not return before it");
    }
    let manager = std::os::unix::net::UnixDatagram::bind(p.c.dir.join("manager")).unwrap();
    let options = ["--detach", "--name", "ready", "--sdnotify", "container"];
    let mut run = p.command(&p.run_words(&options, &["sleep", "1000"]));
    p.c.finish(run.env("NOTIFY_SOCKET", p.c.dir.join("manager"))).ok();
    let pid = p.pid("ready");
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.contains("NOTIFY_SOCKET=/run/notify/notify.sock\0"), "{environment}");
    let container = std::os::unix::net::UnixDatagram::unbound().unwrap();
    container.send_to(b"READY=1", format!("/proc/{pid}/root/run/notify/notify.sock")).unwrap();
    let mut text = [0; 4096];
    let mut heard = String::new();
    while !heard.contains("READY=1") {
        assert!(readable_within(&manager, LIMIT), "the manager heard {heard:?} alone");
        let length = manager.recv(&mut text).unwrap();
        heard.push_str(&String::from_utf8_lossy(&text[..length]));
    }
}

#[test]
fn update_changes_the_limits_of_a_running_container() {
    let p = podman!();
    if !p.is_at_least(4, 3) {
        skip!("this podman has no update");
    }
    // podman 5.8 updates no container without a health check, whatever the runtime.
    let options = ["--memory", "64m", "--pids-limit", "55", "--health-cmd", "true", "--health-interval", "disable"];
    p.run(&[&["--detach", "--name", "s"], &options[..]].concat(), &["sleep", "1000"]).ok();
    let pid = p.pid("s");
    p.podman(&["update", "--memory", "32m", "--cpus", "0.25", "s"]).ok();
    let mut pids = "55";
    if p.podman(&["update", "--help"]).ok().contains("--pids-limit") {
        p.podman(&["update", "--pids-limit", "44", "s"]).ok();
        pids = "44";
    }
    let expected = Limits { memory: "33554432".into(), pids: pids.into(), quota: "25000".into() };
    assert_eq!(Limits::of(pid), expected);
    if p.manager == Manager::Systemd {
        reload_systemd();
        assert_eq!(Limits::of(pid), expected, "systemd knows the limits as well, and takes none away");
    }
}

/// Has systemd read its units again and apply what they say.
fn reload_systemd() {
    assert!(Command::new("systemctl").arg("daemon-reload").status().expect("start systemctl").success());
}

#[test]
fn stats_tells_what_the_kernel_counts() {
    let p = podman!();
    p.run(&["--detach", "--name", "s", "--memory", "64m", "--pids-limit", "55"], &["sh", "-c", SERVICE]).ok();
    let stats = p.podman(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", "s"]);
    let words: Vec<_> = stats.ok().split_whitespace().collect();
    assert_eq!(words[0], "s");
    assert!(words[1].parse::<u32>().is_ok_and(|pids| pids >= 1), "{stats:?}");
    assert!(stats.stdout.contains("/ 67.11MB"), "{stats:?}");
}

#[test]
fn a_stopped_container_that_removes_itself_leaves_no_cgroup_scope_mount_or_process() {
    let p = podman!();
    let before = p.c.leftovers();
    p.run(&["--detach", "--rm", "--name", "s"], &["sleep", "1000"]).ok();
    let (pid, id) = (p.pid("s"), p.inspect("s", "{{.Id}}"));
    let cgroup = outside::cgroup_of(pid, "pids");
    assert!(cgroup.to_str().unwrap().contains(&id), "{}", cgroup.display());
    if p.manager == Manager::Systemd {
        assert_eq!(unit_property(&format!("libpod-{id}.scope"), "ActiveState"), "active");
    }
    p.podman(&["stop", "--time", "0", "s"]).ok();
    eventually("it is removed", || p.podman(&["ps", "--all", "--quiet"]).ok().is_empty());
    eventually("its cgroup is gone", || !cgroup.exists());
    if p.manager == Manager::Systemd {
        eventually("its scope is gone", || unit_property(&format!("libpod-{id}.scope"), "LoadState") == "not-found");
    }
    let left = |before: &Leftovers| {
        let of_container = |thing: &String| thing.starts_with("process") || thing.contains(&id);
        before.new_things().into_iter().filter(of_container).collect::<Vec<_>>()
    };
    eventually("nothing of it stays", || left(&before).is_empty());
}

#[test]
fn a_container_has_podmans_init_and_a_user_namespace() {
    let p = podman!();
    if !std::path::Path::new("/usr/libexec/podman/catatonit").exists() {
        skip!("catatonit, podman's init, is not installed");
    }
    p.run(&["--detach", "--name", "s", "--init"], &["sleep", "1000"]).ok();
    let first = std::fs::read_to_string(format!("/proc/{}/comm", p.pid("s"))).unwrap();
    assert!(first.contains("catatonit") || first.contains("podman-init"), "{first}");
    assert_eq!(p.podman(&["exec", "s", "cat", "/proc/2/comm"]).ok(), "sleep");
    p.import();
    let options = ["--detach", "--name", "mapped", "--network", "none", "--uidmap", "0:200000:65536"];
    p.podman(&p.words("run", &options, &["busybox"], &["sleep", "1000"])).ok();
    assert_eq!(proc_status(p.pid("mapped"), "Uid"), "200000 200000 200000 200000");
    assert_eq!(p.podman(&["exec", "mapped", "id", "-u"]).ok(), "0");
}

#[test]
fn containers_share_a_network_namespace() {
    let p = podman!();
    p.run(&["--detach", "--name", "first"], &["sleep", "1000"]).ok();
    let shared = ["--detach", "--name", "second", "--network", "container:first"];
    p.podman(&p.words("run", &shared, &["--rootfs", p.c.bundle.join("rootfs").to_str().unwrap()], &["sleep", "1000"]))
        .ok();
    let namespace = |name: &str| std::fs::read_link(format!("/proc/{}/ns/net", p.pid(name))).unwrap();
    assert_eq!(namespace("first"), namespace("second"));
    assert_ne!(namespace("first"), std::fs::read_link("/proc/self/ns/net").unwrap());
}

#[test]
fn a_pod_shares_what_it_should_and_goes_as_one() {
    let p = podman!();
    if !p.is_at_least(5, 0) {
        skip!("before podman 5 a pod wants an image of its infrastructure");
    }
    p.podman(&["pod", "create", "--name", "pod", "--network", "none", "--infra=true"]).ok();
    for name in ["a", "b"] {
        let options = ["--detach", "--name", name, "--pod", "pod"];
        p.podman(&p.words(
            "run",
            &options,
            &["--rootfs", p.c.bundle.join("rootfs").to_str().unwrap()],
            &["sleep", "1000"],
        ))
        .ok();
    }
    let namespace = |name: &str, kind: &str| std::fs::read_link(format!("/proc/{}/ns/{kind}", p.pid(name))).unwrap();
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(namespace("a", kind), namespace("b", kind), "{kind}");
    }
    assert_ne!(namespace("a", "pid"), namespace("b", "pid"));
    let (pid, cgroup) = (pidfd(p.pid("a")).unwrap(), outside::cgroup_of(p.pid("a"), "pids"));
    p.podman(&["pod", "pause", "pod"]).ok();
    assert_eq!(p.status("a"), "paused 0");
    p.podman(&["pod", "unpause", "pod"]).ok();
    p.podman(&["pod", "stop", "--time", "0", "pod"]).ok();
    assert!(ends_within(&pid, LIMIT));
    p.podman(&["pod", "rm", "pod"]).ok();
    eventually("the cgroups of the pod are gone", || {
        !cgroup.exists() && !cgroup.parent().unwrap().join("libpod-infra").exists()
    });
    assert_eq!(p.podman(&["ps", "--all", "--quiet"]).ok(), "");
}

#[test]
fn a_published_port_is_reached() {
    let p = podman!();
    if !machine::is_ours() || p.podman(&["info", "--format", "{{.Host.NetworkBackend}}"]).stdout.trim() != "netavark" {
        skip!("it takes a machine that is the tests' own, with netavark");
    }
    let _machine = machine::whole();
    p.import();
    let page = "mkdir -p /tmp/www; echo hello from inside > /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www";
    let options = ["--detach", "--name", "web", "--publish", "8081:80"];
    p.podman(&p.words("run", &options, &["busybox"], &["sh", "-c", page])).ok();
    let words = machine::fetch("http://127.0.0.1:8081/");
    let fetch = || p.c.finish(Command::new(&words[0]).args(&words[1..]));
    eventually("the page is there", || fetch().stdout == "hello from inside\n");
    p.remove("web").ok();
    assert_ne!(fetch().code, 0, "the port is closed");
}

#[test]
fn a_health_check_is_run_inside() {
    let p = podman!();
    let options = ["--detach", "--name", "s", "--health-cmd", "test -e /tmp/well", "--health-interval", "disable"];
    p.run(&options, &["sleep", "1000"]).ok();
    assert_eq!(p.podman(&["healthcheck", "run", "s"]).code, 1);
    p.podman(&["exec", "s", "touch", "/tmp/well"]).ok();
    p.podman(&["healthcheck", "run", "s"]).ok();
}

#[test]
fn a_container_that_ends_is_restarted() {
    let p = podman!();
    let script = "echo again; exit 5";
    p.run(&["--detach", "--name", "s", "--restart", "on-failure:2"], &["sh", "-c", script]).ok();
    eventually("it ran three times", || p.podman(&["logs", "s"]).stdout == "again\nagain\nagain\n");
    eventually("it was given up", || p.status("s") == "exited 5");
}
