//! What is written to procfs, and what is mounted over it.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::bundle::push;
use crate::common::*;
use crate::{repelled, victim, within};

/// CVE-2019-16884: an image's volume covers /proc or a part of it, so that labels and limits are written to a fake.
#[test]
fn a_volume_does_not_cover_proc() {
    for destination in ["/proc", "/proc/", "//proc", "/proc/self/attr", "/proc/sys", "/./proc/sys", "/proc/../proc/sys"]
    {
        repelled("refuse-in-proc,outside-proc", &[], |runtime| {
            let c = Container::sh("test -e /proc/marker || test -e /proc/sys/marker || test -e /proc/self/attr/marker || test -e /proc/1/attr/marker").by(runtime);
            let fake = c.dir.join("fake");
            fs::create_dir(&fake).unwrap();
            fs::write(fake.join("marker"), "").unwrap();
            let c = c.with(|config| {
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
                let mount = json!({"destination": destination, "type": "bind", "source": fake, "options": ["bind"]});
                push(&mut config["mounts"], mount);
            });
            c.run().code == 0
        });
    }
}

/// What decides is what will be mounted, not what the document calls it.
#[test]
fn a_mount_that_is_only_named_like_procfs_does_not_cover_proc() {
    for (kind, source, options) in [("tmpfs", "/proc", json!([])), ("proc", "../fake", json!(["bind"]))] {
        for destination in ["/proc", "/proc/sys"] {
            repelled("refuse-in-proc,outside-proc", &[], |runtime| {
                let c = Container::sh("! test -e /proc/sys/kernel").by(runtime);
                fs::create_dir(c.dir.join("fake")).unwrap();
                let c = c.with(|config| {
                    config["linux"]["maskedPaths"] = json!([]);
                    config["linux"]["readonlyPaths"] = json!([]);
                    push(
                        &mut config["mounts"],
                        json!({"destination": destination, "type": kind, "source": source, "options": options}),
                    );
                });
                c.run().code == 0
            });
        }
    }
}

/// The same with a path that only leads there: by `..` or by a link of the image.
#[test]
fn no_way_round_leads_a_mount_over_procfs() {
    for destination in ["/tmp/../proc/sys", "/link/sys", "/link", "/relative/sys"] {
        repelled("outside-proc", &[], |runtime| {
            let c = Container::sh("grep -q ' /proc/sys evil\\| /proc evil' /proc/mounts || ! test -e /proc/mounts || ! test -e /proc/sys/kernel").by(runtime);
            symlink("/proc", c.rootfs("/link")).unwrap();
            symlink("tmp/../proc", c.rootfs("/relative")).unwrap();
            let c = c.with(|config| {
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
                push(&mut config["mounts"], json!({"destination": destination, "type": "tmpfs", "source": "evil"}));
            });
            c.run().code == 0
        });
    }
}

/// CVE-2025-52881 and CVE-2025-62596: what the runtime writes to /proc goes elsewhere, since /proc/sys is a fake where it
/// looks. nfrun writes before the image's tree is there, and looks at what it has opened.
#[test]
fn kernel_parameters_are_written_to_procfs_alone() {
    for fake in ["ln -s $V /proc/sys/net/ipv4/ip_forward", "mount --bind $V /proc/sys/net/ipv4/ip_forward"] {
        repelled("real-proc", &[], |runtime| {
            let c = Container::new(&["true"]).by(runtime).with(|config| {
                config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
                config["linux"]["readonlyPaths"] = json!([]);
            });
            let secret = victim(&c).join("secret");
            let script = format!(
                "V={}; mount -t tmpfs fake /proc/sys/net && mkdir /proc/sys/net/ipv4 && : >/proc/sys/net/ipv4/other && \
                 {{ case '{fake}' in mount*) : >/proc/sys/net/ipv4/ip_forward; esac; {fake}; }} && exec \"$@\"",
                secret.display()
            );
            let mut shell = std::process::Command::new("unshare");
            shell.args(["--mount", "sh", "-c", &script, "sh"]);
            c.finish(within(shell, &c.command(&c.words("run", &[]))).current_dir(&c.dir));
            fs::read_to_string(&secret).unwrap() != "of the host\n"
        });
    }
}

/// An image that brings a /proc of its own, with links for the descriptors that a runtime might use by name
/// (CVE-2026-115521): what has to be read-only is, and what the links name is as it was.
#[test]
fn a_fake_proc_self_fd_does_not_lead_a_read_only_remount_elsewhere() {
    repelled("mount-flags", &[], |runtime| {
        let c = Container::sh("echo x >/data/new && echo written").by(runtime).with(|config| {
            config["mounts"] = json!([]);
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        });
        let data = c.dir.join("data");
        fs::create_dir_all(&data).unwrap();
        fs::create_dir_all(c.rootfs("/decoy")).unwrap();
        for of in ["self", "thread-self", "1"] {
            fs::create_dir_all(c.rootfs("/proc").join(of).join("fd")).unwrap();
            for fd in 0..64 {
                symlink("/decoy", c.rootfs("/proc").join(of).join("fd").join(fd.to_string())).unwrap();
            }
        }
        let c = c.with(|config| {
            config["root"]["readonly"] = json!(false);
            push(&mut config["mounts"], json!({"destination": "/decoy", "type": "tmpfs", "source": "decoy"}));
            push(
                &mut config["mounts"],
                json!({"destination": "/data", "type": "bind", "source": data, "options": ["rbind", "ro"]}),
            );
        });
        c.run().stdout.contains("written")
    });
}
