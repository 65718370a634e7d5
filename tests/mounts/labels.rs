//! What AppArmor and SELinux are told: process.apparmorProfile, process.selinuxLabel, linux.mountLabel, and `exec`'s flags
//! for them. On a host without these modules a label is refused with runc's words; what labels do is felt on hosts that
//! have them, and told by /proc/PID/attr from outside.

use std::fs;
use std::process::Command;

use crate::common::*;

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|word| word.starts_with('Y'))
}

fn has_selinux() -> bool {
    // Until a policy is loaded everything is labelled so.
    let has_policy = || fs::read_to_string("/proc/self/attr/current").is_ok_and(|label| !label.starts_with("kernel"));
    std::path::Path::new("/sys/fs/selinux/enforce").exists() && has_policy()
}

/// What a process is confined by: `NAME (enforce)` or an SELinux context.
fn current(pid: i32) -> String {
    let of_apparmor = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current"));
    let text = of_apparmor.or_else(|_| fs::read_to_string(format!("/proc/{pid}/attr/current")));
    text.expect("an attr file").trim_end_matches(['\n', '\0']).to_owned()
}

#[test]
fn without_apparmor_a_profile_is_refused_and_unconfined_is_what_there_is() {
    not_in_runc!("1.1 fails as it writes the profile");
    if has_apparmor() {
        skip!("AppArmor is enabled here");
    }
    let with = |profile: &str| Container::idle().with(|config| config["process"]["apparmorProfile"] = json!(profile));
    let c = with("crun-default");
    let before = c.leftovers();
    let says = ["process.apparmorProfile: ", "apparmor: config provided but apparmor not supported", "crun-default"];
    c.try_create().fails(1, &says);
    before.assert_nothing_new();
    for profile in ["", "unconfined"] {
        with(profile).create();
    }
    let c = Container::idle().up();
    let output = c.exec_with(&["--apparmor", "crun-default"], &["true"]);
    output.fails(255, &says);
    c.exec_with(&["--apparmor", "unconfined"], &["true"]).ok();
}

#[test]
fn without_selinux_labels_are_refused_by_name() {
    not_in_runc!("it does not name the field");
    if has_selinux() {
        skip!("SELinux is enabled here");
    }
    let label = "system_u:system_r:container_t:s0:c1,c2";
    let says =
        ["selinux label is specified in config, but selinux is disabled or not supported", "process.selinuxLabel: "];
    let c = Container::idle().with(|config| config["process"]["selinuxLabel"] = json!(label));
    let before = c.leftovers();
    c.try_create().fails(1, &says);
    let c = c.with(|config| {
        config["process"]["selinuxLabel"] = json!("");
        config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    });
    c.try_create().fails(1, &["linux.mountLabel: SELinux is disabled"]);
    before.assert_nothing_new();
    let c = c.with(|config| config["linux"]["mountLabel"] = json!("")).up();
    c.exec_with(&["--process-label", label], &["true"]).fails(255, &says);
}

#[test]
fn a_plan_for_another_host_has_the_labels() {
    not_in_runc!("it has no plans");
    let c = Container::idle().with(|config| {
        config["process"]["apparmorProfile"] = json!("crun-default");
        config["process"]["selinuxLabel"] = json!("u:r:t:s0:c1,c2");
        config["linux"]["mountLabel"] = json!("u:object_r:t:s0:c1,c2");
    });
    let plan = c.runtime(&["plan", "--no-host", "--bundle", c.bundle.to_str().unwrap()]).ok().to_owned();
    let at =
        |words: &str| plan.lines().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {plan}"));
    assert!(at("open the host's /proc for labels") < at("label keyrings u:r:t:s0:c1,c2"));
    assert!(at("label keyrings") < at("join session keyring"));
    assert!(at("AppArmor profile crun-default") < at("close descriptors"));
    assert!(at("SELinux label u:r:t:s0:c1,c2 by the next execve") < at("close descriptors"));
    let labelled = "context=\"u:object_r:t:s0:c1,c2\"";
    for (mount, has) in
        [("mount tmpfs tmpfs on /dev,", true), ("mount devpts", true), ("mount proc", false), ("mount sysfs", false)]
    {
        assert_eq!(plan.lines().nth(at(mount)).unwrap().contains(labelled), has, "{mount}: {plan}");
    }
    assert_eq!(at("label /dev/mqueue u:object_r:t:s0:c1,c2"), at("mount mqueue") + 1);
}

/// Loads a profile that denies one file, under a name of this test's own; None where there is no parser.
fn load_profile(c: &Container, name: &str) -> Option<()> {
    let path = c.dir.join("profile");
    let text =
        format!("profile {name} flags=(attach_disconnected) {{ file, signal, capability, deny /etc/passwd r, }}\n");
    fs::write(&path, text).unwrap();
    let output = Command::new("apparmor_parser").arg("--replace").arg("--skip-cache").arg(&path).output().ok()?;
    output.status.success().then_some(())
}

#[test]
fn a_profile_confines_init_and_exec_and_only_them() {
    if !has_apparmor() {
        skip!("AppArmor is not enabled in this kernel");
    }
    let c = Container::sh("cat /etc/group && cat /etc/passwd; exec sleep 1000");
    let name = format!("nfrun-test-{}", std::process::id());
    if load_profile(&c, &name).is_none() {
        skip!("apparmor_parser cannot load a profile here");
    }
    for user in [false, true] {
        let c = Container::sh("sleep 1000").with(|config| {
            config["process"]["apparmorProfile"] = json!(name);
            if user {
                bundle::push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
                config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
            }
        });
        let c = c.up();
        assert_eq!(current(c.pid()), format!("{name} (enforce)"));
        let denied = c.exec(&["cat", "/etc/passwd"]);
        assert!(denied.code != 0 && denied.stderr.contains("Permission denied"), "{denied:?}");
        c.exec(&["cat", "/etc/group"]).ok();
        c.exec_with(&["--apparmor", "unconfined"], &["cat", "/etc/passwd"]);
    }
    let free = Container::idle().up();
    assert_eq!(current(free.pid()), "unconfined");
    let confined = free.exec_with(&["--apparmor", &name], &["cat", "/etc/passwd"]);
    assert!(confined.code != 0 && confined.stderr.contains("Permission denied"), "{confined:?}");
    let before = c.leftovers();
    let c = c.with(|config| config["process"]["apparmorProfile"] = json!("nfrun-test-not-loaded"));
    c.try_create().fails(1, &["AppArmor profile nfrun-test-not-loaded", "not loaded"]);
    before.assert_nothing_new();
    let _ = Command::new("apparmor_parser").arg("--remove").arg(c.dir.join("profile")).output();
}

#[test]
fn labels_are_those_of_the_bundle() {
    if !has_selinux() {
        skip!("SELinux is not enabled in this kernel");
    }
    let (process, file) = ("system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2");
    let c = Container::idle().with(|config| {
        config["process"]["selinuxLabel"] = json!(process);
        config["linux"]["mountLabel"] = json!(file);
    });
    let output = c.try_create();
    if output.code != 0 && output.stderr.contains("does not know this label") {
        skip!("the loaded policy has no container_t");
    }
    output.ok();
    c.start();
    assert_eq!(current(c.pid()), process);
    for target in ["/dev", "/dev/shm", "/dev/pts"] {
        let mount = outside::mount_at(c.pid(), target);
        assert!(mount.super_options.join(",").contains(file), "{mount:?}");
    }
    assert_eq!(c.exec(&["cat", "/proc/self/attr/current"]).ok().trim_end_matches('\0'), process);
}
