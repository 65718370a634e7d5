//! The options that begin with r and hold for the mounts below as well, against their plain forms: config.md, "Linux
//! mount options".

use std::fs;
use std::path::Path;

use nix::mount::MsFlags;

use crate::common::bundle::push;
use crate::common::*;

/// MS_NOSYMFOLLOW, Linux 5.10.
const NO_SYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// Leaves a test where recursive attributes cannot be, and on runc.
macro_rules! needs_attributes {
    ($reason:literal) => {
        not_in_runc!($reason);
        // mount_setattr came in 5.12; of its attributes the last was nosymfollow.
        if !outside::kernel_has(5, 14) {
            skip!("attributes are set recursively since Linux 5.12, all of them since 5.14");
        }
    };
}

/// Mounts a tmpfs with something in it on `dir`/below, and gives both mounts these flags.
fn mount_below(dir: &Path, flags: MsFlags) {
    let below = dir.join("below");
    let none = None::<&str>;
    fs::create_dir_all(&below).unwrap();
    nix::mount::mount(Some(dir), dir, none, MsFlags::MS_BIND, none).unwrap();
    // Where the host's mounts are shared, as systemd has them, what is unmounted here would go from a container as well.
    nix::mount::mount(none, dir, none, MsFlags::MS_PRIVATE, none).unwrap();
    nix::mount::mount(Some("t"), &below, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    for place in [dir, &below] {
        fs::write(place.join("file"), "text\n").unwrap();
        fs::copy("/bin/busybox", place.join("busybox")).unwrap();
        std::os::unix::fs::symlink("file", place.join("link")).unwrap();
        // A command that another test starts meanwhile holds what was just written until it is executed: busy for ro.
        eventually("the flags are set", || {
            match nix::mount::mount(none, place, none, flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND, none) {
                Err(nix::errno::Errno::EBUSY) => false,
                other => other.map(|()| true).unwrap(),
            }
        });
    }
}

fn unmount_below(dir: &Path) {
    for place in [dir.join("below"), dir.to_owned()] {
        nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

/// A running container with a bind of mounts that have `flags` for each word, on /0, /1 and so on.
fn with_each(words: &[&str], flags: MsFlags) -> Container {
    let c = Container::idle();
    let source = c.dir.join("source");
    fs::create_dir(&source).unwrap();
    mount_below(&source, flags);
    let c = c.with(|config| {
        config["root"]["readonly"] = json!(false);
        for (i, word) in words.iter().enumerate() {
            let options: Vec<_> = ["rbind"].into_iter().chain(word.split(',')).collect();
            let mount = json!({"destination": format!("/{i}"), "type": "bind", "source": source, "options": options});
            push(&mut config["mounts"], mount);
        }
    });
    let output = c.try_create();
    unmount_below(&source);
    output.ok();
    c.start();
    c
}

/// The options of a mount that differ between kinds of flags, in one order.
fn flags_at(pid: i32, target: &str) -> Vec<String> {
    let mut options = outside::mount_at(pid, target).options;
    options.retain(|option| option != "rw");
    options.sort();
    options
}

#[test]
fn each_word_sets_its_flag_on_all_mounts_and_its_plain_form_on_the_upper_one() {
    needs_attributes!("they came in 1.2");
    let words = [
        ("rro", "relatime ro"),
        ("rnosuid", "nosuid relatime"),
        ("rnodev", "nodev relatime"),
        ("rnoexec", "noexec relatime"),
        ("rnosymfollow", "nosymfollow relatime"),
        ("rnodiratime", "nodiratime relatime"),
        ("rnoatime", "noatime"),
        ("rstrictatime", ""),
        ("rrelatime", "relatime"),
        ("rnoatime,rrelatime", "relatime"),
        ("rro,rnosuid,rnodev,rnoexec,rstrictatime", "nodev noexec nosuid ro"),
    ];
    let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let c = with_each(&all, MsFlags::empty());
    let pid = c.pid();
    for (i, (word, expected)) in words.iter().enumerate() {
        assert_eq!(flags_at(pid, &format!("/{i}")).join(" "), *expected, "{word}");
        assert_eq!(flags_at(pid, &format!("/{i}/below")).join(" "), *expected, "{word}, below");
    }
    // What the flags are for.
    let refused = |command: &[&str], says: &str| {
        let output = c.exec(command);
        assert!(output.code != 0 && output.stderr.contains(says), "{command:?}: {output:?}");
    };
    refused(&["touch", "/0/below/new"], "Read-only file system");
    refused(&["/3/below/busybox", "true"], "permission denied");
    refused(&["cat", "/4/below/link"], "Too many levels of symbolic links");
    c.exec(&["/0/below/busybox", "true"]).ok();
    c.on_id(&["delete", "--force"]).ok();

    let plain: Vec<_> = all.iter().map(|words| words.split(',').map(|word| &word[1..]).collect::<Vec<_>>()).collect();
    let plain: Vec<_> =
        plain.iter().filter(|words| words.join(" ") != "noatime relatime").map(|w| w.join(",")).collect();
    let c = with_each(&plain.iter().map(String::as_str).collect::<Vec<_>>(), MsFlags::empty());
    for (i, word) in plain.iter().enumerate() {
        let expected =
            words.iter().find(|(long, _)| long.split(',').map(|w| &w[1..]).collect::<Vec<_>>().join(",") == *word);
        assert_eq!(flags_at(c.pid(), &format!("/{i}")).join(" "), expected.unwrap().1, "{word}");
        assert_eq!(flags_at(c.pid(), &format!("/{i}/below")).join(" "), "relatime", "{word}, below");
    }
}

#[test]
fn each_word_clears_its_flag_on_all_mounts_and_its_plain_form_on_the_upper_one() {
    needs_attributes!("they came in 1.2");
    let set = MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC
        | MsFlags::MS_NOATIME
        | MsFlags::MS_NODIRATIME
        | NO_SYMFOLLOW;
    let all = "noatime nodev nodiratime noexec nosuid nosymfollow ro";
    let without = |names: &[&str], and: &str| {
        let mut left: Vec<_> = all.split(' ').filter(|name| !names.contains(name)).collect();
        left.extend(Some(and).filter(|and| !and.is_empty()));
        left.sort_unstable();
        left.join(" ")
    };
    let words = [
        ("rrw", without(&["ro"], "")),
        ("rsuid", without(&["nosuid"], "")),
        ("rdev", without(&["nodev"], "")),
        ("rexec", without(&["noexec"], "")),
        ("rsymfollow", without(&["nosymfollow"], "")),
        ("rdiratime", without(&["nodiratime"], "")),
        ("ratime", without(&["noatime"], "relatime")),
        ("rstrictatime", without(&["noatime"], "")),
    ];
    for recursive in [true, false] {
        let names: Vec<_> = words.iter().map(|(word, _)| if recursive { *word } else { &word[1..] }).collect();
        let c = with_each(&names, set);
        for (i, (word, expected)) in words.iter().enumerate() {
            assert_eq!(flags_at(c.pid(), &format!("/{i}")).join(" "), *expected, "{word}");
            let below = if recursive { expected.as_str() } else { all };
            assert_eq!(flags_at(c.pid(), &format!("/{i}/below")).join(" "), below, "{word}, below");
        }
    }
}

#[test]
fn of_words_of_both_kinds_the_recursive_ones_come_last() {
    needs_attributes!("they came in 1.2");
    let c = with_each(&["rro,rnosuid,rw"], MsFlags::empty());
    for place in ["/0", "/0/below"] {
        assert_eq!(flags_at(c.pid(), place).join(" "), "nosuid relatime ro", "{place}");
    }
}

#[test]
fn a_fresh_filesystem_takes_them_too() {
    needs_attributes!("they came in 1.2");
    let c = Container::idle().with(|config| {
        config["root"]["readonly"] = json!(false);
        let options = json!(["rro", "rnosuid", "rnoatime"]);
        push(
            &mut config["mounts"],
            json!({"destination": "/fresh", "type": "tmpfs", "source": "t", "options": options}),
        );
    });
    c.create();
    assert_eq!(flags_at(c.pid(), "/fresh").join(" "), "noatime nosuid ro");
}

/// In a user namespace the host's flags are locked: setting more is fine, taking off is refused in words.
#[test]
fn locked_flags_can_be_added_to_and_not_taken_off() {
    needs_attributes!("other words");
    for (word, taken) in [("rnosuid", true), ("rrw", false), ("rw", false)] {
        let c = Container::idle();
        let source = c.dir.join("source");
        fs::create_dir(&source).unwrap();
        mount_below(&source, MsFlags::MS_RDONLY);
        let mount = json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", word]});
        let c = c.with(|config| {
            push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
            config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
            config["root"]["readonly"] = json!(false);
            push(&mut config["mounts"], mount);
        });
        let output = c.try_create();
        unmount_below(&source);
        if taken {
            output.ok();
            assert_eq!(flags_at(c.pid(), "/data/below").join(" "), "nosuid relatime ro");
        } else {
            output.fails(1, &["on /data", "set mount flags", "locked"]);
        }
    }
}

#[test]
fn a_kernel_that_sets_no_flags_below_is_named() {
    not_in_runc!("other words");
    if outside::kernel_has(5, 12) {
        skip!("this kernel can");
    }
    let c = Container::idle();
    let mount = json!({"destination": "/mnt", "type": "bind", "source": c.dir, "options": ["rbind", "rro"]});
    let c = c.with(|config| push(&mut config["mounts"], mount));
    let before = c.leftovers();
    c.try_create().fails(1, &["/mnt", "Linux 5.12"]);
    before.assert_nothing_new();
}
