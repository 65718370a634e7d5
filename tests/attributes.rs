//! How the kernel treats a container's processes, as asked for: schedulers, I/O priority, CPUs, memory nodes,
//! personality. What the kernel says of a pid is read from outside.

#[macro_use]
mod common;

use std::os::unix::process::CommandExt;

use common::bundle::push;
use common::*;

/// struct sched_attr as of its first version.
#[repr(C)]
#[derive(Debug, Default, PartialEq)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// How a process is scheduled: sched_getattr(2).
fn scheduling(pid: i32) -> Scheduling {
    let mut read = Scheduling::default();
    let size = size_of::<Scheduling>();
    // SAFETY: the kernel fills at most `size` bytes of a structure that is as long.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, pid, &raw mut read, size, 0) };
    assert_eq!(done, 0, "sched_getattr {pid}: {}", std::io::Error::last_os_error());
    read
}

/// Class and level of a process's I/O: ioprio_get(2).
fn io_priority(pid: i32) -> (i64, i64) {
    // SAFETY: the call takes numbers alone.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, pid) };
    assert!(value >= 0, "ioprio_get {pid}: {}", std::io::Error::last_os_error());
    (value >> 13, value & 7)
}

fn personality(pid: i32) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/personality")).expect("a live process");
    u32::from_str_radix(text.trim(), 16).expect("a number")
}

/// The policy of a process's first mapping: proc_pid_numa_maps(5).
fn memory_policy(pid: i32) -> Option<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/numa_maps")).ok()?;
    Some(maps.lines().next()?.split(' ').nth(1)?.to_owned())
}

fn cpus(pid: i32) -> String {
    proc_status(pid, "Cpus_allowed_list")
}

/// The pid of a process that exec leaves running.
#[track_caller]
fn execed(c: &Container, options: &[&str], words: &[&str]) -> i32 {
    c.exec_with(&[&["--detach", "--pid-file", "exec.pid"], options].concat(), words).ok();
    std::fs::read_to_string(c.dir.join("exec.pid")).unwrap().parse().expect("a pid")
}

/// The same by a process document.
#[track_caller]
fn execed_by(c: &Container, document: Value) -> i32 {
    std::fs::write(c.dir.join("process.json"), document.to_string()).unwrap();
    execed(c, &["--process", "process.json"], &[])
}

fn sleeper(fields: Value) -> Value {
    let mut process = json!({"args": ["/bin/sleep", "1000"], "cwd": "/"});
    process.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    process
}

fn in_user_namespace(config: &mut Value) {
    push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
}

/// Real time for the cgroups of this test, which by default have none; false where this kernel does not count it.
fn grant_real_time(c: &Container) -> bool {
    let parent = outside::cgroup_dir("cpu", &c.cgroup_parent);
    std::fs::create_dir_all(&parent).unwrap();
    std::fs::write(parent.join("cpu.rt_runtime_us"), "2000").is_ok()
}

/// Which CPUs there are, or none where there is one alone and nothing can be told apart.
fn two_cpus() -> Option<String> {
    let all = cpus(std::process::id() as i32);
    (all.contains(['-', ','])).then_some(all)
}

/// A command that runs on the first CPU alone.
fn on_the_first_cpu(mut command: std::process::Command) -> std::process::Command {
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let mask = 1u64;
            libc::syscall(libc::SYS_sched_setaffinity, 0, 8, &raw const mask);
            Ok(())
        });
    }
    command
}

const SCHED_OTHER: u32 = 0;
const SCHED_FIFO: u32 = 1;
const SCHED_RR: u32 = 2;
const SCHED_BATCH: u32 = 3;
const SCHED_IDLE: u32 = 5;
const SCHED_DEADLINE: u32 = 6;

