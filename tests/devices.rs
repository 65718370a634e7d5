//! The devices that a container has, and those that it may not use though it can make them.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use common::bundle::{push, set_capabilities};
use common::*;

#[test]
fn the_default_devices_and_links_are_there_whatever_the_umask() {
    let c = Container::sh(
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a %u:%g' $d; done; \
         for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done",
    )
    .with(|config| config["process"]["user"] = json!({"uid": 0, "gid": 0, "umask": 0o77}));
    let device = |name: &str, number: &str| format!("{name} character special file {number} 666 0:0");
    let expected = [
        device("null", "1:3"),
        device("zero", "1:5"),
        device("full", "1:7"),
        device("random", "1:8"),
        device("urandom", "1:9"),
        device("tty", "5:0"),
        "fd /proc/self/fd".into(),
        "stdin /proc/self/fd/0".into(),
        "stdout /proc/self/fd/1".into(),
        "stderr /proc/self/fd/2".into(),
        "ptmx pts/ptmx".into(),
    ];
    assert_eq!(c.run().ok(), expected.join("\n"));
}

#[test]
fn the_default_devices_work_for_every_user() {
    let c = Container::sh(
        "echo x >/dev/null; head -c4 /dev/zero | wc -c; head -c4 /dev/urandom | wc -c; echo x >/dev/full",
    )
    .with(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let output = c.run();
    assert_eq!(output.stdout, "4\n4\n");
    assert!(output.stderr.contains("No space left on device"), "{output:?}");
}

#[test]
fn listed_devices_have_the_mode_and_owner_of_the_bundle() {
    let c = Container::sh("stat -c '%n %F %t:%T %a %u:%g' /dev/one /dev/deep/two /dev/pipe /dev/null").with(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/one", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
            {"path": "/dev/deep/two", "type": "b", "major": 7, "minor": 300},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        ]);
    });
    let c = c.with(|config| {
        // runc 1.1 no longer allows a default device that is listed.
        if !is_reference() {
            let null = json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0});
            push(&mut config["linux"]["devices"], null);
        }
    });
    let output = c.run();
    let lines: Vec<_> = output.ok().lines().collect();
    assert_eq!(lines[0], "/dev/one character special file 1:5 640 3:4");
    assert!(lines[1].starts_with("/dev/deep/two block special file 7:12c"), "{lines:?}");
    assert_eq!(lines[2], "/dev/pipe fifo 0:0 600 0:0");
    assert_eq!(lines[3], "/dev/null character special file 1:3 666 0:0");
}

#[test]
fn a_device_that_is_not_allowed_can_be_made_but_not_opened() {
    let script = "mknod /dev/kmsg c 1 11 && echo made; head -c1 /dev/kmsg; mknod /dev/zero2 c 1 5 && head -c2 /dev/zero2 | wc -c";
    let c = Container::sh(script).with(|config| set_capabilities(&mut config["process"], &["CAP_MKNOD", "CAP_SYSLOG"]));
    let output = c.run();
    assert_eq!(output.stdout, "made\n2\n", "{output:?}");
    assert!(output.stderr.contains("/dev/kmsg: Operation not permitted"), "{output:?}");
}

#[test]
fn an_allowed_access_is_allowed_and_no_other() {
    let script = "(: < /dev/kmsg) && echo read; echo x >/dev/kmsg";
    let c = Container::sh(script).with(|config| {
        set_capabilities(&mut config["process"], &["CAP_SYSLOG", "CAP_SYS_ADMIN"]);
        config["linux"]["devices"] =
            json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
        push(
            &mut config["linux"]["resources"]["devices"],
            json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}),
        );
    });
    let output = c.run();
    assert_eq!(output.stdout, "read\n", "{output:?}");
    assert!(output.stderr.contains("/dev/kmsg: Operation not permitted"), "{output:?}");
}

