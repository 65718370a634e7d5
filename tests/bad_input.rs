//! What a user gets wrong: each mistake is refused with the name of what is wrong, and leaves nothing behind.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::bundle::{drop_namespace, push};
use common::*;

/// Creates a container from a document that is wrong in one place, and checks the refusal.
#[track_caller]
fn refused(edit: impl FnOnce(&mut Value), says: &[&str]) {
    let c = Container::idle().with(edit);
    let before = c.leftovers();
    c.try_create().fails(1, says);
    before.assert_nothing_new();
    c.on_id(&["state"]).fails(1, &["container does not exist"]);
}

/// The same, where runc 1.1 says something else or nothing.
#[track_caller]
fn refused_by_ours(edit: impl FnOnce(&mut Value), says: &[&str]) {
    if !is_reference() {
        refused(edit, says);
    }
}

/// Creates a container whose config.json is this text.
#[track_caller]
fn refused_text(text: &[u8], says: &[&str]) {
    let c = Container::idle();
    fs::write(c.bundle.join("config.json"), text).unwrap();
    let before = c.leftovers();
    c.try_create().fails(1, says);
    before.assert_nothing_new();
}

#[test]
fn an_empty_or_truncated_config_ends_too_early() {
    refused_text(b"", &["EOF"]);
    refused_text(b"   \n", &["EOF"]);
    let whole = serde_json::to_vec(&base()).unwrap();
    refused_text(&whole[..whole.len() / 2], &["EOF"]);
    refused_text(&whole[..whole.len() - 1], &["EOF"]);
}

#[test]
fn a_config_that_is_no_json_or_no_object_is_refused() {
    for text in ["not json", "[]", "17", "\"text\"", "null\n"] {
        if text == "null\n" && is_reference() {
            continue; // runc 1.1 dereferences it.
        }
        refused_text(text.as_bytes(), &[]);
    }
}

