//! Containers of an ordinary user, from `spec --rootless` to `delete`: with himself alone mapped and with ranges of ids,
//! without cgroups and with those that were delegated to him.

#[macro_use]
mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::terminal::{ConsoleSocket, control, lines_of, pty};
use common::user::{GRANTED, UID, himself, ranges};
use common::*;

/// Leaves a test of ranges where there is nobody to map them.
macro_rules! ranges_only {
    () => {
        if !aside::installed("newuidmap") {
            skip!("newuidmap (Debian: uidmap) is not installed");
        }
    };
}

#[test]
fn what_spec_rootless_writes_runs_as_it_is() {
    let mut c = Container::of_user(&["true"], &himself());
    fs::remove_file(c.bundle.join("config.json")).unwrap();
    // Nobody helps with the ids.
    c.user().path = "/usr/bin";
    c.runtime(&["spec", "--rootless", "--bundle", "bundle"]).ok();
    let before = c.leftovers();
    let (master, slave) = pty(20, 70);
    let mut run = c.command(&c.words("run", &[]));
    control(&mut run, &slave);
    let mut run = run.spawn().unwrap();
    drop(slave);
    let mut typing = fs::File::from(master.try_clone().unwrap());
    typing.write_all(b"echo \"[$(id -u) $(stty size) $(cat /proc/self/setgroups)]\"; exit 7\n").unwrap();
    let mut lines = lines_of(&master);
    lines.until("[0 20 70 deny]");
    assert_eq!(wait(&mut run, "run"), 7);
    before.assert_nothing_new();
}

/// From create to delete, with what is told of it in between.
fn whole_life(c: &Container, exec_says: &str) {
    let before = c.leftovers();
    c.create();
    assert_eq!(c.status(), "created");
    c.start();
    assert_eq!(c.status(), "running");
    let state = c.state();
    assert_eq!(state["owner"], "nfruntest");
    let pid = c.pid();
    let uid = proc_status(pid, "Uid");
    assert!(!uid.starts_with("0 "), "root inside is nobody special outside: {uid}");
    assert!(c.runtime(&["list"]).ok().contains("running"));
    let exec = c.exec(&["sh", "-c", "id -u; cat /proc/self/uid_map | tr -s ' '; test -w /dev/null && echo devices"]);
    assert_eq!(exec.ok(), exec_says);
    assert_eq!(c.exec(&["sh", "-c", "exit 9"]).code, 9);
    c.exec_with(&["--detach"], &["sleep", "1000"]).ok();
    let pids: Vec<i32> = serde_json::from_str(c.on_id(&["ps", "--format", "json"]).ok()).unwrap();
    assert!(pids.len() == 2 && pids.contains(&pid), "{pids:?}, {pid} among them");
    // The PATH of some has no /bin, where Debian 11 has it.
    if std::path::Path::new("/usr/bin/ps").exists() {
        assert_eq!(c.on_id(&["ps"]).ok().lines().count(), 3);
    }
    c.on_id(&["delete"]).fails(1, &["not stopped"]);
    c.kill("KILL");
    assert_eq!(c.exec(&["true"]).code, 255);
    c.on_id(&["delete"]).ok();
    c.on_id(&["state"]).fails(1, &["does not exist"]);
    before.assert_nothing_new();
}

#[test]
fn a_container_of_the_user_alone_lives_its_whole_life() {
    let mut c = Container::of_user(&["sleep", "1000"], &himself());
    c.user().path = "/usr/bin";
    whole_life(&c, &format!("0\n 0 {UID} 1\ndevices"));
}

#[test]
fn a_container_with_ranges_lives_its_whole_life() {
    ranges_only!();
    let c = Container::of_user(&["sleep", "1000"], &ranges());
    whole_life(&c, &format!("0\n 0 {UID} 1\n 1 {GRANTED} 65535\ndevices"));
}