#[test]
fn everything_allowed_and_one_device_denied_is_possible() {
    let c = Container::sh("(: < /dev/kmsg) && echo read; head -c1 /dev/zero | wc -c").with(|config| {
        set_capabilities(&mut config["process"], &["CAP_SYSLOG", "CAP_MKNOD"]);
        config["linux"]["devices"] =
            json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
        config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    });
    assert_eq!(c.run().ok(), "read\n1");
}

#[test]
fn dev_bound_from_the_host_is_left_as_it_is() {
    let c = Container::idle();
    let dev = c.dir.join("dev");
    fs::create_dir_all(dev.join("pts")).unwrap();
    fs::create_dir_all(dev.join("shm")).unwrap();
    fs::create_dir_all(dev.join("mqueue")).unwrap();
    fs::write(dev.join("marker"), "").unwrap();
    fs::write(dev.join("null"), "").unwrap();
    let c = c.with(|config| {
        config["mounts"][1] = json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]});
    });
    c.create();
    c.on_id(&["delete", "--force"]).ok();
    assert!(!fs::metadata(c.dir.join("dev/null")).unwrap().file_type().is_char_device(), "nothing was made in it");
    let mut names: Vec<_> = fs::read_dir(c.dir.join("dev")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["marker", "mqueue", "null", "pts", "shm"]);
}

/// Fuzzing found that init ended without a word at the place where it keeps the path.
#[test]
fn a_device_whose_path_is_longer_than_the_kernel_takes_is_refused_by_name() {
    if is_reference() {
        skip!("the words are nfrun's");
    }
    let path = format!("/dev/{}x", "d/".repeat(2100));
    let device = json!({"path": path, "type": "c", "major": 1, "minor": 3});
    let c = Container::idle().with(|config| config["linux"]["devices"] = json!([device]));
    let before = c.leftovers();
    c.try_create().fails(1, &["/dev/d/d/d", "too long"]);
    before.assert_nothing_new();
}

/// A user namespace whose ids begin at 100000, and a root filesystem that its root may change.
fn in_a_user_namespace(c: Container) -> Container {
    std::os::unix::fs::chown(c.rootfs(""), Some(100_000), Some(100_000)).unwrap();
    c.with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
        config["root"]["readonly"] = json!(false);
    })
}

#[test]
fn every_type_has_its_mode_and_owner_set_id_bits_too_wherever_it_lies() {
    not_in_runc!("1.1 loses the set-id bits");
    let paths = "/dev/c /dev/u /dev/deep/er/b /dev/p /outside /made/up/dir/c";
    let script = format!("stat -c '%n %F %t:%T %a %u:%g' {paths}; stat -c %a /dev/deep /made/up");
    let devices = json!([
        {"path": "/dev/c", "type": "c", "major": 1, "minor": 5, "fileMode": 0o2642, "uid": 3, "gid": 4},
        {"path": "/dev/u", "type": "u", "major": 1, "minor": 7, "fileMode": 0o104_600},
        {"path": "/dev/deep/er/b", "type": "b", "major": 7, "minor": 300, "fileMode": 0o640, "gid": 6},
        {"path": "/dev/p", "type": "p", "fileMode": 0o1622, "uid": 9},
        {"path": "/outside", "type": "c", "major": 1, "minor": 3},
        {"path": "//made/up//dir/./c", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
    ]);
    let expected = |modes: [&str; 6]| {
        let lines = [
            format!("/dev/c character special file 1:5 {} 3:4", modes[0]),
            format!("/dev/u character special file 1:7 {} 0:0", modes[1]),
            format!("/dev/deep/er/b block special file 7:12c {} 0:6", modes[2]),
            format!("/dev/p fifo 0:0 {} 9:0", modes[3]),
            format!("/outside character special file 1:3 {} 0:0", modes[4]),
            format!("/made/up/dir/c character special file 1:3 {} 0:0\n755\n755", modes[5]),
        ];
        lines.join("\n")
    };
    for umask in [0o22, 0o77] {
        let c = Container::sh(&script).with(|config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["devices"] = devices.clone();
            config["process"]["user"]["umask"] = json!(umask);
        });
        assert_eq!(c.run().ok(), expected(["2642", "4600", "640", "1622", "666", "600"]));
    }
    // The same in a user namespace, where the runtime makes them; what the host has as it should be, it binds.
    let c = in_a_user_namespace(Container::sh(&script).with(|config| config["linux"]["devices"] = devices.clone()));
    assert_eq!(c.run().ok(), expected(["2642", "4600", "640", "1622", "666", "600"]));
    let plan = c.runtime(&["plan", "--bundle", c.bundle.to_str().unwrap()]).ok().to_owned();
    assert!(plan.contains("make device 1:5 mode 2642 owner 100003:100004 on a tmpfs, for /dev/c"), "{plan}");
    assert!(plan.contains("bind device /dev/zero c 1:5, the host's"), "{plan}");
}

