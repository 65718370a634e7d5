//! What `run` costs in system calls: one process besides itself, no thread, no file that it has no need of.

#[macro_use]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use common::*;

/// The calls of `run`, one trace a process, the runtime's first.
fn trace(c: &Container) -> Option<Vec<String>> {
    Command::new("strace").arg("-V").output().ok()?;
    let mut strace = Command::new("strace");
    strace.args([
        "-ff",
        "-s",
        "4096",
        "-e",
        "trace=clone,clone3,fork,vfork,open,openat,openat2,execve,execveat,open_tree",
    ]);
    strace.arg("-o").arg(c.dir.join("trace")).arg(binary()).arg("--root").arg(&c.root).args(c.words("run", &[]));
    assert_eq!(c.finish(strace.current_dir(&c.dir)).code, 0, "run under strace");
    let mut files: Vec<_> = fs::read_dir(&c.dir).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("trace."));
    // Pids rise, but for a wrap that would be seen as a wrong first.
    files.sort_by_key(|path| path.extension().unwrap().to_str().unwrap().parse::<u32>().unwrap());
    Some(files.iter().map(|path| fs::read_to_string(path).unwrap()).collect())
}

/// The paths that a trace opened, with what failed left out.
fn opened(trace: &str) -> BTreeSet<String> {
    let opens = trace.lines().filter(|line| line.starts_with("open") && !line.contains(" = -1 "));
    opens.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

#[test]
fn run_makes_one_process_and_no_thread() {
    not_in_runc!("it is several processes of several threads");
    let c = Container::new(&["/bin/true"]);
    let Some(traces) = trace(&c) else { skip!("no strace") };
    assert_eq!(traces.len(), 2, "the runtime and init, nothing else: {traces:#?}");
    assert!(!traces.iter().any(|trace| trace.contains("CLONE_THREAD")), "{traces:#?}");
    let born = traces[0].lines().filter(|line| line.starts_with("clone") || line.contains("fork(")).count();
    assert_eq!(born, 1, "{}", traces[0]);
}

#[test]
fn the_runtime_reads_the_bundle_its_state_and_its_cgroups_and_little_else() {
    not_in_runc!("it reads what its language's runtime wants");
    let c = Container::new(&["/bin/true"]).with(|config| config["process"]["env"] = json!(["PATH=/bin", "HOME=/root"]));
    let Some(traces) = trace(&c) else { skip!("no strace") };
    let (dir, cgroup) = (c.dir.to_str().unwrap(), format!("{}/c", c.cgroup_parent));
    let known = |path: &str| {
        ["/proc/self/mountinfo", "/proc/self/cgroup", "config.json", ".", "/dev/null"].contains(&path)
            || path.starts_with(dir)
            || path.contains(&c.cgroup_parent)
            || path.contains(&cgroup)
            || !path.starts_with('/') // beneath a descriptor that was opened by one of these
            || path == "/sys/fs/cgroup"
            // Before Linux 6.9 a process is told from a later one of its pid by when it was started.
            || path.starts_with("/proc/") && path.ends_with("/stat")
            || path.starts_with("/sys/fs/cgroup/") && path.matches('/').count() <= 5
    };
    let surprising: Vec<_> = opened(&traces[0]).into_iter().filter(|path| !known(path)).collect();
    assert!(surprising.is_empty(), "the runtime opened {surprising:#?}");
}

#[test]
fn account_files_are_read_only_where_a_name_asks_for_them() {
    not_in_runc!("it reads them always");
    let reads = |env: Value| {
        let c = Container::new(&["/bin/true"]).with(|config| config["process"]["env"] = env);
        trace(&c).map(|traces| traces.iter().any(|trace| opened(trace).iter().any(|path| path.ends_with("etc/passwd"))))
    };
    let Some(with_home) = reads(json!(["PATH=/bin", "HOME=/root"])) else { skip!("no strace") };
    assert!(!with_home, "HOME is given, nobody asks");
    assert_eq!(reads(json!(["PATH=/bin"])), Some(true), "HOME comes from the container's passwd");
}

#[test]
fn the_runtime_starts_no_program_but_init() {
    not_in_runc!("it starts itself again");
    let c = Container::new(&["/bin/true"]);
    let Some(traces) = trace(&c) else { skip!("no strace") };
    let runs = |trace: &str| trace.lines().filter(|line| line.starts_with("exec") && !line.contains(" = -1 ")).count();
    assert_eq!(runs(&traces[0]), 1, "the runtime itself, by strace: {}", traces[0]);
    assert_eq!(runs(&traces[1]), 2, "init's own program, then the user's: {}", traces[1]);
}

/// What a cgroup2 is entered by: the clone itself. Nobody writes a pid to cgroup.procs, which waits for a grace period.
#[test]
fn on_cgroup2_create_and_exec_write_no_cgroup_procs() {
    v2_only!();
    not_in_runc!("it writes its child's pid to cgroup.procs");
    if Command::new("strace").arg("-V").output().is_err() {
        skip!("no strace");
    }
    let traced = |c: &Container, flags: &[&str], words: &[&str]| {
        let file = c.dir.join("trace");
        let mut strace = Command::new("strace");
        strace.args(flags).args(["-s", "4096", "-e", "trace=clone3,openat,open,openat2,write", "-o"]).arg(&file);
        strace.arg(binary()).arg("--root").arg(&c.root).args(words);
        assert_eq!(c.finish(strace.current_dir(&c.dir)).code, 0, "{words:?} under strace");
        fs::read_to_string(file).unwrap()
    };
    let c = Container::idle();
    // Its init, which lives on, is not followed; that of a `run` is.
    let create = traced(&c, &[], &c.words("create", &[]));
    let own = format!("0::{}/{}", c.cgroup_parent, c.cgroup_leaf);
    assert!(fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap().lines().any(|line| line == own));
    c.start();
    let exec = traced(&c, &["-f"], &["exec", &c.id, "true"]);
    let other = Container::new(&["true"]);
    let run = traced(&other, &["-f"], &other.words("run", &[]));
    for (what, trace) in [("create", create), ("exec", exec), ("run", run)] {
        assert!(trace.contains("CLONE_INTO_CGROUP"), "{what}: {trace}");
        let enters = |line: &&str| line.contains("cgroup.procs") || line.contains("/tasks");
        let writes: Vec<_> = trace.lines().filter(enters).collect();
        assert!(writes.is_empty(), "{what}: {writes:#?}");
    }
}
