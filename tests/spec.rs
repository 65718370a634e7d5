//! Clauses of runtime-spec 1.3 that no test of another subject feels. docs/conformance.md lists all clauses.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::bundle::{push, set_capabilities};
use common::outside::mount_at;
use common::*;

/// Creates a container from a document that is wrong in one place, and checks that it is refused and leaves nothing.
#[track_caller]
fn refused(edit: impl FnOnce(&mut Value), says: &[&str]) {
    let c = Container::idle().with(edit);
    let before = c.leftovers();
    c.try_create().fails(1, says);
    before.assert_nothing_new();
}

/// A container whose root can be written, so that targets can be made.
fn writable(args: &[&str]) -> Container {
    Container::new(args).with(|config| config["root"]["readonly"] = json!(false))
}

#[test]
fn unknown_properties_are_ignored() {
    let c = Container::new(&["echo", "ran"]).with(|config| {
        config["org.example.extension"] = json!({"any": ["thing"]});
        config["process"]["futureField"] = json!(7);
        config["linux"]["resources"]["futureController"] = json!({"limit": "none"});
        config["mounts"][0]["futureField"] = json!(null);
    });
    assert_eq!(c.run().ok(), "ran");
}

#[test]
fn annotations_have_names_and_text_which_may_be_empty() {
    let c = Container::idle().with(|config| config["annotations"] = json!({"org.example.empty": ""}));
    c.create();
    assert_eq!(c.state()["annotations"], json!({"org.example.empty": ""}));
    refused(|config| config["annotations"] = json!({"org.example.number": 5}), &["annotations"]);
    not_in_runc!("it takes an empty key");
    refused(|config| config["annotations"] = json!({"": "value"}), &["annotations", "empty"]);
}

#[test]
fn a_relative_mount_destination_is_below_the_root() {
    let c = writable(&["sleep", "1000"]).with(|config| {
        config["process"]["cwd"] = json!("/tmp");
        push(&mut config["mounts"], json!({"destination": "rel/dir", "type": "tmpfs", "source": "t"}));
    });
    c.create();
    assert_eq!(mount_at(c.pid(), "/rel/dir").kind, "tmpfs");
}

/// What an option of mount(8) shows in mountinfo. A word with a plus must be there, one with a minus must not; `s:` marks
/// the superblock's words. Those without a word show nothing, and have to be taken.
const OPTIONS: &[(&str, &str)] = &[
    ("defaults", "+rw +relatime -nosuid -nodev -noexec -s:sync"),
    ("sync", "+s:sync"),
    ("sync async", "-s:sync"),
    ("dirsync", "+s:dirsync"),
    ("lazytime", "+s:lazytime"),
    ("lazytime nolazytime", "-s:lazytime"),
    ("iversion", ""),
    ("iversion noiversion", ""),
    ("silent", ""),
    ("silent loud", ""),
    ("ro", "+ro"),
    ("ro rw", "+rw"),
    ("nosuid", "+nosuid"),
    ("nosuid suid", "-nosuid"),
    ("nodev", "+nodev"),
    ("nodev dev", "-nodev"),
    ("noexec", "+noexec"),
    ("noexec exec", "-noexec"),
    ("noatime", "+noatime"),
    ("noatime atime", "-noatime"),
    ("nodiratime", "+nodiratime"),
    ("nodiratime diratime", "-nodiratime"),
    ("relatime", "+relatime"),
    ("relatime norelatime", ""),
    ("strictatime", "-relatime -noatime"),
    ("strictatime nostrictatime", "+relatime"),
    ("nosymfollow", "+nosymfollow"),
    ("nosymfollow symfollow", "-nosymfollow"),
];

