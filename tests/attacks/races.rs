//! A helper that exchanges names in a loop, in what an image or a volume that it shares can reach, while containers are
//! made: thousands of tries, of which not one may come out elsewhere than a look at a quiet image would.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::stat::Mode;

use crate::common::bundle::push;
use crate::common::terminal::ConsoleSocket;
use crate::common::*;
use crate::{drop_mounts, intruders, repelled, tries, victim};

/// Exchanges two names until told to stop: renameat2(2), RENAME_EXCHANGE.
fn exchange_while<T>(a: &Path, b: &Path, act: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            while !done.load(Ordering::Relaxed) {
                let _ = nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, a, nix::fcntl::AT_FDCWD, b, flags);
            }
        });
        // Also when the act panics, or the scope would wait for ever.
        let _end = Ends(&done);
        act()
    })
}

/// Says that something is done when it goes out of scope.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether one of many runs of a container gives the attacker what `won` looks for.
fn wins(c: &Container, words: &[&str], mut reset: impl FnMut(), won: impl Fn(&Output) -> bool) -> bool {
    let tries = tries();
    for n in 0..tries {
        reset();
        let output = c.runtime(words);
        if won(&output) {
            eprintln!("won at try {n}");
            return true;
        }
        assert!(!output.stderr.contains("panicked"), "{output:?}");
        let _ = c.runtime(&["delete", "--force", &c.id]);
    }
    eprintln!("{tries} tries, none won ({:?})", c.runtime);
    false
}

/// A container with a volume at /vol, in which `target` and a link to the victim change places.
struct Volume {
    c: Container,
    victim: PathBuf,
    volume: PathBuf,
}

impl Volume {
    fn new(runtime: &Runtime, script: &str, mounts: &[Value]) -> Self {
        let c = Container::sh(script).by(runtime);
        let victim = victim(&c);
        let volume = c.dir.join("volume");
        fs::create_dir_all(volume.join("target")).unwrap();
        symlink(&victim, volume.join("link")).unwrap();
        let c = c.with(|config| {
            config["root"]["readonly"] = json!(false);
            let vol = json!({"destination": "/vol", "type": "bind", "source": volume, "options": ["rbind"]});
            push(&mut config["mounts"], vol);
            for mount in mounts {
                push(&mut config["mounts"], mount.clone());
            }
        });
        Self { c, victim, volume }
    }
}

/// CVE-2021-30465: a mount is led to the host's directory, which a later bind shows.
#[test]
fn a_mount_target_that_changes_places_with_a_link_stays_inside() {
    repelled("beneath", &[], |runtime| {
        let v = Volume::new(
            runtime,
            "cat /seen/secret",
            &[
                json!({"destination": "/vol/target", "type": "tmpfs", "source": "t", "options": ["ro"]}),
                json!({"destination": "/seen", "type": "bind", "source": "../victim", "options": ["rbind"]}),
            ],
        );
        exchange_while(&v.volume.join("target"), &v.volume.join("link"), || {
            wins(
                &v.c,
                &v.c.words("run", &[]),
                || {},
                |output| {
                    // It was covered: the container ran, and did not find the file.
                    output.stderr.contains("/seen/secret")
                },
            )
        })
    });
}

/// CVE-2024-45310: missing parts of a target are made on the host.
#[test]
fn a_parent_that_changes_places_with_a_link_makes_nothing_on_the_host() {
    repelled("beneath", &[], |runtime| {
        let v = Volume::new(
            runtime,
            "true",
            &[
                json!({"destination": "/vol/target/a/b", "type": "tmpfs", "source": "t"}),
                json!({"destination": "/vol/target/file", "type": "bind", "source": "config.json", "options": ["bind"]}),
            ],
        );
        let (target, link) = (v.volume.join("target"), v.volume.join("link"));
        let reset = || {
            for place in [&target, &link].map(fs::canonicalize).into_iter().flatten() {
                if place != v.victim {
                    let _ = fs::remove_dir_all(place.join("a"));
                    let _ = fs::remove_file(place.join("file"));
                }
            }
        };
        exchange_while(&target, &link, || {
            wins(&v.c, &v.c.words("run", &[]), reset, |_| !intruders(&v.victim).is_empty())
        })
    });
}

/// The same where a read-only bind is made: what the container sees of its source is read-only, wherever it lies
/// (CVE-2026-115521: the remount, which came after, was led elsewhere).
#[test]
fn a_read_only_bind_is_read_only_wherever_the_race_puts_it() {
    repelled("mount-flags", &[], |runtime| {
        let script = "for d in /vol/target /vol/link; do echo x >$d/data && echo written; done 2>/dev/null; true";
        let v = Volume::new(
            runtime,
            script,
            &[json!({"destination": "/vol/target", "type": "bind", "source": "../data", "options": ["rbind", "ro"]})],
        );
        fs::create_dir(v.c.dir.join("data")).unwrap();
        fs::write(v.c.dir.join("data/data"), "").unwrap();
        let data = v.c.dir.join("data/data");
        exchange_while(&v.volume.join("target"), &v.volume.join("link"), || {
            wins(&v.c, &v.c.words("run", &[]), || {}, |_| !fs::read(&data).unwrap().is_empty())
        })
    });
}

