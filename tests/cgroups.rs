//! A container's cgroup: who is in it, what it limits, and what happens when it cannot.

#[macro_use]
mod common;

use std::fs;

use common::outside::{cgroup_dir, processes_of};
use common::*;

/// The path of a process's cgroup in each hierarchy, as /proc/PID/cgroup has it.
fn cgroups_of(pid: i32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a live process");
    let parts = text.lines().map(|line| line.splitn(3, ':').skip(1).map(str::to_owned).collect::<Vec<_>>());
    parts.map(|part| (part[0].clone(), part[1].clone())).collect()
}

/// A container with these resources besides the usual ones.
fn limited(args: &[&str], resources: Value) -> Container {
    Container::new(args).with(|config| {
        for (name, value) in resources.as_object().expect("an object") {
            config["linux"]["resources"][name] = value.clone();
        }
    })
}

#[test]
fn init_and_execd_processes_are_in_the_named_cgroup_of_every_hierarchy() {
    v1_only!();
    let c = Container::idle();
    c.create();
    let expected = format!("{}/c", c.cgroup_parent);
    for when in ["created", "started"] {
        let places = cgroups_of(c.pid());
        assert_eq!(places.len(), outside::hierarchies().len());
        assert!(places.iter().all(|(_, path)| *path == expected), "{when}: {places:?}");
        if when == "created" {
            c.start();
        }
    }
    let inside = c.exec(&["cat", "/proc/self/cgroup"]).ok().to_owned();
    assert!(inside.lines().all(|line| line.ends_with(&expected)), "{inside}");
    assert_eq!(inside.lines().count(), outside::hierarchies().len());
}