/// Mounts all of `OPTIONS`, each at a place of its own, and compares what the kernel shows.
fn options_show(mount: impl Fn(&Container) -> Value, superblock: bool) {
    let c = writable(&["sleep", "1000"]);
    let base = mount(&c);
    let c = c.with(|config| {
        for (n, (options, _)) in OPTIONS.iter().enumerate() {
            let mut mount = base.clone();
            mount["destination"] = json!(format!("/o{n}"));
            let mut list: Vec<Value> = mount["options"].as_array().cloned().unwrap_or_default();
            list.extend(options.split(' ').map(|option| json!(option)));
            mount["options"] = json!(list);
            push(&mut config["mounts"], mount);
        }
    });
    c.create();
    for (n, (options, words)) in OPTIONS.iter().enumerate() {
        let mount = mount_at(c.pid(), &format!("/o{n}"));
        for word in words.split_whitespace() {
            let (wanted, name) = (word.starts_with('+'), &word[1..]);
            let (list, name) = match name.strip_prefix("s:") {
                Some(_) if !superblock => continue,
                Some(name) => (&mount.super_options, name),
                None => (&mount.options, name),
            };
            assert_eq!(list.iter().any(|shown| shown == name), wanted, "{options}: {word} in {mount:?}");
        }
    }
}

#[test]
fn every_option_that_must_be_known_shows_on_a_new_filesystem() {
    not_in_runc!("it has no lazytime");
    options_show(|_| json!({"type": "tmpfs", "source": "t"}), true);
}

/// A bind mount shares its superblock, so only what a mount of its own can have is looked for.
#[test]
fn every_option_that_must_be_known_shows_on_a_bind_mount() {
    not_in_runc!("it has no lazytime");
    let mount = |c: &Container| {
        let data = c.dir.join("data");
        fs::create_dir_all(&data).unwrap();
        json!({"type": "bind", "source": data, "options": ["bind"]})
    };
    options_show(mount, false);
}

#[test]
fn remount_changes_a_mount_that_is_there() {
    let c = writable(&["sleep", "1000"]).with(|config| {
        for options in [json!([]), json!(["remount", "ro", "noexec"])] {
            push(
                &mut config["mounts"],
                json!({"destination": "/re", "type": "tmpfs", "source": "t", "options": options}),
            );
        }
    });
    c.create();
    let mount = mount_at(c.pid(), "/re");
    for flag in ["ro", "noexec"] {
        assert!(mount.options.iter().any(|option| option == flag), "{flag}: {mount:?}");
    }
    assert_eq!(mountinfo(c.pid()).iter().filter(|mount| mount.target == "/re").count(), 1, "not mounted twice");
}

#[test]
fn each_propagation_is_its_mounts_and_the_recursive_ones_that_of_those_below() {
    let c = writable(&["sleep", "1000"]);
    let data = c.dir.join("data");
    fs::create_dir(&data).unwrap();
    let tmpfs = |path: &Path| {
        let (none, empty) = (None::<&str>, nix::mount::MsFlags::empty());
        nix::mount::mount(Some("t"), path, Some("tmpfs"), empty, none).unwrap();
        nix::mount::mount(none, path, none, nix::mount::MsFlags::MS_SHARED, none).unwrap();
    };
    tmpfs(&data);
    fs::create_dir(data.join("below")).unwrap();
    tmpfs(&data.join("below"));
    const WORDS: [(&str, &str); 4] =
        [("shared", "shared:"), ("slave", "master:"), ("private", ""), ("unbindable", "unbindable")];
    let c = c.with(|config| {
        for (word, _) in WORDS {
            for option in [word.to_owned(), format!("r{word}")] {
                push(
                    &mut config["mounts"],
                    json!({"destination": format!("/{option}"), "type": "bind", "source": data, "options": ["rbind", option]}),
                );
            }
        }
    });
    let output = c.try_create();
    let of = |target: String| mount_at(c.pid(), &target).propagation.join(" ");
    let shown: Vec<(String, String, String, String)> = match output.code {
        0 => WORDS
            .iter()
            .map(|(word, _)| {
                (
                    of(format!("/{word}")),
                    of(format!("/{word}/below")),
                    of(format!("/r{word}")),
                    of(format!("/r{word}/below")),
                )
            })
            .collect(),
        _ => Vec::new(),
    };
    c.on_id(&["delete", "--force"]);
    outside::unmount(&data).unwrap();
    output.ok();
    let is = |shown: &str, word: &str| if word.is_empty() { shown.is_empty() } else { shown.contains(word) };
    for ((name, word), (own, below, recursive, recursive_below)) in WORDS.iter().zip(&shown) {
        assert!(is(own, word) && is(recursive, word) && is(recursive_below, word), "{name}: {shown:?}");
        // Without the r the mount below keeps what it was: a copy of a shared one, which the rootfs's slave made a slave.
        assert!(*name == "slave" || !is(below, word), "{name} reached the mount below: {shown:?}");
    }
}

