//! A place for drivers: aside, in a mount and a network namespace with an empty /run, or on a machine that is the tests' own.

use std::io::Read;
use std::process::{Child, Command, Stdio};

/// The namespaces, held by a process until dropped; or none, on a machine that needs none.
pub struct Aside {
    holder: Option<Child>,
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
        Self { holder: Some(holder) }
    }

    /// Where an engine runs: as an administrator starts it where the machine is ours, aside elsewhere.
    pub fn for_engine() -> Self {
        if super::machine::is_ours() && super::machine::has_systemd() { Self { holder: None } } else { Self::new() }
    }

    /// A command in there; without a word, one whose words its caller adds. Only namespaces can take none.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = match (&self.holder, words) {
            (None, [program, rest @ ..]) => {
                let mut command = Command::new(program);
                command.args(rest);
                command
            }
            (None, []) => panic!("a command on a machine of its own needs a program"),
            (Some(holder), words) => {
                let mut nsenter = Command::new("nsenter");
                nsenter.args(["--target", &holder.id().to_string(), "--mount", "--net", "--"]).args(words);
                nsenter
            }
        };
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// Whether this kernel makes pairs of virtual interfaces: Debian 11's cloud kernel has none.
pub fn makes_veth() -> bool {
    static MAKES: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *MAKES.get_or_init(|| {
        let words = ["--net", "ip", "link", "add", "try0", "type", "veth", "peer", "name", "try1"];
        let made = Command::new("unshare").args(words).stderr(Stdio::null()).status();
        installed("ip") && made.is_ok_and(|status| status.success())
    })
}

/// Whether a program is installed.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
