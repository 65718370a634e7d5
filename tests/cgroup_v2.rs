//! A container's cgroup where cgroup2 has the controllers: limits in its files, the device program, freezing, killing,
//! and what a host's tree of cgroups may look like. The virtual machines of tests/vm run it.

#[macro_use]
mod common;

use std::fs;
use std::path::PathBuf;

use common::outside::cgroup_dir;
use common::*;

fn limited(args: &[&str], resources: Value) -> Container {
    Container::new(args).with(|config| {
        for (name, value) in resources.as_object().expect("an object") {
            config["linux"]["resources"][name] = value.clone();
        }
    })
}

/// A cgroup of the test's own below its container's parent, removed with the container.
fn made_cgroup(c: &Container, name: &str) -> PathBuf {
    let dir = cgroup_dir("", &format!("{}/{name}", c.cgroup_parent));
    fs::create_dir_all(&dir).expect("make a cgroup");
    dir
}

fn events(c: &Container) -> String {
    c.limit("", "cgroup.events").replace('\n', " ")
}

#[test]
fn init_is_born_in_its_cgroup_and_execs_are_too() {
    v2_only!();
    let c = Container::idle().up();
    let expected = format!("0::{}/c", c.cgroup_parent);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
    assert!(own.lines().any(|line| line == expected), "{own}");
    let inside = c.exec(&["cat", "/proc/self/cgroup"]).ok().to_owned();
    assert!(inside.lines().any(|line| line == expected), "{inside}");
}

#[test]
fn every_limit_is_in_the_kernels_files() {
    v2_only!();
    let c = limited(
        &["sleep", "1000"],
        json!({
            "memory": {"limit": 67108864, "reservation": 33554432, "swap": 134217728},
            "cpu": {"shares": 1024, "quota": 25000, "period": 50000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 77},
            "blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1048576}],
                        "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 500}]},
            "unified": {"memory.high": "50331648", "cgroup.max.depth": "3"},
        }),
    );
    if !fs::read_to_string("/proc/partitions").unwrap().contains("vda") {
        skip!("no block device 254:0 to throttle");
    }
    c.create();
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "100"),
        ("cpu.max", "25000 50000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "77"),
        ("cgroup.max.depth", "3"),
        ("io.max", "254:0 rbps=1048576 wbps=max riops=max wiops=500"),
    ] {
        assert_eq!(c.limit("", file), value, "{file}");
    }
    if c.cgroup("").join("memory.swap.max").exists() {
        assert_eq!(c.limit("", "memory.swap.max"), "67108864", "the spec counts memory and swap together");
    }
    assert_eq!(proc_status(c.pid(), "Cpus_allowed_list"), "0");
}

#[test]
fn a_property_without_a_file_is_refused_by_its_name_and_leaves_nothing() {
    v2_only!();
    for (resources, words) in [
        (json!({"memory": {"swappiness": 30}}), "linux.resources.memory.swappiness: cgroup v2"),
        (json!({"memory": {"disableOOMKiller": true}}), "linux.resources.memory.disableOOMKiller: cgroup v2"),
        (json!({"cpu": {"realtimeRuntime": 950}}), "linux.resources.cpu.realtimeRuntime: cgroup v2"),
        (json!({"network": {"classID": 5}}), "linux.resources.network.classID: cgroup v2"),
        (json!({"unified": {"memory.nothing": "5"}}), "memory.nothing"),
        (json!({"unified": {"../x.y": "5"}}), "linux.resources.unified"),
        (json!({"unified": {"memory.max": "much"}}), "memory.max"),
    ] {
        let c = limited(&["true"], resources);
        let before = c.leftovers();
        c.try_create().fails(1, &[words]);
        assert_eq!(c.leftovers(), before, "{words}");
    }
}

#[test]
fn a_program_that_takes_too_much_memory_is_killed() {
    v2_only!();
    let c = limited(&["sh", "-c", "tail /dev/zero"], json!({"memory": {"limit": 33554432, "swap": 33554432}}));
    assert_eq!(c.run().code, 137);
}

