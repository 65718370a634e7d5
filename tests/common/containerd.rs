//! A real containerd, started by hand, and `ctr`, which drives it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::aside::Aside;
use super::daemon::containerd_config;
use super::machine::{self, Manager};
use super::terminal::{control, lines_of, pty};
use super::*;

/// nfrun's shim, which is built beside nfrun.
pub fn shim() -> PathBuf {
    binary().with_file_name("containerd-shim-nfrun-v2")
}

/// Which shim runs containers.
enum Runtime {
    Runc,
    Nfrun,
}

fn start(command: &mut Command, c: &Container) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(c.dir.join("ctd.log")).unwrap();
    command.stdout(Stdio::null()).stderr(log).spawn().expect("start containerd")
}

/// A containerd with directories, sockets, mounts and a network of its own.
pub struct Containerd {
    pub daemon: Child,
    pub c: Container,
    pub aside: Aside,
    pub manager: Manager,
    runtime: Runtime,
    /// A machine that is ours has but one state root of runc's and one unit of a name: one test at a time.
    _whole: Option<std::sync::MutexGuard<'static, ()>>,
}

impl Containerd {
    /// With Debian's shim, which starts the runtime under test.
    pub fn new() -> Self {
        Self::of(Container::new(&["true"]), |_| {})
    }

    /// With nfrun's shim.
    pub fn with_shim() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(shim().parent().unwrap().to_owned()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(dirs).unwrap();
        let mut all = Self::of(Container::new(&["true"]), |daemon| {
            daemon.env("PATH", &path);
        });
        all.runtime = Runtime::Nfrun;
        // Its options come in a file, and cgroups of systemd are one of them.
        all.manager = Manager::Cgroupfs;
        all
    }

    /// A daemon that is started with something changed, such as its PATH, in which its shims look for runc.
    pub fn of(c: Container, change: impl FnOnce(&mut Command)) -> Self {
        let whole = machine::is_ours().then(machine::whole);
        let aside = Aside::for_engine();
        let dir = c.dir.to_str().unwrap().to_owned();
        std::fs::write(c.dir.join("ctd.toml"), containerd_config(&dir)).unwrap();
        let mut command = aside.command(&["containerd", "--config", &format!("{dir}/ctd.toml")]);
        change(&mut command);
        let daemon = start(&mut command, &c);
        let all = Self { daemon, c, aside, manager: Manager::here(), runtime: Runtime::Runc, _whole: whole };
        all.await_answer();
        all
    }

    fn await_answer(&self) {
        eventually("containerd answers", || {
            let said = self.command(&["version"]).output().expect("start ctr");
            said.status.success()
        });
    }

    /// Ends the daemon, and leaves its shims.
    pub fn end_daemon(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }

    /// Starts it anew.
    pub fn start_daemon(&mut self) {
        let config = format!("{}/ctd.toml", self.c.dir.display());
        let mut command = self.aside.command(&["containerd", "--config", &config]);
        self.daemon = start(&mut command, &self.c);
        self.await_answer();
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let socket = format!("{}/ctd.sock", self.c.dir.display());
        let mut command = self.aside.command(&[&["ctr", "--address", &socket][..], words].concat());
        command.current_dir(&self.c.dir);
        command
    }

    pub fn run_words(&self, options: &[&str], id: &str, words: &[&str]) -> Vec<String> {
        match self.runtime {
            Runtime::Runc => self.run_words_with(binary().to_str(), options, id, words),
            Runtime::Nfrun => {
                self.run_words_with(None, &[&["--runtime", "io.containerd.nfrun.v2"], options].concat(), id, words)
            }
        }
    }

    pub fn run_words_with(&self, runtime: Option<&str>, options: &[&str], id: &str, words: &[&str]) -> Vec<String> {
        let cgroup = self.cgroup_of(id);
        let rootfs = self.c.bundle.join("rootfs");
        let mut usual = vec!["run", "--cgroup", &cgroup];
        if self.manager == Manager::Systemd && matches!(self.runtime, Runtime::Runc) {
            usual.push("--runc-systemd-cgroup");
        }
        if let Some(runtime) = runtime {
            usual.extend(["--runc-binary", runtime]);
        }
        let what = ["--rootfs", rootfs.to_str().unwrap(), id];
        [&usual[..], options, &what, words].concat().into_iter().map(str::to_owned).collect()
    }

    /// The word for its cgroup: a path, or slice, prefix and name of a scope.
    pub fn cgroup_of(&self, id: &str) -> String {
        match self.manager {
            Manager::Cgroupfs => format!("{}/{id}", self.c.cgroup_parent),
            Manager::Systemd => format!("machine.slice:nfrun-ctr:{id}"),
        }
    }

    /// The first process of a task, as the host sees it.
    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        let list = self.ctr(&["tasks", "ls"]);
        let line = list.stdout.lines().find(|line| line.split_whitespace().next() == Some(id));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).expect("a pid")
    }

    #[track_caller]
    pub fn ctr(&self, words: &[&str]) -> Output {
        self.c.finish_within(&mut self.command(words), LIMIT * 2)
    }

    #[track_caller]
    pub fn run(&self, options: &[&str], id: &str, words: &[&str]) -> Output {
        let all = self.run_words(options, id, words);
        self.ctr(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs a script by ctr at a terminal: it says where it is, reads a line, and ends. Its exit code.
    #[track_caller]
    pub fn type_into(&self, words: &[&str]) -> i32 {
        let (master, slave) = pty(30, 100);
        let mut ctr = self.command(words);
        control(&mut ctr, &slave);
        let mut ctr = ctr.spawn().expect("start ctr");
        drop(slave);
        let mut lines = lines_of(&master);
        lines.until("/dev/pts/");
        std::fs::File::from(master.try_clone().unwrap()).write_all(b"typed\n").unwrap();
        lines.until("got typed");
        wait(&mut ctr, "ctr at a terminal")
    }

    /// What `ctr tasks ls` says of a task.
    pub fn status(&self, id: &str) -> String {
        let list = self.ctr(&["tasks", "ls"]);
        let line = list.stdout.lines().find(|line| line.split_whitespace().next() == Some(id));
        line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or("absent").to_owned()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let list = self.command(&["tasks", "ls", "--quiet"]).output();
        for id in list.map(|list| String::from_utf8_lossy(&list.stdout).into_owned()).unwrap_or_default().lines() {
            let _ = self.command(&["tasks", "delete", "--force", id]).output();
        }
        // nsenter has become containerd; its shims name its socket, and go with the container's directory.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
