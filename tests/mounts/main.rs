//! What a container finds mounted: kinds, options, propagation, and that no path leads out of its root.

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod idmap;
mod labels;
mod recursive;
mod sources;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::bundle::push;
use common::outside::{Mount, mount_at};
use common::*;

/// A container with one more mount and a root that can be written, so that targets can be made.
fn mounting(args: &[&str], mount: impl FnOnce(&Container) -> Value) -> Container {
    let c = Container::new(args);
    let mount = mount(&c);
    c.with(|config| {
        config["root"]["readonly"] = json!(false);
        push(&mut config["mounts"], mount);
    })
}

/// A directory beside the bundle, with a file in it, to bind.
fn source(c: &Container, name: &str) -> String {
    let dir = c.dir.join(name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), "from the host\n").unwrap();
    dir.to_str().unwrap().to_owned()
}

fn has(mount: &Mount, option: &str) -> bool {
    mount.options.iter().any(|given| given == option)
}

#[test]
fn a_bind_mount_shows_the_hosts_directory_and_writes_through() {
    let c = mounting(
        &["sh", "-c", "cat /data/file; echo back >/data/answer"],
        |c| json!({"destination": "/data", "type": "bind", "source": source(c, "data"), "options": ["bind"]}),
    );
    assert_eq!(c.run().ok(), "from the host");
    assert_eq!(fs::read_to_string(c.dir.join("data/answer")).unwrap(), "back\n");
    assert!(c.rootfs("/data").is_dir(), "the missing target was made");
}

#[test]
fn a_bind_source_may_be_relative_to_the_bundle() {
    let c = mounting(&["cat", "/data/file"], |c| {
        source(c, "bundle/data");
        json!({"destination": "/data", "type": "none", "source": "data", "options": ["rbind"]})
    });
    assert_eq!(c.run().ok(), "from the host");
}

#[test]
fn a_file_can_be_bound_on_a_file_that_is_made_for_it() {
    let c = mounting(
        &["cat", "/made/deep/conf"],
        |c| json!({"destination": "/made/deep/conf", "type": "bind", "source": source(c, "d") + "/file", "options": ["bind", "ro"]}),
    );
    assert_eq!(c.run().ok(), "from the host");
    assert!(c.rootfs("/made/deep/conf").is_file());
}

#[test]
fn a_read_only_bind_refuses_writes_but_not_on_the_host() {
    let c = mounting(
        &["sh", "-c", "echo x >/data/file"],
        |c| json!({"destination": "/data", "type": "bind", "source": source(c, "data"), "options": ["bind", "ro"]}),
    );
    let output = c.run();
    assert!(output.code != 0 && output.stderr.contains("Read-only file system"), "{output:?}");
    fs::write(c.dir.join("data/file"), "the host may").unwrap();
}

#[test]
fn flags_of_a_bind_mount_are_set_by_a_remount() {
    let c = mounting(&["sleep", "1000"], |c| {
        json!({"destination": "/data", "type": "bind", "source": source(c, "data"),
               "options": ["bind", "nosuid", "nodev", "noexec", "noatime"]})
    });
    c.create();
    let mount = mount_at(c.pid(), "/data");
    for flag in ["rw", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(has(&mount, flag), "{flag}: {mount:?}");
    }
}

#[test]
fn rbind_carries_what_is_mounted_below_and_bind_does_not() {
    for (kind, sees) in [("rbind", true), ("bind", false)] {
        let c = mounting(
            &["sleep", "1000"],
            |c| json!({"destination": "/data", "type": "bind", "source": source(c, "data"), "options": [kind]}),
        );
        let below = c.dir.join("data/below");
        fs::create_dir(&below).unwrap();
        nix::mount::mount(Some("t"), &below, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
        c.create();
        assert_eq!(mountinfo(c.pid()).iter().any(|mount| mount.target == "/data/below"), sees, "{kind}");
        c.on_id(&["delete", "--force"]).ok();
        outside::unmount(&below).unwrap();
    }
}

#[test]
fn propagation_is_the_mounts_own() {
    let c = Container::idle();
    let data = source(&c, "data");
    // Something shared to begin with, in this test's directory only.
    let none = None::<&str>;
    nix::mount::mount(Some("t"), data.as_str(), Some("tmpfs"), nix::mount::MsFlags::empty(), none).unwrap();
    nix::mount::mount(none, data.as_str(), none, nix::mount::MsFlags::MS_SHARED, none).unwrap();
    let c = c.with(|config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["rootfsPropagation"] = json!("slave");
        for (target, option) in [("/s", "rshared"), ("/m", "rslave"), ("/p", "rprivate")] {
            push(
                &mut config["mounts"],
                json!({"destination": target, "type": "bind", "source": data, "options": ["rbind", option]}),
            );
        }
    });
    let output = c.try_create();
    if output.code == 0 {
        let of = |target| mount_at(c.pid(), target).propagation.join(" ");
        assert!(of("/s").contains("shared:"), "{}", of("/s"));
        assert!(of("/m").contains("master:") && !of("/m").contains("shared:"), "{}", of("/m"));
        assert_eq!(of("/p"), "");
        // An event of the host arrives in the slave and not in the private one.
        fs::create_dir(Path::new(&data).join("later")).unwrap();
        nix::mount::mount(
            Some("t"),
            &Path::new(&data).join("later"),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            none,
        )
        .unwrap();
        let seen = |target: &str| mountinfo(c.pid()).iter().any(|mount| mount.target == target);
        assert!(seen("/m/later") && !seen("/p/later"));
        outside::unmount(&Path::new(&data).join("later")).unwrap();
    }
    c.on_id(&["delete", "--force"]).ok();
    outside::unmount(data.as_ref()).unwrap();
    output.ok();
}

