//! Cgroups on the kernel that runs the tests: what the library makes is looked at from outside, through the files and
//! /proc. Each test has a parent of its own in every hierarchy, and takes away what it made. As root only.

mod dead_mount;
mod scene;
#[path = "../common/skip.rs"]
mod skip;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dead_mount::DeadMount;
use nfrun::cgroup::{Freezer, remove_leaf, remove_unused};
use scene::{BOUND, Scene, enter, eventually};

#[test]
fn limits_are_in_the_kernels_files_before_anything_enters() {
    let Some(mut scene) = Scene::set("limits", &["memory", "pids", "cpu", "cpuset"]) else { return };
    scene
        .create(
            r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 7},
            "pids": {"limit": 20}, "cpu": {"shares": 512, "period": 50000, "quota": 25000, "cpus": "0"}}"#,
        )
        .unwrap();
    assert_eq!(scene.read("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(scene.read("memory", "memory.memsw.limit_in_bytes"), "134217728");
    assert_eq!(scene.read("memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(scene.read("memory", "memory.swappiness"), "7");
    assert_eq!(scene.read("pids", "pids.max"), "20");
    assert_eq!(scene.read("cpu", "cpu.shares"), "512");
    assert_eq!(scene.read("cpu", "cpu.cfs_period_us"), "50000");
    assert_eq!(scene.read("cpu", "cpu.cfs_quota_us"), "25000");
    assert_eq!(scene.read("cpuset", "cpuset.cpus"), "0");
    assert_eq!(scene.read("cpuset", "cpuset.mems"), scene.read("cpuset", "../cpuset.mems"));
    assert!(!scene.read("cpuset", "../cpuset.cpus").is_empty(), "the parent was filled too");
}

#[test]
fn an_update_may_raise_and_lower_limits_that_depend_on_each_other() {
    let Some(mut scene) = Scene::set("update", &["memory", "cpu"]) else { return };
    scene
        .create(r#"{"memory": {"limit": 33554432, "swap": 33554432}, "cpu": {"period": 100000, "quota": 50000}}"#)
        .unwrap();
    for (limit, swap) in [(67_108_864u64, 134_217_728u64), (16_777_216, 16_777_216), (268_435_456, 268_435_456)] {
        scene.update(&format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#)).unwrap();
        assert_eq!(scene.read("memory", "memory.limit_in_bytes"), limit.to_string());
        assert_eq!(scene.read("memory", "memory.memsw.limit_in_bytes"), swap.to_string());
    }
    // Linux 5.14.
    let bursts = std::path::Path::new(&scene.dir("cpu")).join("cpu.cfs_burst_us").exists();
    for (quota, burst) in [(20_000, 20_000), (5_000, 1_000), (80_000, 80_000)] {
        let resources = match bursts {
            true => format!(r#"{{"cpu": {{"quota": {quota}, "burst": {burst}}}}}"#),
            false => format!(r#"{{"cpu": {{"quota": {quota}}}}}"#),
        };
        scene.update(&resources).unwrap();
        assert_eq!(scene.read("cpu", "cpu.cfs_quota_us"), quota.to_string());
        assert!(!bursts || scene.read("cpu", "cpu.cfs_burst_us") == burst.to_string());
    }
    scene.update(r#"{"memory": {"limit": -1}}"#).unwrap();
    assert!(scene.read("memory", "memory.limit_in_bytes").len() > 18, "unlimited");
    let error = scene.update(r#"{"cpu": {"period": 5}}"#).unwrap_err().to_string();
    assert!(error.starts_with("linux.resources.cpu.period: write 5 to /sys"), "{error}");
    assert!(error.contains("1000 to 1000000 us") && error.ends_with("invalid argument"), "{error}");
}

#[test]
fn a_limit_below_what_is_used_says_so() {
    let Some(mut scene) = Scene::set("busy", &["memory"]) else { return };
    let made = scene.create("{}").unwrap();
    let script = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo up; read never < /dev/stdin; echo ${#x}";
    let mut child = enter(made.open_tasks().unwrap(), &format!("{script}; sleep 60"));
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    if let Err(error) = scene.update(r#"{"memory": {"limit": 4096}}"#) {
        let error = error.to_string();
        assert!(error.contains("write 4096 to") && error.contains("the cgroup uses more"), "{error}");
        assert!(error.ends_with("device or resource busy"), "{error}");
    } else {
        println!("the kernel swapped the process out or killed it");
    }
    scene.place.signal_all(libc::SIGKILL, BOUND).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_process_that_entered_is_in_every_v1_hierarchy_and_cannot_open_other_devices() {
    let Some(mut scene) = Scene::set("enter", &[]) else { return };
    let made = scene.create(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#).unwrap();
    let list = scene.read("devices", "devices.list");
    assert_eq!(list.lines().count(), 10, "{list}");
    assert!(list.contains("c 1:3 rwm") && list.contains("b *:* m"), "{list}");
    let node = format!("/tmp/nfrun-test-{}-kmsg", std::process::id());
    let script = format!(
        "cat /proc/self/cgroup; mknod {node} c 1 11 && head -c 1 {node} 2>&1; rm -f {node}; head -c 4 /dev/zero | od -An -tx1"
    );
    let output = enter(made.open_tasks().unwrap(), &script).wait_with_output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    for cgroup in scene.place.cgroups.iter().filter(|cgroup| cgroup.hierarchy != "unified") {
        assert!(output.contains(&format!(":{}:{}", cgroup.hierarchy, cgroup.path)), "{cgroup} not in {output}");
    }
    assert!(output.contains("Operation not permitted") && output.contains("00 00 00 00"), "{output}");
}

#[test]
fn a_cgroup_that_is_inhabited_or_frozen_is_refused_and_an_empty_one_taken() {
    let Some(mut scene) = Scene::set("taken", &[]) else { return };
    let made = scene.create("{}").unwrap();
    assert!(!scene.identities.is_empty());
    let before = scene.identities.len();
    scene.create("{}").unwrap();
    assert_eq!(scene.identities.len(), before, "what was there is not claimed");
    let mut child = enter(made.open_tasks().unwrap(), "exec sleep 60");
    eventually("the child is inside", || scene.place.pids().unwrap() == [child.id() as i32]);
    let error = scene.create("{}").unwrap_err().to_string();
    assert!(error.starts_with("container's cgroup is not empty: 1 process(es) found in /sys"), "{error}");
    scene.place.signal_all(libc::SIGKILL, BOUND).unwrap();
    child.wait().unwrap();
    scene.place.remove(BOUND).unwrap();
    let parent_state = format!("{}/../freezer.state", scene.dir("freezer"));
    fs::create_dir_all(scene.dir("freezer")).unwrap();
    fs::write(&parent_state, "FROZEN").unwrap();
    fs::remove_dir(scene.dir("freezer")).unwrap();
    let error = scene.create("{}").unwrap_err().to_string();
    assert!(error.starts_with("container's cgroup unexpectedly frozen"), "{error}");
    assert_eq!(scene.place.freezer_state().unwrap(), Freezer::ByParent);
    fs::write(&parent_state, "THAWED").unwrap();
}

#[test]
fn a_cpuset_that_was_set_before_is_kept() {
    let Some(mut scene) = Scene::set("cpuset", &["cpuset"]) else { return };
    let leaf = scene.dir("cpuset");
    fs::create_dir_all(&leaf).unwrap();
    fs::write(format!("{leaf}/../cpuset.cpus"), scene.read("cpuset", "../../cpuset.cpus")).unwrap();
    fs::write(format!("{leaf}/cpuset.cpus"), "0").unwrap();
    scene.create("{}").unwrap();
    assert_eq!(scene.read("cpuset", "cpuset.cpus"), "0");
    assert_eq!(scene.read("cpuset", "cpuset.mems"), scene.read("cpuset", "../../cpuset.mems"));
}

#[test]
fn a_frozen_place_stops_and_goes_on() {
    let Some(mut scene) = Scene::set("freeze", &[]) else { return };
    let made = scene.create("{}").unwrap();
    let mut child = enter(made.open_tasks().unwrap(), "while :; do :; done");
    eventually("the child is inside", || !scene.place.pids().unwrap().is_empty());
    assert_eq!(scene.place.freezer_state().unwrap(), Freezer::Thawed);
    scene.place.freeze(BOUND).unwrap();
    assert_eq!(scene.place.freezer_state().unwrap(), Freezer::Frozen);
    let ticks =
        || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().split(' ').nth(13).map(str::to_owned);
    let then = ticks();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ticks(), then, "no time is used while frozen");
    scene.place.thaw().unwrap();
    eventually("it runs again", || ticks() != then);
    scene.place.signal_all(libc::SIGKILL, BOUND).unwrap();
    child.wait().unwrap();
}

#[test]
fn kill_reaches_forkers_paused_processes_and_frozen_sub_cgroups() {
    let Some(mut scene) = Scene::set("kill", &["pids"]) else { return };
    let made = scene.create(r#"{"pids": {"limit": 200}}"#).unwrap();
    let mut bomb = enter(made.open_tasks().unwrap(), "f() { sleep 0.01; f & f & wait; }; f 2>/dev/null");
    eventually("it forks", || scene.place.pids().unwrap().len() > 50);
    scene.place.signal_all(libc::SIGKILL, BOUND).unwrap();
    assert!(scene.place.pids().unwrap().is_empty());
    assert_eq!(scene.place.freezer_state().unwrap(), Freezer::Thawed, "whoever enters next would hang");
    bomb.wait().unwrap();

    for cgroup in &scene.place.cgroups {
        fs::create_dir(format!("{}/sub", cgroup.dir())).unwrap();
    }
    let sub = scene.place.sub_place(&["freezer,devices:sub".into()]).unwrap();
    let mut below = enter(sub.open_tasks().unwrap(), "exec sleep 60");
    let mut above = enter(made.open_tasks().unwrap(), "exec sleep 60");
    eventually("both are seen from the top", || scene.place.pids().unwrap().len() == 2);
    assert_eq!(sub.pids().unwrap(), [below.id() as i32]);
    sub.freeze(BOUND).unwrap();
    scene.place.freeze(BOUND).unwrap();
    scene.place.signal_all(libc::SIGKILL, BOUND).unwrap();
    above.wait().unwrap();
    below.wait().unwrap();
    scene.place.remove(BOUND).unwrap();
    assert!(!Path::new(&scene.dir("memory")).exists(), "sub-cgroups go with it");
}

#[test]
fn exec_joins_sub_cgroups_that_exist_and_leads_nowhere_else() {
    let Some(mut scene) = Scene::set("sub", &["memory"]) else { return };
    scene.create("{}").unwrap();
    fs::create_dir(format!("{}/a", scene.dir("memory"))).unwrap();
    let sub = scene.place.sub_place(&["memory:/a".into()]).unwrap();
    assert_eq!(sub.with("memory").unwrap().dir(), format!("{}/a", scene.dir("memory")));
    assert_eq!(sub.with("devices"), scene.place.with("devices"));
    for (argument, words) in [
        ("a", "no such file or directory"),
        ("memory:b", "no such file or directory"),
        ("memory:a/../..", "it leaves the container's cgroup"),
        ("nothing:a", "unknown controller nothing"),
    ] {
        let error = scene.place.sub_place(&[argument.into()]).unwrap_err().to_string();
        assert!(error.starts_with("--cgroup ") && error.contains(words), "{error}");
    }
}

#[test]
fn undo_knows_each_directory_before_and_removes_only_what_was_made() {
    let Some(mut scene) = Scene::set("undo", &[]) else { return };
    let missing = scene.place.missing_dirs();
    assert_eq!(missing.len(), 2 * scene.place.cgroups.len());
    assert!(missing[0].ends_with(&scene.parent[1..]) && missing[1].starts_with(&missing[0]), "{missing:?}");
    scene.create("{}").unwrap();
    let made: Vec<PathBuf> = scene.identities.iter().map(|made| PathBuf::from(&made.path)).collect();
    assert_eq!(made, missing);
    assert!(scene.place.missing_dirs().is_empty());

    let (outer, leaf) = (&scene.identities[0], &scene.identities[1]);
    assert!(!remove_unused(Path::new(&outer.path), Some(outer.inode)).unwrap(), "a parent in use stays");
    fs::remove_dir(&leaf.path).unwrap();
    fs::create_dir(&leaf.path).unwrap();
    assert!(!remove_leaf(Path::new(&leaf.path), leaf.inode, false, BOUND).unwrap(), "another of that name stays");
    assert!(Path::new(&leaf.path).exists());
    fs::remove_dir(&leaf.path).unwrap();
    assert!(remove_unused(Path::new(&outer.path), Some(outer.inode)).unwrap());
    for made in scene.identities[2..].iter().rev() {
        remove_leaf(Path::new(&made.path), made.inode, false, BOUND).unwrap();
    }
    assert_eq!(scene.place.missing_dirs(), missing);
}

#[test]
fn remove_waits_for_a_process_that_ends_and_names_one_that_stays() {
    let Some(mut scene) = Scene::set("remove", &[]) else { return };
    let made = scene.create("{}").unwrap();
    let mut child = enter(made.open_tasks().unwrap(), "exec sleep 0.2");
    eventually("the child is inside", || !scene.place.pids().unwrap().is_empty());
    let error = scene.place.remove(Duration::from_millis(20)).unwrap_err().to_string();
    assert!(error.contains(&format!("still in it: pid {} (s", child.id())), "{error}");
    assert!(error.ends_with("device or resource busy"), "{error}");
    scene.place.remove(BOUND).unwrap();
    child.wait().unwrap();
    assert_eq!(scene.place.missing_dirs().len(), scene.place.cgroups.len());
}

#[test]
fn pause_kill_and_remove_end_in_time_and_name_the_process_that_is_stuck() {
    let Some(mut scene) = Scene::set("stuck", &[]) else { return };
    let Some(mut mount) = DeadMount::mount("stuck") else { return };
    let made = scene.create("{}").unwrap();
    let mut child = enter(made.open_tasks().unwrap(), &format!("exec stat {}/x", mount.at));
    let mut idle = enter(made.open_tasks().unwrap(), "exec sleep 60");
    mount.swallow();
    let bound = Duration::from_millis(200);
    let started = Instant::now();
    let named = |error: nfrun::Error| {
        let error = error.to_string();
        assert!(error.contains(&format!("pid {} (stat) in state D", child.id())), "{error}");
        assert!(error.contains("fuse"), "the kernel stack is told: {error}");
        assert!(!error.contains("(sleep)"), "who is not stuck is not named: {error}");
        println!("{error}");
    };
    named(scene.place.freeze(bound).unwrap_err());
    assert_eq!(scene.place.freezer_state().unwrap(), Freezer::Thawed);
    named(scene.place.signal_all(libc::SIGKILL, bound).unwrap_err());
    named(scene.place.remove(bound).unwrap_err());
    assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
    drop(mount);
    child.wait().unwrap();
    idle.wait().unwrap();
}
