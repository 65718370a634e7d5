//! An image whose directories are links: mounts, mount points and devices must come to lie inside of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::bundle::push;
use crate::common::*;
use crate::{drop_mounts, intruders, repelled, victim};

/// A container with a mount on a target that leads through a link of the image to the host.
fn through_a_link(
    runtime: &Runtime,
    link: impl Fn(&Path) -> String,
    mount: Value,
    script: &str,
) -> (Container, Output) {
    let c = Container::sh(script).by(runtime);
    let victim = victim(&c);
    symlink(link(&victim), c.rootfs("/link")).unwrap();
    let c = c.with(|config| {
        config["root"]["readonly"] = json!(false);
        push(&mut config["mounts"], mount);
        let seen = json!({"destination": "/seen", "type": "bind", "source": "../victim", "options": ["rbind"]});
        push(&mut config["mounts"], seen);
    });
    let output = c.run();
    (c, output)
}

/// CVE-2024-45310: missing mount points are made on the host.
#[test]
fn mount_points_are_not_made_on_the_host() {
    for link in [
        |victim: &Path| victim.display().to_string(),
        |victim: &Path| format!("../../../../../../../../{}", victim.display()),
        |victim: &Path| format!("/bin/../..//../{}/.", victim.display()),
    ] {
        for mount in [
            json!({"destination": "/link/sub/deep", "type": "tmpfs", "source": "t"}),
            json!({"destination": "/link/file", "type": "bind", "source": "config.json", "options": ["bind"]}),
            json!({"destination": "/link/x/../y", "type": "tmpfs", "source": "t"}),
        ] {
            repelled("beneath", &[], |runtime| {
                let (c, _) = through_a_link(runtime, link, mount.clone(), "true");
                !intruders(&c.dir.join("victim")).is_empty()
            });
        }
    }
}

/// CVE-2021-30465, without the race: a mount on the host's directory, which a later bind shows to the container.
#[test]
fn a_mount_does_not_come_to_lie_on_the_host() {
    for (kind, options) in [("tmpfs", json!(["mode=1755"])), ("bind", json!(["bind"]))] {
        repelled("beneath", &[], |runtime| {
            let mount = json!({"destination": "/link", "type": kind, "source": "/usr", "options": options});
            let (_, output) = through_a_link(runtime, |victim| victim.display().to_string(), mount, "cat /seen/secret");
            // The secret is covered by what was mounted on it.
            !output.stdout.contains("of the host")
        });
    }
}

/// Links that lead nowhere, to themselves, to procfs: whatever is made is inside, and nothing hangs.
#[test]
fn odd_links_as_targets_stay_inside_or_are_refused() {
    let targets = [
        "loop",
        "/link",
        "../link",
        "/nowhere/at/all",
        "/proc/self/root",
        "/proc/1/root/tmp",
        "/proc/self/cwd",
        "/proc/self/fd/3",
        "/dev/fd/0",
        "/etc/passwd",
        "/dev/pts/../../..",
        ".",
    ];
    for target in targets {
        let c = Container::sh("true").with(|config| {
            config["root"]["readonly"] = json!(false);
            for destination in ["/link", "/link/sub"] {
                push(&mut config["mounts"], json!({"destination": destination, "type": "tmpfs", "source": "t"}));
            }
        });
        let before = c.leftovers();
        symlink(target, c.rootfs("/link")).unwrap();
        let output = c.run();
        assert!(!output.stderr.contains("panicked"), "{target}: {output:?}");
        assert!(!Path::new("/nowhere").exists() && !c.dir.join("sub").exists(), "{target}");
        before.assert_nothing_new();
    }
}

/// CVE-2026-41579 and CVE-2026-47766: the image's /dev is a link, and nothing is mounted there.
#[test]
fn devices_and_links_are_not_made_in_a_directory_of_the_host() {
    for relative in [false, true] {
        repelled("beneath", &["runc", "crun"], |runtime| {
            let c = Container::new(&["true"]).by(runtime).with(|config| {
                drop_mounts(config, "/dev");
                config["root"]["readonly"] = json!(false);
                // What the peers mask files with would not be found.
                config["linux"]["maskedPaths"] = json!([]);
            });
            let victim = victim(&c);
            fs::write(victim.join("ptmx"), "decoy").unwrap();
            fs::remove_dir(c.rootfs("/dev")).unwrap();
            let target = if relative { "../../victim".to_owned() } else { victim.display().to_string() };
            symlink(target, c.rootfs("/dev")).unwrap();
            c.run();
            let decoy = fs::read(victim.join("ptmx")).unwrap_or_default();
            intruders(&victim) != ["ptmx"] || decoy != b"decoy"
        });
    }
}

