//! Powers and ids of the processes that `exec` and `run` bring.

use crate::common::*;
use crate::repelled;

/// Capabilities by number, as /proc shows sets.
const KILL: u64 = 1 << 5;

/// A set of the process that `exec --cap CAP_KILL` runs.
fn set_of(runtime: &Runtime, options: &[&str], name: &str) -> u64 {
    let c = Container::idle().by(runtime).up();
    let words = ["grep", name, "/proc/self/status"];
    let output = c.exec_with(options, &words);
    u64::from_str_radix(output.ok().split_whitespace().last().unwrap(), 16).unwrap()
}

/// CVE-2022-29162 and CVE-2025-27612: added capabilities become inheritable, and so an unprivileged user's by a file's.
#[test]
fn added_capabilities_are_not_inheritable() {
    repelled("not-inheritable", &[], |runtime| set_of(runtime, &["--cap", "CAP_KILL"], "CapInh:") & KILL != 0);
    assert_ne!(set_of(&Runtime::Tested, &["--cap", "CAP_KILL"], "CapPrm:") & KILL, 0, "but they are permitted");
    assert_eq!(set_of(&Runtime::Tested, &["--cap", "CAP_KILL"], "CapAmb:") & KILL, 0);
}

/// CVE-2022-27650: the default process has inheritable capabilities.
#[test]
fn capabilities_are_not_inheritable_by_default() {
    let inheritable = |list: Value| {
        let c = Container::new(&["grep", "CapInh", "/proc/self/status"])
            .with(|config| config["process"]["capabilities"]["inheritable"] = list);
        c.run().ok().ends_with("0000000000000000")
    };
    assert!(inheritable(json!(null)));
    // That a set of the bundle's own does show proves that this looks.
    assert!(!inheritable(json!(["CAP_KILL"])));
    assert_eq!(set_of(&Runtime::Tested, &[], "CapInh:"), 0);
}

/// The ids that `exec --user` gives: (uid, gid), or none where it is refused.
fn ids(c: &Container, user: &str) -> Option<(String, String)> {
    let output = c.exec_with(&["--user", user], &["sh", "-c", "grep '^[UG]id' /proc/self/status"]);
    let of = |name: &str| {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    Some((of("Uid:")?, of("Gid:")?)).filter(|_| output.code == 0)
}

/// CVE-2026-30892: `-u 1` is taken as root. Whatever is not a number, or is none that an id can have, is refused.
#[test]
fn exec_runs_as_the_user_that_was_named_or_not_at_all() {
    let c = Container::idle().up();
    let all = |id: &str| [id; 4].join(" ");
    for (user, uid, gid) in [
        ("1", "1", "0"),
        ("1:2", "1", "2"),
        ("0", "0", "0"),
        ("65534:65534", "65534", "65534"),
        ("01", "1", "0"),
        ("0010:08", "10", "8"),
    ] {
        assert_eq!(ids(&c, user), Some((all(uid), all(gid))), "{user:?}");
    }
    // As runc: nothing is as not given, the container's own user.
    assert_eq!(ids(&c, ""), Some((all("0"), all("0"))));
    for user in [
        ":",
        "1:",
        ":1",
        "1:2:3",
        "-1",
        "1:-1",
        " 1",
        "1 ",
        "1\n",
        "\n1",
        "1\t",
        "0x1",
        "1e3",
        "1.0",
        "root",
        "root:root",
        "1:root",
        "alice",
        "4294967295",
        "0:4294967295",
        "4294967296",
        "18446744073709551616",
        "18446744073709551617",
        "1:4294967296",
        "99999999999999999999999999",
        "１",
        "1,2",
        "1/2",
        "--",
        "1\u{0001}",
        "+",
        "-",
        "+-1",
        "0b1",
        "1_0",
    ] {
        assert_eq!(ids(&c, user), None, "{user:?}");
    }
}

/// setresuid(2) takes the highest number as "no change", and who asks for no change of root stays root.
#[test]
fn the_id_that_means_no_change_does_not_leave_root() {
    repelled("real-ids", &[], |runtime| {
        let c = Container::idle().by(runtime).up();
        ids(&c, "4294967295").is_some_and(|(uid, _)| uid.starts_with("0 "))
    });
    for field in ["uid", "gid"] {
        repelled("real-ids", &[], |runtime| {
            let c = Container::sh("id").by(runtime).with(|config| config["process"]["user"][field] = json!(u32::MAX));
            c.run().code == 0
        });
    }
    let c = Container::new(&["true"]).with(|config| config["process"]["user"]["additionalGids"] = json!([5, u32::MAX]));
    let before = c.leftovers();
    c.try_create().fails(1, &["process.user.additionalGids[1]"]);
    before.assert_nothing_new();
}

/// CVE-2021-43784: runc told its init of the container in messages with lengths of 16 bits, so that a value of more than
/// 64 KiB went on as messages of its own. A plan has lengths of 32 bits, and config.json has at most 16 MiB.
#[test]
fn values_of_more_than_64_kib_arrive_whole_or_are_refused() {
    let long = "x".repeat((1 << 16) + 4096);
    let c = Container::sh("echo ${#LONG} $AFTER; id -u").with(|config| {
        let env = json!(["PATH=/bin", format!("LONG={long}"), "AFTER=after"]);
        config["process"]["env"] = env;
        config["process"]["user"] = json!({"uid": 7, "gid": 7});
        config["annotations"] = json!({"long": long});
    });
    assert_eq!(c.run().ok(), format!("{} after\n7", long.len()));
    // More mappings than fit into 64 KiB of netlink, or into what the kernel takes.
    let c = Container::new(&["true"]).with(|config| {
        bundle::push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map: Vec<_> = (0..8192).map(|n| json!({"containerID": n, "hostID": 100_000 + 2 * n, "size": 1})).collect();
        config["linux"]["uidMappings"] = json!(map);
        config["linux"]["gidMappings"] = json!(map);
    });
    let before = c.leftovers();
    c.try_create().fails(1, &["linux.uidMappings"]);
    before.assert_nothing_new();
}
