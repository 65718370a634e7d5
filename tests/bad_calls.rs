//! Commands that a user gets wrong: ids, flags, files and places; each is refused by name and leaves nothing behind.

#[macro_use]
mod common;

use std::fs;

use common::*;

#[test]
fn a_missing_config_or_bundle_is_named() {
    let c = Container::idle();
    fs::remove_file(c.bundle.join("config.json")).unwrap();
    c.try_create().fails(1, &["JSON specification file config.json not found"]);
    c.runtime(&["create", "--bundle", "/nfrun-test/nowhere", &c.id]).fails(1, &["/nfrun-test/nowhere", "no such file"]);
}

#[test]
fn ids_that_cannot_name_a_directory_are_refused() {
    let c = Container::idle();
    let before = c.leftovers();
    let long = "x".repeat(300);
    for (id, says) in [
        ("", "container id cannot be empty"),
        ("..", "invalid container ID format"),
        (".", "invalid container ID format"),
        ("a/b", "invalid container ID format"),
        ("../../etc", "invalid container ID format"),
        ("white space", "invalid container ID format"),
        ("new\nline", "invalid container ID format"),
        (&long, ""),
    ] {
        for verb in ["create", "run"] {
            c.runtime(&[verb, "--bundle", "bundle", id]).fails(1, &[says]);
        }
        for verb in ["state", "start", "delete"] {
            assert_eq!(c.runtime(&[verb, id]).code, 1, "{verb} {id:?}");
        }
    }
    before.assert_nothing_new();
    // Everything that runc takes.
    c.runtime(&["create", "--bundle", "bundle", "Az09_+-."]).ok();
}

#[test]
fn an_id_that_exists_is_refused_and_the_one_who_has_it_is_left_alone() {
    let c = Container::idle().up();
    let before = c.leftovers();
    c.try_create().fails(1, &["container with given ID already exists"]);
    c.runtime(&c.words("run", &[])).fails(1, &["container with given ID already exists"]);
    before.assert_nothing_new();
    assert_eq!(c.status(), "running");
}

#[test]
fn flags_and_commands_that_do_not_exist_are_refused() {
    let c = Container::idle();
    c.runtime(&["create", "--no-such-flag", &c.id]).fails(1, &["no-such-flag"]);
    assert_ne!(c.runtime(&["conjure", &c.id]).code, 0);
    assert_ne!(c.runtime(&["state"]).code, 0);
    assert_ne!(c.runtime(&["create", "--preserve-fds", "many", &c.id]).code, 0);
    c.runtime(&["--log-format", "xml", "list"]).fails(1, &["xml"]);
}

#[test]
fn a_state_root_that_cannot_be_written_is_named_and_leaves_nothing() {
    let mut c = Container::idle();
    // Read-only, and full: a tmpfs of one page that a file has taken.
    for (name, flags, data) in
        [("readonly", nix::mount::MsFlags::MS_RDONLY, "size=1m"), ("full", nix::mount::MsFlags::empty(), "size=4k")]
    {
        let root = c.dir.join(name);
        fs::create_dir(&root).unwrap();
        nix::mount::mount(Some("t"), &root, Some("tmpfs"), flags, Some(data)).unwrap();
        if name == "full" {
            let _ = fs::write(root.join(".ballast"), [0; 8192]);
        }
        c.root = root.clone();
        let before = c.leftovers();
        let output = c.try_create();
        let why = if name == "full" { "no space left on device" } else { "read-only file system" };
        let named = [why, root.to_str().unwrap()];
        // runc 1.1 has no words for a full one.
        output.fails(1, if name == "full" && is_reference() { &[] } else { &named });
        before.assert_nothing_new();
        outside::unmount(&root).unwrap();
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_undoes_the_create() {
    let c = Container::idle();
    let before = c.leftovers();
    c.runtime(&c.words("create", &["--pid-file", "/nfrun-test/no/pid"])).fails(1, &["/nfrun-test/no"]);
    before.assert_nothing_new();
}

#[test]
fn errors_go_to_the_log_file_in_the_format_that_drivers_parse() {
    let c = Container::idle().with(|config| config["process"]["args"] = json!(["nosuch"]));
    let words = c.words("create", &[]);
    let output = c.runtime(&[&["--log", "log.json", "--log-format", "json"][..], &words].concat());
    output.fails(1, &["executable file not found in $PATH"]);
    let log = fs::read_to_string(c.dir.join("log.json")).expect("a log file");
    let entry: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON a line");
    assert_eq!(entry["level"], "error");
    assert!(entry["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{entry}");
    assert!(entry["time"].as_str().unwrap().contains('T'), "{entry}");
}