#[test]
fn a_scheduler_holds_for_init_and_for_exec_which_may_have_its_own() {
    not_in_runc!("it came in 1.2");
    let c = Container::idle()
        .with(|config| config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "priority": 0, "nice": 19}));
    c.create();
    let batch = Scheduling { size: 48, policy: SCHED_BATCH, nice: 19, ..scheduling(c.pid()) };
    assert_eq!(scheduling(c.pid()), batch, "already as it waits for start");
    c.start();
    assert_eq!(scheduling(c.pid()), batch);
    let exec = scheduling(execed(&c, &[], &["sleep", "1000"]));
    assert_eq!((exec.policy, exec.nice), (SCHED_BATCH, 19));
    let inherited = scheduling(execed_by(&c, sleeper(json!({}))));
    assert_eq!((inherited.policy, inherited.nice), (SCHED_BATCH, 19), "a document that says nothing");
    let own = json!({"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
    let own = scheduling(execed_by(&c, sleeper(json!({"scheduler": own}))));
    assert_eq!((own.policy, own.flags), (SCHED_IDLE, 1));
}

#[test]
fn a_scheduler_of_run_holds_while_the_program_runs() {
    not_in_runc!("it came in 1.2");
    let c = Container::sh("cut -d' ' -f19,41 /proc/self/stat")
        .with(|config| config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 7}));
    assert_eq!(c.run().ok(), format!("7 {SCHED_OTHER}"));
}

#[test]
fn a_deadline_is_kept_where_the_cpuset_has_every_cpu() {
    not_in_runc!("it came in 1.2");
    let c = Container::idle().up();
    let deadline = json!({"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], "nice": 19,
        "runtime": 42_000, "deadline": 1_000_000, "period": 10_000_000});
    let read = scheduling(execed_by(&c, sleeper(json!({"scheduler": deadline}))));
    assert_eq!((read.policy, read.flags & 1), (SCHED_DEADLINE, 1));
    assert_eq!((read.runtime, read.deadline, read.period), (42_000, 1_000_000, 10_000_000));
    if two_cpus().is_none() {
        return;
    }
    let c = Container::idle().with(|config| {
        config["linux"]["resources"]["cpu"] = json!({"cpus": "0"});
        config["process"]["scheduler"] = deadline;
    });
    let before = c.leftovers();
    c.try_create().fails(1, &["process.scheduler", "can't be used together", "linux.resources.cpu.cpus"]);
    before.assert_nothing_new();
}

#[test]
fn a_cgroup_without_real_time_refuses_a_real_time_policy_and_says_what_to_do() {
    not_in_runc!("it came in 1.2");
    let fifo = json!({"policy": "SCHED_FIFO", "priority": 5});
    let c = Container::idle().with(|config| config["process"]["scheduler"] = fifo.clone());
    if !outside::cgroup_dir("cpu", "cpu.rt_runtime_us").exists() {
        skip!("this kernel counts no real time of cgroups");
    }
    let before = c.leftovers();
    let words = c.words("create", &["--pid-file", "pid"]);
    c.runtime(&words).fails(
        1,
        &[
            "process.scheduler: set SCHED_FIFO priority 5",
            "cpu.rt_runtime_us is 0",
            "linux.resources.cpu.realtimeRuntime",
        ],
    );
    before.assert_nothing_new();
    assert!(!c.dir.join("pid").exists(), "a pid file of a process that is no more");
    if !grant_real_time(&c) {
        skip!("the host's cgroup has no real time to give");
    }
    let c = c.with(|config| config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 1000}));
    let c = c.up();
    let read = scheduling(c.pid());
    assert_eq!((read.policy, read.priority), (SCHED_FIFO, 5));
    let read = scheduling(execed(&c, &[], &["sleep", "1000"]));
    assert_eq!((read.policy, read.priority), (SCHED_FIFO, 5));
    let turns = json!({"scheduler": {"policy": "SCHED_RR", "priority": 99}});
    let read = scheduling(execed_by(&c, sleeper(turns)));
    assert_eq!((read.policy, read.priority), (SCHED_RR, 99));
}

#[test]
fn what_takes_the_hosts_privilege_is_had_in_a_user_namespace_without_it() {
    not_in_runc!("it asks for CAP_SYS_NICE inside");
    let c = Container::idle().with(|config| {
        in_user_namespace(config);
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] = json!({});
        config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -5});
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_RT", "priority": 2});
    });
    let c = c.up();
    for pid in [c.pid(), execed(&c, &[], &["sleep", "1000"])] {
        assert_eq!(scheduling(pid).nice, -5);
        assert_eq!(io_priority(pid), (1, 2));
    }
}

