//! containerd's shim (runtime `io.containerd.nfrun.v2`): one process, with one thread while nothing is being done, for all
//! containers of a pod. It calls the library, never the `nfrun` program, and starts nothing but containers.
//!
//! `start` forks it (`bootstrap`); from then on `server` waits for requests over a unix socket, for the ends of processes and
//! for terminals, and `service` answers the task service of containerd, versions 2 and 3. What may take its time runs in a
//! thread of its own (`jobs`). `clean` is for a shim that has died.

mod bootstrap;
mod clean;
mod connection;
mod exits;
mod failure;
mod flags;
mod info;
mod jobs;
mod logger_program;
mod making;
pub mod messages;
mod metrics;
mod options;
mod publisher;
mod relay;
mod rootfs;
mod server;
mod service;
mod stdio;
mod tasks;
pub mod wire;

use std::io::{Read, Write};

use flags::{Action, Flags};

use crate::{Context, Result};

/// The runtime's name in containerd's configuration.
const NAME: &str = "io.containerd.nfrun.v2";

/// The most that is read of stdin, in bytes.
const MOST: u64 = 10 << 20;

/// Runs the command that the process was called with; its exit code.
pub fn main() -> u8 {
    match run() {
        Ok(()) => 0,
        Err(error) => {
            // containerd shows it as it is.
            eprintln!("{NAME}: {error}");
            1
        }
    }
}

fn run() -> Result<()> {
    let flags = Flags::parse(std::env::args_os().skip(1))?;
    match flags.action {
        Action::Version => info::print_version(),
        Action::Info => info::print_info(),
        Action::Start => bootstrap::start(&flags),
        Action::Delete => clean::delete(&flags),
    }
}

/// What containerd says on stdin.
fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().take(MOST).read_to_end(&mut bytes).context(|| "read stdin")?;
    Ok(bytes)
}

/// Answers containerd.
fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).context(|| "write to stdout")
}
