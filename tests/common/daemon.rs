//! A daemon of a test's own, with what it starts: in pid, mount and network namespaces of its own, that all end with the
//! test, however that ends; or as an administrator starts it, on a machine that is the tests' own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::events::{ends_within, pidfd};
use super::machine;

/// The first process of the namespaces is a shell that waits for the end of its stdin, which the test holds open. Its end,
/// and with it the test's, is the end of every process in there.
pub struct Daemon {
    /// The shell, or the daemon itself on a machine that is ours.
    holder: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
    /// A daemon that has the machine has it alone.
    machine: Option<std::sync::MutexGuard<'static, ()>>,
}

impl Daemon {
    /// Starts a shell's command line there, with an empty /run. Its output goes to a file, never to the test's own.
    pub fn start(script: &str, log: PathBuf, path: &str) -> Self {
        if machine::is_ours() && machine::has_systemd() {
            return Self::start_here(script, log, path);
        }
        let file = std::fs::File::create(&log).expect("create the log");
        let script = format!(
            "mount -t tmpfs run /run && mount -t proc proc /proc && ip link set lo up || exit 1
             {{ {script} ; echo the daemon has ended; }} < /dev/null &
             exec cat > /dev/null"
        );
        let mut holder = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                "--net",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
            ])
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a second descriptor"))
            .stderr(file)
            .spawn()
            .expect("start unshare");
        let stdin = holder.stdin.take();
        Self { holder, stdin, log, machine: None }
    }

    fn start_here(script: &str, log: PathBuf, path: &str) -> Self {
        let machine = Some(machine::whole());
        let file = std::fs::File::create(&log).expect("create the log");
        let mut daemon = Command::new("sh");
        // A group of processes, which ends as one; the shell last.
        daemon.process_group(0);
        daemon.args(["-c", &format!("trap : TERM; {script}; wait")]).env("PATH", path).stdin(Stdio::null());
        daemon.stdout(file.try_clone().expect("a second descriptor")).stderr(file);
        Self { holder: daemon.spawn().expect("start sh"), stdin: None, log, machine }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.holder.try_wait().is_ok_and(|status| status.is_some()) || self.said().contains("the daemon has ended")
    }

    /// The pid here of a process that has this one in its pid namespace.
    #[track_caller]
    pub fn pid_outside(&self, inside: i32) -> i32 {
        let inside = inside.to_string();
        let mut waiting = super::children(self.holder.id() as i32);
        while let Some(pid) = waiting.pop() {
            // The pid in each namespace, from ours inwards: the daemon's is the second.
            if super::proc_status(pid, "NSpid").split(' ').nth(1) == Some(&*inside) {
                return pid;
            }
            waiting.extend(super::children(pid));
        }
        panic!("there is no process {inside} of the daemon's")
    }

    /// A command in its network and mount namespaces.
    pub fn command(&self, words: &[&str]) -> Command {
        if self.machine.is_some() {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).stdin(Stdio::null());
            return command;
        }
        let first = super::children(self.holder.id() as i32).first().copied().expect("the first process in there");
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--pid", "--mount", "--net", "--"]).args(words);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if self.machine.is_some() {
            let group = nix::unistd::Pid::from_raw(self.holder.id() as i32);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM);
        }
        if !pidfd(self.holder.id() as i32).is_none_or(|process| ends_within(&process, Duration::from_secs(30))) {
            let _ = self.holder.kill();
        }
        let _ = self.holder.wait();
    }
}

/// A socket in a directory as an engine wants it named.
pub fn unix(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// What a containerd with everything in one directory is configured by; its socket there is `ctd.sock`.
pub fn containerd_config(dir: &str) -> String {
    format!(
        "version = 2\nroot = \"{dir}/ctd-root\"\nstate = \"{dir}/ctd-state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
         \"io.containerd.cri.v1.runtime\", \"io.containerd.snapshotter.v1.btrfs\", \
         \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.snapshotter.v1.devmapper\", \
         \"io.containerd.snapshotter.v1.aufs\"]\n[grpc]\naddress = \"{dir}/ctd.sock\"\n\
         [ttrpc]\naddress = \"{dir}/ctd.ttrpc\"\n"
    )
}
