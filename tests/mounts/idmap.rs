//! Bind mounts whose ids are mapped: who owns a file is told by the mapping, on the way in and on the way out.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::common::bundle::{drop_namespace, push, set_capabilities};
use crate::common::*;

/// A directory of the host with a file of 0:0, one of 1000:1000 and one of 5000:5000, each as the host has it.
fn owned_by(c: &Container, offset: u32) -> PathBuf {
    let dir = c.dir.join("data");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(offset), Some(offset)).unwrap();
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    for id in [0, 1000, 5000] {
        fs::write(dir.join(format!("of{id}")), "").unwrap();
        chown(dir.join(format!("of{id}")), Some(offset + id), Some(offset + id)).unwrap();
    }
    dir
}

/// What this kernel cannot map of the files that tests make.
fn cannot_map() -> Option<String> {
    let kind = nix::sys::statfs::statfs(&std::env::temp_dir()).expect("a filesystem").filesystem_type().0 as u64;
    // Linux's magic numbers, and the version in which each came to allow mappings.
    let (name, (major, minor)) = match kind {
        0x0102_1994 => ("tmpfs", (6, 3)),
        0x794c_7630 => ("overlayfs", (5, 19)),
        0x9123_683e => ("btrfs", (5, 15)),
        _ => ("others", (5, 12)),
    };
    (!outside::kernel_has(major, minor)).then(|| format!("ids of {name} are mapped since Linux {major}.{minor}"))
}

/// Leaves a test where nothing can be mapped, and on runc.
macro_rules! needs_mapping {
    ($reason:literal) => {
        not_in_runc!($reason);
        if let Some(reason) = cannot_map() {
            skip!("{reason}");
        }
    };
}

const OWNERS: &str = "cd /data && stat -c %u:%g of0 of1000 of5000 && echo x >made && stat -c %u:%g made";

/// A container that shows the owners of a mapped mount and makes a file there. `user`: with a user namespace whose ids
/// begin at 100000.
fn shows(user: bool, mount: impl FnOnce(&Path) -> Value) -> (Container, PathBuf) {
    let c = Container::sh(OWNERS);
    let data = owned_by(&c, 0);
    let mount = mount(&data);
    let c = c.with(|config| {
        config["root"]["readonly"] = json!(false);
        push(&mut config["mounts"], mount);
        set_capabilities(&mut config["process"], &["CAP_DAC_OVERRIDE"]);
        if user {
            in_a_user_namespace(config);
        }
    });
    fs::create_dir(c.rootfs("/data")).unwrap();
    (c, data)
}

fn in_a_user_namespace(config: &mut Value) {
    push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
}

