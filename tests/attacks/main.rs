//! Attacks on the runtime by an image, a container or what shares a volume with one: each CVE of runc, crun and youki that
//! docs/attacks.md lists. An attack tells whether it got what it was after. It must not from nfrun; that it can be lost is
//! shown each time as well, by nfrun with the protection left out (`NFRUN_FAULT=skip:NAME`) or by an old runtime.

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod cgroups;
mod descriptors;
mod devices;
mod exec;
mod fuse;
mod links;
mod masks;
mod network;
mod procfs;
mod races;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Container, Runtime};

/// Runs an attack on nfrun, where it must not succeed, and on those who have to fall to it: nfrun without these guards,
/// and old runtimes where they are installed.
#[track_caller]
fn repelled(guards: &'static str, peers: &[&'static str], attack: impl Fn(&Runtime) -> bool) {
    assert!(!attack(&Runtime::Tested), "the attack succeeded");
    if common::is_reference() {
        return;
    }
    if !guards.is_empty() {
        assert!(attack(&Runtime::Without(guards)), "it fails without {guards} too: this test tells nothing");
    }
    for peer in peers.iter().copied().filter(|peer| is_old(peer)) {
        assert!(attack(&Runtime::Peer(peer)), "it fails on this old {peer} too: this test tells nothing");
    }
}

/// Whether a peer is installed in the version of Debian 12, on which these attacks were tried.
fn is_old(peer: &str) -> bool {
    let version = Command::new(peer).arg("--version").output();
    let text = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.starts_with("runc version 1.1.5") || text.starts_with("crun version 1.8.1")
}

/// How often a race is run: a few hundred times by `make test`, `ATTACK_TRIES` times when asked for.
fn tries() -> usize {
    std::env::var("ATTACK_TRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// A command that another one, such as a shell that prepares something, runs in the end.
fn within(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    outer.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    outer
}

/// A directory of the host that no container may reach, with a secret in it.
fn victim(c: &Container) -> PathBuf {
    let dir = c.dir.join("victim");
    std::fs::create_dir_all(&dir).expect("make the victim");
    std::fs::write(dir.join("secret"), "of the host\n").expect("write the secret");
    dir
}

/// What is in a directory besides that secret.
fn intruders(victim: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(victim).expect("the victim").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "secret").collect()
}

/// Drops the mounts on and below a place from the document.
fn drop_mounts(config: &mut common::Value, below: &str) {
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|at| at.starts_with(below)));
}
