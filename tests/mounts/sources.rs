//! Where a bind mount's source may lie.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::mount::{MntFlags, MsFlags};

use crate::common::bundle::push;
use crate::common::*;
use crate::source;

/// The order of the bundle counts: what a mount needs may have come with an earlier one.
#[test]
fn a_source_inside_the_rootfs_is_what_an_earlier_mount_put_there() {
    for user in [false, true] {
        let c = Container::new(&["cat", "/b/inner", "/file"]);
        let data = c.dir.join(source(&c, "data"));
        fs::create_dir(data.join("sub")).unwrap();
        fs::write(data.join("sub/inner"), "of the earlier\n").unwrap();
        for place in ["/a", "/b"] {
            fs::create_dir(c.rootfs(place)).unwrap();
        }
        fs::write(c.rootfs("/file"), "").unwrap();
        let (sub, file) = (c.rootfs("/a/sub"), c.rootfs("/a/sub/inner"));
        let c = c.with(|config| {
            config["root"]["readonly"] = json!(false);
            for (from, to) in [(data.as_path(), "/a"), (&sub, "/b"), (&file, "/file")] {
                push(
                    &mut config["mounts"],
                    json!({"destination": to, "type": "bind", "source": from, "options": ["rbind"]}),
                );
            }
            if user {
                push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
                config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
            }
        });
        assert_eq!(c.run().ok(), "of the earlier\nof the earlier", "{user}");
    }
    // What no earlier mount puts there is missing.
    let c = Container::idle();
    let missing = c.rootfs("/a/sub");
    let c = c.with(|config| {
        push(
            &mut config["mounts"],
            json!({"destination": "/b", "type": "bind", "source": missing, "options": ["bind"]}),
        );
    });
    let before = c.leftovers();
    c.try_create().fails(1, &["/a/sub", "no such file or directory"]);
    before.assert_nothing_new();
}

/// mountinfo writes a blank as \040.
#[test]
fn blanks_in_the_paths_of_mounts_are_understood() {
    not_in_runc!("it does not look");
    let c = Container::new(&["cat", "/data/file"]);
    let outer = c.dir.join("one two\\three");
    fs::create_dir(&outer).unwrap();
    let none = None::<&str>;
    nix::mount::mount(Some("t"), &outer, Some("tmpfs"), MsFlags::empty(), Some("mode=700")).unwrap();
    let data = outer.join("data\there");
    fs::create_dir_all(data.join("be low")).unwrap();
    fs::write(data.join("file"), "found\n").unwrap();
    fs::set_permissions(&outer, PermissionsExt::from_mode(0o700)).unwrap();
    fs::create_dir(c.rootfs("/data")).unwrap();
    let c = c.with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
        push(
            &mut config["mounts"],
            json!({"destination": "/data", "type": "bind", "source": data, "options": ["rbind"]}),
        );
    });
    let reached = c.run();
    nix::mount::mount(Some("t"), &data.join("be low"), Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let before = c.leftovers();
    let refused = c.try_create();
    before.assert_nothing_new();
    for place in [data.join("be low"), outer.clone()] {
        nix::mount::umount2(&place, MntFlags::MNT_DETACH).unwrap();
    }
    assert_eq!(reached.ok(), "found");
    refused.fails(1, &["has a mount below it", "be low"]);
}
