//! The eight namespaces, new or another container's, and what must not leak out of them.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::bundle::{drop_namespace, push};
use common::*;

/// A namespace of a process: its kind's link.
fn ns(pid: i32, kind: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap_or_else(|e| panic!("/proc/{pid}/ns/{kind}: {e}"));
    link.to_str().expect("text").to_owned()
}

fn me() -> i32 {
    std::process::id() as i32
}

/// The word of the specification for a file of /proc/PID/ns.
const KINDS: [(&str, &str); 6] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt"), ("cgroup", "cgroup")];

/// Gives a container a user namespace of its own, and its root filesystem to the root in there.
fn with_user_namespace(c: Container) -> Container {
    fn give(path: &Path) {
        std::os::unix::fs::lchown(path, Some(100_000), Some(100_000)).expect("chown the rootfs");
        if path.is_dir() && !path.is_symlink() {
            fs::read_dir(path).expect("read the rootfs").flatten().for_each(|entry| give(&entry.path()));
        }
    }
    give(&c.rootfs(""));
    c.with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    })
}

#[test]
fn every_listed_namespace_is_new_and_every_other_is_the_callers() {
    let all = Container::idle().with(|config| push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}))).up();
    for (_, kind) in KINDS {
        assert_ne!(ns(all.pid(), kind), ns(me(), kind), "{kind}");
    }
    assert_eq!(ns(all.pid(), "user"), ns(me(), "user"));
    for (word, kind) in [("pid", "pid"), ("ipc", "ipc"), ("network", "net")] {
        let c = Container::idle().with(|config| {
            drop_namespace(config, word);
            // The host's sysfs cannot be mounted without a network namespace, nor its queues without an ipc one.
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["type"] != "sysfs" && mount["type"] != "cgroup" && mount["type"] != "mqueue");
        });
        c.create();
        assert_eq!(ns(c.pid(), kind), ns(me(), kind), "{kind}");
    }
}

#[test]
fn the_program_is_pid_1_of_a_new_pid_namespace() {
    assert_eq!(Container::sh("echo $$; ls -d /proc/[0-9]* | wc -l").run().ok().lines().next(), Some("1"));
}

#[test]
fn a_new_network_namespace_has_a_loopback_and_nothing_else() {
    let c = Container::sh("ls /sys/class/net; cat /sys/class/net/lo/flags");
    assert_eq!(c.run().ok(), "lo\n0x9", "runc's is up");
}

#[test]
fn namespaces_of_another_container_are_joined_by_path() {
    let first = Container::sh("echo mark >/dev/shm/mark; hostname first; echo up; sleep 1000").with(|config| {
        bundle::set_capabilities(&mut config["process"], &["CAP_SYS_ADMIN", "CAP_KILL"]);
        push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}));
    });
    let mut lines = first.up_with_lines();
    assert_eq!(lines.line(), "up");
    let pid = first.pid();
    for (word, kind) in KINDS {
        if kind == "mnt" {
            continue;
        }
        let second = Container::idle().with(|config| {
            drop_namespace(config, word);
            push(&mut config["linux"]["namespaces"], json!({"type": word, "path": format!("/proc/{pid}/ns/{kind}")}));
            config["hostname"] = json!("");
        });
        second.create().start();
        assert_eq!(ns(second.pid(), kind), ns(pid, kind), "{kind}");
        if kind == "uts" {
            assert_eq!(second.exec(&["hostname"]).ok(), "first");
        }
        if kind == "pid" {
            assert!(first.exec(&["ps"]).ok().matches("sleep 1000").count() >= 2, "they see each other");
        }
        second.on_id(&["delete", "--force"]).ok();
        assert_eq!(first.status(), "running", "its namespace's owner lives on after {kind}");
    }
}

