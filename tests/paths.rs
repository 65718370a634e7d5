//! Paths of a container: what is hidden or read-only, and that no link leads a mount out of the root.

#[macro_use]
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use common::bundle::{push, set_capabilities};
use common::*;

/// A container with a directory of the host bound on a target, and a root in which the target can be made.
fn binding(args: &[&str], target: &str) -> Container {
    let c = Container::new(args);
    let data = c.dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "from the host\n").unwrap();
    c.with(|config| {
        config["root"]["readonly"] = json!(false);
        push(
            &mut config["mounts"],
            json!({"destination": target, "type": "bind", "source": data, "options": ["bind"]}),
        );
    })
}

#[test]
fn a_read_only_root_refuses_writes_and_a_writable_one_takes_them() {
    let write = "echo x >/etc/new";
    let output = Container::sh(write).run();
    assert!(output.code != 0 && output.stderr.contains("Read-only file system"), "{output:?}");
    let c = Container::sh(write).with(|config| config["root"]["readonly"] = json!(false));
    c.run().ok();
    assert!(c.rootfs("/etc/new").exists());
}

#[test]
fn masked_paths_are_empty_and_cannot_be_written() {
    let c = Container::idle().with(|config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["maskedPaths"] = json!(["/secret", "/secrets", "/absent", "/secret", "/proc/timer_list"]);
    });
    fs::write(c.rootfs("/secret"), "hidden").unwrap();
    fs::create_dir(c.rootfs("/secrets")).unwrap();
    fs::write(c.rootfs("/secrets/one"), "hidden").unwrap();
    let c = c.up();
    assert_eq!(c.exec(&["cat", "/secret"]).ok(), "");
    assert_eq!(c.exec(&["ls", "/secrets"]).ok(), "");
    assert_ne!(c.exec(&["touch", "/secrets/new"]).code, 0);
    assert_eq!(c.exec(&["stat", "-c", "%t:%T", "/secret"]).ok(), "1:3", "it is the null device");
    assert!(!c.rootfs("/absent").exists(), "what is not there needs no mask");
}

/// The mask is the host's /dev/null, whose mode and owner are every program's on the machine. The modes that are given are
/// those that it has, so that a change would do no harm, and shows as a new ctime.
#[test]
fn the_hosts_null_device_cannot_be_changed_through_a_mask() {
    let c = Container::idle().with(|config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["maskedPaths"] = json!(["/one", "/two"]);
        set_capabilities(&mut config["process"], &["CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"]);
    });
    for name in ["/one", "/two"] {
        fs::write(c.rootfs(name), "hidden").unwrap();
    }
    let c = c.up();
    for name in ["/one", "/two"] {
        for words in [["chmod", "0666", name], ["chown", "0:0", name]] {
            let output = c.exec(&words);
            assert!(output.code != 0 && output.stderr.contains("Read-only file system"), "{words:?}: {output:?}");
        }
        // As into any null device.
        c.exec(&["sh", "-c", &format!("echo x >{name}")]).ok();
    }
}

#[test]
fn readonly_paths_are_read_only_and_absent_ones_are_passed_over() {
    let c = Container::idle().with(|config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["readonlyPaths"] = json!(["/etc", "/etc", "/absent", "/proc/sys", "/etc/passwd"]);
    });
    let c = c.up();
    for write in ["echo x >/etc/new", "echo x >>/etc/passwd", "echo 1 >/proc/sys/kernel/domainname"] {
        let output = c.exec(&["sh", "-c", write]);
        assert!(output.code != 0 && output.stderr.contains("Read-only file system"), "{write}: {output:?}");
    }
    c.exec(&["touch", "/tmp/elsewhere"]).ok();
    assert!(!c.rootfs("/absent").exists());
}