fn mapped(data: &Path, options: &[&str], map: Value) -> Value {
    let mut mount = json!({"destination": "/data", "type": "bind", "source": data, "options": options});
    if !map.is_null() {
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map;
    }
    mount
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[test]
fn without_a_user_namespace_the_mounts_own_mapping_holds() {
    needs_mapping!("mapped mounts came in 1.2");
    for options in [&["rbind", "idmap"][..], &["bind", "ridmap"], &["bind"]] {
        let map =
            json!([{"containerID": 0, "hostID": 3000, "size": 1}, {"containerID": 1000, "hostID": 0, "size": 1000}]);
        let (c, data) = shows(false, |data| mapped(data, options, map));
        // 5000 has no mapping, and the user 0 of the container is 1000 on the disk.
        assert_eq!(c.run().ok(), "3000:3000\n0:0\n65534:65534\n0:0", "{options:?}");
        assert_eq!(owner(&data.join("made")), (1000, 1000));
    }
}

#[test]
fn uids_and_gids_are_mapped_each_by_its_own_list() {
    needs_mapping!("mapped mounts came in 1.2");
    let (c, data) = shows(false, |data| {
        let mut mount = mapped(data, &["bind", "idmap"], json!([{"containerID": 0, "hostID": 7, "size": 1}]));
        mount["gidMappings"] =
            json!([{"containerID": 0, "hostID": 8, "size": 1}, {"containerID": 1, "hostID": 0, "size": 1}]);
        mount
    });
    let output = c.run();
    assert_eq!(output.stdout, "7:8\n65534:65534\n65534:65534\n", "{output:?}");
    assert!(output.stderr.contains("Value too large"), "uid 0 has no id on the disk: {output:?}");
    assert!(!data.join("made").exists());
}

#[test]
fn in_a_user_namespace_the_containers_mapping_serves_where_the_mount_has_none() {
    needs_mapping!("mapped mounts came in 1.2");
    for option in ["idmap", "ridmap"] {
        let (c, data) = shows(true, |data| mapped(data, &["rbind", option], Value::Null));
        assert_eq!(c.run().ok(), "0:0\n1000:1000\n5000:5000\n0:0", "{option}");
        assert_eq!(owner(&data.join("made")), (0, 0), "root of the container is root on the disk there");
    }
}

#[test]
fn in_a_user_namespace_a_mapping_of_the_mounts_own_holds() {
    needs_mapping!("1.1 knows the container's mapping alone");
    let map =
        json!([{"containerID": 0, "hostID": 101_000, "size": 1}, {"containerID": 1000, "hostID": 100_000, "size": 1}]);
    let (c, data) = shows(true, |data| mapped(data, &["bind", "idmap"], map));
    assert_eq!(c.run().ok(), "1000:1000\n0:0\n65534:65534\n0:0");
    assert_eq!(owner(&data.join("made")), (1000, 1000));
}

#[test]
fn with_a_joined_user_namespace_its_mapping_serves() {
    needs_mapping!("mapped mounts came in 1.2");
    let first = Container::idle().with(in_a_user_namespace).up();
    let path = format!("/proc/{}/ns/user", first.pid());
    for map in [Value::Null, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}])] {
        let (c, data) = shows(false, |data| mapped(data, &["bind", "idmap"], map));
        let c = c.with(|config| {
            push(&mut config["linux"]["namespaces"], json!({"type": "user", "path": path}));
            // Those that are new belong to the joined one.
            drop_namespace(config, "network");
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["type"] != "sysfs" && mount["type"] != "cgroup");
        });
        assert_eq!(c.run().ok(), "0:0\n1000:1000\n5000:5000\n0:0");
        assert_eq!(owner(&data.join("made")), (0, 0));
    }
}

#[test]
fn ridmap_reaches_the_mounts_below_and_idmap_does_not() {
    needs_mapping!("mapped mounts came in 1.2");
    for (user, offset) in [(false, 0), (true, 100_000)] {
        for (option, below) in [("ridmap", "9:9"), ("idmap", if user { "65534:65534" } else { "0:0" })] {
            let map = json!([{"containerID": 0, "hostID": offset + 9, "size": 1}]);
            let (c, data) = shows(user, |data| mapped(data, &["rbind", option], map));
            let c = c.with(|config| {
                config["process"]["args"] = json!(["sh", "-c", "stat -c %u:%g /data/of0 /data/below/file"]);
            });
            let inner = data.join("below");
            fs::create_dir(&inner).unwrap();
            let other = c.dir.join("other");
            fs::create_dir(&other).unwrap();
            fs::write(other.join("file"), "").unwrap();
            let bind = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some(&other), &inner, None::<&str>, bind, None::<&str>).unwrap();
            let output = c.run();
            outside::unmount(&inner).unwrap();
            assert_eq!(output.ok(), format!("9:9\n{below}"), "{option}");
        }
    }
}

