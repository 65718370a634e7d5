//! Who a container's process is: its user, words, environment, powers, limits, descriptors and terminal.

#[macro_use]
mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use common::bundle::set_capabilities;
use common::*;

/// All capabilities that root has on this machine, as a mask.
fn mask_of(numbers: &[u32]) -> String {
    format!("{:016x}", numbers.iter().fold(0u64, |mask, number| mask | 1 << number))
}

/// The descriptors that a process holds.
fn descriptors(pid: i32) -> Vec<i32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process");
    let mut fds: Vec<i32> = entries.flatten().map(|e| e.file_name().to_str().unwrap().parse().unwrap()).collect();
    fds.sort_unstable();
    fds
}

#[test]
fn the_process_has_the_user_groups_and_umask_of_the_bundle() {
    let c = Container::sh("umask; echo up; exec sleep 1000").with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 77], "umask": 0o27});
    });
    let mut lines = c.up_with_lines();
    assert_eq!([lines.line(), lines.line()], ["0027", "up"]);
    let pid = c.pid();
    assert_eq!(proc_status(pid, "Uid"), "1000 1000 1000 1000");
    assert_eq!(proc_status(pid, "Gid"), "1001 1001 1001 1001");
    assert_eq!(proc_status(pid, "Groups"), "5 77");
    assert_eq!(proc_status(pid, "Umask"), "0027");
}

#[test]
fn without_additional_gids_no_group_of_the_caller_comes_along() {
    let c = Container::idle().with(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000})).up();
    assert_eq!(proc_status(c.pid(), "Groups"), "");
}

#[test]
fn arguments_pass_as_given() {
    let words = ["printf", "[%s]", "", "two words", "*", "$HOME", "new\nline", "\u{fc}\u{1f980}"];
    assert_eq!(Container::new(&words).run().ok(), "[][two words][*][$HOME][new\nline][\u{fc}\u{1f980}]");
}

#[test]
fn the_last_of_a_duplicate_variable_wins_and_newlines_survive() {
    let c = Container::new(&["cat", "/proc/self/environ"]).with(|config| {
        config["process"]["env"] = json!(["A=first", "PATH=/bin", "B=one\ntwo", "A=last", "EMPTY=", "E=a=b"]);
    });
    let output = c.run();
    let mut variables: Vec<_> = output.ok().trim_end_matches('\0').split('\0').collect();
    variables.sort_unstable();
    assert_eq!(variables, ["A=last", "B=one\ntwo", "E=a=b", "EMPTY=", "HOME=/root", "PATH=/bin"]);
}

#[test]
fn home_comes_from_the_containers_passwd_when_empty_or_unset() {
    for (user, given, expected) in [
        (1000, None, "/home/alice"),
        (1000, Some("HOME="), "/home/alice"),
        (1000, Some("HOME=/elsewhere"), "/elsewhere"),
        (0, None, "/root"),
        (4242, None, "/"),
    ] {
        let c = Container::new(&["cat", "/proc/self/environ"]).with(|config| {
            config["process"]["user"]["uid"] = json!(user);
            config["process"]["env"] = json!(["PATH=/bin"]);
            if let Some(given) = given {
                bundle::push(&mut config["process"]["env"], json!(given));
            }
        });
        let output = c.run();
        let homes: Vec<_> = output.ok().split('\0').filter_map(|variable| variable.strip_prefix("HOME=")).collect();
        assert_eq!(homes, [expected], "uid {user}, {given:?}");
    }
}

#[test]
fn the_process_starts_in_its_cwd_which_is_made_when_missing() {
    let c = Container::new(&["pwd"]).with(|config| {
        config["root"]["readonly"] = json!(false);
        config["process"]["cwd"] = json!("/srv/deep/dir");
    });
    assert_eq!(c.run().ok(), "/srv/deep/dir");
}

