//! A container's life as its user sees it: created, started, watched, paused, killed, deleted.

#[macro_use]
mod common;

use std::io::Read;

use common::bundle::drop_namespace;
use common::*;

#[test]
fn a_container_goes_from_created_to_running_to_stopped_to_nothing() {
    let c = Container::sh("trap 'exit 3' TERM; sleep 1000 & wait");
    let before = c.leftovers();
    c.create();
    assert_eq!(c.status(), "created");
    let init = pidfd(c.pid()).expect("init waits for start");
    c.start();
    assert_eq!(c.status(), "running");
    c.kill("KILL");
    assert!(ends_within(&init, LIMIT));
    assert_eq!(c.state()["pid"], 0, "a stopped container has no pid");
    c.on_id(&["delete"]).ok();
    c.on_id(&["state"]).fails(1, &["container does not exist"]);
    before.assert_nothing_new();
}

#[test]
fn the_created_init_is_not_yet_the_users_program() {
    let c = Container::new(&["touch", "/tmp/started"]).with(|config| config["root"]["readonly"] = json!(false));
    c.create();
    assert!(!c.rootfs("/tmp/started").exists(), "created is not started");
    c.start();
    c.wait_for("stopped");
    assert!(c.rootfs("/tmp/started").exists(), "start runs the program");
}

#[test]
fn run_keep_leaves_a_stopped_container() {
    let c = Container::sh("exit 7");
    assert_eq!(c.runtime(&c.words("run", &["--keep"])).code, 7);
    assert_eq!(c.status(), "stopped");
    c.on_id(&["delete"]).ok();
    c.on_id(&["state"]).fails(1, &["container does not exist"]);
}

#[test]
fn run_detach_returns_while_the_program_runs_and_writes_its_pid_beside_the_caller() {
    let c = Container::idle();
    c.runtime(&c.words("run", &["--detach", "--pid-file", "init.pid"])).ok();
    let pid = std::fs::read_to_string(c.dir.join("init.pid")).expect("a pid file relative to the caller's directory");
    assert_eq!(pid, c.pid().to_string(), "the file holds the number and nothing else");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap().file_name().unwrap(), "busybox");
}

#[test]
fn create_writes_the_pid_file_that_drivers_wait_for() {
    let c = Container::idle();
    let file = c.dir.join("a.pid");
    c.runtime(&c.words("create", &["--pid-file", file.to_str().unwrap()])).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), c.pid().to_string());
}

#[test]
fn options_stand_after_the_id_as_well() {
    not_in_runc!("its parser stops at the id");
    let c = Container::idle();
    let bundle = c.bundle.to_str().unwrap();
    c.runtime(&["create", &c.id, "--bundle", bundle, "--pid-file", "after.pid"]).ok();
    assert_eq!(std::fs::read_to_string(c.dir.join("after.pid")).unwrap(), c.pid().to_string());
    c.on_id(&["start"]).ok();
    c.runtime(&["delete", &c.id, "--force"]).ok();
    c.on_id(&["state"]).fails(1, &["container does not exist"]);
}

#[test]
fn the_bundle_is_the_callers_directory_unless_named() {
    let c = Container::sh("echo from here");
    let output = c.finish(c.command(&["run", &c.id]).current_dir(&c.bundle));
    assert_eq!(output.ok(), "from here");
}

#[test]
fn a_bundle_named_relatively_is_kept_as_an_absolute_path() {
    let c = Container::idle();
    c.runtime(&["create", "--bundle", "bundle", &c.id]).ok();
    assert_eq!(c.state()["bundle"], c.bundle.to_str().unwrap());
    c.start();
    assert_eq!(c.status(), "running");
}

#[test]
fn sigkill_of_init_from_outside_is_seen_as_stopped() {
    let c = Container::idle().up();
    let init = pidfd(c.pid()).expect("init");
    events::signal(&init, libc::SIGKILL);
    assert!(ends_within(&init, LIMIT));
    c.wait_for("stopped");
    assert!(!c.runtime(&["list"]).ok().contains("running"));
    c.on_id(&["delete"]).ok();
}

#[test]
fn sigkill_of_a_created_init_is_seen_as_stopped_and_cannot_be_started() {
    let c = Container::idle();
    let before = c.leftovers();
    c.create();
    let init = pidfd(c.pid()).expect("init");
    events::signal(&init, libc::SIGKILL);
    assert!(ends_within(&init, LIMIT));
    c.wait_for("stopped");
    c.on_id(&["start"]).fails(1, &["cannot start a container that has stopped"]);
    c.on_id(&["delete"]).ok();
    before.assert_nothing_new();
}