#[test]
fn a_console_size_without_a_terminal_is_ignored() {
    let c = Container::new(&["sh", "-c", "tty; echo ran"])
        .with(|config| config["process"]["consoleSize"] = json!({"height": 30, "width": 90}));
    assert_eq!(c.run().ok(), "not a tty\nran");
}

#[test]
fn config_json_is_not_read_again_once_a_container_is_created() {
    let mut c = Container::sh("echo as created; exec sleep 1000");
    let (mut lines, writer) = Lines::pipe();
    let mut create = c.command(&c.words("create", &[]));
    let mut child = create.stdout(writer).spawn().expect("start the runtime");
    drop(create);
    assert_eq!(wait(&mut child, "create"), 0);
    c.config["process"]["args"] = json!(["echo", "as changed"]);
    c.config["process"]["env"] = json!(["PATH=/bin", "CHANGED=1"]);
    c.config["annotations"] = json!({"org.example.changed": "1"});
    c.save();
    c.start();
    assert_eq!(lines.line(), "as created");
    if !is_reference() {
        assert!(!c.exec(&["env"]).ok().contains("CHANGED"), "exec takes the process as it was created");
    }
    assert!(c.state()["annotations"].is_null());
    fs::remove_file(c.bundle.join("config.json")).unwrap();
    if !is_reference() {
        assert_eq!(c.exec(&["echo", "still"]).ok(), "still");
    }
    c.on_id(&["delete", "--force"]).ok();
}

#[test]
fn ids_that_the_user_namespace_does_not_map_are_refused_by_name() {
    not_in_runc!("in other words");
    for (field, user) in [
        ("process.user.uid: 1000", json!({"uid": 1000, "gid": 0})),
        ("process.user.gid: 1000", json!({"uid": 0, "gid": 1000})),
        ("process.user.additionalGids[1]: 1000", json!({"uid": 0, "gid": 0, "additionalGids": [7, 1000]})),
    ] {
        let edit = |config: &mut Value| {
            push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            config["process"]["user"] = user;
        };
        refused(edit, &[field, "is not mapped in the user namespace"]);
    }
}

/// The capabilities that this test's process has, as a mask.
fn held() -> u64 {
    u64::from_str_radix(&proc_status(std::process::id() as i32, "CapPrm"), 16).unwrap()
}

#[test]
fn a_capability_that_the_caller_lacks_is_warned_of_and_left_out() {
    not_in_runc!("it fails");
    const RESOURCE: u64 = 1 << 24;
    if held() & RESOURCE != 0 {
        skip!("root has CAP_SYS_RESOURCE here, as every other capability");
    }
    let c = Container::sh("grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status")
        .with(|config| set_capabilities(&mut config["process"], &["CAP_KILL", "CAP_SYS_RESOURCE"]));
    let output = c.run();
    let kill = format!("{:016x}", 1 << 5);
    assert_eq!(output.ok(), format!("CapPrm:\t{kill}\nCapEff:\t{kill}\nCapBnd:\t{kill}"));
    assert!(output.stderr.contains("CAP_SYS_RESOURCE"), "{output:?}");
    let c = Container::idle().up();
    let output = c.exec_with(&["--cap", "CAP_SYS_RESOURCE"], &["echo", "entered"]);
    assert!(output.ok() == "entered" && output.stderr.contains("CAP_SYS_RESOURCE"), "{output:?}");
}