#[test]
fn users_and_groups_of_the_ranges_are_the_containers() {
    ranges_only!();
    let script = "id; touch /tmp/of_alice; echo $(stat -c %u /tmp/of_alice /tmp/of_root)";
    let c = Container::of_user(&["sh", "-c", script], &ranges()).with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5]});
        config["root"]["readonly"] = json!(false);
    });
    fs::write(c.rootfs("/tmp/of_root"), "").unwrap();
    c.give(&c.rootfs("/tmp/of_root"));
    fs::set_permissions(c.rootfs("/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    let run = c.run();
    assert_eq!(run.ok(), "uid=1000(alice) gid=1000(alice) groups=5(tty)\n1000 0");
    assert_eq!(fs::metadata(c.rootfs("/tmp/of_alice")).unwrap().uid(), GRANTED + 999);
}

#[test]
fn a_driver_gets_the_terminal_and_exec_one_more() {
    let c = Container::of_user(&["sh", "-c", "tty; read x; echo got $x; sleep 1000"], &himself())
        .with(|config| config["process"]["terminal"] = json!(true));
    let socket = ConsoleSocket::bind(&c.dir.join("console.sock"));
    c.give(&socket.path);
    c.runtime(&c.words("create", &["--console-socket", socket.text()])).ok();
    let master = socket.master();
    c.start();
    let mut lines = lines_of(&master);
    assert!(lines.line().starts_with("/dev/"));
    fs::File::from(master).write_all(b"typed\n").unwrap();
    lines.until("got typed");
    let (master, slave) = pty(31, 91);
    let mut exec = c.command(&["exec", "--tty", &c.id, "sh", "-c", "tty >/dev/null && stty size"]);
    control(&mut exec, &slave);
    let mut exec = exec.spawn().unwrap();
    drop(slave);
    lines_of(&master).until("31 91");
    assert_eq!(wait(&mut exec, "exec"), 0);
}

/// A machine where this user has no cgroup, as long as the test gives him none.
#[test]
fn without_a_cgroup_what_needs_one_is_refused_in_words_and_the_rest_works() {
    let c = Container::of_user(&["sh", "-c", "sleep 1000 & sleep 1000"], &himself());
    let before = c.leftovers();
    let create = c.runtime(&[&["--debug"][..], &c.words("create", &[])].concat());
    create.ok();
    assert!(create.stderr.contains("no cgroup is delegated to this user"), "{create:?}");
    c.start();
    c.on_id(&["pause"]).fails(1, &["without a cgroup"]);
    c.on_id(&["events", "--stats"]).fails(1, &["no cgroup"]);
    c.on_id(&["update", "--pids-limit", "5"]).fails(1, &["no cgroup"]);
    assert_eq!(c.status(), "running");
    // Each process is found by its pid namespace, also in one below.
    c.exec_with(&["--detach", "--cap", "CAP_SYS_ADMIN"], &["unshare", "-p", "-f", "sleep", "1000"]).ok();
    let pids = || -> Vec<i32> { serde_json::from_str(c.on_id(&["ps", "--format", "json"]).ok()).unwrap() };
    eventually("four processes are listed", || pids().len() == 4);
    let [first, ref others @ ..] = pids()[..] else { unreachable!() };
    assert_eq!(first, c.pid());
    let others: Vec<_> = others.iter().filter_map(|pid| pidfd(*pid)).collect();
    // The first process of a namespace is hit by what it handles alone, and the others by what ends them.
    c.runtime(&["kill", "--all", &c.id, "TERM"]).ok();
    let has_ended = |other: &&_| ends_within(other, std::time::Duration::ZERO);
    eventually("two have ended", || others.iter().filter(has_ended).count() >= 2);
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

#[test]
fn limits_that_no_cgroup_holds_are_refused_by_name() {
    for (resources, name) in [
        (json!({"memory": {"limit": 67_108_864}}), "linux.resources.memory"),
        (json!({"pids": {"limit": 5}}), "linux.resources.pids"),
    ] {
        let c = Container::of_user(&["true"], &himself()).with(|config| {
            config["linux"]["resources"] = resources;
            config["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
        });
        let before = c.leftovers();
        c.run().fails(1, &[name, "no cgroup is delegated to this user"]);
        before.assert_nothing_new();
    }
    let c = Container::of_user(&["true"], &himself()).with(|config| {
        config["linux"]["resources"] =
            json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": -1}, "pids": {"limit": -1}});
    });
    c.run().ok();
}

#[test]
fn a_cgroup_that_the_bundle_names_must_be_the_users() {
    let c = Container::of_user(&["true"], &himself());
    let cgroup = format!("{}/c", c.cgroup_parent);
    let c = c.with(|config| config["linux"]["cgroupsPath"] = json!(cgroup));
    let before = c.leftovers();
    c.run().fails(1, &["make cgroup", &cgroup, "permission denied"]);
    before.assert_nothing_new();
}

#[test]
fn rootless_false_asks_for_cgroups_as_root_does() {
    let c = Container::of_user(&["true"], &himself());
    let before = c.leftovers();
    let words = c.words("run", &[]);
    c.runtime(&[&["--rootless", "false"][..], &words].concat()).fails(1, &["make cgroup", "permission denied"]);
    c.runtime(&[&["--rootless", "true"][..], &words].concat()).ok();
    before.assert_nothing_new();
}

#[test]
fn a_bundle_without_a_user_namespace_is_refused_with_the_way_out() {
    let c = Container::of_user(&["true"], &himself()).with(|config| {
        common::bundle::drop_namespace(config, "user");
        config["linux"].as_object_mut().unwrap().retain(|name, _| !name.ends_with("Mappings"));
    });
    let before = c.leftovers();
    c.run().fails(1, &["linux.namespaces", "user namespace", "spec --rootless"]);
    before.assert_nothing_new();
}

#[test]
fn a_host_that_lets_nobody_make_user_namespaces_is_named() {
    let c = Container::of_user(&["true"], &json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    let before = c.leftovers();
    // The setting holds for a user namespace and those below it, so the host's stays.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"";
    let run = c.command(&c.words("run", &[]));
    let mut words: Vec<_> = run.get_args().map(ToOwned::to_owned).collect();
    let at = words.iter().position(|word| word.to_str().is_some_and(|word| word.ends_with("/nfrun"))).unwrap();
    let inside = ["/usr/bin/unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"];
    words.splice(at..at, inside.map(Into::into));
    let mut command = std::process::Command::new(run.get_program());
    c.finish(command.args(words).current_dir(&c.dir)).fails(1, &["clone3", "user.max_user_namespaces is 0"]);
    before.assert_nothing_new();
}

/// A shell script as the user, where `nfrun` is the runtime.
fn shell(c: &Container, script: &str) -> Output {
    let common::Runtime::User(user) = &c.runtime else { panic!("the container is no user's") };
    let mut command = user.words();
    let script = format!("nfrun() {{ \"$HOME/nfrun\" \"$@\"; }}; {script}");
    c.finish(command.args(["sh", "-c", &script]).current_dir(&c.dir).stdin(std::process::Stdio::null()))
}

#[test]
fn state_is_kept_in_the_runtime_directory_where_it_is_not_removed_by_age() {
    let c = Container::of_user(&["true"], &himself());
    let run = shell(
        &c,
        "mkdir -m 700 run; export XDG_RUNTIME_DIR=$HOME/run; nfrun create --bundle bundle x && nfrun list -q && \
         stat -c '%a %u' run/nfrun run/nfrun/x; nfrun delete x; ls run/nfrun",
    );
    assert_eq!(run.ok(), format!("x\n1700 {UID}\n700 {UID}"));
}

#[test]
fn without_a_runtime_directory_that_of_the_session_serves_or_the_error_says_what_to_do() {
    let mut c = Container::of_user(&["true"], &himself());
    let script = "nfrun list -q; nfrun create --bundle bundle x && nfrun list -q && ls -d /run/user/*/nfrun/*; \
                  nfrun delete --force x; nfrun list -q";
    c.user().before = "mount -t tmpfs -o mode=755 run /run;".into();
    let run = shell(&c, &format!("nfrun list -q; {script}"));
    run.fails(0, &["make state root /run/nfrun: permission denied", "XDG_RUNTIME_DIR", "--root"]);
    assert_eq!(run.stdout, "");
    c.user().before =
        format!("mount -t tmpfs -o mode=755 run /run; mkdir -p /run/user/{UID}; chown {UID} /run/user/{UID};");
    assert_eq!(shell(&c, script).ok(), format!("x\n/run/user/{UID}/nfrun/x"));
}

/// su(1) leaves XDG_RUNTIME_DIR as it was. Whoever made the state there could have hooks run and processes ended as this user.
#[test]
fn state_that_another_user_could_have_made_is_not_looked_at() {
    let c = Container::of_user(&["true"], &himself());
    let of = |dir: &std::path::Path, uid: u32, mode: u32| {
        fs::create_dir(dir).unwrap();
        std::os::unix::fs::chown(dir, Some(uid), None).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    };
    let (others, shared) = (c.dir.join("others"), c.dir.join("shared"));
    of(&others, UID + 1, 0o755);
    of(&shared, 0, 0o1777);
    let list = |dir: &std::path::Path| shell(&c, &format!("export XDG_RUNTIME_DIR={}; nfrun list -q", dir.display()));
    let passed_over = |run: &Output| assert!(run.stderr.contains("is another user's"), "{run:?}");
    passed_over(&list(&others));
    assert_eq!(list(&shared).stderr, "");
    of(&shared.join("nfrun"), UID + 1, 0o777);
    passed_over(&list(&shared));
    // As root of a user namespace, as who becomes root of a machine container.
    let inside = format!("export XDG_RUNTIME_DIR={}; unset USER; unshare -r \"$HOME/nfrun\" list -q", shared.display());
    passed_over(&shell(&c, &inside));
}

/// v1 hierarchies that a user can be given without more ado: cpuset would have to be filled first.
const GIVEN: [&str; 5] = ["memory", "pids", "freezer", "cpu", "systemd"];

/// A file of a delegated container's cgroup: its v1 hierarchy and name, or its name on cgroup2.
#[track_caller]
fn limit(c: &Container, (hierarchy, v1): (&str, &str), v2: &str) -> String {
    let path = c.delegated_cgroup(hierarchy).join(if outside::is_v2() { v2 } else { v1 });
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

#[test]
fn in_a_delegated_cgroup_limits_are_set_changed_read_and_felt() {
    let c = Container::of_user(&["sleep", "1000"], &himself()).delegated(&GIVEN).with(|config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}],
            "memory": {"limit": 33_554_432}, "pids": {"limit": 20}, "cpu": {"shares": 512}});
    });
    let before = c.leftovers();
    let create = c.runtime(&[&["--debug"][..], &c.words("create", &[])].concat());
    create.ok();
    c.start();
    if !outside::is_v2() {
        assert!(create.stderr.contains("no cgroup is delegated to this user"), "of some hierarchies: {create:?}");
    }
    assert_eq!(limit(&c, ("memory", "memory.limit_in_bytes"), "memory.max"), "33554432");
    assert_eq!(limit(&c, ("pids", "pids.max"), "pids.max"), "20");
    assert_ne!(limit(&c, ("cpu", "cpu.shares"), "cpu.weight"), if outside::is_v2() { "100" } else { "1024" });
    // A process of 64 MiB is killed, a 21st not forked.
    assert_eq!(c.exec(&["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]).code, 137);
    let many = "for i in $(seq 40); do sleep 5 & done; true";
    let forks = c.exec(&["sh", "-c", many]);
    assert!(forks.stderr.contains("fork"), "{forks:?}");
    c.on_id(&["update", "--pids-limit", "30", "--memory", "67108864"]).ok();
    assert_eq!(limit(&c, ("memory", "memory.limit_in_bytes"), "memory.max"), "67108864");
    assert_eq!(limit(&c, ("pids", "pids.max"), "pids.max"), "30");
    let stats: Value = serde_json::from_str(c.on_id(&["events", "--stats"]).ok()).unwrap();
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{stats}");
    assert_eq!(stats["data"]["pids"]["limit"], 30);
    c.on_id(&["pause"]).ok();
    assert_eq!(c.status(), "paused");
    c.exec(&["true"]).fails(255, &["paused"]);
    c.on_id(&["resume"]).ok();
    assert_eq!(c.status(), "running");
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

#[test]
fn exec_enters_the_delegated_cgroup_and_kill_all_finds_what_is_in_it() {
    let c = Container::of_user(&["sleep", "1000"], &himself()).delegated(&GIVEN);
    let before = c.leftovers();
    c.create().start();
    c.exec_with(&["--detach"], &["sleep", "1000"]).ok();
    let inside = fs::read_to_string(c.delegated_cgroup("pids").join("cgroup.procs")).unwrap();
    assert_eq!(inside.lines().count(), 2, "{inside}");
    let pids: Vec<i32> = serde_json::from_str(c.on_id(&["ps", "--format", "json"]).ok()).unwrap();
    assert_eq!(pids.len(), 2);
    let all: Vec<_> = pids.iter().map(|pid| pidfd(*pid).unwrap()).collect();
    c.runtime(&["kill", "--all", &c.id, "KILL"]).ok();
    assert!(all.iter().all(|process| ends_within(process, LIMIT)));
    c.on_id(&["delete"]).ok();
    before.assert_nothing_new();
}

#[test]
fn a_cgroup_below_his_own_that_the_bundle_names_is_made() {
    if !outside::is_v2() {
        skip!("on cgroup v1 a path is made in every hierarchy, and nobody is given them all");
    }
    let c = Container::of_user(&["sleep", "1000"], &himself()).delegated(&GIVEN);
    let path = format!("{}/deep/er", c.cgroup_parent);
    let c = c.with(|config| {
        config["linux"]["cgroupsPath"] = json!(path);
        config["linux"]["resources"] = json!({"memory": {"limit": 33_554_432}});
    });
    let before = c.leftovers();
    c.create().start();
    let file = outside::cgroup_dir("", &path).join("memory.max");
    assert_eq!(fs::read_to_string(file).unwrap().trim(), "33554432");
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

/// cgroup-v2.rst, "Delegation Containment": who moves a process must be allowed to write in what holds both cgroups.
#[test]
fn an_exec_from_a_cgroup_that_is_not_his_keeps_no_limit_and_says_so() {
    v2_only!();
    for limits in [json!({}), json!({"pids": {"limit": 20}})] {
        let limited = limits != json!({});
        let mut c = Container::of_user(&["sleep", "1000"], &himself())
            .delegated(&GIVEN)
            .with(|config| config["linux"]["resources"] = limits);
        c.create().start();
        // The test's own cgroup: the root, or whatever it was started in.
        c.user().before.clear();
        let exec = c.exec(&["cat", "/proc/self/cgroup"]);
        if limited {
            exec.fails(255, &["/sys/fs/cgroup/cgroup.procs", "the process would have no limits"]);
        } else {
            assert!(exec.ok().starts_with("0::/"), "{exec:?}");
            assert!(exec.stderr.contains("outside of the container's cgroup"), "{exec:?}");
            let pinned = c.exec_with(&["--exec-cpus", "0"], &["cat", "/proc/self/cgroup"]);
            assert!(pinned.ok().starts_with("0::/"), "{pinned:?}");
        }
        assert_eq!(c.status(), "running");
        c.on_id(&["delete", "--force"]).ok();
    }
}

#[test]
fn the_users_cgroups_cannot_be_written_from_inside() {
    for own in [true, false] {
        let c = Container::of_user(&["sh", "-c", "find /sys/fs/cgroup -name cgroup.procs | while read f; do test -w $f && echo $f; mkdir ${f%/*}/made 2>/dev/null && echo made; done; true"], &himself())
            .delegated(&GIVEN)
            .with(|config| {
                if own {
                    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
                }
            });
        let before = c.leftovers();
        let run = c.run();
        assert!(!run.ok().contains("made"), "with a cgroup namespace: {own}: {run:?}");
        before.assert_nothing_new();
    }
}

/// The runtime is killed before each step of create, and the user clears what it left.
#[test]
fn what_a_killed_create_left_the_user_collects() {
    let c = Container::of_user(&["sleep", "1000"], &himself()).delegated(&GIVEN);
    let before = c.leftovers();
    // A stride, since each costs several commands.
    for k in (1..60).step_by(4) {
        let create = c.finish(c.command(&c.words("create", &[])).env("NFRUN_FAULT", format!("kill:runtime:{k}")));
        assert!(create.code == 0 || create.code == 137, "step {k}: {create:?}");
        c.runtime(&["gc"]).ok();
        // It may have been whole already.
        if c.on_id(&["state"]).code == 0 {
            c.on_id(&["delete", "--force"]).ok();
        }
        before.assert_nothing_new();
        if create.code == 0 {
            return;
        }
    }
    panic!("no create without a fault");
}

#[test]
fn hooks_run_as_the_user() {
    let c = Container::of_user(&["true"], &himself());
    let log = c.dir.join("hooks");
    fs::write(&log, "").unwrap();
    c.give(&log);
    let write = |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {name} $(id -u) >> {}", log.display())]}]);
    let c = c.with(|config| {
        config["hooks"] = json!({"createRuntime": write("createRuntime"), "poststop": write("poststop")});
    });
    c.run().ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), format!("createRuntime {UID}\npoststop {UID}\n"));
}

#[test]
fn what_the_kernel_refuses_to_a_user_is_named_and_leaves_nothing() {
    let refused = |edit: &dyn Fn(&mut Value), says: &[&str]| {
        let c = Container::of_user(&["true"], &himself()).with(edit);
        let before = c.leftovers();
        c.run().fails(1, says);
        before.assert_nothing_new();
    };
    refused(
        &|config| config["process"]["oomScoreAdj"] = json!(-900),
        &["process.oomScoreAdj", "-900", "permission denied"],
    );
    refused(
        &|config| config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 2_000_000_000}]),
        &["process.rlimits", "RLIMIT_NOFILE", "CAP_SYS_RESOURCE"],
    );
    refused(
        &|config| config["process"]["user"]["additionalGids"] = json!([0]),
        &["process.user.additionalGids", "no groups be set"],
    );
    refused(&|config| config["process"]["user"]["uid"] = json!(7), &["process.user.uid", "7"]);
    refused(
        &|config| config["mounts"][2]["options"].as_array_mut().unwrap().push(json!("gid=5")),
        &["devpts", "/dev/pts", "gid=5", "not mapped"],
    );
    refused(
        &|config| config["mounts"][5] = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}),
        &["sysfs", "network namespace", "bind"],
    );
    refused(
        &|config| {
            let mapped = json!({"destination": "/mnt", "source": "/usr", "type": "bind", "options": ["bind", "idmap"]});
            config["mounts"].as_array_mut().unwrap().push(mapped);
        },
        &["mounts[7]", if outside::kernel_has(5, 12) { "does not administer the filesystem" } else { "Linux 5.12" }],
    );
    refused(
        &|config| {
            config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 10});
        },
        &["process.scheduler"],
    );
}

