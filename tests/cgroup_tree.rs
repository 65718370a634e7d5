//! What a host's tree of cgroups may look like where a container comes, and what a container may make of its own: threaded
//! cgroups, cgroups that hand controllers on, partitions, a tree that cannot be written, containers in containers.

#[macro_use]
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::outside::{cgroup_dir, is_v2};
use common::*;

/// A cgroup of the test's own below its container's parent, removed with it.
fn made_cgroup(c: &Container, name: &str) -> PathBuf {
    let dir = cgroup_dir("unified", &format!("{}/{name}", c.cgroup_parent));
    fs::create_dir_all(&dir).expect("make a cgroup");
    dir
}

#[test]
fn a_threaded_cgroup_is_refused_by_its_type() {
    v2_only!();
    let c = Container::idle();
    let dir = made_cgroup(&c, "c");
    fs::write(dir.join("cgroup.type"), "threaded").unwrap();
    c.try_create().fails(1, &["linux.cgroupsPath", dir.to_str().unwrap(), "of type", "threaded", "cgroup.type"]);
    assert!(dir.exists(), "what it did not make stays");
    assert!(!c.root.join(&c.id).exists());
}

#[test]
fn a_cgroup_beside_threaded_ones_is_refused_by_its_type_and_is_gone() {
    v2_only!();
    let c = Container::idle();
    let beside = made_cgroup(&c, "threads");
    fs::write(beside.join("cgroup.type"), "threaded").unwrap();
    let before = c.leftovers();
    c.try_create().fails(1, &["linux.cgroupsPath", "of type", "domain invalid", "cgroup.type"]);
    before.assert_nothing_new();
    let limited = c.with(|config| config["linux"]["resources"]["memory"] = json!({"limit": 1 << 26}));
    limited.try_create().fails(1, &["memory controller", "threaded"]);
    before.assert_nothing_new();
}

#[test]
fn a_cgroup_that_hands_controllers_on_is_refused_for_that() {
    v2_only!();
    let c = Container::idle();
    let below = made_cgroup(&c, "c/below");
    let own = below.parent().unwrap();
    fs::write(own.parent().unwrap().join("cgroup.subtree_control"), "+memory").unwrap();
    fs::write(own.join("cgroup.subtree_control"), "+memory").unwrap();
    c.try_create().fails(1, &["hands controllers on (memory)", "linux.cgroupsPath"]);
    assert!(below.exists());
    // Without that it is a cgroup like another.
    fs::write(own.join("cgroup.subtree_control"), "-memory").unwrap();
    fs::remove_dir(&below).unwrap();
    c.create();
    assert_eq!(c.status(), "created");
}

#[test]
fn partitions_of_cpus_are_left_alone() {
    v2_only!();
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        skip!("one CPU alone");
    }
    let c = Container::idle().with(|config| config["linux"]["resources"]["cpu"] = json!({"cpus": "0"}));
    let partition = cgroup_dir("", &format!("{}-partition", c.cgroup_parent));
    fs::create_dir(&partition).unwrap();
    let file = partition.join("cpuset.cpus.partition");
    let made = fs::write(partition.join("cpuset.cpus"), "1").and_then(|()| fs::write(&file, "root"));
    let is = || fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    let (before, mut seen) = (is(), Vec::new());
    if made.is_ok() && before == "root" {
        c.create().start();
        seen.extend([is(), proc_status(c.pid(), "Cpus_allowed_list")]);
        c.on_id(&["update", "--cpuset-cpus", "0"]).ok();
        c.on_id(&["delete", "--force"]).ok();
        seen.push(is());
    }
    // Whatever came of it, nothing of this test may stay.
    let _ = fs::write(&file, "member");
    let _ = fs::remove_dir(&partition);
    if seen.is_empty() {
        skip!("this kernel makes no partition here: {before:?}");
    }
    assert_eq!(seen, ["root", "0", "root"]);
}