#[test]
fn a_joined_network_namespace_may_be_a_bind_mounted_file() {
    let first = Container::idle().up();
    let file = first.dir.join("netns");
    fs::write(&file, "").unwrap();
    let none = None::<&str>;
    let source = format!("/proc/{}/ns/net", first.pid());
    nix::mount::mount(Some(source.as_str()), &file, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    let second = Container::idle().with(|config| config["linux"]["namespaces"][1]["path"] = json!(file));
    second.create();
    assert_eq!(ns(second.pid(), "net"), ns(first.pid(), "net"));
}

#[test]
fn exec_enters_all_namespaces_of_the_container() {
    let c = Container::idle().with(|config| push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}))).up();
    c.exec_with(&["--detach", "--pid-file", "exec.pid"], &["sleep", "1000"]).ok();
    let pid = fs::read_to_string(c.dir.join("exec.pid")).unwrap().parse().unwrap();
    for (_, kind) in KINDS {
        assert_eq!(ns(pid, kind), ns(c.pid(), kind), "{kind}");
    }
}

#[test]
fn the_hostname_is_the_containers_alone() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let c = Container::sh("hostname; cat /proc/sys/kernel/hostname")
        .with(|config| config["hostname"] = json!("other-name"));
    assert_eq!(c.run().ok(), "other-name\nother-name");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

#[test]
fn the_domainname_is_the_containers_alone() {
    not_in_runc!("domainname came in 1.2");
    let before = fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    let c = Container::sh("cat /proc/sys/kernel/domainname").with(|config| config["domainname"] = json!("example.org"));
    assert_eq!(c.run().ok(), "example.org");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/domainname").unwrap(), before);
}

#[test]
fn a_time_namespace_is_new_for_init_and_entered_by_exec() {
    not_in_runc!("time namespaces came in 1.2");
    let c = Container::idle().with(|config| push(&mut config["linux"]["namespaces"], json!({"type": "time"}))).up();
    assert_ne!(ns(c.pid(), "time"), ns(me(), "time"));
    assert_eq!(ns(c.pid(), "time"), ns(c.pid(), "time_for_children"));
    assert_eq!(c.exec(&["readlink", "/proc/self/ns/time"]).ok(), ns(c.pid(), "time"));
}

#[test]
fn a_time_namespace_has_the_offsets_of_the_bundle() {
    not_in_runc!("time namespaces came in 1.2");
    let c = Container::idle().with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "time"}));
        config["linux"]["timeOffsets"] =
            json!({"monotonic": {"secs": 86400, "nanosecs": 500_000_000}, "boottime": {"secs": 864_000}});
    });
    let output = c.try_create();
    if output.stderr.contains("linux.timeOffsets: is not supported yet") {
        skip!("timeOffsets are not supported yet");
    }
    output.ok();
    c.start();
    let offsets = fs::read_to_string(format!("/proc/{}/timens_offsets", c.pid())).unwrap();
    let words: Vec<Vec<&str>> = offsets.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words, [vec!["monotonic", "86400", "500000000"], vec!["boottime", "864000", "0"]]);
    let uptime: f64 = c.exec(&["cut", "-d ", "-f1", "/proc/uptime"]).ok().trim().parse().unwrap();
    assert!(uptime > 864_000.0, "exec is in it as well: {uptime}");
}

#[test]
fn a_user_namespace_maps_root_to_a_nobody_outside() {
    let c =
        with_user_namespace(Container::sh("id -u; cat /proc/self/uid_map; touch /dev/mine; echo up; exec sleep 1000"));
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "0");
    assert_eq!(lines.line().split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(lines.line(), "up");
    let pid = c.pid();
    assert_ne!(ns(pid, "user"), ns(me(), "user"));
    assert_eq!(proc_status(pid, "Uid"), "100000 100000 100000 100000");
    assert_eq!(proc_status(pid, "Gid"), "100000 100000 100000 100000");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/gid_map")).unwrap().split_whitespace().nth(1), Some("100000"));
    assert_eq!(c.exec(&["stat", "-c", "%u", "/"]).ok(), "0", "the root filesystem is its root's");
    assert_eq!(
        c.exec(&["sh", "-c", "echo x >/dev/null && cat /dev/zero | head -c3 | wc -c"]).ok(),
        "3",
        "devices work"
    );
}

