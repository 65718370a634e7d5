//! A pod, as CRI asks for it: a sandbox, then containers that join its namespaces, grouped by annotation.

use std::path::{Path, PathBuf};

use nfrun::shim::messages::task::Mount;

use crate::client::Place;
use crate::common::*;

/// A bundle for a container of the pod: its directory and its id.
pub fn bundle(place: &Place, name: &str, sandbox: Option<i32>) -> (PathBuf, String) {
    let (dir, id) = (place.c.dir.join(name), format!("{}-{name}", place.c.id));
    std::fs::create_dir_all(&dir).unwrap();
    let text = std::fs::read_to_string(place.c.bundle.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": "the-sandbox"});
    config["root"] = json!({"path": "rootfs"});
    config["linux"]["cgroupsPath"] = json!(format!("{}/{name}", place.c.cgroup_parent));
    if let Some(pid) = sandbox {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
            namespaces.retain(|namespace| namespace["type"] != kind);
            namespaces.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
        }
    }
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    (dir, id)
}

/// As containerd's snapshotter mounts a root filesystem: an overlay, whose own layers lie on a filesystem that takes them.
pub fn overlay(place: &Place, dir: &Path) -> Vec<Mount> {
    let layers = dir.join("layers");
    let layers = layers.to_str().unwrap();
    let script = format!("mkdir {layers} && mount -t tmpfs t {layers} && mkdir {layers}/upper {layers}/work");
    place.c.finish(&mut place.aside.command(&["sh", "-c", &script])).ok();
    let lower = std::fs::canonicalize(place.c.bundle.join("rootfs")).unwrap();
    let options = vec![
        format!("lowerdir={}", lower.display()),
        format!("upperdir={layers}/upper"),
        format!("workdir={layers}/work"),
    ];
    vec![Mount { kind: "overlay".into(), source: "overlay".into(), target: String::new(), options }]
}

#[test]
fn a_pod_has_one_shim_and_each_of_its_containers_one_end() {
    needs_shim!();
    let place = Place::new();
    let (sandbox_dir, sandbox) = bundle(&place, "sandbox", None);
    let shim = place.start(&sandbox_dir, &sandbox);
    let mut client = shim.connect();
    let pid = client.create(&sandbox_dir, &sandbox, overlay(&place, &sandbox_dir));
    client.ask("Start", &sandbox);
    let netns = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let mut dirs = vec![sandbox_dir];
    let mut members = Vec::new();
    for name in ["one", "two"] {
        let (dir, id) = bundle(&place, name, Some(pid));
        assert_eq!(place.call_start(&dir, &id), shim.address, "the sandbox's shim");
        let its = client.create(&dir, &id, overlay(&place, &dir));
        client.ask("Start", &id);
        assert_eq!(netns(its), netns(pid), "the sandbox's network");
        assert_ne!(mountinfo(its).len(), 0);
        dirs.push(dir);
        members.push(id);
    }
    assert_eq!(place.all(), [shim.pid]);
    for id in members.iter().chain([&sandbox]) {
        client.kill(id);
        assert_eq!(client.wait(id), 137);
        client.ask("Delete", id);
        assert!(client.call("State", &crate::client::process(id)).is_err(), "it is forgotten");
    }
    let process = pidfd(shim.pid).unwrap();
    client.ask("Shutdown", &sandbox);
    assert!(ends_within(&process, LIMIT), "the shim ends with its last container");
    for dir in &dirs {
        let rootfs = dir.join("rootfs");
        let mounted = place.aside.command(&["mountpoint", "-q", rootfs.to_str().unwrap()]).status().unwrap();
        assert!(!mounted.success(), "{} is unmounted", rootfs.display());
    }
}

#[test]
fn a_shutdown_leaves_the_others_of_the_pod_alone() {
    needs_shim!();
    let place = Place::new();
    let shim = place.shim();
    let mut client = shim.connect();
    let pid = client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Shutdown", &place.c.id);
    assert!(pidfd(pid).is_some());
    assert!(!client.ask("State", &place.c.id).is_empty(), "it still answers");
    client.ask("Delete", &place.c.id);
    client.ask("Shutdown", &place.c.id);
}