#[test]
fn kill_sends_the_signal_by_name_by_signame_and_by_number() {
    let c = Container::sh(
        "for s in HUP USR1 USR2 TERM; do trap \"echo $s\" $s; done; echo ready; while :; do sleep 1000 & wait $!; done",
    );
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "ready");
    for (given, received) in [("USR1", "USR1"), ("SIGUSR2", "USR2"), ("1", "HUP"), ("usr1", "USR1")] {
        c.runtime(&["kill", &c.id, given]).ok();
        assert_eq!(lines.line(), received, "kill {given}");
    }
    c.on_id(&["kill"]).ok();
    assert_eq!(lines.line(), "TERM", "TERM is the signal when none is named");
}

#[test]
fn kill_of_what_does_not_run_says_what_drivers_look_for() {
    let c = Container::idle();
    c.runtime(&["kill", &c.id, "KILL"]).fails(1, &["container does not exist"]);
    c.create().start();
    c.runtime(&["kill", &c.id, "NOSUCH"]).fails(1, &["unknown signal", "NOSUCH"]);
    c.kill("9");
    c.runtime(&["kill", &c.id, "KILL"]).fails(1, &["container not running"]);
    c.runtime(&["kill", &c.id, "0"]).fails(1, &["container not running"]);
}

#[test]
fn kill_of_a_created_container_ends_its_init() {
    let c = Container::idle();
    c.create().kill("KILL");
    c.on_id(&["delete"]).ok();
}

#[test]
fn kill_all_reaches_every_process_of_the_container() {
    let c = Container::sh("sleep 1001 & sleep 1002 & echo up; wait");
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    let all: Vec<_> = common::outside::processes_of(&c.cgroup_parent, &c.dir).into_iter().filter_map(pidfd).collect();
    assert!(all.len() >= 3);
    c.runtime(&["kill", "--all", &c.id, "KILL"]).ok();
    assert!(all.iter().all(|process| ends_within(process, LIMIT)), "one survived kill --all");
    c.wait_for("stopped");
    let again = c.runtime(&["kill", "--all", &c.id, "KILL"]);
    assert!(
        again.code == 0 || again.stderr.contains("not running"),
        "an empty container has nobody to kill: {again:?}"
    );
}

#[test]
fn a_running_container_is_deleted_only_by_force() {
    let c = Container::idle();
    let before = c.leftovers();
    let c = c.up();
    c.on_id(&["delete"]).fails(1, &["cannot delete container", "that is not stopped: running"]);
    assert_eq!(c.status(), "running", "the refused delete harmed nothing");
    let init = pidfd(c.pid()).expect("init");
    c.on_id(&["delete", "--force"]).ok();
    assert!(ends_within(&init, LIMIT));
    before.assert_nothing_new();
}

#[test]
fn a_created_container_is_deleted_without_force_as_runc_does() {
    let c = Container::idle();
    let before = c.leftovers();
    c.create().on_id(&["delete"]).ok();
    before.assert_nothing_new();
}

#[test]
fn delete_force_of_a_paused_container_leaves_nothing() {
    let c = Container::idle();
    let before = c.leftovers();
    let c = c.up();
    c.on_id(&["pause"]).ok();
    c.on_id(&["delete", "--force"]).ok();
    before.assert_nothing_new();
}

#[test]
fn only_delete_force_is_content_with_an_absent_container() {
    let c = Container::idle();
    c.runtime(&["delete", "absent"]).fails(1, &["container does not exist"]);
    let forced = c.runtime(&["delete", "--force", "absent"]);
    assert_eq!((forced.ok(), forced.stderr.as_str()), ("", ""), "nothing to do, nothing to say");
}

#[test]
fn delete_takes_several_ids_and_goes_on_after_a_bad_one() {
    not_in_runc!("it takes one id");
    let mut c = Container::idle();
    let before = c.leftovers();
    for name in ["one", "two"] {
        c.config["linux"]["cgroupsPath"] = json!(format!("{}/{name}", c.cgroup_parent));
        c.save();
        c.runtime(&["create", "--bundle", "bundle", name]).ok();
    }
    c.runtime(&["delete", "--force", "one", "absent", "two"]).ok();
    before.assert_nothing_new();
    c.runtime(&["delete", "absent", "absent2"]).fails(1, &["absent", "absent2", "container does not exist"]);
}