#[test]
fn a_user_of_a_user_namespace_is_mapped_as_well() {
    let c = with_user_namespace(Container::idle()).with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]});
    });
    c.create().start();
    eventually("the user has changed", || proc_status(c.pid(), "Uid").starts_with("101000"));
    assert_eq!(proc_status(c.pid(), "Groups"), "100007");
}

#[test]
fn a_user_namespace_is_joined_by_path() {
    let first = with_user_namespace(Container::idle()).up();
    let pid = first.pid();
    let second = with_user_namespace(Container::idle()).with(|config| {
        drop_namespace(config, "user");
        push(&mut config["linux"]["namespaces"], json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
        if !is_reference() {
            // The mappings are the namespace's own; runc 1.1 wants them repeated.
            config["linux"].as_object_mut().unwrap().remove("uidMappings");
            config["linux"].as_object_mut().unwrap().remove("gidMappings");
        }
    });
    second.create().start();
    assert_eq!(ns(second.pid(), "user"), ns(pid, "user"));
    assert_eq!(proc_status(second.pid(), "Uid"), "100000 100000 100000 100000");
}

/// A pod with a user namespace: its containers join what belongs to that, with it or from the host's.
#[test]
fn namespaces_that_another_user_namespace_owns_are_joined() {
    let first = with_user_namespace(Container::idle()).up();
    let pid = first.pid();
    let join = |config: &mut Value, word: &str, kind: &str| {
        drop_namespace(config, word);
        push(&mut config["linux"]["namespaces"], json!({"type": word, "path": format!("/proc/{pid}/ns/{kind}")}));
    };
    for user_too in [false, true] {
        let second = Container::idle();
        let second = if user_too { with_user_namespace(second) } else { second }.with(|config| {
            for (word, kind) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
                join(config, word, kind);
            }
            config["hostname"] = json!("");
            if user_too {
                join(config, "user", "user");
            }
        });
        let output = second.try_create();
        if is_reference() && output.code != 0 {
            skip!("runc 1.1.5 differs: {output:?}");
        }
        output.ok();
        second.start();
        for kind in ["net", "ipc", "uts", "pid"] {
            assert_eq!(ns(second.pid(), kind), ns(pid, kind), "{kind}, user namespace joined: {user_too}");
        }
        assert_eq!(ns(second.pid(), "user") == ns(pid, "user"), user_too);
        second.exec(&["true"]).ok();
        second.on_id(&["delete", "--force"]).ok();
        assert_eq!(first.status(), "running");
    }
}

#[test]
fn sysctls_are_set_in_the_containers_namespaces_only() {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let names = ["net/ipv4/ip_forward", "net/ipv4/ping_group_range", "kernel/shm_rmid_forced", "kernel/msgmax"];
    let before = names.map(read);
    let c = Container::new(&[
        "cat",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/kernel/shm_rmid_forced",
        "/proc/sys/kernel/msgmax",
    ])
    .with(|config| {
        config["linux"]["sysctl"] =
            json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "kernel.msgmax": "4321"});
    });
    assert_eq!(c.run().ok(), "1\n1\n4321");
    assert_eq!(names.map(read), before);
}

#[test]
fn the_rootfs_of_a_user_namespace_keeps_its_owners() {
    let c = with_user_namespace(Container::new(&["true"]));
    c.run().ok();
    assert_eq!(fs::metadata(c.rootfs("/etc/passwd")).unwrap().uid(), 100_000);
}

#[test]
fn maps_that_the_kernel_refuses_end_the_create_with_words_and_leave_nothing() {
    not_in_runc!("it says it in other words");
    let c = Container::idle().with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 4294967295u32, "size": 1}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    let before = c.leftovers();
    let output = c.try_create();
    assert!(output.code == 1 && output.stderr.contains("linux.uidMappings"), "{output:?}");
    before.assert_nothing_new();
}

