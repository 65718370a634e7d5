//! Root filesystems as snapshotters give them: layers, images, and what cannot be mounted.

use std::path::Path;

use nfrun::shim::messages::task::{CreateRequest, Mount};

use crate::client::{Place, process};
use crate::common::*;
use crate::pod::{bundle, overlay};

/// Whether something is mounted at a path, for the shim.
fn is_mounted(place: &Place, path: &Path) -> bool {
    place.aside.command(&["mountpoint", "-q", path.to_str().unwrap()]).status().unwrap().success()
}

/// Runs a container on these mounts; what it has on / while it runs.
fn run_on(place: &Place, name: &str, mounts: impl FnOnce(&Path) -> Vec<Mount>) -> outside::Mount {
    let shim = place.shim();
    let mut client = shim.connect();
    let (dir, id) = bundle(place, name, None);
    let mounts = mounts(&dir);
    let pid = client.create(&dir, &id, mounts);
    client.ask("Start", &id);
    let root = outside::mount_at(pid, "/");
    client.kill(&id);
    assert_eq!(client.wait(&id), 137);
    client.ask("Delete", &id);
    assert!(!is_mounted(place, &dir.join("rootfs")), "it is unmounted");
    root
}

#[test]
fn a_root_filesystem_that_cannot_be_mounted_is_named_and_leaves_nothing() {
    needs_shim!();
    let place = Place::new();
    let shim = place.shim();
    let mut client = shim.connect();
    let (dir, id) = bundle(&place, "one", None);
    let mut mounts = overlay(&place, &dir);
    mounts.push(Mount { kind: "nosuchfs".into(), source: "what".into(), ..Mount::default() });
    let bundle = dir.to_str().unwrap().to_owned();
    let request = CreateRequest { id: id.clone(), bundle, rootfs: mounts, ..Default::default() };
    let status = client.call("Create", &request).unwrap_err();
    assert!(status.message.contains("nosuchfs what on"), "{status:?}");
    assert!(!is_mounted(&place, &dir.join("rootfs")), "the overlay below it is gone too");
    assert!(client.call("State", &process(&id)).is_err());
}

#[test]
fn more_layers_than_options_have_room_for_are_mounted_by_short_names() {
    needs_shim!();
    let place = Place::new();
    let root = run_on(&place, "many", |dir| {
        let mut mounts = overlay(&place, dir);
        let layers = dir.join("layers").to_str().unwrap().to_owned();
        let long = "l".repeat(80);
        let script = format!("for n in $(seq 60); do mkdir -p {layers}/{long}/$n/fs; done");
        place.c.finish(&mut place.aside.command(&["sh", "-c", &script])).ok();
        let empty: Vec<_> = (1..=60).map(|number| format!("{layers}/{long}/{number}/fs")).collect();
        let lower = mounts[0].options[0].strip_prefix("lowerdir=").unwrap().to_owned();
        mounts[0].options[0] = format!("lowerdir={}:{lower}", empty.join(":"));
        assert!(mounts[0].options[0].len() > 4096);
        // The image's own layer lies elsewhere, so that nothing but / is common to all: it is bound beside them.
        let script = format!("mkdir {layers}/{long}/image && mount --bind {lower} {layers}/{long}/image");
        place.c.finish(&mut place.aside.command(&["sh", "-c", &script])).ok();
        mounts[0].options[0] = format!("lowerdir={}:{layers}/{long}/image", empty.join(":"));
        mounts
    });
    assert_eq!(root.kind, "overlay");
}

#[test]
fn an_image_is_mounted_by_a_loop_device_that_goes_with_it() {
    needs_shim!();
    if !Path::new("/dev/loop-control").exists() || !aside::installed("mke2fs") {
        skip!("there are no loop devices, or mke2fs is not installed");
    }
    let place = Place::new();
    let image = place.c.dir.join("image.ext4");
    let rootfs = std::fs::canonicalize(place.c.bundle.join("rootfs")).unwrap();
    let words = ["-q", "-t", "ext4", "-d", rootfs.to_str().unwrap(), image.to_str().unwrap(), "32M"];
    assert!(std::process::Command::new("mke2fs").args(words).status().unwrap().success());
    let source = image.to_str().unwrap().to_owned();
    let root = run_on(&place, "image", |_| {
        vec![Mount {
            kind: "ext4".into(),
            source: source.clone(),
            target: String::new(),
            options: vec!["loop".into(), "ro".into()],
        }]
    });
    assert_eq!(root.kind, "ext4");
    eventually("the loop device is free again", || {
        let used = std::process::Command::new("losetup").args(["-j", &source]).output().unwrap();
        used.stdout.is_empty()
    });
}