#[test]
fn the_pids_limit_bites() {
    v2_only!();
    let c =
        limited(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; wait"], json!({"pids": {"limit": 4}}));
    let out = c.run();
    assert!(out.stderr.contains("can't fork"), "{out:?}");
}

#[test]
fn only_the_default_devices_and_those_that_rules_allow_can_be_used() {
    v2_only!();
    let node = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 438}]);
    let script = "head -c 1 /dev/null && head -c 1 /dev/zero | wc -c; (: < /dev/kmsg) 2>/dev/null && echo read; \
        (: > /dev/kmsg) 2>/dev/null && echo write; mknod /dev/x b 8 0 && echo made; (: < /dev/x) || echo refused";
    for (access, says) in [(None, ""), (Some("r"), "read\n"), (Some("w"), "write\n"), (Some("rw"), "read\nwrite\n")] {
        let c = Container::sh(script).with(|config| {
            config["linux"]["devices"] = node.clone();
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN"]);
            }
            if let Some(access) = access {
                let rule = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": access});
                config["linux"]["resources"]["devices"].as_array_mut().unwrap().push(rule);
            }
        });
        let out = c.run();
        assert_eq!(out.stdout, format!("1\n{says}made\nrefused\n"), "{access:?}: {}", out.stderr);
    }
}

#[test]
fn pause_stops_every_process_and_resume_lets_them_go() {
    v2_only!();
    let c = Container::sh("sleep 1000 & while :; do echo x; sleep 0.05; done");
    let lines = c.up_with_lines();
    c.on_id(&["pause"]).ok();
    assert_eq!(c.status(), "paused");
    assert_eq!(events(&c), "populated 1 frozen 1");
    c.exec(&["true"]).fails(255, &["paused"]);
    c.on_id(&["resume"]).ok();
    assert_eq!(c.status(), "running");
    assert_eq!(events(&c), "populated 1 frozen 0");
    drop(lines);
}

#[test]
fn kill_all_and_delete_force_reach_what_is_frozen_and_in_cgroups_below() {
    v2_only!();
    let script = "mkdir /sys/fs/cgroup/below && (echo 0 > /sys/fs/cgroup/below/cgroup.procs; sleep 1000) & sleep 1000";
    let c = Container::sh(script).with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|kind| kind["type"] != "pid");
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["options"] = json!(["nosuid", "rw"]);
    });
    c.create().start();
    let below = c.cgroup("").join("below/cgroup.procs");
    eventually("a process is below", || fs::read_to_string(&below).is_ok_and(|list| list.lines().count() >= 1));
    c.on_id(&["pause"]).ok();
    c.on_id(&["delete", "--force"]).ok();
    assert!(!c.cgroup("").exists());
}

#[test]
fn a_frozen_or_inhabited_cgroup_is_refused() {
    v2_only!();
    let c = Container::idle();
    let dir = made_cgroup(&c, "c");
    fs::write(dir.join("cgroup.freeze"), "1").unwrap();
    c.try_create().fails(1, &["unexpectedly frozen", "cgroup.events"]);
    fs::write(dir.join("cgroup.freeze"), "0").unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(dir.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    c.try_create().fails(1, &["is not empty", &sleeper.id().to_string()]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    c.create();
    assert_eq!(c.status(), "created");
}

#[test]
fn a_parent_that_is_frozen_is_seen_before_anything_hangs_in_it() {
    v2_only!();
    let c = Container::idle();
    let parent = made_cgroup(&c, "");
    fs::write(parent.join("cgroup.freeze"), "1").unwrap();
    c.try_create().fails(1, &["unexpectedly frozen"]);
    fs::write(parent.join("cgroup.freeze"), "0").unwrap();
}

#[test]
fn processes_in_a_parent_are_named_when_they_keep_a_limit_from_holding() {
    v2_only!();
    let c = limited(&["sleep", "1000"], json!({"memory": {"limit": 67108864}}));
    let parent = made_cgroup(&c, "");
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(parent.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    c.try_create().fails(1, &["memory controller", &c.cgroup_parent, "processes in it"]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    c.create();
    assert_eq!(c.limit("", "memory.max"), "67108864");
}

#[test]
fn controllers_are_enabled_on_the_whole_way_down() {
    v2_only!();
    let c = limited(&["sleep", "1000"], json!({"pids": {"limit": 9}}));
    let c = c.with(|config| {
        let path = config["linux"]["cgroupsPath"].as_str().unwrap().replace("/c", "/a/b/c");
        config["linux"]["cgroupsPath"] = json!(path);
    });
    c.create();
    let dir = cgroup_dir("", &format!("{}/a/b/c", c.cgroup_parent));
    assert_eq!(fs::read_to_string(dir.join("pids.max")).unwrap().trim(), "9");
    c.on_id(&["delete", "--force"]).ok();
    assert!(!cgroup_dir("", &c.cgroup_parent).exists(), "the parents that were made are removed");
}

#[test]
fn with_a_cgroup_namespace_the_mount_shows_the_containers_own_tree() {
    v2_only!();
    for (namespace, own) in [(true, true), (false, false)] {
        let c = Container::sh("cat /proc/self/cgroup; cat /sys/fs/cgroup/memory.max").with(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 67108864});
            if namespace {
                config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
            }
        });
        let out = c.run();
        assert_eq!(out.stdout.contains("0::/\n"), own, "{out:?}");
        assert_eq!(out.stdout.contains("67108864"), own, "{out:?}");
    }
}

#[test]
fn exec_enters_a_container_whose_init_has_moved_below() {
    v2_only!();
    // As systemd does in a container: a cgroup that hands controllers on has no processes itself.
    let script = "mkdir /sys/fs/cgroup/init && echo 0 > /sys/fs/cgroup/init/cgroup.procs && \
        echo +pids > /sys/fs/cgroup/cgroup.subtree_control && echo ready && exec sleep 1000";
    let c = Container::sh(script).with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["options"] = json!(["nosuid", "rw"]);
    });
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "ready");
    assert_eq!(c.exec(&["cat", "/proc/self/cgroup"]).ok(), "0::/init");
}

