//! Devices and terminals of an image that are not what they seem.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use nix::sys::stat::{Mode, SFlag, mknod};

use crate::common::terminal::ConsoleSocket;
use crate::common::*;
use crate::{drop_mounts, intruders, repelled, victim};

/// Something in the place of a default device would be taken for that device.
#[test]
fn a_file_link_fifo_or_other_device_in_a_devices_place_is_refused() {
    for kind in ["file", "link", "fifo", "other"] {
        repelled("real-device", &[], |runtime| {
            let c = Container::sh("echo started").by(runtime).with(|config| {
                drop_mounts(config, "/dev");
                config["root"]["readonly"] = json!(false);
                config["linux"]["maskedPaths"] = json!([]);
            });
            let place = c.rootfs("/dev/zero");
            match kind {
                "file" => fs::write(&place, "fake").unwrap(),
                "link" => symlink("/etc/passwd", &place).unwrap(),
                "fifo" => nix::unistd::mkfifo(&place, Mode::S_IRUSR).unwrap(),
                _ => mknod(&place, SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(1, 1)).unwrap(),
            }
            c.run().stdout.contains("started")
        });
    }
}

/// A container with a terminal whose /dev is the image's, and a /dev/console that is a link.
fn with_console(runtime: &Runtime, link: impl Fn(&Container) -> std::path::PathBuf) -> (Container, Output) {
    let c = Container::sh("echo x >/target").by(runtime).with(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| ["/proc", "/dev/pts"].iter().any(|kept| mount["destination"] == *kept));
        config["process"]["terminal"] = json!(true);
        config["root"]["readonly"] = json!(false);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    fs::create_dir(c.rootfs("/dev/pts")).unwrap();
    fs::write(c.rootfs("/target"), "").unwrap();
    symlink(link(&c), c.rootfs("/dev/console")).unwrap();
    let socket = ConsoleSocket::bind(&c.dir.join("console.sock"));
    let output = c.runtime(&c.words("create", &["--console-socket", socket.text()]));
    (c, output)
}

/// CVE-2026-88264: a file is made where the link points, on the host.
#[test]
fn dev_console_as_a_link_makes_no_file_on_the_host() {
    repelled("real-console", &["crun"], |runtime| {
        let (c, _) = with_console(runtime, |c| victim(c).join("made"));
        !intruders(&c.dir.join("victim")).is_empty()
    });
}

/// CVE-2025-52565: the terminal, which the container writes, comes to lie where the link points.
#[test]
fn dev_console_as_a_link_covers_nothing_else() {
    repelled("real-console,beneath", &[], |runtime| {
        let (c, output) = with_console(runtime, |c| c.rootfs("/target"));
        output.code == 0 && mountinfo(c.pid()).iter().any(|mount| mount.target == "/target")
    });
}

/// CVE-2026-88265: stdio is opened anew from the image's /dev/null, which is a link to a file of the host, and given to
/// the user. nfrun opens nothing anew; what it is given stays.
#[test]
fn the_images_dev_null_does_not_become_stdio() {
    for guards in ["", "real-device", "real-device,beneath"] {
        let attack = |runtime: &Runtime| {
            let c = Container::sh("echo taken; echo taken >&2").by(runtime).with(|config| {
                drop_mounts(config, "/dev");
                config["root"]["readonly"] = json!(false);
                config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                config["linux"]["maskedPaths"] = json!([]);
            });
            let secret = victim(&c).join("secret");
            symlink(&secret, c.rootfs("/dev/null")).unwrap();
            let null = || fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
            let mut command = c.command(&c.words("run", &[]));
            let mut child = command.stdout(null()).stderr(null()).stdin(null()).spawn().unwrap();
            wait(&mut child, "run");
            fs::read_to_string(&secret).unwrap() != "of the host\n" || fs::metadata(&secret).unwrap().uid() != 0
        };
        if guards.is_empty() {
            repelled("", &[], attack);
        } else {
            assert!(!attack(&Runtime::Without(guards)), "stdio was opened anew");
        }
    }
}

/// The host's own /dev/null keeps its owner and mode, whoever has it as stdio.
#[test]
fn the_hosts_dev_null_keeps_its_owner() {
    let before = fs::metadata("/dev/null").unwrap();
    let c = Container::idle().with(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000})).up();
    c.exec_with(&["--user", "7:7"], &["true"]).ok();
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!((before.uid(), before.gid(), before.mode()), (after.uid(), after.gid(), after.mode()));
}

/// Hostile files in the place of the multiplexer give no terminal, and do not hold the runtime up.
#[test]
fn a_fake_terminal_multiplexer_is_refused() {
    for kind in ["file", "fifo", "link", "device"] {
        let c = Container::new(&["true"]).with(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] == "/proc");
            config["process"]["terminal"] = json!(true);
            config["root"]["readonly"] = json!(false);
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        });
        let before = c.leftovers();
        fs::create_dir(c.rootfs("/dev/pts")).unwrap();
        let place = c.rootfs("/dev/pts/ptmx");
        match kind {
            "file" => fs::write(&place, "").unwrap(),
            "fifo" => nix::unistd::mkfifo(&place, Mode::S_IRUSR).unwrap(),
            "link" => symlink("/dev/pts/ptmx", &place).unwrap(),
            // The host's own multiplexer would give a terminal of the host.
            _ => mknod(&place, SFlag::S_IFCHR, Mode::S_IRUSR, libc::makedev(5, 2)).unwrap(),
        }
        let socket = ConsoleSocket::bind(&c.dir.join("console.sock"));
        c.runtime(&c.words("create", &["--console-socket", socket.text()])).fails(1, &[]);
        before.assert_nothing_new();
    }
}