#[test]
fn cgroups_that_are_mounted_read_only_are_named_with_the_way_out() {
    not_in_runc!("the words are its own");
    let c = Container::idle();
    let before = c.leftovers();
    let script = "awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts | while read -r at; do mount -o remount,bind,ro \"$at\"; done; \
        exec \"$@\"";
    let run = |words: &[&str]| {
        let create = c.command(words);
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "sh", "-c", script, "sh"]).arg(create.get_program()).args(create.get_args());
        c.finish(outer.stdin(Stdio::null()).current_dir(&c.dir))
    };
    let output = run(&c.words("create", &[]));
    output.fails(1, &["make cgroup /sys/fs/cgroup", "mounted read-only", "--cgroup-manager disabled"]);
    before.assert_nothing_new();
    run(&[&["--cgroup-manager", "disabled"], &c.words("create", &[])[..]].concat()).ok();
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

/// All that the runtime needs inside of a container to make one there.
fn with_a_runtime_inside(inner: &Value) -> Container {
    // As a system container does: its processes below, and the top hands controllers on, so that an exec is below too.
    let script = "if [ -e /sys/fs/cgroup/cgroup.procs ]; then
        mkdir /sys/fs/cgroup/init && echo 0 > /sys/fs/cgroup/init/cgroup.procs
        echo +pids > /sys/fs/cgroup/cgroup.subtree_control
      fi; echo ready; exec sleep 1000";
    let c = Container::sh(script).with(|config| {
        let all = all_capabilities();
        bundle::set_capabilities(&mut config["process"], &all.iter().map(String::as_str).collect::<Vec<_>>());
        config["root"]["readonly"] = json!(false);
        config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["options"] = json!(["nosuid", "rw"]);
        let nfrun = json!({"destination": "/nfrun", "type": "bind", "source": binary(), "options": ["bind", "ro"]});
        bundle::push(&mut config["mounts"], nfrun);
        bundle::push(&mut config["mounts"], json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs"}));
        bundle::push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}));
        // The inner rules of devices have to lie within the outer's.
        config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    });
    bundle::make_rootfs(&c.rootfs("inner/rootfs"));
    fs::write(c.rootfs("inner/config.json"), inner.to_string()).expect("write config.json");
    c
}

fn all_capabilities() -> Vec<String> {
    let features = Command::new(binary()).arg("features").output().expect("run the runtime");
    let features: Value = serde_json::from_slice(&features.stdout).unwrap_or_default();
    let names = features["linux"]["capabilities"].as_array().cloned().unwrap_or_default();
    let names = names.iter().filter_map(Value::as_str).map(str::to_owned);
    // Those that this kernel knows: checked by what it says is the highest.
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    let count = last.trim().parse::<usize>().map_or(41, |last| last + 1);
    names.take(count).collect()
}

#[test]
fn a_container_in_a_container_has_limits_of_its_own_below_the_outers() {
    not_in_runc!("it is not what is bound inside");
    let file = if is_v2() { "pids.max" } else { "pids/pids.max" };
    let mut inner = base();
    inner["process"]["args"] =
        json!(["sh", "-c", format!("cat /sys/fs/cgroup/{file}; cat /proc/self/cgroup; echo done")]);
    inner["linux"]["cgroupsPath"] = json!("/inner");
    inner["linux"]["resources"]["pids"] = json!({"limit": 33});
    inner["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    let c = with_a_runtime_inside(&inner);
    let before = c.leftovers();
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "ready");
    let output = c.exec(&["/nfrun", "--root", "/run/nfrun", "run", "--bundle", "/inner", "in"]);
    assert!(output.ok().starts_with("33\n") && output.ok().ends_with("done"), "{output:?}");
    c.exec(&["test", "-e", "/run/nfrun/in"]).fails(1, &[]);
    let below = c.cgroup("pids").join("inner");
    assert!(!below.exists(), "{}", below.display());
    // One that lives on goes with the outer one.
    inner["process"]["args"] = json!(["sleep", "1000"]);
    fs::write(c.rootfs("inner/config.json"), inner.to_string()).unwrap();
    c.exec(&["/nfrun", "--root", "/run/nfrun", "run", "--detach", "--bundle", "/inner", "in"]).ok();
    assert_eq!(fs::read_to_string(below.join("pids.max")).unwrap().trim(), "33", "{}", below.display());
    c.on_id(&["pause"]).ok();
    c.on_id(&["delete", "--force"]).ok();
    drop(lines);
    before.assert_nothing_new();
}
