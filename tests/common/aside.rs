//! A place aside for drivers that want a machine of their own: a mount and a network namespace with an empty /run.

use std::io::Read;
use std::process::{Child, Command, Stdio};

/// The namespaces, held by a process until dropped.
pub struct Aside {
    holder: Child,
}

impl Aside {
    /// Makes them; nothing in there reaches the host's mounts or network.
    pub fn new() -> Self {
        let script = "mount -t tmpfs run /run && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start unshare");
        let mut ready = [0; 6];
        let said = super::readable_within(holder.stdout.as_ref().expect("a pipe"), super::LIMIT);
        assert!(said, "unshare made no namespaces within {:?}", super::LIMIT);
        holder.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("namespaces of its own");
        Self { holder }
    }

    /// A command in there.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--mount", "--net", "--"]).args(words);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Whether a program is installed.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
