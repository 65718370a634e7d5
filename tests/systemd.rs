//! systemd as the manager of a container's cgroup. Everywhere: what goes over the bus, and a bus that does not do what it
//! should, with a stand-in for systemd. Where systemd runs, as in the virtual machines of tests/vm: what its units and the
//! kernel then show.

#[macro_use]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::bus::{FakeBus, Manner};
use common::outside::cgroup_dir;
use common::*;

/// A container in a unit, in a slice of the test's own.
struct InUnit {
    c: Container,
    bus: Option<FakeBus>,
    /// Whether the runtime is to give up the bus soon.
    impatient: bool,
    slice: String,
}

impl InUnit {
    /// One for the stand-in.
    fn with_bus(manner: Manner) -> Self {
        let c = Container::idle();
        let bus = FakeBus::start(&c.dir, manner);
        let slow =
            [Manner::Mute, Manner::NoAnswer, Manner::NoJob, Manner::Chatters, Manner::Digresses, Manner::Dribbles];
        let impatient = slow.contains(&manner);
        Self { impatient, ..Self::new(c, Some(bus)) }
    }

    /// One for the machine's systemd.
    fn real() -> Self {
        Self::new(Container::idle(), None)
    }

    fn new(mut c: Container, bus: Option<FakeBus>) -> Self {
        // Without dashes, which would be levels.
        let name = c.cgroup_parent.replace(['/', '-'], "");
        let slice = format!("{name}.slice");
        c.cgroup_parent = format!("/{slice}");
        c.config["linux"]["cgroupsPath"] = json!(format!("{slice}:t:{name}"));
        c.save();
        Self { c, bus, impatient: false, slice }
    }

    fn with(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        self.c = self.c.with(edit);
        self
    }

    fn unit(&self) -> String {
        format!("t-{}.scope", self.slice.trim_end_matches(".slice"))
    }

    /// Its cgroup in a hierarchy.
    fn cgroup(&self, hierarchy: &str) -> PathBuf {
        cgroup_dir(hierarchy, &format!("{}/{}", self.slice, self.unit()))
    }

    /// A file of it, its lines in a row.
    #[track_caller]
    fn file(&self, hierarchy: &str, name: &str) -> String {
        let path = self.cgroup(hierarchy).join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().replace('\n', ", ")
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.c.command(words);
        if let Some(bus) = &self.bus {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
        }
        if self.impatient {
            command.env("NFRUN_BUS_LIMIT_MS", "700");
        }
        command
    }

    #[track_caller]
    fn runtime(&self, words: &[&str]) -> Output {
        self.c.finish(&mut self.command(words))
    }

    #[track_caller]
    fn try_create(&self) -> Output {
        self.runtime(&[&["--systemd-cgroup"][..], &self.c.words("create", &[])].concat())
    }

    #[track_caller]
    fn up(&self) {
        self.try_create().ok();
        self.on_id(&["start"]).ok();
    }

    #[track_caller]
    fn on_id(&self, words: &[&str]) -> Output {
        self.runtime(&[words, &[&self.c.id]].concat())
    }

    fn seen(&self) -> Vec<String> {
        self.bus.as_ref().map(FakeBus::seen).unwrap_or_default()
    }
}

/// The cgroups of a process, without the hierarchies that no container joins.
#[track_caller]
fn cgroups_of(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a live process");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_container_is_put_into_its_unit_on_every_hierarchy_and_the_unit_goes_with_it() {
    let s = InUnit::with_bus(Manner::Works);
    let before = s.c.leftovers();
    s.up();
    let start = format!("StartTransientUnit {}", s.unit());
    assert_eq!(s.seen(), ["Hello", "AddMatch", &start], "no more calls than it takes");
    let own = cgroups_of(s.c.pid());
    let place = format!("/{}/{}", s.slice, s.unit());
    assert!(own.iter().all(|line| line.ends_with(&place)), "{own:#?}");
    // Later commands know without being told; and what looks, or acts by files, asks nobody.
    let pid = s.c.pid();
    s.on_id(&["pause"]).ok();
    s.on_id(&["resume"]).ok();
    assert!(s.on_id(&["ps"]).ok().contains(&pid.to_string()));
    s.runtime(&["exec", &s.c.id, "true"]).ok();
    assert!(s.seen().is_empty());
    s.c.kill("KILL");
    s.on_id(&["delete"]).ok();
    assert_eq!(s.seen()[2], format!("StopUnit {}", s.unit()));
    before.assert_nothing_new();
}