#[test]
fn exec_does_not_wait_in_a_cgroup_that_the_container_has_frozen() {
    v2_only!();
    // Init's own is below; another process, which stays above, freezes it.
    let script = "set -e; cd /sys/fs/cgroup; mkdir init other
        (echo 0 > other/cgroup.procs; read go < /go; echo 1 > init/cgroup.freeze; exec sleep 1000) &
        echo 0 > init/cgroup.procs
        until echo +pids > cgroup.subtree_control; do :; done
        echo go > /go; exec sleep 1000";
    let c = Container::sh(script).with(|config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["options"] = json!(["nosuid", "rw"]);
    });
    nix::unistd::mkfifo(&c.rootfs("/go"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let c = c.up();
    let events = c.cgroup("").join("init/cgroup.events");
    eventually("a frozen cgroup", || fs::read_to_string(&events).is_ok_and(|text| text.contains("frozen 1")));
    c.exec(&["true"]).fails(255, &["frozen", "/init"]);
    c.on_id(&["delete", "--force"]).ok();
    assert!(!c.cgroup("").exists());
}

#[test]
fn a_writable_cgroup_of_its_own_is_given_to_the_processs_user() {
    v2_only!();
    let owner = |c: &Container, file: &str| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(c.cgroup("").join(file)).expect("a file of the cgroup").uid()
    };
    for (namespace, options, expected) in [(true, "rw", 1000), (true, "ro", 0), (false, "rw", 0)] {
        let c = Container::idle().with(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["options"] = json!(["nosuid", options]);
            if namespace {
                config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
            }
        });
        c.create();
        for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
            assert_eq!(owner(&c, file), expected, "{namespace} {options} {file}");
        }
        assert_eq!(owner(&c, "pids.max"), 0, "a limit stays the host's");
    }
}

#[test]
fn a_new_device_program_takes_the_place_of_the_old_one() {
    v2_only!();
    let c = Container::idle().with(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 438}]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYSLOG", "CAP_SYS_ADMIN"]);
        }
    });
    let c = c.up();
    let reads = || c.exec(&["sh", "-c", ": < /dev/kmsg"]).code == 0;
    assert!(!reads());
    let rules = c.dir.join("rules.json");
    for (allow, expected) in [(true, true), (false, false), (true, true)] {
        let rule = json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "r"}]});
        fs::write(&rules, rule.to_string()).unwrap();
        c.runtime(&["update", "--resources", rules.to_str().unwrap(), &c.id]).ok();
        assert_eq!(reads(), expected);
    }
}

