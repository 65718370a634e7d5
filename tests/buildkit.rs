//! The calls that BuildKit's executor makes of `runc`, as root and rootless: a log in JSON, `run` in the foreground with pipes,
//! `kill ID 9`, `exec --process`, `delete`. That a whole `docker build` works, tests/dropin_docker.rs shows.

#[macro_use]
mod common;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use common::bundle::drop_namespace;
use common::*;

/// BuildKit's words before the command.
fn globals(c: &Container) -> Vec<String> {
    let log = c.dir.join("runc-log.json");
    ["--root", c.root.to_str().unwrap(), "--log", log.to_str().unwrap(), "--log-format", "json"]
        .map(str::to_owned)
        .into()
}

fn runc(c: &Container, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    // BuildKit gives each call a process group of its own.
    command.args(globals(c)).args(words).stdin(Stdio::null()).current_dir(&c.dir).process_group(0);
    command
}

/// The messages of errors in the log, which is where BuildKit looks for why a call failed.
fn errors(c: &Container) -> Vec<String> {
    let text = std::fs::read_to_string(c.dir.join("runc-log.json")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"));
    lines.filter(|line| line["level"] == "error").map(|line| line["msg"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_step_of_a_build_runs_and_its_exit_code_is_its_own() {
    for options in [&[][..], &["--no-pivot"], &["--keep"]] {
        let c = Container::sh("echo out; echo err >&2; exit 9");
        let before = c.leftovers();
        let run = c.finish(&mut runc(&c, &c.words("run", options)));
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (9, "out\n", "err\n"), "{options:?}");
        assert_eq!(errors(&c), Vec::<String>::new(), "a step's own failure is none of the runtime's");
        let delete = c.finish(&mut runc(&c, &["delete", &c.id]));
        assert_eq!(delete.code, i32::from(options != ["--keep"]), "only --keep leaves something to delete: {delete:?}");
        before.assert_nothing_new();
    }
}

#[test]
fn a_cancelled_step_is_killed_also_before_it_is_there() {
    let c = Container::sh("echo started; sleep 1000");
    let early = c.finish(&mut runc(&c, &["kill", &c.id, "9"]));
    assert_eq!(early.code, 1, "BuildKit tries again");
    assert!(errors(&c)[0].contains("container does not exist"), "{:?}", errors(&c));
    let (mut lines, writer) = Lines::pipe();
    let mut run = runc(&c, &c.words("run", &["--keep"])).stdout(writer).spawn().unwrap();
    assert_eq!(lines.line(), "started");
    c.finish(&mut runc(&c, &["kill", &c.id, "9"])).ok();
    assert_eq!(wait(&mut run, "the run of a cancelled step"), 137);
    c.finish(&mut runc(&c, &["delete", &c.id])).ok();
}

#[test]
fn a_process_is_added_to_a_step() {
    let c = Container::sh("echo started; sleep 1000");
    let (mut lines, writer) = Lines::pipe();
    let mut run = runc(&c, &c.words("run", &["--keep"])).stdout(writer).spawn().unwrap();
    assert_eq!(lines.line(), "started");
    let mut process = c.config["process"].clone();
    process["args"] = json!(["sh", "-c", "echo added; exit 5"]);
    std::fs::write(c.dir.join("process.json"), process.to_string()).unwrap();
    let exec = c.finish(&mut runc(&c, &["exec", "--process", "process.json", &c.id]));
    assert_eq!((exec.code, exec.stdout.as_str()), (5, "added\n"), "{exec:?}");
    c.finish(&mut runc(&c, &["kill", &c.id, "9"])).ok();
    wait(&mut run, "the run of a step");
    c.finish(&mut runc(&c, &["delete", &c.id])).ok();
}

/// A user namespace in which ids from 100000 up are root and others, as rootlesskit makes one: its root is nobody to the host,
/// and may make no cgroup and no device.
struct Rootless {
    holder: Child,
}

impl Rootless {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--user", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare");
        assert!(readable_within(holder.stdout.as_ref().unwrap(), LIMIT), "unshare made no user namespace");
        for file in ["uid_map", "gid_map"] {
            let mut map =
                std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/{file}", holder.id())).unwrap();
            map.write_all(b"0 100000 65536").unwrap();
        }
        let _ = holder.stdin.as_mut().unwrap().flush();
        Self { holder }
    }

    /// A command there, as root.
    fn command(&self, of: &Command) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.holder.id().to_string();
        command.args(["--target", &target, "--user", "--mount", "--setuid", "0", "--setgid", "0"]);
        command.args(["--wd=/", "--"]).arg(of.get_program()).args(of.get_args()).stdin(Stdio::null());
        command
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn rootless_a_step_runs_without_a_cgroup() {
    // What BuildKit makes of its specification for a rootless daemon: no cgroup, no limits, the host's /sys.
    let c = Container::sh("id -u; cat /proc/self/uid_map; echo x > /dev/null; exit 9").with(|config| {
        config["linux"].as_object_mut().unwrap().remove("resources");
        config["linux"]["cgroupsPath"] = json!("");
        drop_namespace(config, "network");
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !matches!(mount["type"].as_str(), Some("cgroup" | "sysfs")));
        mounts.push(json!({"destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}));
    });
    let mut give = Command::new("chown");
    c.finish(give.arg("-R").arg("100000:100000").arg(&c.dir)).ok();
    let rootless = Rootless::new();
    // A binary of a home that others may not enter is copied to where they may.
    let runtime = c.dir.join("runc");
    copy_runtime(&runtime);
    for options in [&[][..], &["--no-pivot"]] {
        let mut command = Command::new(&runtime);
        command.args(globals(&c)).args(c.words("run", options));
        let run = c.finish(&mut rootless.command(&command));
        assert_eq!(run.code, 9, "{options:?}: {run:?} {:?}", errors(&c));
        let words: Vec<_> = run.stdout.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "100000", "65536"]);
        assert_eq!(errors(&c), Vec::<String>::new());
    }
    // Limits that could not hold are refused, not dropped.
    let c = c.with(|config| config["linux"]["resources"] = json!({"pids": {"limit": 5}}));
    let mut command = Command::new(&runtime);
    command.args(globals(&c)).args(c.words("run", &[]));
    c.finish(&mut rootless.command(&command)).fails(1, &["linux.resources"]);
}
