//! Debian's podman with conmon drives the runtime through what a user of podman does all day.

#[macro_use]
mod common;

use std::io::Write;
use std::process::Command;

use common::aside::{Aside, installed};
use common::terminal::{control, lines_of, pty, resize};
use common::*;

/// podman with everything of its own: storage, runtime directory, mounts, network, cgroup.
struct Podman {
    c: Container,
    aside: Aside,
}

impl Podman {
    fn new() -> Self {
        Self { c: Container::new(&["true"]), aside: Aside::new() }
    }

    fn command(&self, words: &[&str]) -> Command {
        self.command_with(binary().to_str().unwrap(), words)
    }

    /// podman with a runtime by its path, or by its name in containers.conf.
    fn command_with(&self, runtime: &str, words: &[&str]) -> Command {
        let dir = self.c.dir.to_str().unwrap();
        let own =
            ["--root", "--runroot", "--tmpdir"].map(|option| [option.to_owned(), format!("{dir}/podman{option}")]);
        let mut all = vec!["podman", "--runtime", runtime, "--cgroup-manager", "cgroupfs"];
        all.extend(own.iter().flatten().map(String::as_str));
        all.extend(["--storage-driver", "vfs", "--events-backend", "none"]);
        all.extend(words);
        let mut command = self.aside.command(&all);
        command.current_dir(dir);
        command
    }

    /// The words of `podman run`; this machine's root cannot raise the limits that podman would set.
    fn run_words<'a>(&'a self, options: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        let usual = ["run", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        let cgroup = ["--cgroup-parent", &self.c.cgroup_parent];
        let rootfs = ["--rootfs", self.c.bundle.join("rootfs").to_str().unwrap().to_owned().leak()];
        [&usual[..], &cgroup, options, &rootfs, words].concat()
    }

    #[track_caller]
    fn podman(&self, words: &[&str]) -> Output {
        self.c.finish(&mut self.command(words))
    }

    #[track_caller]
    fn run(&self, options: &[&str], words: &[&str]) -> Output {
        self.podman(&self.run_words(options, words))
    }

    #[track_caller]
    fn status(&self, name: &str) -> String {
        self.podman(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name]).ok().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--all", "--force", "--time", "0"]).output();
    }
}

macro_rules! podman {
    () => {{
        if !installed("podman") || !installed("conmon") {
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
    // podman keeps its own parent cgroups; processes and the container's are gone.
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
        p.podman(&["rm", "--force", "--time", "0", "s"]).ok();
        assert_eq!(p.podman(&["ps", "--all", "--quiet"]).ok(), "");
    }
}

#[test]
fn a_terminal_is_typed_into_read_from_and_resized() {
    let p = podman!();
    let (master, slave) = pty(30, 100);
    let script = "read go; stty size; trap 'stty size' WINCH; echo ready; read a; echo got $a; read b; read c; exit 9";
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
    lines.until("40 120");
    keys.write_all(b"\n\n\n").unwrap();
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
        "--rm",
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
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; \
        cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us; echo $GREETING; id -u; hostname; cat /data/file; \
        grep CapEff /proc/self/status; touch /new 2>/dev/null || echo read-only";
    let output = p.run(&options, &["sh", "-c", script]);
    let expected = "67108864\n55\n50000\nhello world\n1000\npod\nshared\nCapEff:\t0000000000000000\nread-only";
    assert_eq!(output.ok(), expected);
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
    podman(&["rm", "--force", "--time", "0", "s"]).ok();
    assert_eq!(podman(&["ps", "--all", "--quiet"]).ok(), "");
    let error = podman(&p.run_words(&["--rm"], &["nosuch"]));
    error.fails(127, &["runc: runc create failed", "executable file not found in $PATH"]);
}

#[test]
fn an_imported_image_runs() {
    let p = podman!();
    let tar = p.c.dir.join("image.tar");
    let rootfs = p.c.bundle.join("rootfs");
    let made = Command::new("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&tar).arg(".").status().expect("tar");
    assert!(made.success());
    p.podman(&["import", tar.to_str().unwrap(), "nfrun-test-image"]).ok();
    let words = p.run_words(&["--rm"], &[]);
    let words = [&words[..words.len() - 2], &["nfrun-test-image", "cat", "/etc/group"]].concat();
    assert_eq!(p.podman(&words).ok(), "root:x:0:\ntty:x:5:\nalice:x:1000:");
}

/// podman gives the runtime no NOTIFY_SOCKET: conmon listens to the container in its place.
#[test]
fn a_container_under_a_service_manager_says_that_it_is_ready() {
    let p = podman!();
    let manager = std::os::unix::net::UnixDatagram::bind(p.c.dir.join("manager")).unwrap();
    let options = ["--detach", "--name", "ready", "--sdnotify", "container"];
    let mut run = p.command(&p.run_words(&options, &["sleep", "1000"]));
    p.c.finish(run.env("NOTIFY_SOCKET", p.c.dir.join("manager"))).ok();
    let pid = p.podman(&["inspect", "--format", "{{.State.Pid}}", "ready"]).ok().to_owned();
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
