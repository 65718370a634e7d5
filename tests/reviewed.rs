//! What a hostile review of the first core found on one machine or another, each held here.

#[macro_use]
mod common;

use common::bundle::push;
use common::*;

/// Runs a shell script with the runtime and its root as `$N`.
fn script(c: &Container, script: &str) -> Output {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("N=\"$0 --root $1\"; {script}")]).arg(binary()).arg(&c.root);
    c.finish(command.current_dir(&c.dir))
}

#[test]
fn a_caller_that_ignores_signals_neither_hangs_nor_passes_that_on() {
    let c = Container::sh("grep SigIgn /proc/self/status; exit 7");
    let output = script(&c, &format!("trap '' CHLD TERM USR1 PIPE; exec $N run --bundle bundle {} < /dev/null", c.id));
    let ignored = output.stdout.trim_end().strip_prefix("SigIgn:\t").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    // As with runc, of SIGHUP and SIGINT what whoever runs the tests has set is kept.
    assert_eq!((output.code, ignored.map(|set| set & !0b11)), (7, Some(0)), "{output:?}");
}

#[test]
fn a_cgroup_of_a_stopped_container_is_not_given_to_another() {
    not_in_runc!("it gives it away");
    let c = Container::new(&["true"]);
    c.runtime(&["run", "--keep", "--bundle", "bundle", "first"]).ok();
    let output = c.try_create();
    assert!(output.code == 1 && output.stderr.contains("belongs to container first"), "{output:?}");
    c.runtime(&["delete", "first"]).ok();
    c.create();
}

#[test]
fn deleting_a_stopped_container_leaves_a_strangers_process_in_its_cgroup_alone() {
    not_in_runc!("it leaves it alone too, and fails");
    let c = Container::new(&["true"]);
    c.runtime(&["run", "--keep", "--bundle", "bundle", "first"]).ok();
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(c.cgroup("pids").join("cgroup.procs"), stranger.id().to_string()).unwrap();
    let output = c.runtime(&["delete", "first"]);
    let alive = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(alive && output.code == 0, "{output:?}");
    std::fs::remove_dir(c.cgroup("pids")).unwrap();
}

#[test]
fn a_filter_need_allow_nothing_of_init_but_execve() {
    let names = ["close_range", "mmap", "rt_sigaction", "faccessat2", "openat2"];
    let c = Container::new(&["true"]).with(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}]});
    });
    // busybox itself maps and sets signals, so it dies of the filter, but of its own calls.
    let c = c.with(|config| config["process"]["noNewPrivileges"] = json!(true));
    let output = c.run();
    assert!(output.code == 0 || output.code == 128 + libc::SIGSYS, "{output:?}");
    assert!(!output.stderr.contains("init"), "{output:?}");
}

#[test]
fn a_device_in_the_place_of_the_account_file_is_not_opened() {
    not_in_runc!("it opens it inside");
    let c = Container::new(&["sh", "-c", "echo $HOME"]).with(|config| config["process"]["env"] = json!(["PATH=/bin"]));
    std::fs::remove_file(c.rootfs("/etc/passwd")).unwrap();
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&c.rootfs("/etc/passwd"), kind, nix::sys::stat::Mode::S_IRUSR, libc::makedev(1, 5)).unwrap();
    let trace = c.dir.join("trace");
    let mut command = std::process::Command::new("strace");
    command.args(["-e", "trace=openat,openat2", "-o"]).arg(&trace).arg(binary()).arg("--root").arg(&c.root);
    command.args(["run", "--bundle", "bundle", &c.id]).current_dir(&c.dir).stdin(std::process::Stdio::null());
    let Ok(output) = command.output() else { skip!("no strace") };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/\n", "{output:?}");
    let opened = std::fs::read_to_string(trace).unwrap();
    assert!(opened.lines().filter(|line| line.contains("passwd")).all(|line| line.contains("O_PATH")), "{opened}");
}

#[test]
fn proc_and_sys_are_not_mounted_through_links_nor_anything_over_them() {
    for (link, target, mount) in [
        ("/proc", "foo", json!({"destination": "/proc", "type": "proc", "source": "proc"})),
        ("/data", "proc", json!({"destination": "/data", "type": "tmpfs", "source": "t"})),
    ] {
        let c = Container::new(&["true"]).with(|config| {
            if link == "/proc" {
                config["mounts"] = json!([]);
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
            }
            push(&mut config["mounts"], mount);
        });
        if link == "/proc" {
            std::fs::remove_dir(c.rootfs("/proc")).unwrap();
        }
        let _ = std::fs::create_dir(c.rootfs(&format!("/{target}")));
        std::os::unix::fs::symlink(target, c.rootfs(link)).unwrap();
        let output = c.try_create();
        assert!(output.code == 1 && output.stderr.contains(link), "{link}: {output:?}");
    }
}

