//! `features`: valid by the published schema, and true: what is claimed is taken by the planner, and what the
//! specification has besides is refused.

#[macro_use]
mod common;

use std::path::{Path, PathBuf};

use common::*;

/// The schema folder: `$SHARED/oci-runtime-spec/schema`, or beside this repository.
fn schema() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("SHARED").map_or(beside, PathBuf::from);
    Some(shared.join("oci-runtime-spec/schema")).filter(|dir| dir.is_dir())
}

fn features() -> Value {
    let c = Container::idle();
    serde_json::from_str(c.runtime(&["features"]).ok()).expect("features prints JSON")
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word")).collect()
}

thread_local! {
    /// One bundle a test, whose document changes.
    static BUNDLE: std::cell::RefCell<Container> = std::cell::RefCell::new(Container::idle());
}

/// What `plan` says of a container whose document is edited so.
fn plan(edit: impl FnOnce(&mut Value)) -> Output {
    BUNDLE.with_borrow_mut(|c| {
        let document = c.config.clone();
        edit(&mut c.config);
        c.save();
        c.config = document;
        c.runtime(&["plan", "--format", "json", "--bundle", "bundle", &c.id])
    })
}

/// Checks that the words of a vocabulary that are claimed are planned, and that all others are refused.
#[track_caller]
fn each_is_planned_if_claimed(what: &str, vocabulary: &[&str], claimed: &[&str], edit: impl Fn(&mut Value, &str)) {
    for word in claimed {
        assert!(vocabulary.contains(word), "{what} {word} is none of the specification's");
    }
    for word in vocabulary {
        let output = plan(|config| edit(config, word));
        if claimed.contains(word) {
            assert_eq!(output.code, 0, "{what} {word} is claimed: {output:?}");
        } else {
            assert_eq!(output.code, 1, "{what} {word} is not claimed: {output:?}");
        }
    }
}

/// The enum of a definition of the schema.
fn vocabulary(schema: &Path, file: &str, pointer: &str) -> Vec<String> {
    let text = std::fs::read_to_string(schema.join(file)).expect("a schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    words(schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} of {file}")))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_document_has_the_shape_that_drivers_read() {
    not_in_runc!("1.1 has older fields");
    let features = features();
    assert_eq!((&features["ociVersionMin"], &features["ociVersionMax"]), (&json!("1.0.0"), &json!("1.3.0")));
    let linux = &features["linux"];
    for flag in [
        "/cgroup/v1",
        "/cgroup/v2",
        "/cgroup/systemd",
        "/cgroup/systemdUser",
        "/cgroup/rdma",
        "/seccomp/enabled",
        "/apparmor/enabled",
        "/selinux/enabled",
        "/intelRdt/enabled",
        "/mountExtensions/idmap/enabled",
        "/netDevices/enabled",
    ] {
        assert!(linux.pointer(flag).is_some_and(Value::is_boolean), "{flag}");
    }
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "false");
    for annotation in words(&features["potentiallyUnsafeConfigAnnotations"]) {
        let others = ["run.oci.keep_original_groups", "org.systemd.property."];
        assert!(annotation.starts_with("io.nfrun.") || others.contains(&annotation), "{annotation}");
    }
}

#[test]
fn each_claimed_mount_option_is_understood_and_goes_to_no_filesystem() {
    not_in_runc!("it has no plan");
    let features = features();
    let options = words(&features["mountOptions"]);
    for option in &options {
        // On a bind, which takes every option but what only a new tmpfs can do.
        let output = plan(|config| {
            let mount = match *option {
                "tmpcopyup" => json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [option]}),
                "idmap" | "ridmap" => json!({"destination": "/mnt", "type": "bind", "source": "/tmp",
                    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
                    "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}], "options": ["bind", option]}),
                "remount" => {
                    json!({"destination": "/mnt", "type": "bind", "source": "/tmp", "options": ["rbind", "ro"]})
                }
                _ => json!({"destination": "/mnt", "type": "bind", "source": "/tmp", "options": ["rbind", option]}),
            };
            bundle::push(&mut config["mounts"], mount);
        });
        assert_eq!(output.code, 0, "{option} is claimed: {output:?}");
        assert!(!output.stdout.contains(&format!("\"data\":\"{option}\"")), "{option} went to the filesystem");
    }
    // Every option that config.md has for Linux.
    for word in "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec \
        noiversion nolazytime norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount \
        rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro \
        rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
        tmpcopyup unbindable idmap ridmap"
        .split_whitespace()
    {
        assert!(options.contains(&word), "{word} is not claimed");
    }
    // What is not claimed is the filesystem's own, and is refused where there is none to ask: on a bind.
    let other = plan(|config| {
        let mount = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["rnonsense"]});
        bundle::push(&mut config["mounts"], mount);
    });
    assert!(other.ok().contains("rnonsense"), "{other:?}");
}