/// The same where /dev is a real directory, and what lies in it are links to the host. That it can be lost is not shown:
/// without the look-up beneath the root nfrun still makes nothing that a dangling link names.
#[test]
fn dev_pts_shm_and_mqueue_as_links_lead_nowhere() {
    repelled("", &[], |runtime| {
        let c = Container::new(&["true"]).by(runtime).with(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/dev");
            config["root"]["readonly"] = json!(false);
        });
        let victim = victim(&c);
        for name in ["pts", "shm", "mqueue", "null", "fd", "stdin", "ptmx"] {
            symlink(victim.join(name), c.rootfs("/dev").join(name)).unwrap();
        }
        c.run();
        !intruders(&victim).is_empty()
    });
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: /proc or /sys is a link, so that what is masked and
/// written there later is what the image wants.
#[test]
fn proc_and_sys_are_not_mounted_through_a_link() {
    for name in ["proc", "sys"] {
        for target in ["/elsewhere", "elsewhere", "../elsewhere/.", "/etc/../elsewhere"] {
            // Without the look at links, the mount is where the image wanted it.
            repelled("real-directories", &[], |runtime| {
                let c =
                    Container::sh("cut -d' ' -f2 /*/self/mounts /elsewhere/mounts /elsewhere/self/mounts").by(runtime);
                fs::remove_dir(c.rootfs(name)).unwrap();
                fs::create_dir(c.rootfs("/elsewhere")).unwrap();
                symlink(target, c.rootfs(name)).unwrap();
                let output = c.run();
                output.stdout.lines().any(|line| line.starts_with("/elsewhere"))
            });
        }
    }
}

/// Links that no runtime could mount through.
#[test]
fn a_dangling_or_magic_link_in_the_place_of_proc_or_sys_is_an_error_that_leaves_nothing() {
    for name in ["proc", "sys"] {
        for target in ["/nowhere", "proc", "/proc/self/fd", "/proc/1/root/proc", "/sys/fs"] {
            let c = Container::new(&["true"]);
            let before = c.leftovers();
            fs::remove_dir(c.rootfs(name)).unwrap();
            symlink(target, c.rootfs(name)).unwrap();
            c.try_create().fails(1, &[&format!("/{name}")]);
            before.assert_nothing_new();
        }
    }
}

/// /etc and /tmp are links as well, and the mounts that engines make there stay inside.
#[test]
fn etc_and_tmp_as_links_to_the_host_keep_mounts_inside() {
    for name in ["etc", "tmp"] {
        repelled("beneath", &[], |runtime| {
            let c = Container::new(&["true"]).by(runtime);
            let victim = victim(&c);
            fs::remove_dir_all(c.rootfs(name)).unwrap();
            symlink(&victim, c.rootfs(name)).unwrap();
            let c = c.with(|config| {
                config["root"]["readonly"] = json!(false);
                let destination = format!("/{name}/resolv.conf");
                let mount =
                    json!({"destination": destination, "type": "bind", "source": "config.json", "options": ["bind"]});
                push(&mut config["mounts"], mount);
            });
            c.run();
            !intruders(&victim).is_empty()
        });
    }
}

/// tmpcopyup copies what the rootfs has, as the host's root: not what a link of the image names.
#[test]
fn tmpcopyup_does_not_copy_from_the_host() {
    repelled("copy-beneath", &[], |runtime| {
        let c = Container::sh("cat /copy/secret").by(runtime);
        symlink(victim(&c), c.rootfs("/copy")).unwrap();
        let c = c.with(|config| {
            config["root"]["readonly"] = json!(false);
            let mount = json!({"destination": "/copy", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]});
            push(&mut config["mounts"], mount);
        });
        c.run().stdout.contains("of the host")
    });
}

/// The working directory is made where it is missing: inside.
#[test]
fn a_working_directory_is_not_made_on_the_host() {
    let c = Container::new(&["true"]).with(|config| {
        config["root"]["readonly"] = json!(false);
        config["process"]["cwd"] = json!("/link/made");
    });
    let victim = victim(&c);
    symlink(&victim, c.rootfs("/link")).unwrap();
    c.run();
    assert!(intruders(&victim).is_empty());
}