#[test]
fn a_cwd_that_only_the_user_may_enter_is_entered_as_the_user() {
    let c = Container::new(&["pwd"]).with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["cwd"] = json!("/private");
    });
    std::fs::create_dir(c.rootfs("/private")).unwrap();
    std::os::unix::fs::chown(c.rootfs("/private"), Some(1000), Some(1000)).unwrap();
    std::fs::set_permissions(c.rootfs("/private"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(c.run().ok(), "/private");
}

#[test]
fn a_cwd_that_only_root_may_enter_is_entered_before_the_user_changes() {
    let c = Container::new(&["true"]).with(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["cwd"] = json!("/roots");
    });
    std::fs::create_dir(c.rootfs("/roots")).unwrap();
    std::fs::set_permissions(c.rootfs("/roots"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let output = c.run();
    assert!(output.code == 0 || output.stderr.contains("/roots"), "entered, or named: {output:?}");
    assert_eq!(output.code, 0, "whichever of root and the user has access enters: {output:?}");
}

#[test]
fn each_of_the_five_capability_sets_is_what_the_bundle_says() {
    let c = Container::idle().with(|config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW", "CAP_SETUID"],
            "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
            "inheritable": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_KILL", "CAP_NET_RAW"],
            "ambient": ["CAP_KILL"],
        });
        config["process"]["user"]["uid"] = json!(1000);
    });
    let c = c.up();
    let set = |name| proc_status(c.pid(), name);
    // A user who is not root keeps over execve what is ambient, in the permitted and effective sets.
    assert_eq!(set("CapBnd"), mask_of(&[0, 5, 7, 13]));
    assert_eq!(set("CapInh"), mask_of(&[0, 5]));
    assert_eq!(set("CapAmb"), mask_of(&[5]));
    assert_eq!((set("CapPrm"), set("CapEff")), (mask_of(&[5]), mask_of(&[5])));
}