#[test]
fn what_takes_no_privilege_is_had_from_a_runtime_without_it() {
    not_in_runc!("it came in 1.2");
    if !aside::installed("setpriv") {
        skip!("no setpriv");
    }
    let unprivileged = |c: &Container, words: &[&str]| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]).arg(binary()).arg("--root").arg(&c.root);
        c.finish(command.args(words).current_dir(&c.dir).stdin(std::process::Stdio::null()))
    };
    let c = Container::idle().with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 7});
    });
    unprivileged(&c, &c.words("create", &[])).ok();
    c.start();
    unprivileged(&c, &["exec", "--detach", "--pid-file", "exec.pid", &c.id, "sleep", "1000"]).ok();
    let execed = std::fs::read_to_string(c.dir.join("exec.pid")).unwrap().parse().unwrap();
    for pid in [c.pid(), execed] {
        let read = scheduling(pid);
        assert_eq!((read.policy, read.nice, io_priority(pid).0), (SCHED_BATCH, 5, 3));
    }
    let c =
        Container::idle().with(|config| config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -5}));
    let before = c.leftovers();
    let refused = unprivileged(&c, &c.words("create", &[]));
    refused.fails(1, &["process.scheduler, SCHED_OTHER nice -5", "operation not permitted", "CAP_SYS_NICE"]);
    before.assert_nothing_new();
}

#[test]
fn an_io_priority_holds_for_init_and_for_exec_which_may_have_its_own() {
    not_in_runc!("it came in 1.2");
    let c = Container::idle()
        .with(|config| config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6}))
        .up();
    assert_eq!(io_priority(c.pid()), (2, 6));
    assert_eq!(io_priority(execed(&c, &[], &["sleep", "1000"])), (2, 6));
    let own = json!({"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4}});
    assert_eq!(io_priority(execed_by(&c, sleeper(own))).0, 3);
    let c = Container::sh("sleep 1000 & wait")
        .with(|config| config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 1}))
        .up();
    eventually("the program has a child", || !children(c.pid()).is_empty());
    assert_eq!(io_priority(children(c.pid())[0]), (2, 1), "of what init starts as well");
}

#[test]
fn a_personality_holds_for_init_and_for_exec() {
    not_in_runc!("it came in 1.2");
    let c = Container::idle().with(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"})).up();
    assert_eq!(personality(c.pid()) & 0xff, 8);
    assert_eq!(c.exec(&["uname", "-m"]).ok(), "i686");
    let c = Container::new(&["uname", "-m"]).with(|config| {
        config["linux"]["personality"] = json!({"domain": "LINUX", "flags": []});
        // Set before the filter is loaded, which then holds for the program alone.
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    });
    assert_eq!(c.run().ok(), "x86_64");
}

#[test]
fn a_memory_policy_holds_for_init_and_for_exec() {
    not_in_runc!("it came in 1.4");
    let bind = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let c = Container::idle().with(|config| config["linux"]["memoryPolicy"] = bind);
    if memory_policy(std::process::id() as i32).is_none() {
        skip!("this kernel is built without NUMA");
    }
    let c = c.up();
    assert_eq!(memory_policy(c.pid()).as_deref(), Some("bind=static:0"));
    assert_eq!(memory_policy(execed(&c, &[], &["sleep", "1000"])).as_deref(), Some("bind=static:0"));
    for (policy, words) in [
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": " 0 ,", "flags": ["MPOL_F_RELATIVE_NODES"]}), "prefer=relative:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({}), "default"),
    ] {
        let c = Container::idle().with(|config| config["linux"]["memoryPolicy"] = policy.clone()).up();
        assert_eq!(memory_policy(c.pid()).as_deref(), Some(words), "{policy}");
    }
    let c = Container::idle()
        .with(|config| config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "1023"}));
    let before = c.leftovers();
    c.try_create().fails(1, &["set memory policy MPOL_BIND nodes 1023", "linux.memoryPolicy", "cpuset.mems"]);
    before.assert_nothing_new();
}

