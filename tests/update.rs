//! `update`: what a running container's limits are afterwards, in the kernel's files and by their effect; and that an
//! update that is refused changes nothing.

#[macro_use]
mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::*;

const MIB: u64 = 1 << 20;

/// `update flags… ID`
#[track_caller]
fn update(c: &Container, flags: &[&str]) -> Output {
    c.on_id(&[&["update"], flags].concat())
}

/// `update --resources -` with this document on stdin.
#[track_caller]
fn update_by(c: &Container, resources: &Value) -> Output {
    let path = c.dir.join("resources.json");
    fs::write(&path, resources.to_string()).unwrap();
    let file = fs::File::open(&path).unwrap();
    c.finish(c.command(&["update", "--resources", "-", &c.id]).stdin(Stdio::from(file)))
}

fn limited(resources: Value) -> Container {
    Container::idle().with(|config| {
        for (name, value) in resources.as_object().expect("an object") {
            config["linux"]["resources"][name] = value.clone();
        }
    })
}

/// Every file of the cgroup that an update may write.
fn all_limits(c: &Container) -> Vec<(String, String)> {
    let files = [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.memsw.limit_in_bytes"),
        ("memory", "memory.soft_limit_in_bytes"),
        ("memory", "memory.swappiness"),
        ("memory", "memory.oom_control"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_period_us"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_burst_us"),
        ("cpu", "cpu.idle"),
        ("cpuset", "cpuset.cpus"),
        ("cpuset", "cpuset.mems"),
        ("pids", "pids.max"),
        ("blkio", "blkio.throttle.read_bps_device"),
        ("devices", "devices.list"),
    ];
    // Some came with later kernels.
    let there = files.iter().filter(|(hierarchy, file)| c.cgroup(hierarchy).join(file).exists());
    there.map(|(hierarchy, file)| ((*file).to_owned(), c.limit(hierarchy, file))).collect()
}

#[test]
fn each_flag_changes_its_file_and_no_other() {
    v1_only!();
    let c = limited(json!({"memory": {"limit": 64 * MIB, "swap": 128 * MIB}, "pids": {"limit": 50}})).up();
    for (flag, value, file, shown) in [
        ("--memory", "32m", "memory.limit_in_bytes", "33554432"),
        ("--memory-reservation", "16M", "memory.soft_limit_in_bytes", "16777216"),
        ("--memory-swap", "96MiB", "memory.memsw.limit_in_bytes", "100663296"),
        ("--cpu-share", "512", "cpu.shares", "512"),
        ("--cpu-shares", "600", "cpu.shares", "600"),
        ("--cpu-quota", "50000", "cpu.cfs_quota_us", "50000"),
        ("--cpu-period", "200000", "cpu.cfs_period_us", "200000"),
        ("--cpu-burst", "10000", "cpu.cfs_burst_us", "10000"),
        ("--cpuset-cpus", "0", "cpuset.cpus", "0"),
        ("--cpuset-mems", "0", "cpuset.mems", "0"),
        ("--pids-limit", "77", "pids.max", "77"),
        ("--pids-limit", "-1", "pids.max", "max"),
        ("--cpu-idle", "1", "cpu.idle", "1"),
    ] {
        // Burst came with Linux 5.14, idle with 5.15.
        if !outside::kernel_has(5, 15) && ["--cpu-burst", "--cpu-idle"].contains(&flag) {
            continue;
        }
        if is_reference() && ["--cpu-burst", "--cpu-idle", "--cpu-shares"].contains(&flag) {
            continue;
        }
        let before = all_limits(&c);
        update(&c, &[flag, value]).ok();
        for ((name, old), (_, new)) in before.iter().zip(all_limits(&c)) {
            let changed = name == file;
            // The kernel gives an idle group the least share.
            if flag != "--cpu-idle" || name != "cpu.shares" {
                assert_eq!(new, if changed { shown } else { old }, "{flag} {value}: {name}");
            }
        }
    }
    assert_eq!(c.status(), "running");
}