#[test]
fn a_user_whom_only_cap_dac_override_lets_run_a_file_runs_it() {
    let c = Container::new(&["only-roots", "ran"]).with(|config| {
        set_capabilities(&mut config["process"], &["CAP_DAC_OVERRIDE"]);
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    // busybox goes by its name.
    std::fs::write(c.rootfs("/bin/only-roots"), "#!/bin/echo\n").unwrap();
    std::fs::set_permissions(c.rootfs("/bin/only-roots"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(c.run().ok(), "/bin/only-roots ran");
    let c = c.with(|config| set_capabilities(&mut config["process"], &[]));
    c.try_create().fails(1, &["only-roots"]);
}

#[test]
fn root_has_its_bounding_set_and_nothing_without_capabilities() {
    let c =
        Container::idle().with(|config| set_capabilities(&mut config["process"], &["CAP_KILL", "CAP_NET_ADMIN"])).up();
    for set in ["CapBnd", "CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(proc_status(c.pid(), set), mask_of(&[5, 12]), "{set}");
    }
    let c =
        Container::idle().with(|config| drop(config["process"].as_object_mut().unwrap().remove("capabilities"))).up();
    for set in ["CapBnd", "CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(proc_status(c.pid(), set), mask_of(&[]), "{set}");
    }
}

#[test]
fn an_unknown_capability_is_warned_of_and_left_out() {
    let c = Container::sh("grep CapBnd /proc/self/status")
        .with(|config| config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_BOGUS"]));
    let output = c.run();
    assert_eq!(output.ok(), format!("CapBnd:\t{}", mask_of(&[5])));
    assert!(output.stderr.contains("CAP_BOGUS"), "{output:?}");
}

#[test]
fn an_ambient_capability_that_cannot_be_raised_is_warned_of() {
    let c = Container::sh("grep CapAmb /proc/self/status").with(|config| {
        let capabilities = &mut config["process"]["capabilities"];
        capabilities["ambient"] = json!(["CAP_KILL", "CAP_CHOWN"]);
        capabilities["inheritable"] = json!(["CAP_KILL"]);
    });
    let output = c.run();
    assert_eq!(output.ok(), format!("CapAmb:\t{}", mask_of(&[5])), "{output:?}");
    assert!(is_reference() || output.stderr.contains("CAP_CHOWN"), "{output:?}");
}

#[test]
fn rlimits_are_those_of_the_bundle() {
    let c = Container::idle().with(|config| {
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "hard": 2048, "soft": 256},
            {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
            {"type": "RLIMIT_STACK", "hard": 1048576, "soft": 524288},
            {"type": "RLIMIT_CPU", "hard": u64::MAX, "soft": 3600},
        ]);
    });
    let c = c.up();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", c.pid())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(limit("Max open files"), "256 2048");
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max stack size"), "524288 1048576");
    assert_eq!(limit("Max cpu time"), "3600 unlimited");
}

#[test]
fn no_new_privileges_is_set_when_asked_for_and_only_then() {
    for asked in [true, false] {
        let c = Container::idle().with(|config| config["process"]["noNewPrivileges"] = json!(asked)).up();
        assert_eq!(proc_status(c.pid(), "NoNewPrivs"), i32::from(asked).to_string());
    }
}

#[test]
fn oom_score_adj_is_the_bundles_or_else_the_callers() {
    let score = |pid| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().to_owned();
    let c = Container::idle().with(|config| config["process"]["oomScoreAdj"] = json!(321)).up();
    assert_eq!(score(c.pid()), "321");
    let c = Container::idle().up();
    assert_eq!(score(c.pid()), score(std::process::id() as i32));
}

#[test]
fn nothing_but_stdio_is_open_in_init_whatever_the_caller_holds() {
    let c = Container::idle();
    let leak = std::fs::File::open("/etc/hostname").or_else(|_| std::fs::File::open("/etc/passwd")).unwrap();
    let mut create = c.command(&c.words("create", &[]));
    inherit(&mut create, &[(leak.as_raw_fd(), 9)]);
    assert_eq!(c.finish(&mut create).code, 0);
    if !is_reference() {
        assert_eq!(descriptors(c.pid()).into_iter().filter(|fd| *fd < 3).count(), 3);
    }
    c.start();
    eventually("init runs the program", || {
        std::fs::read_link(format!("/proc/{}/exe", c.pid())).is_ok_and(|exe| exe.ends_with("busybox"))
    });
    assert_eq!(descriptors(c.pid()), [0, 1, 2]);
}

#[test]
fn preserved_descriptors_arrive_in_their_places_and_no_other() {
    let c = Container::sh("cat <&3; cat <&4; ls /proc/$$/fd; true");
    for (name, text) in [("three", "third\n"), ("four", "fourth\n"), ("five", "fifth\n")] {
        std::fs::write(c.dir.join(name), text).unwrap();
    }
    let files = ["three", "four", "five"].map(|name| std::fs::File::open(c.dir.join(name)).unwrap());
    let mut run = c.command(&c.words("run", &["--preserve-fds", "2"]));
    inherit(&mut run, &[(files[0].as_raw_fd(), 3), (files[1].as_raw_fd(), 4), (files[2].as_raw_fd(), 5)]);
    let output = c.finish(&mut run);
    assert!(output.ok().starts_with("third\nfourth\n"), "{output:?}");
    assert!(!output.ok().lines().any(|line| line == "5"), "{output:?}");
}

#[test]
fn listen_fds_pass_the_sockets_of_an_activating_service_manager() {
    let c = Container::sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3");
    std::fs::write(c.dir.join("socket"), "handed over\n").unwrap();
    let file = std::fs::File::open(c.dir.join("socket")).unwrap();
    let words = c.command(&c.words("run", &[]));
    let mut run = std::process::Command::new("/bin/busybox");
    run.args(["sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"])
        .arg(words.get_program())
        .args(words.get_args());
    inherit(&mut run, &[(file.as_raw_fd(), 3)]);
    assert_eq!(c.finish(&mut run).ok(), "1 1\nhanded over", "init is pid 1 and knows itself meant");
}

#[test]
fn preserving_descriptors_that_are_not_open_is_refused() {
    let c = Container::idle();
    let before = c.leftovers();
    let output = c.runtime(&c.words("create", &["--preserve-fds", "20"]));
    output.fails(1, &["preserve"]);
    before.assert_nothing_new();
}

#[test]
fn the_callers_null_device_keeps_its_owner() {
    let before = std::fs::metadata("/dev/null").unwrap();
    let c = Container::idle().with(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000})).up();
    c.exec_with(&["--user", "1000:1000"], &["true"]).ok();
    let after = std::fs::metadata("/dev/null").unwrap();
    assert_eq!((before.uid(), before.gid(), before.mode()), (after.uid(), after.gid(), after.mode()));
}

/// Lets a command inherit descriptors at these numbers.
fn inherit(command: &mut std::process::Command, places: &[(i32, i32)]) {
    use std::os::unix::process::CommandExt;
    let places = places.to_vec();
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // Out of the way first, since a source may stand where another one goes.
            let high: Vec<_> = places.iter().map(|(from, _)| libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, 100)).collect();
            for (fd, (_, to)) in high.iter().zip(&places) {
                libc::dup2(*fd, *to);
            }
            Ok(())
        });
    }
}