#[test]
fn attributes_that_no_kernel_takes_are_refused_by_their_field_before_anything_exists() {
    not_in_runc!("it takes some of them");
    let policy = |scheduler: Value| (json!({"scheduler": scheduler}), json!({}));
    let memory = |policy: Value| (json!({}), json!({"memoryPolicy": policy}));
    for ((process, linux), field) in [
        (policy(json!({"policy": "SCHED_FIFO"})), "process.scheduler.priority"),
        (policy(json!({"policy": "SCHED_OTHER", "nice": -21})), "process.scheduler.nice"),
        (policy(json!({"policy": "SCHED_BATCH", "period": 5})), "process.scheduler.period"),
        (policy(json!({"policy": "SCHED_EXT"})), "process.scheduler.policy"),
        (policy(json!({"nice": 1})), "process.scheduler"),
        (policy(json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NEW"]})), "process.scheduler.flags[0]"),
        (
            (json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}), json!({})),
            "process.ioPriority.priority",
        ),
        ((json!({"ioPriority": {"class": "IOPRIO_CLASS_NEW"}}), json!({})), "process.ioPriority.class"),
        ((json!({"execCPUAffinity": {"final": "0-"}}), json!({})), "process.execCPUAffinity.final"),
        ((json!({}), json!({"personality": {"domain": "LINUX", "flags": ["X"]}})), "linux.personality.flags"),
        ((json!({}), json!({"personality": {"domain": "BSD"}})), "linux.personality.domain"),
        (memory(json!({"mode": "MPOL_BIND"})), "linux.memoryPolicy.nodes"),
        (memory(json!({"mode": "INTERLEAVE", "nodes": "0"})), "linux.memoryPolicy.mode"),
        (memory(json!({"nodes": "0-7"})), "linux.memoryPolicy"),
    ] {
        let c = Container::idle().with(|config| {
            for (object, fields) in [("process", &process), ("linux", &linux)] {
                config[object].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            }
        });
        let before = c.leftovers();
        c.try_create().fails(1, &[field]);
        before.assert_nothing_new();
    }
    let c = Container::idle().with(|config| config["annotations"] = json!({"io.nfrun.exec-cpus": "first"}));
    c.try_create().fails(1, &["annotations.io.nfrun.exec-cpus", "first"]);
}

#[test]
fn a_container_runs_on_its_whole_cpuset_whatever_cpus_its_caller_has() {
    not_in_runc!("1.1.5 passes the caller's on");
    let Some(all) = two_cpus() else { skip!("one CPU alone") };
    let c = Container::idle();
    assert_eq!(c.finish(&mut on_the_first_cpu(c.command(&c.words("create", &[])))).code, 0);
    assert_eq!(cpus(c.pid()), all);
    c.start();
    assert_eq!(cpus(c.pid()), all);
    let grep = ["exec", &c.id, "grep", "Cpus_allowed_list", "/proc/self/status"];
    let exec = c.finish(&mut on_the_first_cpu(c.command(&grep)));
    assert_eq!(exec.ok(), format!("Cpus_allowed_list:\t{all}"));
    let c = Container::new(&["grep", "Cpus_allowed_list", "/proc/self/status"])
        .with(|config| config["linux"]["resources"]["cpu"] = json!({"cpus": "1"}));
    let run = c.finish(&mut on_the_first_cpu(c.command(&c.words("run", &[]))));
    assert_eq!(run.ok(), "Cpus_allowed_list:\t1");
}

#[test]
fn a_sandbox_that_forbids_the_choice_of_cpus_hinders_no_container_but_one_that_asks_for_it() {
    not_in_runc!("1.1.5 does not choose");
    if !aside::installed("strace") {
        skip!("no strace");
    }
    let c = Container::new(&["echo", "made"]);
    let forbidden = |words: &[&str]| {
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=sched_setaffinity", "-e", "inject=sched_setaffinity:error=EPERM"]);
        command.args(["-o", "trace"]).arg(binary()).arg("--root").arg(&c.root).args(words).current_dir(&c.dir);
        c.finish(command.stdin(std::process::Stdio::null()))
    };
    assert_eq!(forbidden(&c.words("run", &[])).ok(), "made");
    let trace = std::fs::read_to_string(c.dir.join("trace")).unwrap();
    assert!(trace.contains("(INJECTED)"), "{trace}");
    let c = Container::idle().up();
    let words = ["--exec-cpus", "0", &c.id, "true"];
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-e", "inject=sched_setaffinity:error=EPERM", "-o", "trace"]).arg(binary());
    command.arg("--root").arg(&c.root).arg("exec").args(words).current_dir(&c.dir);
    c.finish(command.stdin(std::process::Stdio::null())).fails(255, &["--exec-cpus", "operation not permitted"]);
}