#[test]
fn what_only_the_user_may_enter_is_bound() {
    let script = "cat /mnt/file; touch /mnt/made; grep ' /etc ' /proc/self/mountinfo | cut -d ' ' -f 6";
    let c = Container::of_user(&["sh", "-c", script], &himself());
    let home = c.dir.join("home/closed");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("file"), "his\n").unwrap();
    c.give(&c.dir.join("home"));
    fs::set_permissions(c.dir.join("home"), fs::Permissions::from_mode(0o700)).unwrap();
    let c = c.with(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/mnt", "source": home, "type": "bind", "options": ["bind"]}));
        mounts.push(json!({"destination": "/etc", "source": "/proc", "type": "bind", "options": ["rbind", "ro"]}));
    });
    let run = c.run();
    assert_eq!(run.ok().lines().next(), Some("his"), "{run:?}");
    assert_eq!(fs::metadata(home.join("made")).unwrap().uid(), UID);
}

#[test]
fn a_private_network_has_a_sysfs_of_its_own_and_lo() {
    let c = Container::of_user(
        &["sh", "-c", "ls /sys/class/net; cat /proc/sys/net/ipv4/ping_group_range | tr -s '\t' ' '"],
        &himself(),
    )
    .with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"}));
        config["mounts"][5] = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"});
        config["linux"]["sysctl"] = json!({"net.ipv4.ping_group_range": "0 0"});
    });
    assert_eq!(c.run().ok(), "lo\n0 0");
}

#[test]
fn seccomp_and_time_offsets_need_no_privilege_on_the_host() {
    let c =
        Container::of_user(&["sh", "-c", "mkdir /tmp/x 2>&1; cut -d . -f 1 /proc/uptime"], &himself()).with(|config| {
            config["root"]["readonly"] = json!(false);
            config["process"]["noNewPrivileges"] = json!(false);
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 5_000_000}});
        });
    let run = c.run();
    let lines: Vec<_> = run.ok().lines().collect();
    assert!(lines[0].contains("Operation not permitted"), "{run:?}");
    assert!(lines[1].parse::<u64>().unwrap() > 5_000_000, "{run:?}");
}