#[test]
fn kernel_memory_is_ignored_with_a_warning() {
    v1_only!();
    let c = limited(json!({"memory": {"limit": 64 * MIB}})).up();
    let before = all_limits(&c);
    let output = update(&c, &["--kernel-memory", "5m", "--kernel-memory-tcp", "5m"]);
    output.ok();
    assert!(output.stderr.contains("ignored and will be removed"), "{output:?}");
    assert_eq!(all_limits(&c), before);
}

#[test]
fn what_this_kernel_lacks_is_refused_by_its_property() {
    v1_only!();
    not_in_runc!("it passes over a missing blkio.weight");
    let c = Container::idle().up();
    let before = all_limits(&c);
    let has = |file: &str| c.cgroup("blkio").join(file).exists();
    if has("blkio.weight") || has("blkio.bfq.weight") {
        update(&c, &["--blkio-weight", "200"]).ok();
    } else {
        update(&c, &["--blkio-weight", "200", "--memory", "32m"])
            .fails(1, &["linux.resources.blockIO.weight", "this kernel does not offer it"]);
    }
    assert_eq!(all_limits(&c), before, "and the limit of memory that came before it is put back");
    // A new cgroup's parent has no realtime to give, which is the kernel's rule.
    let realtime = update(&c, &["--cpu-rt-runtime", "500000"]);
    if realtime.code != 0 {
        realtime.fails(1, &["linux.resources.cpu.realtimeRuntime", "cpu.rt_runtime_us"]);
    }
}

#[test]
fn a_class_of_service_is_refused_where_the_processor_has_none() {
    v1_only!();
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        skip!("this host has resctrl");
    }
    let c = Container::idle().up();
    let before = all_limits(&c);
    update(&c, &["--l3-cache-schema", "L3:0=f", "--pids-limit", "5"])
        .fails(1, &["Intel RDT/CAT: l3 cache schema is not enabled"]);
    update(&c, &["--mem-bw-schema", "MB:0=50"]).fails(1, &["Intel RDT/MBA: memory bandwidth schema is not enabled"]);
    assert_eq!(all_limits(&c), before);
}

#[test]
fn a_wrong_value_is_refused_with_its_flag() {
    let c = Container::idle().up();
    for (flag, value) in [
        ("memory", "much"),
        ("memory-swap", "5x"),
        ("cpu-period", "-1"),
        ("cpu-quota", "half"),
        ("cpu-idle", "yes"),
        ("cpu-rt-period", "1.5"),
    ] {
        update(&c, &[&format!("--{flag}"), value]).fails(1, &["invalid value", flag]);
    }
    update(&c, &["--cpuset-cpus", "all"]).fails(1, &["cpus"]);
    update(&c, &["--bogus", "1"]).fails(1, &["flag provided but not defined: -bogus"]);
}

#[test]
fn a_document_of_resources_comes_from_a_file_or_from_stdin_and_flags_are_ignored_then() {
    v1_only!();
    let c = limited(json!({"pids": {"limit": 50}})).up();
    let file = c.dir.join("new.json");
    fs::write(&file, json!({"memory": {"limit": 32 * MIB}, "cpu": {"shares": 300}}).to_string()).unwrap();
    update(&c, &["--resources", file.to_str().unwrap(), "--cpu-share", "999"]).ok();
    assert_eq!(c.limit("cpu", "cpu.shares"), "300");
    assert_eq!(c.limit("memory", "memory.limit_in_bytes"), "33554432");
    // An empty object, such as Go's encoder makes of limits without any, changes nothing.
    update_by(&c, &json!({"memory": {"limit": 48 * MIB}, "cpu": {}, "pids": {}})).ok();
    assert_eq!(c.limit("memory", "memory.limit_in_bytes"), (48 * MIB).to_string());
    if !is_reference() {
        assert_eq!(c.limit("pids", "pids.max"), "50");
        update(&c, &["-r", "/nonexistent/file"]).fails(1, &["/nonexistent/file", "no such file or directory"]);
        fs::write(&file, "{\"memory\": {\"limit\": \"much\"}}").unwrap();
        update(&c, &["-r", file.to_str().unwrap()]).fails(1, &["new.json", "memory.limit"]);
        fs::write(&file, "[]").unwrap();
        update(&c, &["-r", file.to_str().unwrap()]).fails(1, &["must hold a JSON object"]);
    }
}