#[test]
fn exec_runs_on_the_cpus_that_the_flag_the_document_or_the_annotation_names() {
    not_in_runc!("execCPUAffinity came in 1.3, and the flag is ours");
    let Some(all) = two_cpus() else { skip!("one CPU alone") };
    let probe = ["sleep", "1000"];
    let pinned = json!({"execCPUAffinity": {"initial": "0", "final": "1"}});
    let c = Container::idle().with(|config| config["annotations"] = json!({"io.nfrun.exec-cpus": "0"})).up();
    assert_eq!(cpus(c.pid()), all, "the annotation is about execs");
    assert_eq!(cpus(execed(&c, &[], &probe)), "0", "annotation");
    assert_eq!(cpus(execed_by(&c, sleeper(json!({})))), "0", "annotation");
    assert_eq!(cpus(execed_by(&c, sleeper(pinned.clone()))), "1", "the document goes before the annotation");
    assert_eq!(cpus(execed(&c, &["--exec-cpus", "1"], &probe)), "1", "the flag goes before the annotation");
    let c = Container::idle().with(|config| {
        config["annotations"] = json!({"io.nfrun.exec-cpus": "0"});
        config["process"]["execCPUAffinity"] = pinned["execCPUAffinity"].clone();
    });
    let c = c.up();
    assert_eq!(cpus(c.pid()), all, "execCPUAffinity is not for init");
    assert_eq!(cpus(execed(&c, &[], &probe)), "1", "config.json goes before the annotation");
    assert_eq!(cpus(execed_by(&c, sleeper(json!({})))), "1", "config.json");
    let own = sleeper(json!({"execCPUAffinity": {"initial": "1"}}));
    assert_eq!(cpus(execed_by(&c, own)), all, "without a final one it is the whole cpuset");
    assert_eq!(cpus(execed(&c, &["--exec-cpus", "0"], &probe)), "0", "the flag goes before config.json");
    assert_eq!(cpus(execed(&c, &["--exec-cpus", ""], &probe)), "1", "an empty flag counts as none");
    c.exec_with(&["--exec-cpus", "8191"], &["true"]).fails(255, &["--exec-cpus", "8191", "online"]);
    c.exec_with(&["--exec-cpus", "none"], &["true"]).fails(255, &["--exec-cpus", "none"]);
}

#[test]
fn the_initial_cpus_hold_before_the_cgroups_are_entered_and_the_final_ones_after() {
    not_in_runc!("execCPUAffinity came in 1.3");
    if two_cpus().is_none() {
        skip!("one CPU alone");
    }
    let c = Container::idle()
        .with(|config| config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"}))
        .up();
    let trace = c.dir.join("trace");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-e", "trace=sched_setaffinity,write", "-o"]).arg(&trace).arg(binary());
    command.arg("--root").arg(&c.root).args(["exec", &c.id, "true"]).stdin(std::process::Stdio::null());
    if !aside::installed("strace") {
        skip!("no strace");
    }
    assert_eq!(c.finish(&mut command).code, 0);
    let trace = std::fs::read_to_string(trace).unwrap();
    let lines: Vec<_> = trace.lines().collect();
    let at =
        |words: &str| lines.iter().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {trace}"));
    let joins: Vec<_> = (0..lines.len()).filter(|i| lines[*i].contains(", \"0\", 1)")).collect();
    assert!(at("sched_setaffinity(0, 8, [0])") < joins[0], "{trace}");
    assert!(at("sched_setaffinity(0, 8, [1])") > joins[joins.len() - 1], "{trace}");
}

/// The kernel takes no CPU that is not of the cpuset that a process is in, so the initial ones have to be set outside.
#[test]
fn the_initial_cpus_may_lie_outside_of_the_containers_cpuset() {
    not_in_runc!("execCPUAffinity came in 1.3");
    if two_cpus().is_none() {
        skip!("one CPU alone");
    }
    let c = Container::idle().with(|config| {
        config["process"]["execCPUAffinity"] = json!({"initial": "0"});
        config["linux"]["resources"]["cpu"] = json!({"cpus": "1"});
    });
    let c = c.up();
    assert_eq!(c.exec(&["grep", "Cpus_allowed_list", "/proc/self/status"]).ok(), "Cpus_allowed_list:\t1");
}