#[test]
fn a_capability_that_is_effective_but_not_permitted_is_warned_of_and_left_out() {
    not_in_runc!("it fails");
    let c = Container::sh("grep CapEff /proc/self/status").with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"], "effective": ["CAP_KILL", "CAP_CHOWN"]});
    });
    let output = c.run();
    assert_eq!(output.ok(), format!("CapEff:\t{:016x}", 1 << 5));
    assert!(output.stderr.contains("CAP_CHOWN"), "{output:?}");
}

#[test]
fn every_capability_of_the_manual_is_known() {
    const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE \
        NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE \
        SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL \
        SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";
    let names: Vec<_> = NAMES.split_whitespace().map(|name| format!("CAP_{name}")).collect();
    let c = Container::sh("grep CapBnd /proc/self/status")
        .with(|config| config["process"]["capabilities"] = json!({"bounding": names}));
    assert_eq!(c.run().ok(), format!("CapBnd:\t{:016x}", held()));
}

#[test]
fn every_limit_of_the_manual_can_be_set() {
    // Not above what the tests' own process has, since raising one needs CAP_SYS_RESOURCE.
    const LIMITS: [(&str, &str, u64); 16] = [
        ("RLIMIT_CPU", "Max cpu time", 3000),
        ("RLIMIT_FSIZE", "Max file size", 1 << 20),
        ("RLIMIT_DATA", "Max data size", 1 << 28),
        ("RLIMIT_STACK", "Max stack size", 1 << 20),
        ("RLIMIT_CORE", "Max core file size", 0),
        ("RLIMIT_RSS", "Max resident set", 1 << 28),
        ("RLIMIT_NPROC", "Max processes", 500),
        ("RLIMIT_NOFILE", "Max open files", 100),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096),
        ("RLIMIT_AS", "Max address space", 1 << 30),
        ("RLIMIT_LOCKS", "Max file locks", 50),
        ("RLIMIT_SIGPENDING", "Max pending signals", 60),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 8192),
        ("RLIMIT_NICE", "Max nice priority", 0),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 70000),
    ];
    let c = Container::idle().with(|config| {
        let limits = LIMITS.map(|(kind, _, value)| json!({"type": kind, "soft": value, "hard": value}));
        config["process"]["rlimits"] = json!(limits);
    });
    let c = c.up();
    let shown = fs::read_to_string(format!("/proc/{}/limits", c.pid())).unwrap();
    for (kind, name, value) in LIMITS {
        let line = shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        let values: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(values, [value.to_string(), value.to_string()], "{kind}");
    }
}

#[test]
fn without_a_umask_it_is_022_as_runcs_whatever_the_callers() {
    let c = Container::sh("umask");
    let mut run = std::process::Command::new("/bin/busybox");
    let words = c.command(&c.words("run", &[]));
    run.args(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).arg(words.get_program()).args(words.get_args());
    assert_eq!(c.finish(run.current_dir(&c.dir).stdin(std::process::Stdio::null())).ok(), "0022");
}

#[test]
fn a_deleted_id_may_be_used_again() {
    let c = Container::sh("echo round; exit 3");
    let before = c.leftovers();
    for _ in 0..2 {
        let mut lines = c.up_with_lines();
        assert_eq!(lines.line(), "round");
        c.wait_for("stopped");
        c.on_id(&["delete"]).ok();
        before.assert_nothing_new();
    }
}