#[test]
fn an_update_changes_each_file_and_keeps_what_it_does_not_name() {
    v2_only!();
    let c = limited(&["sleep", "1000"], json!({"cpu": {"quota": 25000, "period": 50000}})).up();
    c.runtime(&["update", "--memory", "67108864", "--memory-swap", "134217728", "--pids-limit", "20", &c.id]).ok();
    assert_eq!(c.limit("", "memory.max"), "67108864");
    assert_eq!(c.limit("", "pids.max"), "20");
    assert_eq!(c.limit("", "cpu.max"), "25000 50000");
    c.runtime(&["update", "--cpu-quota", "10000", &c.id]).ok();
    assert_eq!(c.limit("", "cpu.max"), "10000 50000", "a quota alone keeps the period");
    c.runtime(&["update", "--cpu-period", "20000", &c.id]).ok();
    assert_eq!(c.limit("", "cpu.max"), "10000 20000", "a period alone keeps the quota");
    c.runtime(&["update", "--cpu-shares", "1024", &c.id]).ok();
    assert_eq!(c.limit("", "cpu.weight"), "100");
    // All or nothing: the second value is refused.
    let refused = c.dir.join("refused.json");
    fs::write(&refused, r#"{"pids": {"limit": 30}, "unified": {"memory.high": "much"}}"#).unwrap();
    c.runtime(&["update", "--resources", refused.to_str().unwrap(), &c.id]).fails(1, &["memory.high"]);
    assert_eq!(c.limit("", "pids.max"), "20");
}

#[test]
fn an_empty_setting_gives_the_cpus_back_to_the_parent() {
    v2_only!();
    let c = limited(&["sleep", "1000"], json!({"cpu": {"cpus": "0"}})).up();
    let back = c.dir.join("back.json");
    fs::write(&back, r#"{"unified": {"cpuset.cpus": ""}}"#).unwrap();
    let given = c.runtime(&["update", "--resources", back.to_str().unwrap(), &c.id]);
    if given.stderr.contains("no space left on device") {
        skip!("this kernel takes no CPUs from a cpuset that has processes");
    }
    given.ok();
    assert_eq!(c.limit("", "cpuset.cpus"), "");
    fs::write(&back, r#"{"unified": {"pids.max": ""}}"#).unwrap();
    c.runtime(&["update", "--resources", back.to_str().unwrap(), &c.id]).fails(1, &["pids.max"]);
}

#[test]
fn stats_have_the_shape_of_runcs_and_pressure_too() {
    v2_only!();
    let c = limited(
        &["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000"],
        json!({
        "memory": {"limit": 67108864}, "pids": {"limit": 20}}),
    );
    let c = c.up();
    let stats: Value = serde_json::from_str(c.on_id(&["events", "--stats"]).ok()).unwrap();
    let data = &stats["data"];
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{stats:#}");
    assert_eq!(data["memory"]["usage"]["limit"], 67108864, "{stats:#}");
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{stats:#}");
    assert!(data["memory"]["raw"]["anon"].is_u64(), "{stats:#}");
    assert_eq!(data["pids"]["limit"], 20, "{stats:#}");
    if c.cgroup("").join("cpu.pressure").exists() && fs::read_to_string(c.cgroup("").join("cpu.pressure")).is_ok() {
        assert!(data["cpu"]["psi"]["some"]["total"].is_u64(), "{stats:#}");
        assert!(data["memory"]["psi"]["full"]["avg10"].is_number(), "{stats:#}");
    }
}

#[test]
fn events_tell_of_memory_that_ran_out() {
    v2_only!();
    let c = limited(
        &["sh", "-c", "read x < /tmp/go; tail /dev/zero; sleep 1000"],
        json!({
        "memory": {"limit": 33554432, "swap": 33554432}}),
    );
    let c = c.with(|config| config["root"]["readonly"] = json!(false));
    nix::unistd::mkfifo(&c.rootfs("tmp/go"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let c = c.up();
    let (mut lines, writer) = Lines::pipe();
    let mut events =
        c.command(&["events", "--interval", "600s", &c.id]).stdout(writer).spawn().expect("start the runtime");
    // Whether it listens yet is seen by what it has open.
    let descriptors = format!("/proc/{}/fd", events.id());
    eventually("events listens", || {
        let open = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.ends_with("memory.events"))
    });
    c.exec(&["sh", "-c", "echo > /tmp/go"]).ok();
    let told: Value = serde_json::from_str(&lines.line()).unwrap();
    assert_eq!((&told["type"], &told["id"]), (&json!("oom"), &json!(c.id)));
    c.on_id(&["delete", "--force"]).ok();
    assert_eq!(wait(&mut events, "events"), 0);
}

#[test]
fn in_a_user_namespace_without_a_cgroup_namespace_the_hosts_tree_is_bound() {
    v2_only!();
    let c = Container::sh("cat /proc/self/mountinfo; ls /sys/fs/cgroup").with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            config["linux"][map] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        }
    });
    let out = c.run();
    assert_eq!(out.code, 0, "{out:?}");
    let mount = out.stdout.lines().find(|line| line.contains(" /sys/fs/cgroup ")).expect("a mount");
    assert!(mount.contains(" - cgroup2 ") && mount.contains("ro"), "{mount}");
    assert!(out.stdout.contains("cgroup.controllers"), "{out:?}");
}