#[test]
fn attributes_and_propagation_hold_on_a_mapped_mount() {
    needs_mapping!("mapped mounts came in 1.2");
    for user in [false, true] {
        let (c, _) = shows(user, |data| {
            mapped(
                data,
                &["rbind", "idmap", "ro", "nosuid", "nodev", "noexec", "rprivate"],
                json!([{"containerID": 0, "hostID": 5, "size": 10}]),
            )
        });
        let c = c.with(|config| config["process"]["args"] = json!(["sleep", "1000"]));
        c.create();
        let mount = outside::mount_at(c.pid(), "/data");
        for option in ["ro", "nosuid", "nodev", "noexec", "idmapped"] {
            assert!(mount.options.iter().any(|given| given == option), "{option}: {mount:?}");
        }
        assert!(mount.propagation.is_empty(), "{mount:?}");
    }
}

/// The clone is made in the container's mount namespace, so what the host's mount forbids stays locked.
#[test]
fn a_mapped_mount_in_a_user_namespace_keeps_what_the_hosts_mount_has() {
    needs_mapping!("it makes the clone outside, where nothing is locked");
    let (c, data) = shows(true, |data| mapped(data, &["rbind", "idmap"], Value::Null));
    let c = c.with(|config| {
        let script = "mount -o remount,bind,rw /data || echo locked; touch /data/new || echo read-only";
        config["process"]["args"] = json!(["sh", "-c", script]);
        set_capabilities(&mut config["process"], &["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    });
    let (bind, none) = (nix::mount::MsFlags::MS_BIND, None::<&str>);
    nix::mount::mount(Some(&data), &data, none, bind, none).unwrap();
    let again = bind | nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
    nix::mount::mount(none, &data, none, again, none).unwrap();
    let output = c.run();
    outside::unmount(&data).unwrap();
    assert_eq!(output.stdout, "locked\nread-only\n", "{output:?}");
}

#[test]
fn a_file_alone_can_be_mapped() {
    needs_mapping!("mapped mounts came in 1.2");
    let (c, _) = shows(true, |data| mapped(&data.join("of1000"), &["bind", "idmap"], Value::Null));
    let c = c.with(|config| config["process"]["args"] = json!(["stat", "-c", "%u:%g", "/data"]));
    fs::remove_dir(c.rootfs("/data")).unwrap();
    fs::write(c.rootfs("/data"), "").unwrap();
    assert_eq!(c.run().ok(), "1000:1000");
}

#[test]
fn a_mapped_source_that_only_the_host_reaches_is_bound_too() {
    needs_mapping!("mapped mounts came in 1.2");
    let (c, data) = shows(true, |data| {
        let hidden = data.parent().unwrap().join("hidden");
        mapped(&hidden.join("data"), &["bind", "idmap"], Value::Null)
    });
    let hidden = c.dir.join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::rename(&data, hidden.join("data")).unwrap();
    fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(c.run().ok(), "0:0\n1000:1000\n5000:5000\n0:0");
}

#[test]
fn what_cannot_be_mapped_is_refused_by_name_and_leaves_nothing() {
    needs_mapping!("other words");
    let one = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let two = json!([{"containerID": 0, "hostID": 10, "size": 5}, {"containerID": 4, "hostID": 50, "size": 5}]);
    let bind = |options: &[&str], uids: &Value, gids: &Value| {
        let mut mount = json!({"destination": "/data", "type": "bind", "source": "/tmp", "options": options});
        if !uids.is_null() {
            mount["uidMappings"] = uids.clone();
        }
        if !gids.is_null() {
            mount["gidMappings"] = gids.clone();
        }
        mount
    };
    let none = Value::Null;
    let mut fresh = json!({"destination": "/data", "type": "tmpfs", "source": "t"});
    fresh["uidMappings"] = one.clone();
    fresh["gidMappings"] = one.clone();
    for (mount, says) in [
        (bind(&["bind", "idmap"], &none, &none), &["mounts[7].options: idmap", "no user namespace"][..]),
        (bind(&["bind", "idmap"], &one, &none), &["mounts[7].gidMappings: is missing"]),
        (bind(&["bind"], &none, &one), &["mounts[7].uidMappings: is missing"]),
        (bind(&["bind", "idmap"], &two, &one), &["mounts[7].uidMappings[1]: overlaps mounts[7].uidMappings[0]"]),
        (
            bind(&["bind", "idmap=uids=0-1-2"], &none, &none),
            &["mounts[7].options: ", "idmap=uids=0-1-2", "are its uidMappings"],
        ),
        (fresh, &["mounts[7]: ", "for bind mounts", "tmpfs"]),
        (
            json!({"destination": "/data", "type": "tmpfs", "source": "t", "options": ["ridmap"]}),
            &["mounts[7]: ", "for bind mounts"],
        ),
        (
            json!({"destination": "/data", "type": "bind", "source": "/sys/kernel", "options": ["bind", "idmap"],
                   "uidMappings": one, "gidMappings": one}),
            &["mounts[7]: map ids of /sys/kernel", "sysfs (/sys)", "leave out the mapping"],
        ),
    ] {
        let c = Container::idle().with(|config| {
            config["root"]["readonly"] = json!(false);
            push(&mut config["mounts"], mount);
        });
        let before = c.leftovers();
        c.try_create().fails(1, says);
        before.assert_nothing_new();
    }
}

/// The holder of a mount's user namespace is a process without a name of its own: none may be left of the caller's.
#[test]
fn the_plan_says_what_is_mapped_and_no_process_is_left() {
    needs_mapping!("it has no plans");
    let map = json!([{"containerID": 0, "hostID": 0, "size": 10}]);
    let (c, data) = shows(false, |data| mapped(data, &["rbind", "ridmap"], map));
    let plan = c.runtime(&["plan", "--bundle", c.bundle.to_str().unwrap()]).ok().to_owned();
    let line = format!("map ids of {} and all mounts below: uids 0 0 10; gids 0 0 10", data.display());
    assert!(plan.contains(&line), "{plan}");
    let before = c.leftovers();
    c.run().ok();
    before.assert_nothing_new();
}

/// Both sides can die around the mapping, and whoever comes next finds all that was made.
#[test]
fn a_side_that_dies_around_the_mapping_leaves_nothing() {
    needs_mapping!("it has no such build");
    if !cfg!(feature = "fault") {
        skip!("only a build with the feature fault can be told where to die");
    }
    let map = json!([{"containerID": 0, "hostID": 0, "size": 10}]);
    let (c, _) = shows(false, |data| mapped(data, &["bind", "idmap"], map));
    let plan = c.runtime(&["plan", "--bundle", c.bundle.to_str().unwrap()]).ok().to_owned();
    let place = |side: &str, words: &str| {
        let lines = plan.lines().filter(|line| line.split_whitespace().nth(1) == Some(side));
        lines.clone().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {plan}"))
    };
    let (maps, shows) = (place("runtime", "map ids of"), place("init", "and show it to the runtime"));
    let before = c.leftovers();
    for fault in [("runtime", maps), ("runtime", maps + 1), ("init", shows), ("init", shows + 1)] {
        let mut create = c.command(&c.words("create", &[]));
        let output = c.finish(create.env("NFRUN_FAULT", format!("kill:{}:{}", fault.0, fault.1)));
        assert!(output.code != 0, "{fault:?}: {output:?}");
        c.runtime(&["gc"]).ok();
        before.assert_nothing_new();
    }
}

#[test]
fn a_kernel_that_maps_no_ids_is_named() {
    not_in_runc!("other words");
    if outside::kernel_has(5, 12) {
        skip!("this kernel can");
    }
    let map = json!([{"containerID": 0, "hostID": 0, "size": 10}]);
    let (c, _) = shows(false, |data| mapped(data, &["bind", "idmap"], map));
    let before = c.leftovers();
    c.try_create().fails(1, &["mounts[7]: map ids of", "cannot map ids of mounts", "Linux 5.12"]);
    before.assert_nothing_new();
}