#[test]
fn delete_leaves_what_the_container_did_not_make() {
    let owner = Container::idle().up();
    let c = writable(&["sleep", "1000"]);
    let data = c.dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "kept").unwrap();
    fs::create_dir_all(c.cgroup("pids")).unwrap();
    let netns = format!("/proc/{}/ns/net", owner.pid());
    let c = c.with(|config| {
        config["linux"]["namespaces"][1]["path"] = json!(netns);
        push(
            &mut config["mounts"],
            json!({"destination": "/data", "type": "bind", "source": data, "options": ["bind"]}),
        );
    });
    let c = c.up();
    c.exec(&["touch", "/data/written"]).ok();
    c.on_id(&["delete", "--force"]).ok();
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "kept");
    assert!(data.join("written").exists());
    assert!(c.rootfs("/bin/busybox").exists() && c.bundle.join("config.json").exists());
    assert_eq!(owner.exec(&["cat", "/sys/class/net/lo/operstate"]).ok(), "unknown", "the namespace is its owner's");
}

#[test]
fn masked_and_read_only_paths_have_to_be_absolute() {
    not_in_runc!("it takes them as below its own directory");
    refused(
        |config| config["linux"]["maskedPaths"] = json!(["/proc/kcore", "proc/keys"]),
        &["maskedPaths[1]", "proc/keys"],
    );
    refused(|config| config["linux"]["readonlyPaths"] = json!(["proc/sys"]), &["readonlyPaths[0]", "proc/sys"]);
}

#[test]
fn a_cgroups_path_leads_to_the_same_place_each_time() {
    v1_only!();
    let callers = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own =
        callers.lines().find_map(|line| line.split_once(":pids:")).expect("a pids hierarchy").1.trim_end_matches('/');
    let mut c = Container::idle();
    let absolute = format!("{}/there", c.cgroup_parent);
    let relative = format!("{}-relative", c.cgroup_parent.trim_start_matches('/'));
    for (path, expected) in [(absolute.clone(), absolute), (relative.clone(), format!("{own}/{relative}"))] {
        c.config["linux"]["cgroupsPath"] = json!(path);
        c.save();
        for _ in 0..2 {
            c.create();
            let place = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).unwrap();
            assert!(place.lines().any(|line| line.ends_with(&format!(":pids:{expected}"))), "{path}: {place}");
            c.on_id(&["delete", "--force"]).ok();
        }
    }
    not_in_runc!("1.1 takes the host's root as a container's cgroup");
    refused(|config| config["linux"]["cgroupsPath"] = json!("/"), &["linux.cgroupsPath"]);
}

/// Delegation is not safe on v1, so the owner stays even where the mount, the namespaces and the user would ask for it.
#[test]
fn a_v1_cgroup_keeps_its_owner() {
    v1_only!();
    let c = Container::idle().with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "cgroup"}));
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["mounts"][6]["options"] = json!(["nosuid", "noexec", "nodev"]);
    });
    c.create();
    for hierarchy in outside::hierarchies() {
        let dir = c.cgroup(&hierarchy);
        for path in [dir.clone(), dir.join("cgroup.procs")] {
            let owner = fs::metadata(&path).unwrap();
            assert_eq!((owner.uid(), owner.gid()), (0, 0), "{}", path.display());
        }
    }
}

#[test]
fn device_rules_apply_in_the_order_of_the_list() {
    v1_only!();
    let rule = |allow: bool| json!({"allow": allow, "type": "c", "major": 7, "minor": 42, "access": "rw"});
    for (rules, allowed) in [([rule(true), rule(false)], false), ([rule(false), rule(true)], true)] {
        let c = Container::idle().with(|config| {
            config["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}, rules[0], rules[1]]);
        });
        c.create();
        let list = c.limit("devices", "devices.list");
        assert_eq!(list.lines().any(|line| line == "c 7:42 rw"), allowed, "{list}");
    }
}

#[test]
fn what_has_to_hold_one_of_two_values_is_refused_without_any() {
    v1_only!();
    not_in_runc!("it takes them as nothing");
    refused(
        |config| config["linux"]["resources"]["blockIO"] = json!({"weightDevice": [{"major": 254, "minor": 0}]}),
        &["linux.resources.blockIO.weightDevice[0]", "weight", "leafWeight"],
    );
    refused(
        |config| config["linux"]["resources"]["rdma"] = json!({"mlx5_1": {}}),
        &["linux.resources.rdma.mlx5_1", "hcaHandles", "hcaObjects"],
    );
}

#[test]
fn a_seccomp_rule_without_a_name_is_refused() {
    not_in_runc!("it takes it as nothing");
    refused(
        |config| {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]})
        },
        &["linux.seccomp.syscalls[0].names"],
    );
}

