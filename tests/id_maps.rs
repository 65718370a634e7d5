//! Who may map which ids: an ordinary user maps himself alone, and more through newuidmap(1) and newgidmap(1).

#[macro_use]
mod common;

use std::fs;
use std::path::Path;

use common::bundle::push;
use common::*;

/// The ordinary user, whom only the test's own mount namespace knows.
const UID: u32 = 4242;

fn give(path: &Path) {
    std::os::unix::fs::lchown(path, Some(UID), Some(UID)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| give(&entry.path()));
    }
}

/// A container of that user's, with these maps.
fn of_a_user(args: &[&str], map: Value) -> Container {
    let c = Container::new(args).with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    // A copy, since the way to the binary may be closed to others than root.
    copy_runtime(&c.dir.join("nfrun"));
    give(&c.dir);
    c
}

/// Runs `words` of nfrun as that user, to whom /etc/subuid and /etc/subgid give `grants`; `path` is his $PATH.
fn as_user(c: &Container, grants: &str, path: &str, words: &str) -> Output {
    as_user_run(c, grants, path, &format!("./nfrun --root state --cgroup-manager disabled {words}"))
}

fn as_user_run(c: &Container, grants: &str, path: &str, command: &str) -> Output {
    fs::write(c.dir.join("grants"), grants).unwrap();
    let passwd = fs::read_to_string("/etc/passwd").unwrap() + &format!("nfruntest:x:{UID}:{UID}::/:/bin/sh\n");
    fs::write(c.dir.join("passwd"), passwd).unwrap();
    let script = format!(
        "set -e; mount --bind passwd /etc/passwd; for f in subuid subgid; do touch /etc/$f; mount --bind grants /etc/$f; done; \
         PATH={path} exec /usr/bin/setpriv --reuid {UID} --regid {UID} --clear-groups {command}"
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).stdin(std::process::Stdio::null());
    c.finish(command.current_dir(&c.dir))
}

const USUAL: &str = "/usr/bin:/bin";

fn ranges() -> Value {
    json!([{"containerID": 0, "hostID": UID, "size": 1}, {"containerID": 1, "hostID": 300_000, "size": 65535}])
}

#[test]
fn an_ordinary_user_gets_his_ranges_by_newuidmap() {
    not_in_runc!("it finds cgroups it may not write");
    if !aside::installed("newuidmap") {
        skip!("newuidmap (Debian: uidmap) is not installed");
    }
    let c = of_a_user(&["sh", "-c", "id -u; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '"], ranges());
    let before = c.leftovers();
    let output = as_user(&c, "nfruntest:300000:65536\n", USUAL, &format!("run --bundle bundle {}", c.id));
    let maps = format!(" 0 {UID} 1\n 1 300000 65535");
    assert_eq!(output.ok(), format!("0\n{maps}\n{maps}"));
    before.assert_nothing_new();
}

#[test]
fn ids_that_nobody_gave_are_refused_in_words_and_leave_nothing() {
    not_in_runc!("other words");
    if !aside::installed("newuidmap") {
        skip!("newuidmap (Debian: uidmap) is not installed");
    }
    let c = of_a_user(&["true"], ranges());
    let before = c.leftovers();
    let output = as_user(&c, "nfruntest:400000:65536\n", USUAL, &format!("create --bundle bundle {}", c.id));
    output.fails(1, &["linux.uidMappings: write", "newuidmap: ", "/etc/subuid"]);
    before.assert_nothing_new();
}

#[test]
fn without_the_helper_the_error_names_it() {
    not_in_runc!("other words");
    let c = of_a_user(&["true"], ranges());
    let before = c.leftovers();
    let output = as_user(&c, "nfruntest:300000:65536\n", "/nowhere", &format!("create --bundle bundle {}", c.id));
    output.fails(1, &["linux.uidMappings: write", "newuidmap", "not in $PATH", "uidmap"]);
    before.assert_nothing_new();
}

/// The kernel lets that be done without any helper, once setgroups is denied.
#[test]
fn a_map_of_oneself_alone_needs_no_helper() {
    not_in_runc!("it finds cgroups it may not write");
    let map = json!([{"containerID": 0, "hostID": UID, "size": 1}]);
    let c = of_a_user(&["sleep", "1000"], map).with(|config| {
        // The group 5 of devpts has no id there.
        config["mounts"][2]["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
    });
    let before = c.leftovers();
    let script = format!(
        "sh -c './nfrun --root state --cgroup-manager disabled create --bundle bundle {id} && \
          ./nfrun --root state --cgroup-manager disabled start {id} && \
          ./nfrun --root state --cgroup-manager disabled exec {id} sh -c \"id; tr -s \\\" \\\" </proc/self/gid_map; cat /proc/self/setgroups\"; \
          ./nfrun --root state --cgroup-manager disabled delete --force {id}'",
        id = c.id
    );
    let output = as_user_run(&c, "", "/bin", &script);
    assert_eq!(output.ok(), format!("uid=0(root) gid=0(root)\n 0 {UID} 1\ndeny"), "{output:?}");
    before.assert_nothing_new();
    let c = c.with(|config| config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [0]}));
    let output = as_user(&c, "", USUAL, &format!("create --bundle bundle {}", c.id));
    output.fails(1, &["process.user.additionalGids: the user namespace maps"]);
    before.assert_nothing_new();
}