#[test]
fn an_update_tells_the_unit_once_and_then_the_files() {
    let s = InUnit::with_bus(Manner::Works);
    s.up();
    s.seen();
    s.runtime(&["update", "--pids-limit", "33", &s.c.id]).ok();
    assert_eq!(s.seen(), ["Hello", &format!("SetUnitProperties {}", s.unit())]);
    assert_eq!(s.file("pids", "pids.max"), "33");
    assert_eq!(s.c.status(), "running");
}

#[test]
fn a_bus_that_fails_in_any_way_fails_the_create_in_time_and_in_words_and_leaves_nothing() {
    for (manner, words) in [
        (Manner::Mute, &["no answer within 700ms"][..]),
        (Manner::NoAnswer, &["no answer within 700ms"]),
        (Manner::NoJob, &["no answer within 700ms"]),
        (Manner::JobFails, &["the job ended as failed"]),
        (Manner::Refuses, &["no, thank you"]),
        (Manner::HangsUp, &["the bus has closed the connection"]),
        (Manner::Garbage, &["is no message"]),
        (Manner::Chatters, &["over D-Bus"]),
        (Manner::Digresses, &["no answer within 700ms"]),
        (Manner::Dribbles, &["over D-Bus"]),
        (Manner::Deaf, &["no, thank you"]),
    ] {
        let s = InUnit::with_bus(manner);
        let before = s.c.leftovers();
        let begun = Instant::now();
        let output = s.try_create();
        output.fails(1, words);
        output.fails(1, &[&format!("start unit {}", s.unit())]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{manner:?}: {:?}", begun.elapsed());
        before.assert_nothing_new();
    }
}

#[test]
fn only_the_manager_itself_says_how_a_job_has_ended() {
    let s = InUnit::with_bus(Manner::Forged);
    s.try_create().ok();
}

/// Where systemd does not manage a hierarchy, what a stopped container had there stays until it is deleted, and another may
/// have come into it.
#[test]
fn a_kill_and_a_delete_leave_alone_whoever_has_the_unit_by_now_on_every_hierarchy() {
    v1_only!();
    let s = InUnit::with_bus(Manner::Works)
        .with(|c| c["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "pid"));
    s.up();
    s.c.kill("KILL");
    s.c.wait_for("stopped");
    // As systemd gives up what has ended.
    eventually("the scope is empty", || fs::remove_dir(s.cgroup("systemd")).is_ok());
    let other = Container::idle().with(|c| c["linux"]["cgroupsPath"] = s.c.config["linux"]["cgroupsPath"].clone());
    let of_other = |words: &[&str]| {
        let address = s.bus.as_ref().unwrap().address();
        other.finish(other.command(words).env("DBUS_SYSTEM_BUS_ADDRESS", address))
    };
    of_other(&[&["--systemd-cgroup"][..], &other.words("create", &[])].concat()).ok();
    assert_eq!(s.on_id(&["ps", "--format", "json"]).ok(), "[]");
    s.runtime(&["kill", "--all", &s.c.id, "KILL"]).ok();
    assert_eq!(other.status(), "created");
    s.on_id(&["delete"]).ok();
    assert_eq!(other.status(), "created");
    of_other(&["delete", "--force", &other.id]).ok();
    for hierarchy in ["systemd", "cpuset", "freezer", "pids"] {
        assert!(!s.cgroup(hierarchy).exists(), "{hierarchy}");
    }
}

#[test]
fn a_bus_that_is_not_there_is_an_error_before_anything_is_and_names_it() {
    let s = InUnit::with_bus(Manner::Works);
    let before = s.c.leftovers();
    let mut create = s.command(&[&["--systemd-cgroup"][..], &s.c.words("create", &[])].concat());
    create.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    s.c.finish(&mut create).fails(1, &["/nonexistent/bus", "--cgroup-manager cgroupfs"]);
    before.assert_nothing_new();
}

#[test]
fn a_failed_unit_of_the_name_is_cleared_away_and_an_active_one_is_left_and_named() {
    let s = InUnit::with_bus(Manner::FailedUnit);
    s.try_create().ok();
    let unit = s.unit();
    let start = format!("StartTransientUnit {unit}");
    assert_eq!(s.seen(), ["Hello", "AddMatch", &start, &format!("ResetFailedUnit {unit}"), &start]);
    let s = InUnit::with_bus(Manner::ActiveUnit);
    let before = s.c.leftovers();
    s.try_create().fails(1, &[&format!("a unit {} is active already", s.unit())]);
    before.assert_nothing_new();
}

#[test]
fn a_container_can_be_deleted_when_the_bus_has_died() {
    let s = InUnit::with_bus(Manner::Works);
    let before = s.c.leftovers();
    s.up();
    s.c.kill("KILL");
    let mut delete = s.command(&["delete", &s.c.id]);
    delete.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    let output = s.c.finish(&mut delete);
    assert!(output.code == 0 && output.stderr.contains("without systemd"), "{output:?}");
    before.assert_nothing_new();
}

#[test]
fn an_annotation_that_is_not_safe_is_refused_before_anything_is() {
    let s = InUnit::with_bus(Manner::Works)
        .with(|c| c["annotations"] = json!({"org.systemd.property.ExecStop": "['/bin/touch', '/x']"}));
    let before = s.c.leftovers();
    s.try_create().fails(1, &["annotations.org.systemd.property.ExecStop", "may not be set by an annotation"]);
    assert!(s.seen().is_empty());
    before.assert_nothing_new();
}

#[test]
fn a_path_that_names_no_unit_is_refused_before_anything_is() {
    let s = InUnit::with_bus(Manner::Works).with(|c| c["linux"]["cgroupsPath"] = json!("/a/b"));
    s.try_create().fails(1, &["slice:prefix:name"]);
    assert!(s.seen().is_empty());
}

#[test]
fn without_systemd_it_is_refused_by_name() {
    if Path::new("/run/systemd/system").exists() {
        skip!("systemd runs here");
    }
    let c = Container::idle();
    let before = c.leftovers();
    let words = [&["--systemd-cgroup"][..], &c.words("create", &[])].concat();
    let mut create = c.command(&words);
    c.finish(create.env_remove("DBUS_SYSTEM_BUS_ADDRESS")).fails(1, &["systemd is not running on this host"]);
    before.assert_nothing_new();
}

/// Kills the runtime before every step of a create, then of a delete; `gc` leaves nothing of it.
#[track_caller]
fn crash_at_every_step(s: &InUnit) {
    let before = s.c.leftovers();
    let crash = |k: usize, words: &[&str]| {
        let output = s.c.finish(s.command(words).env("NFRUN_FAULT", format!("kill:runtime:{k}")));
        assert!(output.code == 0 || output.code == 128 + 9, "killed, or not reached: {output:?}");
        output.code == 0
    };
    let clear = |k: usize| {
        s.runtime(&["gc"]).ok();
        s.on_id(&["delete", "--force"]);
        assert!(!s.cgroup("systemd").exists(), "step {k}");
        before.assert_nothing_new();
    };
    let create = [&["--systemd-cgroup"][..], &s.c.words("create", &[])].concat();
    let steps = (0..200).find(|k| {
        let whole = crash(*k, &create);
        clear(*k);
        whole
    });
    eprintln!("create: {} steps", steps.expect("an end"));
    let steps = (0..200).find(|k| {
        s.try_create().ok();
        let whole = crash(*k, &["delete", "--force", &s.c.id]);
        clear(*k);
        whole
    });
    eprintln!("delete: {} steps", steps.expect("an end"));
}

#[test]
fn the_runtime_killed_before_any_step_leaves_no_unit_to_gc() {
    crash_at_every_step(&InUnit::with_bus(Manner::Works));
}

// From here on with the machine's own systemd.

/// Leaves a test of the real systemd where it is not.
macro_rules! systemd_only {
    () => {
        if !Path::new("/run/systemd/system").exists() {
            skip!("systemd does not run here: the virtual machines of tests/vm have it");
        }
    };
}

#[track_caller]
fn systemctl(words: &[&str]) -> String {
    let output = std::process::Command::new("systemctl").args(words).output().expect("run systemctl");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A property of the container's unit.
#[track_caller]
fn shown(s: &InUnit, property: &str) -> String {
    systemctl(&["show", "--value", "--property", property, &s.unit()])
}

/// Nothing of the unit is loaded: not active, not failed.
#[track_caller]
fn no_unit(s: &InUnit) {
    eventually("the unit is not loaded", || shown(s, "LoadState") == "not-found");
    assert!(!s.cgroup("systemd").exists());
}

/// The files by which a container is limited, and what is in them.
fn limits(s: &InUnit) -> Vec<String> {
    let v2 = ["memory.max", "memory.low", "memory.swap.max", "memory.high", "cpu.weight", "cpu.max", "pids.max"];
    let v2_lists = ["cpuset.cpus", "cpuset.mems", "io.max", "io.weight", "hugetlb.2MB.max"];
    let v1 = [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.memsw.limit_in_bytes"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_period_us"),
        ("pids", "pids.max"),
        ("cpuset", "cpuset.cpus"),
        ("blkio", "blkio.throttle.read_bps_device"),
    ];
    let v2 = v2.iter().chain(&v2_lists).map(|file| ("", *file));
    let all: Vec<_> = if outside::is_v2() { v2.collect() } else { v1.to_vec() };
    let there = all.into_iter().filter(|(hierarchy, file)| s.cgroup(hierarchy).join(file).exists());
    let sorted = |text: String| {
        let mut lines: Vec<_> = text.split(", ").map(str::to_owned).collect();
        lines.sort();
        lines.join(", ")
    };
    there.map(|(hierarchy, file)| format!("{file} = {}", sorted(s.file(hierarchy, file)))).collect()
}

fn limited() -> InUnit {
    InUnit::real().with(|c| {
        let resources = &mut c["linux"]["resources"];
        resources["memory"] = json!({"limit": 67108864, "swap": 134217728, "reservation": 33554432});
        resources["cpu"] = json!({"shares": 512, "quota": 25000, "period": 50000, "cpus": "0", "mems": "0"});
        resources["pids"] = json!({"limit": 40});
        if Path::new("/dev/vda").exists() {
            let rate = json!([{"major": 254, "minor": 0, "rate": 1048576}]);
            resources["blockIO"] = json!({"throttleReadBpsDevice": rate});
        }
    })
}

#[test]
fn a_container_is_an_active_scope_in_its_slice_and_delete_leaves_neither_unit_nor_cgroup() {
    systemd_only!();
    let s = InUnit::real();
    let before = s.c.leftovers();
    s.try_create().ok();
    assert_eq!(shown(&s, "ActiveState"), "active");
    assert_eq!(shown(&s, "Slice"), s.slice);
    assert_eq!(shown(&s, "Delegate"), "yes");
    s.on_id(&["start"]).ok();
    let place = format!("/{}/{}", s.slice, s.unit());
    let own = cgroups_of(s.c.pid());
    assert!(own.iter().all(|line| line.ends_with(&place)), "{own:#?}");
    assert_eq!(shown(&s, "ControlGroup"), place);
    let inside = s.runtime(&["exec", &s.c.id, "cat", "/proc/self/cgroup"]).ok().to_owned();
    assert!(inside.lines().all(|line| line.ends_with(&place)), "{inside}");
    s.on_id(&["delete", "--force"]).ok();
    no_unit(&s);
    systemctl(&["stop", &s.slice]);
    before.assert_nothing_new();
}

#[test]
fn a_daemon_reload_takes_no_limit_and_no_device_rule_away_nor_after_an_update() {
    systemd_only!();
    let s = limited();
    s.up();
    let was = limits(&s);
    assert!(was.len() >= 7, "{was:#?}");
    systemctl(&["daemon-reload"]);
    assert_eq!(limits(&s), was);
    s.runtime(&[
        "update",
        "--memory",
        "50331648",
        "--memory-swap",
        "50331648",
        "--pids-limit",
        "30",
        "--cpu-quota",
        "10000",
        &s.c.id,
    ])
    .ok();
    let new = limits(&s);
    assert_ne!(new, was);
    systemctl(&["daemon-reload"]);
    assert_eq!(limits(&s), new);
    assert_eq!(shown(&s, "TasksMax"), "30");
    let device = |script: &str| s.runtime(&["exec", &s.c.id, "sh", "-c", script]);
    device("echo x > /dev/null").ok();
    assert_ne!(device("mknod /tmp/vda b 254 0 && head -c 1 /tmp/vda").code, 0, "a device that no rule allows");
    assert_eq!(s.c.status(), "running");
}

#[test]
fn devices_can_be_changed_and_stay_so() {
    systemd_only!();
    let s = limited().with(|c| {
        c["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 438}]);
    });
    s.up();
    // Writing needs no capability.
    let write = ": > /dev/kmsg";
    let can_use = || s.runtime(&["exec", &s.c.id, "sh", "-c", write]).code == 0;
    assert!(!can_use());
    let rules = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]});
    fs::write(s.c.dir.join("new.json"), rules.to_string()).unwrap();
    s.runtime(&["update", "--resources", "new.json", &s.c.id]).ok();
    assert!(can_use());
    systemctl(&["daemon-reload"]);
    assert!(can_use());
    s.runtime(&["exec", &s.c.id, "sh", "-c", "echo > /dev/null"]).ok();
}

#[test]
fn what_systemd_is_told_can_be_taken_back_as_a_whole() {
    systemd_only!();
    let s = limited();
    s.up();
    let was = limits(&s);
    // The second of these no kernel takes.
    let odd = json!({"pids": {"limit": 12}, "cpu": {"cpus": "4000"}});
    fs::write(s.c.dir.join("new.json"), odd.to_string()).unwrap();
    assert_ne!(s.runtime(&["update", "--resources", "new.json", &s.c.id]).code, 0);
    assert_eq!(limits(&s), was);
    systemctl(&["daemon-reload"]);
    assert_eq!(limits(&s), was);
}

#[test]
fn a_scope_that_systemctl_stops_is_a_stopped_container_until_it_is_deleted() {
    systemd_only!();
    // Its process is pid 1 in its namespace, which SIGTERM does not reach: systemd waits before it kills.
    let s = InUnit::real().with(|c| c["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "1"}));
    s.up();
    systemctl(&["stop", &s.unit()]);
    s.c.wait_for("stopped");
    s.runtime(&["gc"]).ok();
    assert_eq!(s.c.status(), "stopped");
    // Another may have the name meanwhile, and keeps it.
    let other = Container::idle().with(|c| c["linux"]["cgroupsPath"] = s.c.config["linux"]["cgroupsPath"].clone());
    other.runtime(&[&["--systemd-cgroup"][..], &other.words("create", &[])].concat()).ok();
    s.runtime(&["kill", "--all", &s.c.id, "KILL"]).ok();
    assert_eq!(other.status(), "created");
    s.on_id(&["delete"]).ok();
    assert_eq!(other.status(), "created");
    assert_eq!(shown(&s, "ActiveState"), "active");
    other.on_id(&["delete", "--force"]).ok();
    no_unit(&s);
}

#[test]
fn a_container_whose_process_ended_can_be_deleted_and_made_again() {
    systemd_only!();
    let s = InUnit::real();
    for _ in 0..2 {
        s.up();
        s.c.kill("KILL");
        no_unit(&s);
        s.on_id(&["delete"]).ok();
    }
}

#[test]
fn a_failed_unit_of_the_name_gives_way_and_an_active_one_does_not() {
    systemd_only!();
    let s = InUnit::real();
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new("systemd-run");
        command.args(["--quiet", "--scope", &format!("--unit={}", s.unit())]).args(more);
        command.stdin(std::process::Stdio::null()).spawn().expect("run systemd-run")
    };
    let mut failing = run(&["--property=RuntimeMaxSec=1", "sleep", "1000"]);
    wait(&mut failing, "the scope of a second");
    eventually("the unit has failed", || shown(&s, "ActiveState") == "failed");
    s.up();
    s.on_id(&["delete", "--force"]).ok();
    let mut active = run(&["sleep", "1000"]);
    eventually("the unit is active", || shown(&s, "ActiveState") == "active");
    s.try_create().fails(1, &[&format!("a unit {} is active already", s.unit())]);
    assert_eq!(shown(&s, "ActiveState"), "active");
    systemctl(&["stop", &s.unit()]);
    wait(&mut active, "the stopped scope");
}

#[test]
fn a_container_may_have_cgroups_of_its_own_and_exec_enters_them() {
    systemd_only!();
    v2_only!();
    let s = InUnit::real();
    s.up();
    let inner = s.cgroup("").join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), s.c.pid().to_string()).unwrap();
    fs::write(s.cgroup("").join("cgroup.subtree_control"), "+pids").unwrap();
    let own = s.runtime(&["exec", &s.c.id, "cat", "/proc/self/cgroup"]).ok().to_owned();
    assert!(own.ends_with("/inner"), "{own}");
    systemctl(&["daemon-reload"]);
    assert!(inner.exists());
    s.on_id(&["delete", "--force"]).ok();
    no_unit(&s);
}