#[test]
fn an_errno_where_the_action_has_none_is_refused() {
    not_in_runc!("libseccomp's words");
    let profile = |errno: &str| {
        let mut profile =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]});
        match errno {
            "defaultErrnoRet" => profile["defaultErrnoRet"] = json!(5),
            _ => profile["syscalls"][0]["errnoRet"] = json!(5),
        }
        profile
    };
    for field in ["linux.seccomp.defaultErrnoRet", "linux.seccomp.syscalls[0].errnoRet"] {
        let profile = profile(field.rsplit('.').next().unwrap());
        refused(|config| config["linux"]["seccomp"] = profile, &[field]);
    }
}

#[test]
fn unified_settings_are_refused_where_no_v2_controller_is() {
    v1_only!();
    let controllers = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
    if controllers.contains("memory") {
        skip!("cgroup2 has the memory controller here");
    }
    refused(|config| config["linux"]["resources"]["unified"] = json!({"memory.high": "1000000"}), &["unified"]);
}

#[test]
fn a_burst_above_its_quota_is_refused() {
    v1_only!();
    not_in_runc!("burst came in 1.2");
    refused(
        |config| config["linux"]["resources"]["cpu"] = json!({"quota": 10000, "period": 100_000, "burst": 20000}),
        &["linux.resources.cpu.burst", "cpu.cfs_burst_us"],
    );
}

#[test]
fn debug_logs_the_steps() {
    let c = Container::idle();
    let words = c.words("create", &[]);
    c.runtime(&[&["--debug", "--log", "log", "--log-format", "json"][..], &words].concat()).ok();
    let log = fs::read_to_string(c.dir.join("log")).unwrap();
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON a line")).collect();
    assert!(entries.iter().any(|entry| entry["level"] == "debug"), "{log}");
    if !is_reference() {
        assert!(log.contains("make cgroup") && log.contains("start init"), "{log}");
    }
    c.on_id(&["delete", "--force"]).ok();
    let quiet = c.runtime(&[&["--log", "quiet"][..], &words].concat());
    assert_eq!((quiet.code, fs::read_to_string(c.dir.join("quiet")).unwrap_or_default()), (0, String::new()));
}

#[test]
fn an_operation_without_an_id_is_refused() {
    let c = Container::idle();
    for verb in ["state", "create", "start", "kill", "delete"] {
        let output = c.runtime(&[verb]);
        assert!(output.code != 0 && !output.stderr.is_empty(), "{verb}: {output:?}");
    }
}

/// A document with one of everything, so that one field at a time can be taken away.
fn with_one_of_everything(config: &mut Value) {
    config["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]);
    push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["ptrace"],
        "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]});
    let throttle = json!([{"major": 254, "minor": 0, "rate": 5}]);
    config["linux"]["resources"]["blockIO"] = json!({"weightDevice": [{"major": 254, "minor": 0, "weight": 100}],
        "throttleReadBpsDevice": throttle, "throttleWriteBpsDevice": throttle,
        "throttleReadIOPSDevice": throttle, "throttleWriteIOPSDevice": throttle});
    config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 0}]);
    config["linux"]["resources"]["network"] = json!({"priorities": [{"name": "lo", "priority": 1}]});
    config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
    config["linux"]["personality"] = json!({"domain": "LINUX"});
    config["process"]["terminal"] = json!(true);
    config["process"]["consoleSize"] = json!({"height": 25, "width": 80});
    config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER"});
    config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        config["hooks"][kind] = json!([{"path": "/bin/true"}]);
    }
}