#[test]
fn in_a_user_namespace_devices_work_for_those_who_may_open_them() {
    not_in_runc!("it binds what the host has at that path");
    let script = "head -c3 /dev/nought | wc -c; head -c3 /dev/zero | wc -c; cat /dev/mine; cat /dev/closed";
    let c = Container::sh(script).with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["linux"]["devices"] = json!([
            {"path": "/dev/nought", "type": "c", "major": 1, "minor": 5},
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o400, "uid": 1000},
            {"path": "/dev/closed", "type": "c", "major": 1, "minor": 3, "fileMode": 0o400, "uid": 0},
        ]);
    });
    let output = in_a_user_namespace(c).run();
    assert_eq!(output.stdout, "3\n3\n", "{output:?}");
    assert!(
        output.stderr.contains("'/dev/closed': Permission denied") && !output.stderr.contains("mine"),
        "{output:?}"
    );
}

/// With a joined user namespace nobody tells the runtime whose ids are whose, so the host's node is taken as it is, after
/// a look at what it is.
#[test]
fn in_a_joined_user_namespace_the_hosts_devices_are_bound() {
    not_in_runc!("it does not look");
    let first = in_a_user_namespace(Container::idle()).up();
    let path = format!("/proc/{}/ns/user", first.pid());
    let joining = |device: Value| {
        Container::sh("head -c3 /dev/full | wc -c; stat -c %u /dev/full").with(|config| {
            push(&mut config["linux"]["namespaces"], json!({"type": "user", "path": path}));
            bundle::drop_namespace(config, "network");
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["type"] != "sysfs" && mount["type"] != "cgroup");
            config["linux"]["devices"] = json!([device]);
        })
    };
    let c = joining(json!({"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666, "uid": 0}));
    assert_eq!(c.run().ok(), "3\n65534", "the host's root is nobody there");
    for (path, minor) in [("/dev/not-on-this-host", 5), ("/dev/full", 5)] {
        let c = joining(json!({"path": path, "type": "c", "major": 1, "minor": minor}));
        let before = c.leftovers();
        c.try_create().fails(1, &["linux.devices[0].path: the host has no such device", path]);
        before.assert_nothing_new();
    }
}

#[test]
fn what_is_no_device_is_refused_by_its_field_and_leaves_nothing() {
    not_in_runc!("other words");
    for (device, says) in [
        (json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 5, "uid": u32::MAX}), "linux.devices[0].uid: "),
        (json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 5, "gid": u32::MAX}), "linux.devices[0].gid: "),
        (json!({"path": "/dev/x", "type": "c", "major": 4097, "minor": 5}), "linux.devices[0].major: "),
        (json!({"path": "/dev/x", "type": "b", "major": 1, "minor": 1 << 20}), "linux.devices[0].minor: "),
        (json!({"path": "/", "type": "c", "major": 1, "minor": 5}), "linux.devices[0].path: "),
        (json!({"path": "dev/x", "type": "c", "major": 1, "minor": 5}), "linux.devices[0].path: "),
        (json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "uid": 70_000}), "linux.devices[0].uid: "),
    ] {
        let c = in_a_user_namespace(Container::idle().with(|config| config["linux"]["devices"] = json!([device])));
        let before = c.leftovers();
        c.try_create().fails(1, &[says]);
        before.assert_nothing_new();
    }
    let c = Container::idle().with(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 5},
            {"path": "/dev/./x", "type": "c", "major": 1, "minor": 7},
        ]);
    });
    c.try_create().fails(1, &["linux.devices[1].path: /dev/x is given to another device by linux.devices[0]"]);
}