#[test]
fn a_config_of_a_hundred_megabytes_is_refused_or_read_but_never_a_crash() {
    let mut text = br#"{"annotations": {"big": ""#.to_vec();
    text.resize(100 << 20, b'x');
    text.extend_from_slice(br#""}}"#);
    refused_text(&text, &[]);
}

#[test]
fn a_deeply_nested_config_is_refused_without_overrunning_the_stack() {
    let deep = |depth: usize| format!("{{\"x\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    refused_text(deep(1_000_000).as_bytes(), &[]);
    refused_text(deep(100_000).as_bytes(), &[]);
}

#[test]
fn a_wrong_type_names_its_field() {
    refused(|config| config["process"]["args"] = json!("sh"), &["process.args"]);
    refused(|config| config["process"]["user"]["uid"] = json!(-1), &["process.user.uid"]);
    refused(|config| config["process"]["user"]["uid"] = json!(1u64 << 32), &["process.user.uid"]);
    refused(|config| config["root"]["readonly"] = json!("yes"), &["root.readonly"]);
    refused(|config| config["mounts"] = json!({}), &["mounts"]);
    refused(|config| config["mounts"][2]["options"] = json!("ro"), &["mounts", "options"]);
    refused(|config| config["linux"]["resources"]["memory"] = json!({"limit": "lots"}), &["limit"]);
    refused(|config| config["linux"]["namespaces"] = json!("pid"), &["linux.namespaces"]);
}

#[test]
fn what_must_be_there_is_asked_for_by_name() {
    fn without(config: &mut Value, path: &[&str]) {
        let (last, parents) = path.split_last().unwrap();
        let object = parents.iter().fold(config, |value, name| &mut value[*name]);
        object.as_object_mut().unwrap().remove(*last);
    }
    refused(|config| without(config, &["process"]), &["process"]);
    refused(|config| without(config, &["root"]), &["root"]);
    refused(|config| without(config, &["process", "args"]), &["args"]);
    refused(|config| config["process"]["args"] = json!([]), &["args"]);
    refused(|config| config["process"]["cwd"] = json!("relative/dir"), &["absolute path"]);
    refused_by_ours(|config| without(config, &["ociVersion"]), &["ociVersion"]);
    refused_by_ours(|config| config["ociVersion"] = json!("2.0.0"), &["ociVersion", "2.0.0"]);
    refused_by_ours(|config| config["ociVersion"] = json!("one"), &["ociVersion", "one"]);
}

#[test]
fn unknown_and_duplicate_namespaces_are_named() {
    refused(|config| push(&mut config["linux"]["namespaces"], json!({"type": "planet"})), &["planet"]);
    refused(|config| push(&mut config["linux"]["namespaces"], json!({"type": "pid"})), &["pid", "duplicate"]);
    refused(
        |config| push(&mut config["linux"]["namespaces"], json!({"type": "uts", "path": "/proc/1/ns/uts"})),
        &["uts"],
    );
}

#[test]
fn a_namespace_path_that_is_missing_or_of_another_kind_is_refused() {
    let with_path =
        |path: &'static str| move |config: &mut Value| config["linux"]["namespaces"][1]["path"] = json!(path);
    refused(with_path("/nfrun-test/ns"), &["/nfrun-test/ns"]);
    refused(with_path("/proc/self/ns/ipc"), &["net"]);
    refused(with_path("/etc/passwd"), &[]);
    refused_by_ours(with_path("relative"), &["relative"]);
}

#[test]
fn names_of_the_host_are_not_set_without_a_namespace_for_them() {
    refused(|config| drop_namespace(config, "uts"), &["hostname", "UTS"]);
    refused_by_ours(
        |config| {
            drop_namespace(config, "uts");
            config["hostname"] = json!("");
            config["domainname"] = json!("example.org");
        },
        &["domainname"],
    );
    refused(|config| config["linux"]["sysctl"] = json!({"kernel.core_pattern": "x"}), &["kernel.core_pattern"]);
    refused(
        |config| {
            drop_namespace(config, "network");
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        },
        &["net.ipv4.ip_forward"],
    );
    refused(|config| config["linux"]["sysctl"] = json!({"net.nosuch": "1"}), &["net"]);
}

#[test]
fn an_unknown_rlimit_a_soft_one_above_the_hard_and_one_out_of_reach_are_refused() {
    let limit = |kind: &str, soft: u64, hard: u64| json!([{"type": kind, "soft": soft, "hard": hard}]);
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    refused(|config| config["process"]["rlimits"] = limit("RLIMIT_BOGUS", 1, 1), &["RLIMIT_BOGUS"]);
    refused(|config| config["process"]["rlimits"] = limit("RLIMIT_NOFILE", 11, 10), &[]);
    refused(|config| config["process"]["rlimits"] = limit("RLIMIT_NOFILE", 5, most + 1), &["operation not permitted"]);
    refused_by_ours(|config| config["process"]["rlimits"] = limit("RLIMIT_NOFILE", 11, 10), &["RLIMIT_NOFILE"]);
    refused_by_ours(|config| config["process"]["rlimits"] = limit("RLIMIT_NOFILE", 5, most + 1), &["RLIMIT_NOFILE"]);
    refused_by_ours(
        |config| {
            let one = config["process"]["rlimits"][0].clone();
            push(&mut config["process"]["rlimits"], one);
        },
        &["RLIMIT_NOFILE", "duplicate"],
    );
}

#[test]
fn an_oom_score_out_of_range_is_refused() {
    refused(|config| config["process"]["oomScoreAdj"] = json!(3000), &["oom_score_adj"]);
}

#[test]
fn an_invalid_variable_is_refused_by_name() {
    let c = Container::idle().with(|config| push(&mut config["process"]["env"], json!("NOVALUE")));
    let before = c.leftovers();
    let output = c.try_create();
    assert!(output.code == 1 && output.stderr.contains("NOVALUE"), "{output:?}");
    before.assert_nothing_new();
}

#[test]
fn mounts_that_cannot_be_are_named() {
    let mount = |mount: Value| move |config: &mut Value| push(&mut config["mounts"], mount);
    let tmpfs = |options: Value| json!({"destination": "/mnt", "type": "tmpfs", "source": "t", "options": options});
    refused(mount(json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"})), &["/mnt", "no such device"]);
    refused(mount(tmpfs(json!(["nosuchoption=1"]))), &["/mnt", "invalid argument"]);
    refused(
        mount(json!({"destination": "/mnt", "type": "bind", "source": "/nfrun-test/no", "options": ["bind"]})),
        &["/nfrun-test/no"],
    );
    refused(mount(json!({"destination": "/proc/newdir", "type": "tmpfs", "source": "t"})), &["/proc/newdir"]);
    refused_by_ours(mount(json!({"type": "tmpfs", "source": "t"})), &["destination"]);
    refused_by_ours(mount(tmpfs(json!(["size=1m", "size=2m"]))), &["size"]);
    refused_by_ours(mount(tmpfs(json!(["shared", "private"]))), &["shared", "private"]);
    // A directory on a file.
    refused(
        mount(json!({"destination": "/etc/passwd", "type": "tmpfs", "source": "t"})),
        &["/etc/passwd", "not a directory"],
    );
}

#[test]
fn a_missing_rootfs_or_one_that_is_no_directory_is_named() {
    refused(|config| config["root"]["path"] = json!("nowhere"), &["rootfs", "nowhere", "no such file or directory"]);
    let c = Container::idle().with(|config| config["root"]["path"] = json!("config.json"));
    let before = c.leftovers();
    let output = c.try_create();
    assert_eq!(output.code, 1, "{output:?}");
    assert!(is_reference() || output.stderr.contains("config.json"), "{output:?}");
    before.assert_nothing_new();
}

#[test]
fn a_command_that_cannot_be_run_fails_at_create_and_says_why() {
    let args = |args: &'static [&str]| move |config: &mut Value| config["process"]["args"] = json!(args);
    refused(args(&["nosuch"]), &["\\\"nosuch\\\"", "executable file not found in $PATH"]);
    refused(args(&["/bin/nosuch"]), &["/bin/nosuch", "no such file or directory"]);
    refused(args(&["/etc"]), &["/etc", "permission denied"]);
    refused(args(&["/etc/passwd"]), &["/etc/passwd", "permission denied"]);
    refused(args(&[""]), &[]);
}

#[test]
fn a_script_whose_interpreter_is_missing_names_both_files() {
    let c = Container::new(&["/bin/orphan", "x"]);
    fs::write(c.rootfs("/bin/orphan"), "#!/no/interpreter -x\n").unwrap();
    fs::set_permissions(c.rootfs("/bin/orphan"), PermissionsExt::from_mode(0o755)).unwrap();
    let before = c.leftovers();
    let output = c.run();
    output.fails(1, &["/bin/orphan", "no such file or directory"]);
    assert!(is_reference() || output.stderr.contains("/no/interpreter"), "{output:?}");
    before.assert_nothing_new();
}

#[test]
fn mappings_that_overlap_or_are_missing_are_refused() {
    let maps = |maps: Value| {
        move |config: &mut Value| {
            push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps;
        }
    };
    refused(maps(json!(null)), &["mapping"]);
    refused(maps(json!([])), &["mapping"]);
    let range = |inside: u32, outside: u32| json!({"containerID": inside, "hostID": outside, "size": 1000});
    refused(maps(json!([range(0, 100_000), range(500, 200_000)])), &[]);
    refused_by_ours(maps(json!([range(0, 100_000), range(500, 200_000)])), &["uidMappings", "overlap"]);
    refused_by_ours(maps(json!([range(0, 100_000), range(5000, 100_500)])), &["uidMappings", "overlap"]);
    refused_by_ours(|config| config["linux"]["uidMappings"] = json!([range(0, 0)]), &["uidMappings"]);
}

#[test]
fn unknown_words_of_seccomp_devices_and_propagation_are_named() {
    refused(|config| config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_DANCE"}), &["SCMP_ACT_DANCE"]);
    refused(|config| config["linux"]["rootfsPropagation"] = json!("sideways"), &["sideways"]);
    let device = |device: Value| move |config: &mut Value| config["linux"]["devices"] = json!([device]);
    refused(device(json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 3})), &["z"]);
}

#[test]
fn what_this_version_does_not_have_is_refused_by_name() {
    refused_by_ours(|config| config["linux"]["intelRdt"] = json!({"closID": "x"}), &["linux.intelRdt", "resctrl"]);
    refused_by_ours(|config| config["process"]["apparmorProfile"] = json!("nfrun-test"), &["apparmor"]);
}
