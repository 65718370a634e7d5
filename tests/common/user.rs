//! An ordinary user, whom only a mount namespace of the test's own knows: nothing of the host's /etc is changed.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::outside::{cgroup_dir, is_v2};
use super::{Container, Runtime, Value, binary, json};

/// His uid and gid.
pub const UID: u32 = 4242;

/// What /etc/subuid and /etc/subgid give him, where they do.
pub const GRANTED: u32 = 300_000;

/// The user, as whom a container's commands run.
#[derive(Debug, Clone)]
pub struct User {
    dir: PathBuf,
    /// His $PATH.
    pub path: &'static str,
    /// NAME=VALUE.
    pub environment: Vec<String>,
    /// A script of root's before he begins, in his mount namespace.
    pub before: String,
}

impl User {
    /// A user with a copy of the runtime, since the way to it may be closed to others than root; he has ids from
    /// [`GRANTED`] on.
    pub fn new(dir: &Path) -> Self {
        super::copy_runtime(&dir.join("nfrun"));
        let passwd = fs::read_to_string("/etc/passwd").expect("passwd");
        fs::write(dir.join("passwd"), format!("{passwd}nfruntest:x:{UID}:{UID}::/:/bin/sh\n")).expect("write passwd");
        let group = fs::read_to_string("/etc/group").expect("group");
        fs::write(dir.join("group"), format!("{group}nfruntest:x:{UID}:\n")).expect("write group");
        fs::write(dir.join("grants"), format!("nfruntest:{GRANTED}:65536\n")).expect("write grants");
        Self { dir: dir.to_owned(), path: "/usr/bin:/bin", environment: Vec::new(), before: String::new() }
    }

    /// His command line begins with this, and a program's name follows.
    pub fn words(&self) -> Command {
        let script = format!(
            "set -e; d=\"$1\"; shift; mount --bind \"$d/passwd\" /etc/passwd; \
             mount --bind \"$d/group\" /etc/group; \
             for f in subuid subgid; do [ -e /etc/$f ] || touch /etc/$f; mount --bind \"$d/grants\" /etc/$f; done; {} \
             exec setpriv --reuid {UID} --regid {UID} --clear-groups --inh-caps=-all env -u XDG_RUNTIME_DIR -u USER \
             HOME=\"$d\" PATH={} {} \"$@\"",
            self.before,
            self.path,
            self.environment.join(" ")
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(&self.dir);
        command
    }

    /// The runtime, as he calls it.
    pub fn command(&self) -> Command {
        let mut command = self.words();
        command.arg(self.dir.join("nfrun"));
        command
    }
}

/// The mappings of the user alone.
pub fn himself() -> Value {
    json!([{"containerID": 0, "hostID": UID, "size": 1}])
}

/// The mappings of the user as root and of what is granted to him.
pub fn ranges() -> Value {
    json!([{"containerID": 0, "hostID": UID, "size": 1}, {"containerID": 1, "hostID": GRANTED, "size": 65535}])
}

impl Container {
    /// A container of an ordinary user's with these mappings: what `spec --rootless` writes, without its terminal.
    pub fn of_user(args: &[&str], map: &Value) -> Self {
        let c = Self::new(args).with(|config| {
            let linux = config["linux"].as_object_mut().expect("linux");
            linux.retain(|name, _| name != "resources" && name != "cgroupsPath");
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.retain(|namespace| namespace["type"] != "network");
            namespaces.push(json!({"type": "user"}));
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map.clone();
            for mount in config["mounts"].as_array_mut().expect("mounts") {
                match mount["destination"].as_str() {
                    Some("/sys") => {
                        mount["type"] = json!("none");
                        mount["source"] = json!("/sys");
                        mount["options"].as_array_mut().expect("options").push(json!("rbind"));
                    }
                    // No group 5 is mapped.
                    Some("/dev/pts") => mount["options"].as_array_mut().expect("options").retain(|o| o != "gid=5"),
                    _ => {}
                }
            }
        });
        let user = User::new(&c.dir);
        let mut c = c.by(&Runtime::User(user));
        c.give(&c.dir.clone());
        c.root = c.dir.join("state");
        c
    }

    /// The user as whom the container's commands run.
    pub fn user(&mut self) -> &mut User {
        match &mut self.runtime {
            Runtime::User(user) => user,
            _ => panic!("the container is no user's"),
        }
    }

    /// Makes him the owner of a file, or of a directory and all that is in it.
    pub fn give(&self, path: &Path) {
        lchown(path, Some(UID), Some(UID)).expect("chown");
        if path.is_dir() && !path.is_symlink() {
            fs::read_dir(path).expect("read a directory").flatten().for_each(|entry| self.give(&entry.path()));
        }
    }

    /// The same container, whose user begins in a cgroup that is his: on cgroup2 one below another that is his too and has
    /// every controller, on v1 one in each of these hierarchies.
    pub fn delegated(mut self, hierarchies: &[&str]) -> Self {
        let parent = self.cgroup_parent.clone();
        let mut enter = String::new();
        if is_v2() {
            let own = cgroup_dir("", &parent);
            let session = own.join("session");
            fs::create_dir_all(&session).expect("make a cgroup");
            for dir in [&own, &session] {
                for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                    lchown(dir.join(file), Some(UID), Some(UID)).expect("give a cgroup");
                }
            }
            enter = format!("echo $$ > {}/cgroup.procs;", session.display());
        } else {
            for hierarchy in hierarchies {
                let own = cgroup_dir(hierarchy, &parent);
                fs::create_dir(&own).expect("make a cgroup");
                lchown(&own, Some(UID), Some(UID)).expect("give a cgroup");
                enter += &format!("echo $$ > {}/tasks;", own.display());
            }
        }
        self.user().before = enter;
        self
    }

    /// A cgroup of the container in one hierarchy, where the bundle names none.
    pub fn delegated_cgroup(&self, hierarchy: &str) -> PathBuf {
        cgroup_dir(hierarchy, &format!("{}/{}", self.cgroup_parent, self.id))
    }

    /// The same container with what /etc/subuid and /etc/subgid say.
    pub fn granting(self, lines: &str) -> Self {
        fs::write(self.dir.join("grants"), lines).expect("write grants");
        self
    }
}
