//! Debian's podman, called by an ordinary user, drives the runtime: which is root of podman's user namespace then.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::aside::installed;
use common::terminal::{control, lines_of, pty};
use common::user::{GRANTED, UID, himself};
use common::*;

/// podman with storage, runtime directory and a process of its own, which holds its user namespace.
struct Podman {
    c: Container,
}

impl Podman {
    fn new() -> Self {
        let mut c = Container::of_user(&["true"], &himself());
        let run = c.dir.join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
        c.give(&run);
        let environment = format!("XDG_RUNTIME_DIR={}", run.display());
        c.user().environment = vec![environment];
        // What others than its user may not enter.
        fs::set_permissions(&c.dir, fs::Permissions::from_mode(0o711)).unwrap();
        Self { c }
    }

    fn command(&self, words: &[&str]) -> Command {
        let Runtime::User(user) = &self.c.runtime else { panic!("podman is a user's") };
        let mut command = user.words();
        let runtime = self.c.dir.join("nfrun");
        command.args(["podman", "--runtime"]).arg(runtime).args(["--cgroup-manager", "cgroupfs"]);
        command.args(["--storage-driver", "vfs", "--events-backend", "none", "--log-level", "error"]);
        command.args(words).current_dir(&self.c.dir).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn podman(&self, words: &[&str]) -> Output {
        self.c.finish(&mut self.command(words))
    }

    /// `podman run` with limits that a user may set.
    #[track_caller]
    fn run(&self, options: &[&str], words: &[&str]) -> Output {
        let rootfs = self.c.bundle.join("rootfs");
        let named = options.iter().any(|option| option.starts_with("--network"));
        let network: &[_] = if named { &[] } else { &["--network", "none"] };
        let usual = ["run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        self.podman(&[&usual[..], network, options, &["--rootfs", rootfs.to_str().unwrap()], words].concat())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["pod", "rm", "--all", "--force", "--time", "0"]).output();
        let _ = self.command(&["rm", "--all", "--force", "--time", "0"]).output();
        let pause = fs::read_to_string(self.c.dir.join("run/libpod/tmp/pause.pid")).unwrap_or_default();
        if let Some(process) = pause.trim().parse().ok().and_then(pidfd) {
            events::signal(&process, libc::SIGKILL);
        }
    }
}

macro_rules! podman {
    () => {{
        if !installed("podman") || !installed("conmon") || !installed("newuidmap") {
            skip!("podman, conmon or newuidmap is not installed");
        }
        Podman::new()
    }};
}

#[test]
fn run_gives_output_and_exit_code_and_leaves_nothing_that_runs() {
    let p = podman!();
    let before = p.c.leftovers();
    let output = p.run(&["--rm"], &["sh", "-c", "id -u; tr -s ' ' </proc/self/uid_map; echo err >&2; exit 42"]);
    assert_eq!(output.code, 42, "{output:?}");
    assert_eq!(output.stdout, format!("0\n 0 {UID} 1\n 1 {GRANTED} 65536\n"));
    assert_eq!(output.stderr, "err\n");
    assert_eq!(p.run(&["--rm"], &["nosuch"]).code, 127);
    assert_eq!(p.run(&["--rm", "--user", "1000"], &["id", "-u"]).ok(), "1000");
    assert_eq!(p.podman(&["ps", "--all", "--quiet"]).ok(), "");
    before.assert_nothing_new();
}

#[test]
fn a_service_is_run_entered_stopped_started_killed_and_removed() {
    let p = podman!();
    let service = "trap 'echo bye; exit 3' TERM; echo started; while :; do usleep 20000; done";
    p.run(&["--detach", "--name", "s"], &["sh", "-c", service]).ok();
    eventually("it started", || p.podman(&["logs", "s"]).stdout == "started\n");
    assert_eq!(p.podman(&["exec", "s", "echo", "execd"]).ok(), "execd");
    let (master, slave) = pty(24, 80);
    let mut exec = p.command(&["exec", "--interactive", "--tty", "s", "sh", "-c", "tty && exit 7"]);
    control(&mut exec, &slave);
    let mut exec = exec.spawn().unwrap();
    drop(slave);
    assert!(lines_of(&master).line().starts_with("/dev/pts/"));
    assert_eq!(wait(&mut exec, "podman exec"), 7);
    assert!(p.podman(&["top", "s", "pid", "comm"]).ok().contains("sh"));
    p.podman(&["stop", "--time", "5", "s"]).ok();
    p.podman(&["start", "s"]).ok();
    p.podman(&["kill", "s"]).ok();
    assert_eq!(p.podman(&["wait", "s"]).ok(), "137");
    p.podman(&["rm", "s"]).ok();
}

#[test]
fn the_user_keeps_his_id_and_his_groups_where_he_asks_for_that() {
    let p = podman!();
    let ids = "id -u; id -g; test -d /dev/shm && echo shm";
    assert_eq!(p.run(&["--rm", "--userns", "keep-id"], &["sh", "-c", ids]).ok(), format!("{UID}\n{UID}\nshm"));
    let kept = p.run(&["--rm", "--group-add", "keep-groups"], &["id"]);
    // Before 3.2 podman takes the word for a group's name, and does not come to ask for anything.
    if !kept.stderr.contains("Unable to find group keep-groups") {
        kept.ok();
    }
}

#[test]
fn pods_host_namespaces_tmpfs_and_a_read_only_root_work() {
    let p = podman!();
    let mounts =
        p.run(&["--rm", "--read-only", "--tmpfs", "/mnt"], &["sh", "-c", "touch /x || touch /mnt/x && echo ok"]);
    assert!(mounts.ok().ends_with("ok"), "{mounts:?}");
    p.run(&["--rm", "--pid", "host"], &["true"]).ok();
    p.run(&["--rm", "--uts", "host"], &["true"]).ok();
    p.run(&["--rm", "--privileged"], &["sh", "-c", "echo x > /dev/null"]).ok();
    // The second joins the user namespace and others of the first by their paths.
    p.run(&["--detach", "--name", "first"], &["sleep", "1000"]).ok();
    let joined = ["--network", "--pid", "--ipc"].map(|kind| format!("{kind}=container:first"));
    let words: Vec<_> = ["--rm"].into_iter().chain(joined.iter().map(String::as_str)).collect();
    assert!(p.run(&words, &["ps"]).ok().contains("sleep 1000"));
    p.podman(&["pod", "create", "--name", "p", "--infra=false"]).ok();
    p.run(&["--rm", "--pod", "p"], &["true"]).ok();
}