#[test]
fn commands_in_the_wrong_state_say_so_in_runcs_words() {
    let c = Container::idle();
    for verb in ["state", "start", "kill", "pause", "resume", "ps", "delete"] {
        c.on_id(&[verb]).fails(1, &["container does not exist"]);
    }
    c.create();
    c.try_create().fails(1, &["container with given ID already exists"]);
    assert_eq!(c.status(), "created", "the refused create harmed nothing");
    c.start();
    c.on_id(&["start"]).fails(1, &["cannot start an already running container"]);
    c.on_id(&["resume"]).fails(1, &["container not paused"]);
    c.kill("KILL");
    c.on_id(&["start"]).fails(1, &["cannot start a container that has stopped"]);
    c.on_id(&["pause"]).fails(1, &["container not running"]);
    c.on_id(&["resume"]).fails(1, &["container not paused"]);
    c.exec(&["true"]).fails(255, &["cannot exec in a stopped container"]);
}

#[test]
fn pause_stops_every_process_until_resume() {
    let c = Container::sh("while :; do echo tick; usleep 1000; done");
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "tick");
    c.on_id(&["pause"]).ok();
    assert_eq!(c.status(), "paused");
    assert!(c.is_frozen());
    // What had been written before the freeze is read; then nothing may come.
    let mut pipe = [0; 65536];
    let reader = lines.reader();
    while readable_within(reader, std::time::Duration::ZERO) {
        reader.read_exact(&mut pipe[..1]).unwrap();
    }
    assert!(!readable_within(reader, std::time::Duration::from_millis(50)), "a paused container wrote");
    c.on_id(&["resume"]).ok();
    assert_eq!(c.status(), "running");
    assert!(readable_within(lines.reader(), LIMIT), "a resumed container goes on");
}

#[test]
fn a_container_in_the_hosts_pid_namespace_is_killed_and_deleted_with_all_its_processes() {
    let c =
        Container::sh("sleep 1001 & setsid sleep 1002 & echo up; wait").with(|config| drop_namespace(config, "pid"));
    let before = c.leftovers();
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    let all: Vec<_> = common::outside::processes_of(&c.cgroup_parent, &c.dir).into_iter().filter_map(pidfd).collect();
    assert!(all.len() >= 3);
    c.kill("KILL");
    c.on_id(&["delete"]).ok();
    assert!(all.iter().all(|process| ends_within(process, LIMIT)), "a process survived its container");
    before.assert_nothing_new();
}

#[test]
fn delete_removes_what_a_dead_init_left_in_the_hosts_pid_namespace() {
    let c = Container::sh("setsid sleep 1002 & echo up; exit 0").with(|config| drop_namespace(config, "pid"));
    let before = c.leftovers();
    let mut lines = c.up_with_lines();
    assert_eq!(lines.line(), "up");
    c.wait_for("stopped");
    c.on_id(&["delete"]).ok();
    before.assert_nothing_new();
}

#[test]
fn gc_finishes_nothing_that_is_whole() {
    not_in_runc!("it has no gc");
    let c = Container::idle().up();
    c.runtime(&["gc"]).ok();
    assert_eq!(c.status(), "running");
}

#[test]
fn a_program_named_as_init_is_does_not_look_created() {
    not_in_runc!("it has another mark of that state");
    let c = Container::new(&["/tmp/nfrun-init/busybox", "sleep", "1000"]);
    std::fs::create_dir_all(c.rootfs("/tmp/nfrun-init")).unwrap();
    std::fs::copy("/bin/busybox", c.rootfs("/tmp/nfrun-init/busybox")).unwrap();
    c.create().start();
    let state: Value = serde_json::from_str(c.on_id(&["state"]).ok()).unwrap();
    assert_eq!(state["status"], "running");
    c.on_id(&["delete", "--force"]).ok();
}

/// vm.memfd_noexec belongs to a pid namespace (Linux 6.3), so the test's own one is set.
#[test]
fn where_executable_memfds_are_forbidden_a_container_is_created_started_and_entered() {
    not_in_runc!("it has another way in");
    let c = Container::idle();
    let root = c.dir.join("forbidding");
    let script = r#"echo 2 2> /dev/null > /proc/sys/vm/memfd_noexec || { echo unknown; exit; }
        "$0" --root "$1" create --bundle bundle x < /dev/null > /dev/null 2>&1 && "$0" --root "$1" state x | grep -o '"created",'
        "$0" --root "$1" start x && "$0" --root "$1" exec x echo entered; "$0" --root "$1" delete --force x"#;
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount", "--mount-proc", "sh", "-c", script]).arg(binary()).arg(&root);
    let output = c.finish(command.current_dir(&c.dir));
    if output.stdout == "unknown\n" {
        skip!("this kernel has no vm.memfd_noexec");
    }
    assert_eq!(output.stdout, "\"created\",\nentered\n", "{output:?}");
}
