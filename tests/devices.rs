//! The devices that a container has, and those that it may not use though it can make them.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::FileTypeExt;

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
    let script = "head -c1 /dev/kmsg >/dev/null && echo read; echo x >/dev/kmsg";
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
    let c = Container::sh("head -c1 /dev/kmsg >/dev/null && echo read; head -c1 /dev/zero | wc -c").with(|config| {
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