#[test]
fn what_is_required_is_asked_for_by_name() {
    not_in_runc!("it takes most of them as zero");
    const REQUIRED: &str = "/root/path /mounts/0/destination /process/cwd /process/args /process/rlimits/0/type \
        /process/rlimits/0/soft /process/rlimits/0/hard /process/consoleSize/height /process/consoleSize/width \
        /process/scheduler/policy /process/ioPriority/class \
        /linux/namespaces/0/type /linux/uidMappings/0/containerID /linux/uidMappings/0/hostID /linux/uidMappings/0/size \
        /linux/gidMappings/0/containerID /linux/gidMappings/0/hostID /linux/gidMappings/0/size \
        /linux/devices/0/type /linux/devices/0/path /linux/devices/0/major /linux/devices/0/minor \
        /linux/resources/devices/0/allow /linux/resources/blockIO/weightDevice/0/major \
        /linux/resources/blockIO/weightDevice/0/minor /linux/resources/blockIO/throttleReadBpsDevice/0/major \
        /linux/resources/blockIO/throttleReadBpsDevice/0/minor /linux/resources/blockIO/throttleReadBpsDevice/0/rate \
        /linux/resources/blockIO/throttleWriteBpsDevice/0/rate /linux/resources/blockIO/throttleReadIOPSDevice/0/rate \
        /linux/resources/blockIO/throttleWriteIOPSDevice/0/rate /linux/resources/hugepageLimits/0/pageSize \
        /linux/resources/hugepageLimits/0/limit /linux/resources/network/priorities/0/name \
        /linux/resources/network/priorities/0/priority /linux/memoryPolicy/mode \
        /linux/personality/domain /linux/seccomp/defaultAction /linux/seccomp/syscalls/0/names \
        /linux/seccomp/syscalls/0/action /linux/seccomp/syscalls/0/args/0/index /linux/seccomp/syscalls/0/args/0/value \
        /linux/seccomp/syscalls/0/args/0/op /hooks/prestart/0/path /hooks/createRuntime/0/path \
        /hooks/createContainer/0/path /hooks/startContainer/0/path /hooks/poststart/0/path /hooks/poststop/0/path";
    let c = Container::idle().with(with_one_of_everything);
    let before = c.leftovers();
    let whole = c.config.clone();
    let plan = |config: &Value| {
        fs::write(c.bundle.join("config.json"), config.to_string()).unwrap();
        c.runtime(&["plan", "--no-host", "--bundle", "bundle"])
    };
    plan(&whole).ok();
    let mut accepted = Vec::new();
    for pointer in REQUIRED.split_whitespace() {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let mut config = whole.clone();
        config.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).expect("the field is there");
        let output = plan(&config);
        if output.code != 1 || !output.stderr.contains(field) {
            accepted.push(format!("{pointer}: {output:?}"));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    before.assert_nothing_new();
}

#[test]
fn a_pids_object_without_a_limit_limits_nothing() {
    let c = Container::idle().with(|config| config["linux"]["resources"]["pids"] = json!({}));
    c.create();
    assert_eq!(c.limit("pids", "pids.max"), "max");
}

#[test]
fn the_path_of_the_rootfs_is_absolute_or_below_the_bundle() {
    let mut c = Container::new(&["echo", "ran"]);
    let absolute = c.rootfs("");
    for path in [absolute.to_str().unwrap(), "rootfs", "./rootfs/../rootfs"] {
        c.config["root"]["path"] = json!(path);
        c.save();
        assert_eq!(c.run().ok(), "ran", "{path}");
    }
}
