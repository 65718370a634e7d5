//! A daemon of a test's own, with what it starts: in pid, mount and network namespaces of its own, that all end with the
//! test, however that ends.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::events::{ends_within, pidfd};

/// The first process of the namespaces is a shell that waits for the end of its stdin, which the test holds open. Its end,
/// and with it the test's, is the end of every process in there.
pub struct Daemon {
    holder: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Daemon {
    /// Starts a shell's command line there, with an empty /run. Its output goes to a file, never to the test's own.
    pub fn start(script: &str, log: PathBuf, path: &str) -> Self {
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
        Self { holder, stdin, log }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.holder.try_wait().is_ok_and(|status| status.is_some()) || self.said().contains("the daemon has ended")
    }

    /// A command in its network and mount namespaces.
    pub fn command(&self, words: &[&str]) -> Command {
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