/// CVE-2026-41579 and CVE-2026-47766 as a race: /dev of a rootfs that two containers share.
#[test]
fn a_dev_that_changes_places_with_a_link_makes_no_device_on_the_host() {
    repelled("beneath", &[], |runtime| {
        let c = Container::new(&["true"]).by(runtime).with(|config| {
            drop_mounts(config, "/dev");
            config["root"]["readonly"] = json!(false);
        });
        let victim = victim(&c);
        symlink(&victim, c.rootfs("/link")).unwrap();
        exchange_while(&c.rootfs("/dev"), &c.rootfs("/link"), || {
            wins(&c, &c.words("run", &[]), || {}, |_| !intruders(&victim).is_empty())
        })
    });
}

/// CVE-2019-19921 as a race: /proc of a shared rootfs changes places with a link.
#[test]
fn a_proc_that_changes_places_with_a_link_is_mounted_in_no_linked_place() {
    repelled("real-directories", &[], |runtime| {
        let c = Container::sh("test -e /elsewhere/self/mounts && echo elsewhere").by(runtime).with(|config| {
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        });
        fs::create_dir(c.rootfs("/elsewhere")).unwrap();
        symlink("/elsewhere", c.rootfs("/link")).unwrap();
        exchange_while(&c.rootfs("/proc"), &c.rootfs("/link"), || {
            wins(&c, &c.words("run", &[]), || {}, |output| output.stdout.contains("elsewhere"))
        })
    });
}

/// CVE-2025-52565 and CVE-2026-88264 as a race: /dev/console changes places with a link.
#[test]
fn a_console_that_changes_places_with_a_link_makes_no_file_on_the_host() {
    repelled("real-console", &[], |runtime| {
        let c = Container::new(&["true"]).by(runtime).with(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| ["/proc", "/dev/pts"].iter().any(|kept| mount["destination"] == *kept));
            config["process"]["terminal"] = json!(true);
            config["root"]["readonly"] = json!(false);
        });
        let victim = victim(&c);
        fs::create_dir(c.rootfs("/dev/pts")).unwrap();
        fs::write(c.rootfs("/dev/console"), "").unwrap();
        symlink(victim.join("made"), c.rootfs("/dev/link")).unwrap();
        let socket = ConsoleSocket::bind(&c.dir.join("console.sock"));
        exchange_while(&c.rootfs("/dev/console"), &c.rootfs("/dev/link"), || {
            let words = c.words("create", &["--console-socket", socket.text()]);
            // Whoever connected is let go of, or the socket's queue would be full one day.
            wins(&c, &words, || socket.accept_all(), |_| !intruders(&victim).is_empty())
        })
    });
}

/// tmpcopyup reads the rootfs as the host's root: an entry that turns into a link while it does so is not followed.
#[test]
fn tmpcopyup_copies_nothing_of_the_host_whatever_changes_places() {
    for (entry, link) in [("directory", "victim"), ("file", "victim/secret")] {
        let c = Container::sh("cat /full/directory/secret /full/link/secret /full/file /full/link 2>/dev/null");
        let victim = victim(&c);
        fs::create_dir_all(c.rootfs("/full/directory")).unwrap();
        fs::write(c.rootfs("/full/file"), "harmless").unwrap();
        symlink(victim.parent().unwrap().join(link), c.rootfs("/full/link")).unwrap();
        let c = c.with(|config| {
            config["root"]["readonly"] = json!(false);
            let mount = json!({"destination": "/full", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]});
            push(&mut config["mounts"], mount);
        });
        let won = exchange_while(&c.rootfs("/full").join(entry), &c.rootfs("/full/link"), || {
            wins(&c, &c.words("run", &[]), || {}, |output| output.stdout.contains("of the host"))
        });
        assert!(!won, "{entry}");
    }
}

/// A command whose interpreter is missing changes places with a FIFO: init, which reads the script's first line to name the
/// interpreter, must not wait for somebody who writes.
#[test]
fn a_script_that_changes_places_with_a_fifo_holds_nobody_up() {
    let c = Container::new(&["/volume/script"]);
    let volume = c.dir.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("script"), "#!/no/such/interpreter\n").unwrap();
    nix::unistd::mkfifo(&volume.join("fifo"), Mode::S_IRWXU).unwrap();
    fs::set_permissions(volume.join("script"), Permissions::from_mode(0o755)).unwrap();
    let c = c.with(|config| {
        let mount = json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"]});
        push(&mut config["mounts"], mount);
    });
    exchange_while(&volume.join("script"), &volume.join("fifo"), || {
        for n in 0..tries() {
            let mut child = c.command(&c.words("run", &[])).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let ended = ends_within(&pidfd(child.id() as i32).unwrap(), Duration::from_secs(30));
            if !ended {
                c.runtime(&["delete", "--force", &c.id]);
                let _ = child.kill();
            }
            child.wait().unwrap();
            assert!(ended, "held up at try {n}");
        }
    });
}