/// Without a tmpfs on /dev the image's directory is filled: what is there and right stays, what is wrong is refused.
#[test]
fn devices_of_the_image_are_kept_or_refused_and_links_lead_nowhere_else() {
    not_in_runc!("1.1 takes whatever is there");
    let in_the_image = || {
        Container::sh("stat -c '%F %t:%T %a %u' /dev/x/").with(|config| {
            config["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            config["root"]["readonly"] = json!(false);
            config["process"]["args"] = json!(["sh", "-c", "stat -c '%F %t:%T %a %u' /dev/x; ls /dev/real"]);
            config["linux"]["devices"] = json!([
                {"path": "/dev/x", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 7},
                {"path": "/dev/way/null", "type": "c", "major": 1, "minor": 3},
            ]);
        })
    };
    use nix::sys::stat::{Mode, SFlag, mknod};
    let node = |c: &Container, minor| {
        mknod(&c.rootfs("/dev/x"), SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(1, minor)).unwrap();
    };
    let c = in_the_image();
    node(&c, 5);
    // A link that dangles in the image, absolute: its target is made inside.
    symlink("/dev/real", c.rootfs("/dev/way")).unwrap();
    assert_eq!(c.run().ok(), "character special file 1:5 400 0\nnull", "what is there and right stays as it is");
    assert!(c.rootfs("/dev/real/null").symlink_metadata().unwrap().file_type().is_char_device());
    assert!(!std::path::Path::new("/dev/real").exists());
    let c = in_the_image();
    node(&c, 7);
    let before = c.leftovers();
    c.try_create().fails(1, &["make device /dev/x c 1:5", "not what it must be"]);
    before.assert_nothing_new();
    let c = in_the_image();
    fs::write(c.rootfs("/dev/way"), "").unwrap();
    c.try_create().fails(1, &["/dev/way/null", "not a directory"]);
}

#[test]
fn ptmx_and_console_are_the_containers_own_also_where_they_are_listed() {
    let c = Container::sh("readlink /dev/ptmx; stat -c '%t:%T %a' /dev/console").with(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666},
            {"path": "/dev/console", "type": "c", "major": 5, "minor": 1, "fileMode": 0o620},
        ]);
    });
    assert_eq!(c.run().ok(), "pts/ptmx\n5:1 620");
}

/// Nothing of the host's own nodes is changed by those who have them bound.
#[test]
fn the_hosts_nodes_keep_mode_and_owner_in_a_user_namespace() {
    let of = |path: &str| {
        let found = fs::metadata(path).unwrap();
        (found.uid(), found.gid(), found.permissions().mode())
    };
    let before = ["/dev/null", "/dev/zero", "/dev/tty"].map(of);
    let c = in_a_user_namespace(Container::idle()).with(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 5, "gid": 5},
        ]);
    });
    let c = c.up();
    c.exec_with(&["--user", "7:7"], &["true"]).ok();
    c.exec(&["chmod", "644", "/dev/zero"]);
    c.exec(&["chown", "1:1", "/dev/null"]);
    assert_eq!(["/dev/null", "/dev/zero", "/dev/tty"].map(of), before);
}