#[test]
fn memory_and_swap_are_raised_and_lowered_together() {
    v1_only!();
    let c = limited(json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})).up();
    for (limit, swap) in [(64, 128), (16, 16), (256, 256), (255, 300)] {
        update(&c, &["--memory", &format!("{limit}m"), "--memory-swap", &format!("{swap}m")]).ok();
        assert_eq!(c.limit("memory", "memory.limit_in_bytes"), (limit * MIB).to_string());
        assert_eq!(c.limit("memory", "memory.memsw.limit_in_bytes"), (swap * MIB).to_string());
    }
    // Without a word about swap, unlimited memory means unlimited swap.
    update(&c, &["--memory", "-1"]).ok();
    for file in ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
        assert!(c.limit("memory", file).len() > 18, "{file}");
    }
}

#[test]
fn a_quota_needs_no_period_and_a_period_no_quota_and_an_invalid_one_is_named() {
    v1_only!();
    let c = Container::idle().up();
    update(&c, &["--cpu-quota", "30000"]).ok();
    assert_eq!(c.limit("cpu", "cpu.cfs_period_us"), "100000");
    update(&c, &["--cpu-period", "50000"]).ok();
    assert_eq!(c.limit("cpu", "cpu.cfs_quota_us"), "30000");
    assert_eq!(c.limit("cpu", "cpu.cfs_period_us"), "50000");
    update(&c, &["--cpu-period", "5"]).fails(1, &["cpu.cfs_period_us"]);
    update(&c, &["--cpu-quota", "5"]).fails(1, &["cpu.cfs_quota_us"]);
    assert_eq!(c.limit("cpu", "cpu.cfs_period_us"), "50000");
    assert_eq!(c.limit("cpu", "cpu.cfs_quota_us"), "30000");
}

#[test]
fn a_refused_update_is_taken_back_as_a_whole() {
    v1_only!();
    let c = limited(json!({
        "memory": {"limit": 64 * MIB, "swap": 64 * MIB, "reservation": 16 * MIB, "swappiness": 30},
        "cpu": {"shares": 512, "quota": 25000, "period": 50000, "cpus": "0"},
        "pids": {"limit": 77},
    }))
    .up();
    let before = all_limits(&c);
    let state = fs::read(c.root.join(&c.id).join("state.json")).unwrap();
    // The block device does not exist: everything before it was written by then.
    let refused = update_by(
        &c,
        &json!({
            "memory": {"limit": 128 * MIB, "swap": 256 * MIB, "reservation": 32 * MIB, "swappiness": 60, "disableOOMKiller": true},
            "cpu": {"shares": 1024, "quota": 90000, "period": 100000, "cpus": fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap().trim()},
            "pids": {"limit": 5},
            "blockIO": {"throttleReadBpsDevice": [{"major": 999, "minor": 9, "rate": 1048576}]},
        }),
    );
    if is_reference() {
        return;
    }
    refused.fails(1, &["linux.resources.blockIO.throttleReadBpsDevice", "999:9", "no such block device"]);
    assert_eq!(all_limits(&c), before);
    assert_eq!(fs::read(c.root.join(&c.id).join("state.json")).unwrap(), state, "and nothing is remembered of it");
    assert!(!c.root.join(&c.id).join("update").exists());
}

#[test]
fn a_limit_below_what_is_used_is_refused_before_the_kernel_reclaims_when_that_is_asked_for() {
    v1_only!();
    not_in_runc!("it checks on cgroup v2 only");
    let script = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo up; while :; do sleep 1000; done; echo $x";
    let c = Container::sh(script).with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 256 * MIB, "checkBeforeUpdate": true});
    });
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    let before = all_limits(&c);
    // The bundle asked for the check, and that is remembered.
    update(&c, &["--memory", "1m"])
        .fails(1, &["linux.resources.memory.limit", "rejecting memory limit 1048576 <= usage", "checkBeforeUpdate"]);
    assert_eq!(all_limits(&c), before);
    if fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1 {
        skip!("with swap the kernel shrinks what runs rather than to refuse");
    }
    let refused = update_by(&c, &json!({"memory": {"limit": MIB, "checkBeforeUpdate": false}, "pids": {"limit": 9}}));
    refused.fails(1, &["linux.resources.memory.limit", "uses more", "current usage: "]);
    assert_eq!(all_limits(&c), before);
}

