//! What the commands that look say: `list`, `ps`, `state`, `--version`, and what `spec` writes.

#[macro_use]
mod common;

use common::*;

#[test]
fn state_tells_version_id_pid_bundle_rootfs_time_and_annotations() {
    let c = Container::idle().with(|config| config["annotations"] = json!({"org.example.note": "one\ntwo"}));
    c.create();
    let state = c.state();
    if !is_reference() {
        assert_eq!(state["ociVersion"], "1.0.2", "the bundle's; runc 1.1 prints the one that it was built with");
    }
    assert_eq!(state["id"], c.id.as_str());
    assert_eq!(state["bundle"], c.bundle.to_str().unwrap());
    assert_eq!(state["rootfs"], c.rootfs("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(state["annotations"]["org.example.note"], "one\ntwo");
    assert!(state["owner"].is_string(), "{state}");
    let created = state["created"].as_str().expect("a time");
    assert!(created.ends_with('Z') && created.contains('T') && created.starts_with("20"), "RFC 3339, UTC: {created}");
    assert_eq!(c.state()["created"], created, "the time of creation stays");
}

#[test]
fn list_prints_a_table_ids_or_json_of_all_containers() {
    let mut c = Container::idle();
    for name in ["bravo", "alpha"] {
        c.config["linux"]["cgroupsPath"] = json!(format!("{}/{name}", c.cgroup_parent));
        c.save();
        c.runtime(&["create", "--bundle", "bundle", name]).ok();
    }
    c.runtime(&["start", "alpha"]).ok();
    assert_eq!(c.runtime(&["list", "-q"]).ok(), "alpha\nbravo");
    let table = c.runtime(&["list"]).ok().to_owned();
    let heads: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let alpha: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((alpha[0], alpha[2], alpha[5]), ("alpha", "running", "root"));
    let list: Value = serde_json::from_str(c.runtime(&["list", "--format", "json"]).ok()).expect("JSON");
    let of = |n: usize| (list[n]["id"].as_str().unwrap(), list[n]["status"].as_str().unwrap());
    assert_eq!([of(0), of(1)], [("alpha", "running"), ("bravo", "created")]);
    for field in ["ociVersion", "pid", "bundle", "rootfs", "created", "owner"] {
        assert!(!list[0][field].is_null(), "{field} in {list}");
    }
}

#[test]
fn list_of_a_root_without_containers_is_empty_and_of_a_broken_one_an_error() {
    let c = Container::idle();
    std::fs::create_dir(&c.root).unwrap();
    assert_eq!(c.runtime(&["list", "-q"]).ok(), "");
    assert_eq!(c.runtime(&["list", "--format", "json"]).ok(), "null", "runc prints Go's empty list");
    c.runtime(&["list", "--format", "yaml"]).fails(1, &["invalid format option"]);
}

#[test]
fn list_fails_on_a_missing_root_only_where_one_was_given() {
    not_in_runc!("it came in 1.2");
    let c = Container::idle();
    let given = c.runtime(&["list"]);
    assert!(given.code == 1 && given.stderr.contains(c.root.to_str().unwrap()), "{given:?}");
    // The default one is missing where nothing has been made since the boot.
    let script = "mount -t tmpfs none /run && exec \"$0\" list -q";
    let mut list = std::process::Command::new("unshare");
    list.args(["--mount", "sh", "-c", script]).arg(binary());
    assert_eq!(c.finish(list.stdin(std::process::Stdio::null())).ok(), "");
}

#[test]
fn ps_shows_the_containers_processes_with_the_hosts_pids() {
    let c = Container::sh("sleep 1001 & echo up; wait");
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    let pids: Vec<i32> = serde_json::from_str(c.on_id(&["ps", "--format", "json"]).ok()).expect("a list");
    let outside: Vec<i32> =
        common::outside::processes_of(&c.cgroup_parent, std::path::Path::new("/nowhere")).into_iter().collect();
    assert_eq!(pids.len(), 2);
    assert!(outside.iter().all(|pid| pids.contains(pid)), "{pids:?} {outside:?}");
    let table = c.on_id(&["ps"]).ok().to_owned();
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert_eq!(table.lines().count(), 3, "a head and two processes: {table}");
    let chosen = c.runtime(&["ps", &c.id, "-o", "pid,args"]).ok().to_owned();
    assert!(chosen.contains("sleep 1001") && chosen.contains(&pids[0].to_string()), "{chosen}");
}

#[test]
fn version_names_the_runtime_and_the_specification_as_drivers_read_it() {
    let c = Container::idle();
    let text = c.runtime(&["--version"]).ok().to_owned();
    let name = binary().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(text.lines().next().unwrap().starts_with(&format!("{name} version ")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("spec: 1.")), "{text}");
}

#[test]
fn spec_writes_a_document_that_runs_and_never_overwrites_one() {
    let c = Container::idle();
    std::fs::remove_file(c.bundle.join("config.json")).unwrap();
    c.runtime(&["spec", "--bundle", "bundle"]).ok();
    let mut config: Value = serde_json::from_slice(&std::fs::read(c.bundle.join("config.json")).unwrap()).unwrap();
    assert_eq!((&config["process"]["args"], &config["process"]["terminal"]), (&json!(["sh"]), &json!(true)));
    c.runtime(&["spec", "--bundle", "bundle"]).fails(1, &["File config.json exists. Remove it first"]);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "specified"]);
    config["linux"]["cgroupsPath"] = json!(format!("{}/c", c.cgroup_parent));
    std::fs::write(c.bundle.join("config.json"), config.to_string()).unwrap();
    assert_eq!(c.run().ok(), "specified");
}