#[test]
fn a_time_namespace_in_a_user_namespace_has_its_offsets() {
    not_in_runc!("Debian's has no time namespaces");
    let c = Container::new(&["cat", "/proc/uptime"]).with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        push(&mut config["linux"]["namespaces"], json!({"type": "time"}));
        let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 10000000, "nanosecs": 0}});
    });
    let output = c.on_id(&["run", "--bundle", "bundle"]);
    let uptime: f64 = output.stdout.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    assert!(uptime > 1e7, "{output:?}");
}

#[test]
fn what_is_no_namespace_or_one_of_another_kind_is_refused_by_name_and_leaves_nothing() {
    for (word, _) in KINDS {
        let c = Container::idle();
        fs::write(c.dir.join("plain"), "").unwrap();
        nix::unistd::mkfifo(&c.dir.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let other = if word == "uts" { "/proc/self/ns/ipc" } else { "/proc/self/ns/uts" };
        let missing = c.dir.join("missing");
        let (plain, fifo) = (c.dir.join("plain"), c.dir.join("fifo"));
        for (path, reason) in [
            (plain.to_str().unwrap(), "no namespace"),
            (fifo.to_str().unwrap(), "no namespace"),
            ("/dev/null", "no namespace"),
            ("/", "no namespace"),
            (missing.to_str().unwrap(), "no such file"),
            (other, if word == "uts" { "a ipc namespace" } else { "a uts namespace" }),
        ] {
            let c = Container::idle().with(|config| {
                drop_namespace(config, word);
                push(&mut config["linux"]["namespaces"], json!({"type": word, "path": path}));
            });
            let before = c.leftovers();
            let output = c.try_create();
            if is_reference() {
                assert_ne!(output.code, 0, "{word} {path}");
            } else {
                output.fails(1, &["linux.namespaces", path, reason]);
            }
            before.assert_nothing_new();
        }
    }
}

/// As the runtimes of Kubernetes do: a first container that holds the namespaces, and others in its pod.
#[test]
fn a_pods_containers_share_the_namespaces_of_the_first_and_keep_their_own_mounts() {
    let pod = Container::idle().up();
    let pid = pod.pid();
    let shared = [("pid", "pid"), ("ipc", "ipc"), ("network", "net"), ("uts", "uts")];
    let member = Container::idle().with(|config| {
        for (word, kind) in shared {
            drop_namespace(config, word);
            push(&mut config["linux"]["namespaces"], json!({"type": word, "path": format!("/proc/{pid}/ns/{kind}")}));
        }
        config["hostname"] = json!("");
        push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}));
    });
    let member = member.up();
    for (_, kind) in shared {
        assert_eq!(ns(member.pid(), kind), ns(pid, kind), "{kind}");
    }
    for kind in ["mnt", "cgroup"] {
        assert_ne!(ns(member.pid(), kind), ns(pid, kind), "{kind}");
    }
    let seen = member.exec(&["sh", "-c", "ls -d /proc/1 /proc/self; echo $$"]).ok().to_owned();
    assert!(seen.starts_with("/proc/1\n/proc/self\n"), "its /proc is that of the pod: {seen}");
    member.kill("KILL");
    assert_eq!(pod.status(), "running");
    pod.on_id(&["delete", "--force"]).ok();
}

#[test]
fn the_end_of_a_pods_first_process_ends_its_members() {
    let pod = Container::idle().up();
    let path = format!("/proc/{}/ns/pid", pod.pid());
    let member = Container::idle().with(|config| {
        drop_namespace(config, "pid");
        push(&mut config["linux"]["namespaces"], json!({"type": "pid", "path": path}));
    });
    let member = member.up();
    pod.kill("KILL");
    member.wait_for("stopped");
    member.on_id(&["delete"]).ok();
}