#[test]
fn without_a_path_the_cgroup_is_named_after_the_container_below_the_callers() {
    let c = Container::idle().with(|config| drop(config["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    let callers = cgroups_of(std::process::id() as i32);
    c.create();
    for (controller, path) in cgroups_of(c.pid()) {
        let (_, callers) = callers.iter().find(|(name, _)| *name == controller).unwrap();
        assert_eq!(path, format!("{}/{}", callers.trim_end_matches('/'), c.id), "{controller}");
    }
    let (_, own) = callers.iter().find(|(name, _)| outside::is_v2() || name.contains("pids")).unwrap();
    let place = cgroup_dir("pids", &format!("{own}/{}", c.id));
    assert!(place.is_dir());
    c.on_id(&["delete", "--force"]).ok();
    assert!(!place.exists());
}

#[test]
fn every_limit_is_visible_in_the_files_of_the_kernel() {
    v1_only!();
    let c = limited(
        &["sleep", "1000"],
        json!({
            "memory": {"limit": 67108864, "reservation": 33554432, "swap": 134217728, "swappiness": 30,
                       "disableOOMKiller": true},
            "cpu": {"shares": 512, "quota": 25000, "period": 50000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 77},
            "blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1048576}],
                        "throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 500}]},
        }),
    );
    if !fs::read_to_string("/proc/partitions").unwrap().contains("vda") {
        skip!("no block device 254:0 to throttle");
    }
    c.create();
    for (hierarchy, file, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.swappiness", "30"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "25000"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "77"),
        ("blkio", "blkio.throttle.read_bps_device", "254:0 1048576"),
        ("blkio", "blkio.throttle.write_iops_device", "254:0 500"),
    ] {
        assert_eq!(c.limit(hierarchy, file), value, "{file}");
    }
    assert!(c.limit("memory", "memory.oom_control").contains("oom_kill_disable 1"));
    assert_eq!(proc_status(c.pid(), "Cpus_allowed_list"), "0");
}

#[test]
fn limits_are_in_force_before_the_users_program_is() {
    v1_only!();
    let c = limited(&["sh", "-c", "cat /sys/fs/cgroup/pids/pids.max"], json!({"pids": {"limit": 33}}));
    assert_eq!(c.run().ok(), "33");
}

#[test]
fn minus_one_is_no_limit() {
    v1_only!();
    let c = limited(
        &["sleep", "1000"],
        json!({"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}),
    );
    c.create();
    assert_eq!(c.limit("pids", "pids.max"), "max");
    assert_eq!(c.limit("cpu", "cpu.cfs_quota_us"), "-1");
    assert!(c.limit("memory", "memory.limit_in_bytes").parse::<u64>().unwrap() > 1 << 60);
}

#[test]
fn a_quota_without_a_period_keeps_the_kernels_period() {
    v1_only!();
    let c = limited(&["sleep", "1000"], json!({"cpu": {"quota": 30000}}));
    c.create();
    assert_eq!(c.limit("cpu", "cpu.cfs_quota_us"), "30000");
    assert_eq!(c.limit("cpu", "cpu.cfs_period_us"), "100000");
}

#[test]
fn burst_and_idle_reach_the_cpu_controller() {
    v1_only!();
    not_in_runc!("burst and idle came with runtime-spec 1.1");
    let bursting = json!({"cpu": {"quota": 30000, "period": 100000, "burst": 20000}});
    let given =
        [("burst", bursting, "cpu.cfs_burst_us", "20000"), ("idle", json!({"cpu": {"idle": 1}}), "cpu.idle", "1")];
    for (property, resources, file, value) in given {
        let c = limited(&["sleep", "1000"], resources);
        // Burst came with Linux 5.14, idle with 5.15.
        if cgroup_dir("cpu", "").join(file).exists() || outside::kernel_has(5, 15) {
            c.create();
            assert_eq!(c.limit("cpu", file), value);
        } else {
            let property = format!("linux.resources.cpu.{property}");
            c.try_create().fails(1, &[&property, "this kernel does not offer it"]);
        }
    }
}

#[test]
fn a_container_without_resources_is_not_limited_but_has_the_default_devices_only() {
    v1_only!();
    let c = Container::idle().with(|config| drop(config["linux"].as_object_mut().unwrap().remove("resources")));
    c.create();
    assert_eq!(c.limit("pids", "pids.max"), "max");
    assert!(c.limit("devices", "devices.list").contains("c 1:3 rwm"));
}

#[test]
fn the_device_list_is_the_defaults_and_what_the_bundle_allows() {
    v1_only!();
    let c = limited(
        &["sleep", "1000"],
        json!({"devices": [{"allow": false, "access": "rwm"},
                           {"allow": true, "type": "c", "major": 7, "minor": 42, "access": "rw"},
                           {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]}),
    );
    c.create();
    let list = c.limit("devices", "devices.list");
    let rules: Vec<_> = list.lines().collect();
    for rule in ["c 7:42 rw", "c 1:3 rwm", "c 1:5 rwm", "c 5:0 rwm", "c 136:* rwm", "c *:* m", "b *:* m"] {
        assert!(rules.contains(&rule), "{rule} in {rules:?}");
    }
    assert!(!rules.contains(&"a *:* rwm"), "{rules:?}");
}

#[test]
fn the_pids_limit_bites() {
    let c = limited(
        &["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all"],
        json!({"pids": {"limit": 5}}),
    );
    let output = c.run();
    assert!(output.code != 0 && output.stderr.contains("fork"), "{output:?}");
    assert!(!output.stdout.contains("all"), "{output:?}");
}

#[test]
fn a_program_that_takes_too_much_memory_is_killed_and_gives_137() {
    let c = limited(&["tail", "/dev/zero"], json!({"memory": {"limit": 33554432, "swap": 33554432}}));
    let before = c.leftovers();
    assert_eq!(c.run().code, 128 + 9);
    before.assert_nothing_new();
}

#[test]
fn a_limit_that_the_kernel_refuses_is_named_and_leaves_nothing() {
    v1_only!();
    for (resources, file) in [
        (json!({"cpu": {"quota": 5, "period": 100000}}), "cpu.cfs_quota_us"),
        (json!({"cpu": {"cpus": "4000"}}), "cpuset.cpus"),
        (json!({"cpu": {"mems": "900"}}), "cpuset.mems"),
        (json!({"memory": {"limit": -5}}), "memory.limit_in_bytes"),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": 999, "minor": 9, "rate": 5}]}}),
            "blkio.throttle.read_bps_device",
        ),
    ] {
        let c = limited(&["sleep", "1000"], resources.clone());
        let before = c.leftovers();
        c.try_create().fails(1, &[file]);
        before.assert_nothing_new();
        // What the id and the cgroup were is free again.
        let c = c.with(|config| config["linux"]["resources"] = json!({}));
        c.create();
    }
}

#[test]
fn a_cgroup_with_processes_of_another_is_refused() {
    let first = Container::idle().up();
    let second =
        Container::idle().with(|config| config["linux"]["cgroupsPath"] = first.config["linux"]["cgroupsPath"].clone());
    let before = second.leftovers();
    let output = second.try_create();
    assert!(output.code == 1 || is_reference(), "runc 1.1 warns only: {output:?}");
    if output.code == 1 {
        assert!(output.stderr.contains("not empty"), "{output:?}");
        before.assert_nothing_new();
        second.on_id(&["state"]).fails(1, &["container does not exist"]);
    }
    assert_eq!(first.status(), "running", "whose cgroup it is lives on");
}

#[test]
fn a_frozen_cgroup_is_refused_before_anything_can_hang_in_it() {
    v1_only!();
    let c = Container::idle();
    let before = c.leftovers();
    for hierarchy in outside::hierarchies() {
        fs::create_dir_all(c.cgroup(&hierarchy)).unwrap();
    }
    fs::write(c.cgroup("freezer").join("freezer.state"), "FROZEN").unwrap();
    c.try_create().fails(1, &["frozen"]);
    fs::write(c.cgroup("freezer").join("freezer.state"), "THAWED").unwrap();
    for hierarchy in outside::hierarchies() {
        // Whether the runtime may remove what it did not make: it may not.
        if !is_reference() {
            assert!(c.cgroup(&hierarchy).exists(), "a cgroup of somebody else's was removed from {hierarchy}");
        }
        let _ = fs::remove_dir(c.cgroup(&hierarchy));
    }
    before.assert_nothing_new();
}

#[test]
fn an_existing_empty_cgroup_is_used() {
    let c = Container::idle();
    fs::create_dir_all(c.cgroup("pids")).unwrap();
    c.create();
    assert!(cgroups_of(c.pid()).iter().all(|(_, path)| path.ends_with("/c")));
}

#[test]
fn exec_into_a_paused_container_is_refused_unless_told() {
    let c = Container::idle().up();
    c.on_id(&["pause"]).ok();
    c.exec(&["true"]).fails(255, &["cannot exec in a paused container", "--ignore-paused"]);
    let (mut lines, writer) = Lines::pipe();
    let mut exec = c
        .command(&["exec", "--ignore-paused", &c.id, "echo", "thawed"])
        .stdout(writer)
        .spawn()
        .expect("start the runtime");
    assert!(!readable_within(lines.reader(), std::time::Duration::from_millis(100)), "it waits for resume");
    c.on_id(&["resume"]).ok();
    assert_eq!(lines.line(), "thawed");
    assert_eq!(wait(&mut exec, "exec"), 0);
}

#[test]
fn pause_freezes_every_process_of_the_container_and_resume_thaws_it() {
    v1_only!();
    let c = Container::sh("sleep 1000 & while :; do :; done").up();
    let ticks = || fs::read_to_string(c.cgroup("cpuacct").join("cpuacct.usage")).unwrap();
    eventually("it burns cpu", || ticks().trim().parse::<u64>().unwrap() > 1_000_000);
    c.on_id(&["pause"]).ok();
    assert_eq!(c.limit("freezer", "freezer.state"), "FROZEN");
    let before = ticks();
    // A busy process would be charged within a few milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(ticks(), before, "a frozen container used the processor");
    c.on_id(&["resume"]).ok();
    eventually("it burns cpu again", || ticks() != before);
}

#[test]
fn exec_enters_a_sub_cgroup_in_all_or_in_the_named_hierarchies() {
    v1_only!();
    let c = Container::idle().up();
    for hierarchy in outside::hierarchies() {
        fs::create_dir(c.cgroup(&hierarchy).join("sub")).unwrap();
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fs::write(c.cgroup("cpuset").join("sub").join(file), c.limit("cpuset", file)).unwrap();
    }
    let read = |option: &str| c.exec_with(&["--cgroup", option], &["cat", "/proc/self/cgroup"]).ok().to_owned();
    assert!(read("sub").lines().all(|line| line.ends_with("/c/sub")));
    let some = read("cpu,pids:sub");
    for line in some.lines() {
        let entered = line.split([':', ',']).any(|name| ["cpu", "pids"].contains(&name));
        assert_eq!(line.ends_with("/c/sub"), entered, "{line}");
    }
    c.exec_with(&["--cgroup", "../elsewhere"], &["true"]).fails(255, &["../elsewhere"]);
    c.exec_with(&["--cgroup", "bogus:sub"], &["true"]).fails(255, &["bogus"]);
    c.exec_with(&["--cgroup", "absent"], &["true"]).fails(255, &["absent"]);
}

#[test]
fn delete_removes_the_cgroup_and_the_sub_cgroups_that_the_container_made() {
    let c = Container::idle();
    let before = c.leftovers();
    let c = c.up();
    fs::create_dir(c.cgroup("pids").join("made-by-somebody")).unwrap();
    let init = pidfd(c.pid()).unwrap();
    c.on_id(&["delete", "--force"]).ok();
    assert!(ends_within(&init, LIMIT));
    assert!(!cgroup_dir("pids", &format!("{}/c", c.cgroup_parent)).exists());
    assert!(processes_of(&c.cgroup_parent, &c.dir).is_empty());
    before.assert_nothing_new();
}

#[test]
fn cgroup_manager_disabled_leaves_the_container_where_the_caller_is() {
    not_in_runc!("the option is crun's");
    let c = Container::idle();
    c.runtime(&[&["--cgroup-manager", "disabled"][..], &c.words("create", &[])].concat()).ok();
    let mine = cgroups_of(std::process::id() as i32);
    assert_eq!(cgroups_of(c.pid()), mine);
    assert!(!c.cgroup("pids").exists());
    c.kill("KILL");
    c.on_id(&["delete"]).ok();
}

#[test]
fn huge_pages_and_settings_of_cgroup2_hold_where_its_hierarchy_has_the_controller() {
    not_in_runc!("it uses no controller of cgroup2 beside v1");
    let passed = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.subtree_control").unwrap_or_default();
    if !passed.split_whitespace().any(|name| name == "hugetlb") {
        skip!("cgroup2 passes no hugetlb on here, and to enable it for the whole machine is not a test's to do");
    }
    let c = limited(
        &["sleep", "1000"],
        json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}], "unified": {"cgroup.max.depth": "3"}}),
    );
    c.create();
    assert_eq!(c.limit("unified", "hugetlb.2MB.max"), "4194304");
    assert_eq!(c.limit("unified", "hugetlb.2MB.rsvd.max"), "4194304");
    assert_eq!(c.limit("unified", "cgroup.max.depth"), "3");
    c.on_id(&["update", "--pids-limit", "5"]).ok();
    assert_eq!(c.limit("unified", "hugetlb.2MB.max"), "4194304");
}

#[test]
fn a_file_of_cgroup2_itself_needs_no_controller_and_is_set() {
    not_in_runc!("it refuses unified on a hybrid host");
    needs_cgroup2!();
    let c = limited(&["sleep", "1000"], json!({"unified": {"cgroup.max.descendants": "7"}}));
    c.create();
    assert_eq!(c.limit("unified", "cgroup.max.descendants"), "7");
    let path = c.dir.join("new.json");
    fs::write(&path, r#"{"unified": {"cgroup.max.descendants": "8"}}"#).unwrap();
    c.on_id(&["update", "-r", path.to_str().unwrap()]).ok();
    assert_eq!(c.limit("unified", "cgroup.max.descendants"), "8");
    // What is refused after it takes it back.
    fs::write(&path, r#"{"unified": {"cgroup.max.descendants": "9"}, "cpu": {"period": 5}}"#).unwrap();
    c.on_id(&["update", "-r", path.to_str().unwrap()]).fails(1, &["linux.resources.cpu.period"]);
    assert_eq!(c.limit("unified", "cgroup.max.descendants"), "8");
}

/// cgroup.freeze had `create` wait for ever for what it had just started; cgroup.procs takes any process of the host.
#[test]
fn files_of_cgroup2_that_act_on_processes_are_no_limits() {
    not_in_runc!("it refuses unified on a hybrid host, and writes them on cgroup2");
    needs_cgroup2!();
    for (file, text) in [
        ("cgroup.freeze", "1"),
        ("cgroup.procs", "0"),
        ("cgroup.threads", "0"),
        ("cgroup.kill", "1"),
        ("cgroup.type", "threaded"),
    ] {
        let c = limited(&["sleep", "1000"], json!({"unified": {file: text}}));
        let before = c.leftovers();
        c.try_create().fails(1, &["linux.resources.unified", file, "no limit"]);
        before.assert_nothing_new();
    }
    let c = Container::idle().up();
    let path = c.dir.join("new.json");
    fs::write(&path, r#"{"unified": {"cgroup.freeze": "1"}}"#).unwrap();
    c.on_id(&["update", "-r", path.to_str().unwrap()]).fails(1, &["cgroup.freeze"]);
    c.exec(&["true"]).ok();
}

#[test]
fn a_process_in_a_cgroup_whose_name_is_no_text_is_found_and_ended() {
    use std::os::unix::ffi::OsStrExt;
    v1_only!();
    let c = Container::sh("sleep 1000 & wait").with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|kind| kind["type"] != "pid");
    });
    let c = c.up();
    let mut hidden = Vec::new();
    eventually("a child of the container's init", || {
        hidden = children(c.pid());
        !hidden.is_empty()
    });
    let process = pidfd(hidden[0]).expect("the child");
    let below = c.cgroup("freezer").join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    fs::create_dir(&below).unwrap();
    fs::write(below.join("cgroup.procs"), hidden[0].to_string()).unwrap();
    let output = c.on_id(&["delete", "--force"]);
    // Whatever came of it, nothing of this test may stay.
    let _ = fs::remove_dir(&below);
    output.ok();
    assert!(ends_within(&process, LIMIT), "the hidden process lives on");
    assert!(!below.exists());
}

#[test]
fn a_controller_that_this_host_lacks_is_refused_by_the_property_that_needs_it() {
    v1_only!();
    let mounted = fs::read_to_string("/proc/self/cgroup").unwrap();
    for (controller, resources, says) in [
        ("net_cls", json!({"network": {"classID": 1_048_577}}), "linux.resources.network.classID"),
        (
            "net_prio",
            json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}}),
            "linux.resources.network.priorities",
        ),
        ("rdma", json!({"rdma": {"mlx5_0": {"hcaHandles": 2}}}), "linux.resources.rdma"),
        ("memory", json!({"unified": {"memory.high": "1000000"}}), "linux.resources.unified"),
    ] {
        // The last asks cgroup2 for what v1 has.
        if mounted.contains(controller) && controller != "memory" || is_reference() {
            continue;
        }
        let c = limited(&["sleep", "1000"], resources);
        let before = c.leftovers();
        c.try_create().fails(1, &[says, controller]);
        before.assert_nothing_new();
    }
}