#[test]
fn exec_of_a_document_without_limits_and_capabilities_has_the_containers() {
    let c = Container::idle().with(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
    });
    let c = c.up();
    let document = c.dir.join("process.json");
    let args = ["sh", "-c", "ulimit -n; grep CapEff /proc/self/status"];
    std::fs::write(
        &document,
        json!({"cwd": "/", "args": args, "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}).to_string(),
    )
    .unwrap();
    let inside = c.exec(&args).ok().to_owned();
    let output = c.on_id(&["exec", "--process", document.to_str().unwrap()]);
    assert_eq!(output.stdout.trim_end(), inside, "{output:?}");
    assert!(inside.starts_with("77\n"), "{inside}");
}

#[test]
fn tmpcopyup_leaves_holes_and_stops_at_the_memory_limit() {
    not_in_runc!("it copies inside");
    for (fill, fits) in [(0usize, true), (40 << 20, false)] {
        let c = Container::new(&["stat", "-c", "%s", "/data/file"]).with(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20});
            push(
                &mut config["mounts"],
                json!({"destination": "/data", "type": "tmpfs", "source": "t", "options": ["tmpcopyup", "size=1g"]}),
            );
        });
        std::fs::create_dir_all(c.rootfs("/data")).unwrap();
        std::fs::write(c.rootfs("/data/file"), vec![1; fill]).unwrap();
        std::fs::File::options().write(true).open(c.rootfs("/data/file")).unwrap().set_len(300 << 20).unwrap();
        let output = c.run();
        std::fs::remove_file(c.rootfs("/data/file")).unwrap();
        match fits {
            true => assert_eq!(output.stdout.trim(), (300u64 << 20).to_string(), "{output:?}"),
            false => assert!(output.code == 1 && output.stderr.contains("memory limit"), "{output:?}"),
        }
    }
}

#[test]
fn a_source_that_only_the_host_reaches_is_bound_into_a_user_namespace() {
    not_in_runc!("Debian's does not");
    let c = Container::new(&["cat", "/mnt/file"]);
    let secret = c.dir.join("secret");
    std::fs::create_dir_all(secret.join("volume")).unwrap();
    std::fs::write(secret.join("volume/file"), "reached").unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&secret, mode(0o700)).unwrap();
    std::fs::set_permissions(&c.dir, mode(0o711)).unwrap();
    std::fs::create_dir_all(c.rootfs("/mnt")).unwrap();
    let c = c.with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        let source = secret.join("volume");
        push(
            &mut config["mounts"],
            json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind"]}),
        );
    });
    let output = c.run();
    assert_eq!(output.stdout, "reached", "{output:?}");
}

/// podman's /dev/shm for a container with a user namespace: a mount with flags below directories that keep its root out, or
/// that are its root's alone.
#[test]
fn a_source_with_flags_that_only_the_host_reaches_keeps_them_locked() {
    not_in_runc!("Debian's does not");
    for owner in [0, 100_000] {
        let c =
            Container::sh("touch /mnt/new && echo written; mount -o remount,bind,exec,suid,dev /mnt || echo locked");
        let own = c.dir.join("own");
        let shm = own.join("shm");
        std::fs::create_dir_all(&shm).unwrap();
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&own, mode(0o700)).unwrap();
        std::os::unix::fs::chown(&own, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&c.dir, mode(0o711)).unwrap();
        let flags = nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOEXEC;
        nix::mount::mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777")).unwrap();
        std::fs::create_dir_all(c.rootfs("/mnt")).unwrap();
        let c = c.with(|config| {
            push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            bundle::set_capabilities(&mut config["process"], &["CAP_SYS_ADMIN"]);
            let options = ["bind", "rprivate", "nosuid", "noexec", "nodev"];
            push(
                &mut config["mounts"],
                json!({"destination": "/mnt", "type": "bind", "source": shm, "options": options}),
            );
        });
        let output = c.run();
        assert_eq!(output.stdout, "written\nlocked\n", "owned by {owner}: {output:?}");
        assert_eq!(nix::sys::statvfs::statvfs(&shm).unwrap().flags().bits() & 14, 14, "the host's keeps its flags");
    }
}