#[test]
fn rootfs_propagation_is_what_the_bundle_says() {
    not_in_runc!("shared and unbindable roots came to work in 1.2");
    for (word, expected) in [("private", ""), ("shared", "shared:"), ("unbindable", "unbindable")] {
        let c = Container::idle().with(|config| config["linux"]["rootfsPropagation"] = json!(word));
        c.create();
        let propagation = mount_at(c.pid(), "/").propagation.join(" ");
        assert!(
            propagation.contains(expected) && (!expected.is_empty() || propagation.is_empty()),
            "{word}: {propagation}"
        );
    }
    Container::idle()
        .with(|config| config["linux"]["rootfsPropagation"] = json!("sideways"))
        .try_create()
        .fails(1, &["sideways"]);
}

#[test]
fn nothing_that_a_container_mounts_reaches_the_host() {
    let c = Container::idle();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |text: &str| text.lines().filter(|line| line.contains(c.dir.to_str().unwrap())).count();
    c.create();
    assert_eq!(ours(&fs::read_to_string("/proc/self/mountinfo").unwrap()), ours(&before));
    assert!(
        !mountinfo(c.pid()).iter().any(|mount| mount.target.contains(c.dir.to_str().unwrap())),
        "the old root is gone"
    );
}

#[test]
fn tmpfs_takes_its_size_and_mode_or_keeps_the_targets() {
    let c = Container::idle().with(|config| {
        config["root"]["readonly"] = json!(false);
        push(
            &mut config["mounts"],
            json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
            "options": ["noexec", "nosuid", "size=3m", "mode=1750", "uid=5", "gid=6"]}),
        );
        push(&mut config["mounts"], json!({"destination": "/keep", "type": "tmpfs", "source": "tmpfs"}));
    });
    fs::create_dir(c.rootfs("/keep")).unwrap();
    fs::set_permissions(c.rootfs("/keep"), PermissionsExt::from_mode(0o1711)).unwrap();
    let c = c.up();
    let mount = mount_at(c.pid(), "/tmp");
    assert!(mount.kind == "tmpfs" && has(&mount, "noexec") && has(&mount, "nosuid"), "{mount:?}");
    assert!(mount.super_options.contains(&"size=3072k".to_owned()), "{mount:?}");
    let mode = if is_reference() { "755" } else { "1750" };
    assert_eq!(c.exec(&["stat", "-c", "%a %u %g", "/tmp"]).ok(), format!("{mode} 5 6"), "runc 1.1 keeps the target's");
    assert_eq!(c.exec(&["stat", "-c", "%a", "/keep"]).ok(), "1711", "the mode of what it covers");
}

#[test]
fn a_tmpfs_on_a_target_that_was_missing_is_open_to_all_as_the_kernels() {
    let c = mounting(
        &["stat", "-c", "%a", "/made"],
        |_| json!({"destination": "/made", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]}),
    );
    assert_eq!(c.run().ok(), "1777");
}

