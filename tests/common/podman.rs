//! podman with storage of its own: aside from the machine, or on one that is the tests' own; as root or as a user.

use std::process::Command;

use super::aside::Aside;
use super::machine::{self, Manager};
use super::{Container, Output, binary, eventually};

/// How long one command of an engine may take where everything is emulated.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Who calls podman.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Root,
    /// A user of tests/vm's machines, who has ranges of ids and, under systemd, a service manager of his own.
    Alice,
}

/// podman with everything of its own: storage, runtime directory, mounts, network, cgroup.
pub struct Podman {
    pub c: Container,
    pub manager: Manager,
    caller: Caller,
    aside: Aside,
}

impl Podman {
    /// root's.
    pub fn new() -> Self {
        Self::of(Caller::Root, Manager::here())
    }

    /// An ordinary user's, whose service manager runs.
    pub fn of_alice(manager: Manager) -> Self {
        let linger = Command::new("loginctl").args(["enable-linger", "alice"]).status().expect("start loginctl");
        assert!(linger.success(), "alice has no service manager");
        eventually("alice's bus", || std::path::Path::new("/run/user/1000/bus").exists());
        let podman = Self::of(Caller::Alice, manager);
        let own = podman.dir();
        std::fs::create_dir_all(&own).expect("make alice's directory");
        std::os::unix::fs::chown(&own, Some(1000), Some(1000)).expect("give alice her directory");
        podman
    }

    fn of(caller: Caller, manager: Manager) -> Self {
        Self { c: Container::new(&["true"]), manager, caller, aside: Aside::for_engine() }
    }

    /// Where its storage is.
    fn dir(&self) -> String {
        match self.caller {
            Caller::Root => self.c.dir.to_str().expect("a text path").to_owned(),
            Caller::Alice => format!("/home/alice/{}", self.c.dir.file_name().unwrap().to_str().unwrap()),
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        self.command_with(binary().to_str().unwrap(), words)
    }

    /// podman with a runtime by its path, or by its name in containers.conf.
    pub fn command_with(&self, runtime: &str, words: &[&str]) -> Command {
        let dir = self.dir();
        let own =
            ["--root", "--runroot", "--tmpdir"].map(|option| [option.to_owned(), format!("{dir}/podman{option}")]);
        let mut all = match self.caller {
            Caller::Root => vec![],
            Caller::Alice => vec![
                "runuser",
                "--user",
                "alice",
                "--",
                "env",
                "HOME=/home/alice",
                "XDG_RUNTIME_DIR=/run/user/1000",
                "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus",
            ],
        };
        all.extend(["podman", "--runtime", runtime, "--cgroup-manager", self.manager.name()]);
        all.extend(own.iter().flatten().map(String::as_str));
        all.extend(["--storage-driver", "vfs", "--events-backend", "none"]);
        all.extend(words);
        let mut command = self.aside.command(&all);
        command.current_dir(&dir);
        command
    }

    /// The words of `podman run` for a root filesystem without a network; the tests' own machine may be one whose root cannot
    /// raise the limits that podman would set.
    pub fn run_words<'a>(&'a self, options: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        self.words("run", &[&["--network", "none"][..], options].concat(), &self.image(), words)
    }

    /// The words of `podman run` or `create` for an image.
    pub fn words<'a>(
        &'a self,
        verb: &'a str,
        options: &[&'a str],
        image: &[&'a str],
        words: &[&'a str],
    ) -> Vec<&'a str> {
        let usual = [verb, "--log-driver", "k8s-file", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        // systemd's slices are podman's own, machine.slice and user.slice.
        let cgroup = ["--cgroup-parent", &self.c.cgroup_parent];
        let cgroup = if self.manager == Manager::Cgroupfs && self.caller == Caller::Root { &cgroup[..] } else { &[] };
        [&usual[..], cgroup, options, image, words].concat()
    }

    /// What `podman run` makes a container of: the directory of the test's bundle, or what alice has imported.
    fn image<'a>(&self) -> Vec<&'a str> {
        match self.caller {
            Caller::Root => vec!["--rootfs", self.c.bundle.join("rootfs").to_str().unwrap().to_owned().leak()],
            Caller::Alice => vec!["busybox"],
        }
    }

    /// Imports the test's root filesystem as an image of the name `busybox`, with httpd.
    #[track_caller]
    pub fn import(&self) {
        let tar = std::path::Path::new(&self.dir()).join("image.tar");
        let rootfs = self.c.bundle.join("rootfs");
        std::os::unix::fs::symlink("busybox", rootfs.join("bin/httpd")).expect("link an applet");
        let made = Command::new("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&tar).arg(".").status().expect("tar");
        assert!(made.success());
        self.podman(&["import", "--change", "ENV PATH=/bin", tar.to_str().unwrap(), "busybox"]).ok();
    }

    #[track_caller]
    pub fn podman(&self, words: &[&str]) -> Output {
        self.c.finish_within(&mut self.command(words), LIMIT)
    }

    #[track_caller]
    pub fn run(&self, options: &[&str], words: &[&str]) -> Output {
        self.podman(&self.run_words(options, words))
    }

    /// Removes a container, whatever it does.
    #[track_caller]
    pub fn remove(&self, name: &str) -> Output {
        let at_once: &[_] = if self.is_at_least(4, 0) { &["--time", "0"] } else { &[] };
        self.podman(&[&["rm", "--force"], at_once, &[name]].concat())
    }

    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.podman(&["inspect", "--format", format, name]).ok().to_owned()
    }

    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.inspect(name, "{{.State.Status}} {{.State.ExitCode}}")
    }

    /// The container's first process, as the host sees it.
    #[track_caller]
    pub fn pid(&self, name: &str) -> i32 {
        self.inspect(name, "{{.State.Pid}}").parse().expect("a pid")
    }

    /// Whether it is of this version or newer.
    #[track_caller]
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let version = self.podman(&["version", "--format", "{{.Client.Version}}"]).ok().to_owned();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.command(&["pod", "rm", "--all", "--force"]).output();
        let removed = self.command(&["rm", "--all", "--force", "--time", "0"]).output();
        if !removed.is_ok_and(|removed| removed.status.success()) {
            // podman 3 has no --time here.
            let _ = self.command(&["rm", "--all", "--force"]).output();
        }
        if self.caller == Caller::Alice {
            let _ = self.command(&["unshare", "rm", "-rf", &self.dir()]).output();
            let _ = std::fs::remove_dir_all(self.dir());
        }
    }
}

/// Whether podman and what it needs are here.
pub fn is_installed() -> bool {
    super::aside::installed("podman") && super::aside::installed("conmon")
}

/// Why alice has no podman here, if so.
pub fn lacks_for_alice() -> Option<&'static str> {
    if !machine::is_ours() || !machine::has_systemd() {
        return Some("the machine is not the tests' own, so that it has no ordinary user with a service manager");
    }
    (!is_installed()).then_some("podman or conmon is not installed")
}