#[test]
fn a_paused_container_is_updated_and_stays_paused() {
    let c = limited(json!({"pids": {"limit": 50}})).up();
    c.on_id(&["pause"]).ok();
    update(&c, &["--pids-limit", "60", "--memory", "64m", "--cpu-quota", "20000"]).ok();
    assert_eq!(c.limit("pids", "pids.max"), "60");
    assert_eq!(c.status(), "paused");
    c.on_id(&["resume"]).ok();
    assert_eq!(c.exec(&["echo", "alive"]).ok(), "alive");
}

#[test]
fn a_created_container_is_updated_and_a_stopped_or_absent_one_is_not() {
    let c = Container::new(&["true"]);
    c.create();
    update(&c, &["--pids-limit", "60"]).ok();
    assert_eq!(c.limit("pids", "pids.max"), "60");
    c.start();
    c.wait_for("stopped");
    update(&c, &["--pids-limit", "61"]).fails(1, &["container not running"]);
    c.runtime(&["update", "--pids-limit", "5", "nobody"]).fails(1, &["container does not exist"]);
}

#[test]
fn a_smaller_pids_limit_bites_at_once_and_a_quota_throttles() {
    let c = Container::sh("while :; do :; done").up();
    let forks = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do true & done; wait"];
    c.exec(&forks).ok();
    update(&c, &["--pids-limit", "3", "--cpu-quota", "5000", "--cpu-period", "100000"]).ok();
    let refused = c.exec(&forks);
    assert!(refused.code != 0 && refused.stderr.contains("fork"), "{refused:?}");
    eventually("the busy loop is throttled", || {
        let stat = c.limit("cpu", "cpu.stat");
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|n| n.parse::<u64>().unwrap() > 2))
    });
}

#[test]
fn limits_of_block_devices_are_changed_one_by_one() {
    v1_only!();
    if !fs::read_to_string("/proc/partitions").unwrap().contains("vda") {
        skip!("no block device 254:0 to throttle");
    }
    not_in_runc!("it updates blockIO.weight only");
    let rate = |rate: u64| json!({"blockIO": {"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": rate}]}});
    let c = limited(rate(1_048_576)).up();
    update_by(&c, &rate(2_097_152)).ok();
    assert_eq!(c.limit("blkio", "blkio.throttle.read_bps_device"), "254:0 2097152");
    update_by(&c, &json!({"blockIO": {"throttleWriteIOPSDevice": [{"major": 254, "minor": 0, "rate": 500}]}})).ok();
    assert_eq!(c.limit("blkio", "blkio.throttle.read_bps_device"), "254:0 2097152");
    assert_eq!(c.limit("blkio", "blkio.throttle.write_iops_device"), "254:0 500");
}

#[test]
fn device_rules_change_without_a_moment_in_which_an_allowed_device_is_denied() {
    v1_only!();
    not_in_runc!("it does not update device rules");
    let allow = |minors: &[u32]| {
        let mut rules = vec![json!({"allow": false, "access": "rwm"})];
        rules
            .extend(minors.iter().map(|n| json!({"allow": true, "type": "c", "major": 7, "minor": n, "access": "rw"})));
        json!(rules)
    };
    // The mknod of a device that is allowed throughout, its opening, and a line for each failure.
    let script = "echo up; while :; do true < /dev/null || echo denied; done";
    let c = Container::sh(script).with(|config| config["linux"]["resources"]["devices"] = allow(&[1]));
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    let list = || c.limit("devices", "devices.list");
    let created = list();
    let everything = json!([{"allow": true, "access": "rwm"}]);
    for round in 0..8 {
        update_by(&c, &json!({"devices": allow(&[1, 2])})).ok();
        assert!(list().contains("c 7:1 rw") && list().contains("c 7:2 rw"), "{round}: {}", list());
        update_by(&c, &json!({"devices": allow(&[2])})).ok();
        assert!(!list().contains("c 7:1 rw") && list().contains("c 7:2 rw"), "{round}: {}", list());
        // Between two defaults the container stands still.
        update_by(&c, &json!({"devices": everything})).ok();
        assert_eq!(list(), "a *:* rwm");
        update_by(&c, &json!({"devices": allow(&[1])})).ok();
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&list()), sorted(&created));
    }
    assert_eq!(c.status(), "running");
    assert!(!readable_within(lines.reader(), std::time::Duration::from_millis(1)), "denied: {:?}", lines.next());
}