/// A member that has joined the pod's pid namespace is not its pid 1: what it started does not end with it by itself.
#[test]
fn what_a_pods_member_started_ends_with_the_member_and_nothing_else_does() {
    let pod = Container::idle().up();
    let path = format!("/proc/{}/ns/pid", pod.pid());
    let member = |script: &str| {
        let member = Container::sh(script).with(|config| {
            drop_namespace(config, "pid");
            push(&mut config["linux"]["namespaces"], json!({"type": "pid", "path": path}));
        });
        let mut lines = member.up_with_lines();
        assert_eq!(lines.line(), "up");
        let inside = std::fs::read_to_string(member.cgroup("pids").join("cgroup.procs")).expect("its processes");
        let own = member.pid();
        let started = inside.lines().map(|pid| pid.parse().expect("a pid")).find(|pid| *pid != own).expect("a child");
        (member, common::pidfd(started).expect("the child"))
    };
    let ended = |process: &std::os::fd::OwnedFd| common::ends_within(process, common::LIMIT);
    let (killed, started) = member("setsid sleep 1000 & echo up; wait");
    killed.kill("KILL");
    assert!(ended(&started), "SIGKILL reaches all of a container that does not end with its first process");
    killed.wait_for("stopped");
    killed.on_id(&["delete"]).ok();
    let (deleted, started) = member("setsid sleep 1000 & echo up; exec sleep 1000");
    common::events::signal(&common::pidfd(deleted.pid()).expect("it runs"), libc::SIGKILL);
    deleted.wait_for("stopped");
    deleted.on_id(&["delete"]).ok();
    assert!(ended(&started), "delete ends what is left");
    assert!(!deleted.cgroup("pids").exists());
    assert_eq!(pod.status(), "running");
    pod.on_id(&["delete", "--force"]).ok();
}

#[test]
fn a_mount_namespace_is_joined_by_path() {
    let holder = Container::idle();
    // A namespace of its own, held by a process outside of any container, so that changing its root is nobody's loss.
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", "echo up; exec sleep 1000"]);
    let (mut lines, writer) = Lines::pipe();
    let mut child = command.stdout(writer).spawn().unwrap();
    drop(command);
    assert_eq!(lines.line(), "up");
    let path = format!("/proc/{}/ns/mnt", child.id());
    let theirs = ns(child.id() as i32, "mnt");
    let c = holder.with(|config| {
        drop_namespace(config, "mount");
        push(&mut config["linux"]["namespaces"], json!({"type": "mount", "path": path}));
    });
    let output = c.try_create();
    let joined = (output.code == 0).then(|| ns(c.pid(), "mnt"));
    let _ = child.kill();
    let _ = child.wait();
    output.ok();
    assert_eq!(joined, Some(theirs));
    c.start();
    assert_eq!(c.exec(&["ls", "/bin/sh"]).ok(), "/bin/sh", "it has its own root");
}

#[test]
fn namespaces_that_a_joined_user_namespace_owns_are_joined_with_it() {
    let first = with_user_namespace(Container::idle()).up();
    let pid = first.pid();
    for with_maps in [true, false] {
        let second = with_user_namespace(Container::idle()).with(|config| {
            for (word, kind) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
                drop_namespace(config, word);
                let path = format!("/proc/{pid}/ns/{kind}");
                push(&mut config["linux"]["namespaces"], json!({"type": word, "path": path}));
            }
            config["hostname"] = json!("");
            // runc wants the maps repeated.
            if !with_maps && !is_reference() {
                config["linux"].as_object_mut().unwrap().remove("uidMappings");
                config["linux"].as_object_mut().unwrap().remove("gidMappings");
            }
        });
        second.create().start();
        for kind in ["user", "net", "ipc", "uts", "pid"] {
            assert_eq!(ns(second.pid(), kind), ns(pid, kind), "{kind}");
        }
        assert_eq!(proc_status(second.pid(), "Uid"), "100000 100000 100000 100000");
        assert_eq!(second.exec(&["readlink", "/proc/self/ns/user"]).ok(), ns(pid, "user"));
        second.on_id(&["delete", "--force"]).ok();
    }
}