#[test]
fn namespaces_capabilities_and_hooks_are_planned_if_claimed() {
    not_in_runc!("it has no plan");
    let features = features();
    let namespaces = ["mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time"];
    each_is_planned_if_claimed("namespace", &namespaces, &words(&features["linux"]["namespaces"]), |config, word| {
        bundle::drop_namespace(config, word);
        bundle::push(&mut config["linux"]["namespaces"], json!({"type": word}));
        if word == "user" {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        }
    });
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    each_is_planned_if_claimed("hook", &hooks, &words(&features["hooks"]), |config, word| {
        config["hooks"] = json!({word: [{"path": "/bin/true"}]});
    });
    let capabilities = words(&features["linux"]["capabilities"]);
    assert_eq!((capabilities.first(), capabilities.len()), (Some(&"CAP_CHOWN"), 41));
    for capability in capabilities {
        let output = plan(|config| bundle::set_capabilities(&mut config["process"], &[capability]));
        output.ok();
        assert!(!output.stderr.contains("unknown capability"), "{capability}: {output:?}");
    }
}

#[test]
fn seccomps_words_are_planned_if_claimed() {
    not_in_runc!("it has no plan");
    let Some(schema) = schema() else { skip!("no ../shared/oci-runtime-spec/schema and no SHARED") };
    let features = features();
    let seccomp = &features["linux"]["seccomp"];
    let of = |name: &str| vocabulary(&schema, "defs-linux.json", &format!("/definitions/{name}/enum"));
    let notify = |profile: &mut Value| {
        profile["listenerPath"] = json!("/run/agent");
        profile["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY");
    };
    let profile =
        || json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]});
    let check = |what: &str, definition: &str, claimed: &Value, edit: &dyn Fn(&mut Value, &str)| {
        let vocabulary = of(definition);
        let vocabulary: Vec<_> = vocabulary.iter().map(String::as_str).collect();
        each_is_planned_if_claimed(what, &vocabulary, &words(claimed), |config, word| {
            let mut profile = profile();
            edit(&mut profile, word);
            config["linux"]["seccomp"] = profile;
        });
    };
    check("action", "SeccompAction", &seccomp["actions"], &|profile, word| match word {
        "SCMP_ACT_NOTIFY" => notify(profile),
        _ => profile["syscalls"][0]["action"] = json!(word),
    });
    check("operator", "SeccompOperators", &seccomp["operators"], &|profile, word| {
        profile["syscalls"][0]["args"] = json!([{"index": 0, "value": 1, "valueTwo": 1, "op": word}]);
    });
    check("flag", "SeccompFlag", &seccomp["knownFlags"], &|profile, word| {
        if word == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
            notify(profile);
        }
        profile["flags"] = json!([word]);
    });
    check("architecture", "SeccompArch", &seccomp["archs"], &|profile, word| profile["architectures"] = json!([word]));
    // This kernel is newer than every flag.
    assert_eq!(seccomp["supportedFlags"], seccomp["knownFlags"]);
}

#[test]
fn what_is_enabled_is_planned_and_what_is_not_is_refused_by_name() {
    not_in_runc!("it has no plan");
    let features = features();
    let linux = &features["linux"];
    let enabled = |pointer: &str| linux.pointer(pointer) == Some(&json!(true));
    for (pointer, field, edit) in [
        (
            "/apparmor/enabled",
            "apparmorProfile",
            (|c| c["process"]["apparmorProfile"] = json!("unconfined")) as fn(&mut Value),
        ),
        ("/selinux/enabled", "selinuxLabel", |c| {
            c["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0")
        }),
        ("/selinux/enabled", "mountLabel", |c| {
            c["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0")
        }),
        ("/intelRdt/enabled", "intelRdt", |c| c["linux"]["intelRdt"] = json!({"closID": "/"})),
    ] {
        // Whether this host has it is another question, and an error of other words.
        let output = plan(edit);
        let refused = output.stderr.contains(&format!("{field}: is not supported yet"));
        assert_eq!(refused, !enabled(pointer), "{pointer}: {output:?}");
    }
    let c = Container::idle().with(|c| c["linux"]["cgroupsPath"] = json!("a.slice:b:c"));
    let mut command = c.command(&["--systemd-cgroup", "plan", "--bundle", "bundle", &c.id]);
    // A plan asks nobody.
    let systemd = c.finish(command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent"));
    assert_eq!(systemd.code == 0, enabled("/cgroup/systemd"), "{systemd:?}");
    // This host has v1, so a plan shows it.
    assert!(enabled("/cgroup/v1"));
    plan(|_| {}).ok();
    let modes = [
        "MPOL_DEFAULT",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_WEIGHTED_INTERLEAVE",
        "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY",
        "MPOL_LOCAL",
    ];
    each_is_planned_if_claimed("mode", &modes, &words(&linux["memoryPolicy"]["modes"]), |config, word| {
        config["linux"]["memoryPolicy"] = match word {
            "MPOL_DEFAULT" | "MPOL_LOCAL" => json!({"mode": word}),
            _ => json!({"mode": word, "nodes": "0"}),
        };
    });
    let flags = ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];
    each_is_planned_if_claimed("mode flag", &flags, &words(&linux["memoryPolicy"]["flags"]), |config, word| {
        config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [word]});
    });
}

#[test]
fn a_claimed_idmap_and_a_claimed_interface_are_planned() {
    not_in_runc!("it has no plan");
    let features = features();
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
    let c = Container::idle().with(|config| config["linux"]["netDevices"] = json!({"nfrun-absent0": {}}));
    let output = c.runtime(&["plan", "--no-host", "--bundle", "bundle", &c.id]);
    assert!(output.ok().contains("left out: linux.netDevices"), "it asks for something of the host: {output:?}");
    // And there is none of that name here.
    c.try_create().fails(1, &["linux.netDevices", "nfrun-absent0"]);
}
