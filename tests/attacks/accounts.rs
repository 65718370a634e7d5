//! /etc/passwd and /etc/group belong to the image, and the runtime reads one of them as the host's root.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::sys::stat::Mode;

use crate::common::*;
use crate::{repelled, victim};

/// A container that says which home its user has.
fn home(runtime: &Runtime) -> Container {
    let c = Container::sh("echo home=$HOME").by(runtime).with(|config| config["process"]["env"] = json!(["PATH=/bin"]));
    fs::remove_file(c.rootfs("/etc/passwd")).unwrap();
    c
}

#[test]
fn a_link_to_an_account_file_of_the_host_is_not_followed() {
    repelled("beneath", &[], |runtime| {
        let c = home(runtime);
        let file = victim(&c).join("secret");
        fs::write(&file, "root:x:0:0:root:/of-the-host:/bin/sh\n").unwrap();
        symlink(&file, c.rootfs("/etc/passwd")).unwrap();
        c.run().stdout.contains("/of-the-host")
    });
}

#[test]
fn a_fifo_as_account_file_holds_nobody_up() {
    repelled("regular-accounts", &[], |runtime| {
        let c = home(runtime);
        nix::unistd::mkfifo(&c.rootfs("/etc/passwd"), Mode::S_IRUSR).unwrap();
        let mut child = c.command(&c.words("run", &[])).spawn().unwrap();
        let held_up = !ends_within(&pidfd(child.id() as i32).unwrap(), Duration::from_secs(3));
        let _ = child.kill();
        child.wait().unwrap();
        held_up
    });
}

#[test]
fn an_endless_or_broken_account_file_is_one_without_that_account() {
    for content in ["huge", "binary", "one line", "directory"] {
        let c = home(&Runtime::Tested);
        let path = c.rootfs("/etc/passwd");
        match content {
            // 8 GiB of which the disk has nothing.
            "huge" => fs::File::create(&path).unwrap().set_len(8 << 30).unwrap(),
            "binary" => fs::write(&path, [0xff, 0xfe, b':', 0, b'\n']).unwrap(),
            "one line" => fs::write(&path, "root:x:0".repeat(1 << 18)).unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        assert_eq!(c.run().ok(), "home=/", "{content}");
    }
}

#[test]
fn a_home_cannot_smuggle_a_variable_in() {
    let c = home(&Runtime::Tested);
    fs::write(c.rootfs("/etc/passwd"), "root:x:0:0:root:/a\u{0}LD_PRELOAD=/evil.so:/bin/sh\n").unwrap();
    let output = c.run();
    assert!(output.code == 1 || !output.stdout.contains("LD_PRELOAD"), "{output:?}");
}