/// Has a command run on what is left of a kernel before Linux 5.12, without mount_setattr(2), and with the rootfs on a mount
/// that lets nothing be set-user-ID there nor be a device.
fn on_an_older_kernel(command: &mut std::process::Command, rootfs: &Path) {
    use std::os::unix::process::CommandExt;
    const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;
    let rootfs = std::ffi::CString::new(rootfs.to_str().unwrap()).unwrap();
    let line = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let filter =
        [line(0x20, 0, 0), line(0x15, libc::SYS_mount_setattr as u32, 1), line(6, ENOSYS, 0), line(6, 0x7fff_0000, 0)];
    // SAFETY: only system calls between fork and exec, on memory that was made before.
    unsafe {
        command.pre_exec(move || {
            let done = |result: i32| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
            let mount = |source: *const libc::c_char, target: *const libc::c_char, flags| {
                done(libc::mount(source, target, std::ptr::null(), flags, std::ptr::null()))
            };
            let (none, rootfs) = (std::ptr::null(), rootfs.as_ptr());
            done(libc::unshare(libc::CLONE_NEWNS))?;
            mount(none, c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE)?;
            mount(rootfs, rootfs, libc::MS_BIND)?;
            mount(none, rootfs, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_NOSUID | libc::MS_NODEV)?;
            let program = libc::sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
            done(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
        });
    }
}

#[test]
fn what_becomes_read_only_on_an_older_kernel_keeps_its_other_flags() {
    not_in_runc!("there the flags go");
    let show = "grep -E ' (/|/proc/sys|/proc/uptime|/etc|/etc/passwd) ' /proc/self/mountinfo | cut -d ' ' -f 5,6; touch /etc/new /etc/passwd; true";
    for user in [false, true] {
        let c = Container::sh(show).with(|config| {
            config["root"]["readonly"] = json!(true);
            config["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev"]);
            config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/uptime", "/etc", "/etc/passwd"]);
            if user {
                push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
                let all = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                config["linux"]["uidMappings"] = all.clone();
                config["linux"]["gidMappings"] = all;
            }
        });
        let mut run = c.command(&c.words("run", &[]));
        on_an_older_kernel(&mut run, &c.rootfs("/"));
        let run = c.finish(&mut run);
        for (path, flags) in [
            ("/", "ro,nosuid,nodev"),
            ("/etc", "ro,nosuid,nodev"),
            ("/etc/passwd", "ro,nosuid,nodev"),
            ("/proc/sys", "ro,nosuid,nodev,noexec"),
            ("/proc/uptime", "ro,nosuid,nodev,noexec"),
        ] {
            let start = format!("{path} {flags},");
            assert!(run.ok().lines().any(|line| line.starts_with(&start)), "{start}: {run:?}");
        }
        assert_eq!(run.stderr.matches("Read-only file system").count(), 2, "{run:?}");
    }
}

#[test]
fn a_link_in_the_rootfs_never_leads_a_mount_out_of_it() {
    let outside = Container::idle();
    let victim = outside.dir.join("victim");
    fs::create_dir(&victim).unwrap();
    for link in [victim.to_str().unwrap().to_owned(), format!("../../../../../../{}", victim.display())] {
        let c = binding(&["sh", "-c", "ls /link/"], "/link/sub");
        symlink(&link, c.rootfs("/link")).unwrap();
        assert_eq!(c.run().ok(), "sub", "the link resolves beneath the root");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "a target was made outside of the container");
        assert!(c.rootfs(victim.to_str().unwrap()).join("sub").is_dir());
    }
}

#[test]
fn a_dangling_link_as_target_is_resolved_beneath_the_root() {
    let c = binding(&["cat", "/dangling/file"], "/dangling");
    symlink("/nfrun-test-not-there/x", c.rootfs("/dangling")).unwrap();
    assert_eq!(c.run().ok(), "from the host");
    assert!(c.rootfs("/nfrun-test-not-there/x").is_dir());
    assert!(!Path::new("/nfrun-test-not-there").exists());
}

#[test]
fn proc_or_sys_as_a_link_is_refused() {
    for name in ["proc", "sys"] {
        let c = Container::idle();
        let before = c.leftovers();
        fs::remove_dir(c.rootfs(name)).unwrap();
        fs::create_dir(c.rootfs("/elsewhere")).unwrap();
        symlink("elsewhere", c.rootfs(name)).unwrap();
        c.try_create().fails(1, &[&format!("/{name}")]);
        before.assert_nothing_new();
    }
}

#[test]
fn the_rootfs_keeps_its_owner_and_mode() {
    let c = Container::idle();
    let before = fs::metadata(c.rootfs("")).unwrap();
    c.create().on_id(&["delete", "--force"]).ok();
    let after = fs::metadata(c.rootfs("")).unwrap();
    assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
}

/// The kernel gives a user namespace a procfs where its mount namespace has one that nothing hides.
#[test]
fn no_bare_procfs_is_left_behind_whichever_way_the_root_is_changed() {
    for options in [&[][..], &["--no-pivot"]] {
        let c = Container::sh("unshare -U -r -m -p -f mount -t proc proc /mnt 2>&1; ls /mnt");
        let output = c.runtime(&c.words("run", options));
        assert!(!output.stdout.contains("cpuinfo"), "{options:?}: a bare procfs: {output:?}");
        assert!(output.stdout.contains("ermission denied") || output.stdout.contains("not permitted"), "{output:?}");
    }
}

#[test]
fn no_pivot_gives_the_same_root() {
    let c = Container::sh("ls /; cat /proc/1/mounts | head -1 | cut -d' ' -f2");
    let output = c.runtime(&c.words("run", &["--no-pivot"]));
    assert_eq!(output.ok(), "bin\ndev\netc\nmnt\nproc\nroot\nsys\ntmp\n/");
}