#[test]
fn safe_annotations_are_properties_of_the_unit() {
    systemd_only!();
    let s = InUnit::real().with(|c| {
        c["annotations"] = json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
            "org.systemd.property.Description": "'a container of the tests'",
            "org.systemd.property.After": "['dbus.service']",
            "org.systemd.property.KillSignal": "10",
        });
    });
    s.try_create().ok();
    assert_eq!(shown(&s, "TimeoutStopUSec"), "7s");
    assert_eq!(shown(&s, "Description"), "a container of the tests");
    assert!(shown(&s, "After").contains("dbus.service"));
    assert_eq!(shown(&s, "KillSignal"), "10");
}

#[test]
fn the_runtime_killed_before_any_step_leaves_no_unit_to_systemd() {
    systemd_only!();
    let s = InUnit::real();
    crash_at_every_step(&s);
    no_unit(&s);
    systemctl(&["stop", &s.slice]);
}

/// A user with a systemd of his own; None where there is none, or none can be had.
fn alice() -> Option<(u32, String)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let uid: u32 = passwd.lines().find(|line| line.starts_with("alice:"))?.split(':').nth(2)?.parse().ok()?;
    let bus = format!("/run/user/{uid}/bus");
    std::process::Command::new("loginctl").args(["enable-linger", "alice"]).status().ok()?;
    eventually("alice's systemd runs", || Path::new(&bus).exists());
    Some((uid, format!("/run/user/{uid}")))
}