#[test]
fn tmpcopyup_fills_the_tmpfs_with_what_it_covers() {
    let c = mounting(
        &["sh", "-c", "cat /full/file; readlink /full/link; stat -c %a /full/file; echo new >/full/file"],
        |_| json!({"destination": "/full", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"]}),
    );
    fs::create_dir(c.rootfs("/full")).unwrap();
    fs::write(c.rootfs("/full/file"), "original\n").unwrap();
    fs::set_permissions(c.rootfs("/full/file"), PermissionsExt::from_mode(0o640)).unwrap();
    symlink("file", c.rootfs("/full/link")).unwrap();
    assert_eq!(c.run().ok(), "original\nfile\n640");
    assert_eq!(fs::read_to_string(c.rootfs("/full/file")).unwrap(), "original\n", "the rootfs is untouched");
}

#[test]
fn the_usual_file_systems_are_mounted_with_their_options() {
    let c = Container::idle();
    c.create();
    for (target, kind, options) in [
        ("/proc", "proc", &["rw"][..]),
        ("/dev", "tmpfs", &["nosuid"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ] {
        let mount = mount_at(c.pid(), target);
        assert_eq!(mount.kind, kind, "{target}");
        assert!(options.iter().all(|option| has(&mount, option)), "{mount:?}");
    }
    let pts = mount_at(c.pid(), "/dev/pts");
    assert!(
        pts.super_options.contains(&"ptmxmode=666".to_owned()) && pts.super_options.contains(&"gid=5".to_owned()),
        "{pts:?}"
    );
}

#[test]
fn the_cgroup_mount_shows_the_containers_own_hierarchies_read_only_or_not() {
    v1_only!();
    for (option, read_only) in [("ro", true), ("rw", false)] {
        let c = Container::idle()
            .with(|config| config["mounts"][6]["options"] = json!(["nosuid", "noexec", "nodev", option]))
            .up();
        for controller in ["cpu", "memory", "pids", "devices", "freezer"] {
            // Some hosts have hierarchies of several: cpu,cpuacct.
            let has_it = |mount: &&outside::Mount| {
                mount
                    .target
                    .strip_prefix("/sys/fs/cgroup/")
                    .is_some_and(|name| name.split(',').any(|n| n == controller))
            };
            let mounts = mountinfo(c.pid());
            let mount = mounts.iter().find(has_it).unwrap_or_else(|| panic!("no {controller} in {mounts:#?}"));
            c.exec(&["test", "-e", &format!("/sys/fs/cgroup/{controller}/cgroup.procs")]).ok();
            assert_eq!((mount.kind.as_str(), has(mount, "ro")), ("cgroup", read_only), "{mount:?}");
            assert!(mount.root.ends_with("/c"), "{mount:?}");
        }
        let made = c.exec(&["mkdir", "/sys/fs/cgroup/pids/inner"]);
        assert_eq!(made.code != 0, read_only, "{made:?}");
        assert!(!read_only || made.stderr.contains("Read-only file system"), "{made:?}");
        let pids = c.exec(&["cat", "/sys/fs/cgroup/pids/cgroup.procs"]).ok().to_owned();
        assert_eq!(pids.lines().next(), Some("1"), "the container sees itself");
    }
}

#[test]
fn the_cgroup_mount_with_a_cgroup_namespace_is_rooted_at_the_container() {
    v1_only!();
    let c = Container::idle().with(|config| push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}))).up();
    assert!(c.exec(&["cat", "/proc/self/cgroup"]).ok().lines().all(|line| line.ends_with(":/")));
    let inside = c.exec(&["sh", "-c", "grep ' /sys/fs/cgroup/pids ' /proc/self/mountinfo"]).ok().to_owned();
    assert_eq!(outside::parse_mount(&inside).root, "/");
    assert_eq!(c.exec(&["cat", "/sys/fs/cgroup/pids/cgroup.procs"]).ok().lines().next(), Some("1"));
}

#[test]
fn mounts_stand_in_the_order_of_the_bundle() {
    let c = Container::new(&["ls", "/data"]).with(|config| {
        config["root"]["readonly"] = json!(false);
        for n in 0..2 {
            push(&mut config["mounts"], json!({"destination": "/data", "type": "tmpfs", "source": format!("t{n}")}));
        }
    });
    let data = source(&c, "data");
    let c = c.with(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/data", "type": "bind", "source": data, "options": ["bind"]}),
        )
    });
    assert_eq!(c.run().ok(), "file");
}

#[test]
fn a_missing_source_is_named_and_leaves_nothing() {
    let c = mounting(
        &["true"],
        |_| json!({"destination": "/data", "type": "bind", "source": "/nfrun-test/not/there", "options": ["bind"]}),
    );
    let before = c.leftovers();
    c.try_create().fails(1, &["/nfrun-test/not/there", "no such file or directory"]);
    before.assert_nothing_new();
}
