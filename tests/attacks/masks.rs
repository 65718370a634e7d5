//! Masked and read-only paths that an image wants to be read or written all the same.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::{Mode, SFlag, mknod};

use crate::common::*;
use crate::{drop_mounts, repelled};

/// What a container prints whose /masked is to be masked, with a /dev/null of the image that is a link to /wanted.
fn with_a_linked_null(runtime: &Runtime, script: &str) -> String {
    let c = Container::sh(script).by(runtime).with(|config| {
        drop_mounts(config, "/dev");
        config["root"]["readonly"] = json!(false);
        config["linux"]["maskedPaths"] = json!(["/masked"]);
    });
    fs::write(c.rootfs("/masked"), "hidden").unwrap();
    fs::write(c.rootfs("/wanted"), "wanted").unwrap();
    symlink("/wanted", c.rootfs("/dev/null")).unwrap();
    c.run().stdout
}

/// CVE-2025-31133 and CVE-2025-62161: the image's /dev/null, which masks files, is a link to what shall be shown.
#[test]
fn the_images_dev_null_does_not_become_the_mask() {
    repelled("host-null,real-device", &[], |runtime| {
        with_a_linked_null(runtime, "echo changed >/masked; cat /masked /wanted").contains("changed")
    });
}

/// Each of the two layers holds by itself.
#[test]
fn either_protection_of_masks_is_enough() {
    for guards in ["host-null", "real-device"] {
        assert!(!with_a_linked_null(&Runtime::Without(guards), "cat /masked").contains("wanted"), "{guards}");
    }
}

/// Masks on a FIFO, a device, a link and a link to a directory neither hang nor miss.
#[test]
fn whatever_lies_at_a_masked_path_is_masked() {
    let c = Container::sh("cat /fifo /disk /link /linked/file; ls /directory; stat -c '%n %t:%T' /fifo /disk /file")
        .with(|config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["maskedPaths"] = json!(["/fifo", "/disk", "/link", "/linked", "/dangling", "/file/below"]);
            config["linux"]["readonlyPaths"] =
                json!(["/fifo", "/disk", "/link", "/linked", "/dangling", "/file/below"]);
        });
    nix::unistd::mkfifo(&c.rootfs("/fifo"), Mode::S_IRUSR).unwrap();
    mknod(&c.rootfs("/disk"), SFlag::S_IFBLK, Mode::S_IRUSR, libc::makedev(7, 200)).unwrap();
    fs::write(c.rootfs("/file"), "shown").unwrap();
    fs::create_dir(c.rootfs("/directory")).unwrap();
    fs::write(c.rootfs("/directory/file"), "shown").unwrap();
    for (link, to) in [("/link", "file"), ("/linked", "/directory"), ("/dangling", "/nowhere")] {
        symlink(to, c.rootfs(link)).unwrap();
    }
    let output = c.run();
    assert!(!output.stdout.contains("shown"), "{output:?}");
    assert_eq!(output.stdout, "/fifo 1:3\n/disk 1:3\n/file 1:3\n", "{output:?}");
}

/// A link to itself leads to nothing that could be shown; but what cannot be looked at is not taken for masked: refused by
/// its name, as runc does.
#[test]
fn a_link_to_itself_as_a_masked_path_is_refused_by_name() {
    for list in ["maskedPaths", "readonlyPaths"] {
        let c = Container::idle().with(|config| config["linux"][list] = json!(["/loop"]));
        symlink("loop", c.rootfs("/loop")).unwrap();
        let before = c.leftovers();
        c.try_create().fails(1, &["/loop", "symbolic links"]);
        before.assert_nothing_new();
    }
}