#[test]
fn what_another_program_has_allowed_besides_stays() {
    v1_only!();
    not_in_runc!("it does not update device rules");
    let c = Container::idle().up();
    // As a plugin for GPUs does.
    let file = c.cgroup("devices").join("devices.allow");
    fs::OpenOptions::new().write(true).open(file).unwrap().write_all(b"c 195:0 rw").unwrap();
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm"}]);
    for _ in 0..2 {
        update_by(&c, &json!({"devices": rules, "pids": {"limit": 9}})).ok();
    }
    let list = c.limit("devices", "devices.list");
    assert!(list.contains("c 195:0 rw") && list.contains("c 10:200 rwm"), "{list}");
    // And a refused change of the rules is one too.
    let refused = json!({"devices": [{"allow": true, "type": "c", "major": 1, "access": "x"}], "pids": {"limit": 10}});
    update_by(&c, &refused).fails(1, &["linux.resources.devices[0]"]);
    assert_eq!(c.limit("pids", "pids.max"), "9");
}

#[test]
fn later_commands_see_what_was_updated() {
    not_in_runc!("state.json is its own");
    let c = limited(json!({"memory": {"limit": 64 * MIB}})).up();
    update(&c, &["--memory", "32m", "--pids-limit", "9"]).ok();
    let state: Value = serde_json::from_slice(&fs::read(c.root.join(&c.id).join("state.json")).unwrap()).unwrap();
    let resources = &state["config"]["linux"]["resources"];
    assert_eq!(resources["memory"]["limit"], 32 * MIB);
    assert_eq!(resources["pids"]["limit"], 9);
    assert_eq!(resources["devices"], c.config["linux"]["resources"]["devices"]);
    assert_eq!(c.exec(&["echo", "alive"]).ok(), "alive");
    let before = c.leftovers();
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
    assert!(!c.root.join(&c.id).exists());
}

/// As where the container has come to use more memory than the limit that would be put back.
#[test]
fn a_limit_that_cannot_be_put_back_keeps_no_container_frozen() {
    not_in_runc!("it has no record of an update");
    let c = Container::idle().up();
    let (freezer, file, frozen, pids) = match common::outside::is_v2() {
        true => (c.cgroup(""), "cgroup.freeze", "1", c.cgroup("")),
        false => (c.cgroup("freezer"), "freezer.state", "FROZEN", c.cgroup("pids")),
    };
    let before = json!([{"path": pids.join("pids.max"), "text": "what the kernel refuses"}]);
    let record = c.root.join(&c.id).join("update");
    fs::write(&record, json!({"updates": 0, "freezes": true, "before": before}).to_string()).unwrap();
    fs::write(freezer.join(file), frozen).unwrap();
    eventually("a paused container", || c.status() == "paused");
    let output = c.on_id(&["resume"]);
    // Whatever came of it, nothing of this test may stay.
    let _ = fs::write(freezer.join(file), if frozen == "1" { "0" } else { "THAWED" });
    output.ok();
    assert!(output.stderr.contains("could not all be put back") && output.stderr.contains("pids.max"), "{output:?}");
    assert!(!record.exists());
    c.exec(&["true"]).ok();
    c.on_id(&["update", "--pids-limit", "7"]).ok();
}