/// A container of alice, whose root she is herself.
fn of_a_user(uid: u32) -> Container {
    let c = Container::idle().with(|c| {
        let map = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        c["linux"]["uidMappings"] = map.clone();
        c["linux"]["gidMappings"] = map;
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        c["linux"]["resources"] = json!({"memory": {"limit": 67108864}, "pids": {"limit": 30}});
        // What needs a group or a privilege that she has not.
        let needs = |mount: &Value| ["devpts", "mqueue", "cgroup"].iter().any(|kind| mount["type"] == *kind);
        c["mounts"].as_array_mut().unwrap().retain(|mount| !needs(mount));
    });
    let chown = std::process::Command::new("chown").args(["-R", &uid.to_string()]).arg(&c.dir).status();
    assert!(chown.expect("run chown").success());
    c
}

#[test]
fn a_users_container_is_a_scope_of_his_own_systemd_also_from_another_session() {
    systemd_only!();
    v2_only!();
    let Some((uid, run)) = alice() else { skip!("there is no user alice with a systemd of her own") };
    let c = of_a_user(uid);
    let binary = binary();
    let by_alice = |words: &[&str]| {
        let id = uid.to_string();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(&binary).arg("--root").arg(&c.root);
        command.args(words).env("XDG_RUNTIME_DIR", &run).env_remove("DBUS_SESSION_BUS_ADDRESS").current_dir(&c.dir);
        c.finish(command.stdin(std::process::Stdio::null()))
    };
    by_alice(&["--systemd-cgroup", "run", "--detach", "--bundle", "bundle", &c.id]).ok();
    let place = format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/nfrun-{}.scope", c.id);
    let read = |file: &str| fs::read_to_string(format!("/sys/fs/cgroup{place}/{file}")).unwrap_or_default();
    assert_eq!(read("memory.max").trim(), "67108864");
    // Whoever calls is outside of her systemd's cgroups, so that the kernel lets no process be born in the container's.
    let inside = by_alice(&["exec", &c.id, "cat", "/proc/self/cgroup"]).ok().to_owned();
    assert_eq!(inside, format!("0::{place}"));
    by_alice(&["update", "--pids-limit", "25", &c.id]).ok();
    assert_eq!(read("pids.max").trim(), "25");
    let her = |words: &[&str]| {
        let mut command = std::process::Command::new("systemctl");
        command.args(["--user", "--machine=alice@.host"]).args(words).output().map(|output| output.status.success())
    };
    let _ = her(&["daemon-reload"]);
    assert_eq!(read("pids.max").trim(), "25");
    by_alice(&["pause", &c.id]).ok();
    by_alice(&["resume", &c.id]).ok();
    by_alice(&["delete", "--force", &c.id]).ok();
    assert!(!Path::new(&format!("/sys/fs/cgroup{place}")).exists());
}
