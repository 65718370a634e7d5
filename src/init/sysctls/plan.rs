//! linux.sysctl, as steps: config-linux.md, "Sysctl". Only what belongs to a namespace of the container's own.

use std::collections::HashMap;

use super::step::Step;
use crate::init::namespaces::plan::Namespaces;
use crate::init::program::{Draft, text};
use crate::init::wire::Text;
use crate::{Error, Result};

const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Writes each parameter, sorted by name so that a plan is the same every time.
pub fn set(sysctls: &HashMap<String, String>, namespaces: &Namespaces, draft: &mut Draft) -> Result<()> {
    let mut sorted: Vec<_> = sysctls.iter().collect();
    sorted.sort();
    for (name, value) in sorted {
        let path = path_of(name);
        check(name, &path, namespaces)?;
        let path = text("linux.sysctl", format!("/proc/sys/{path}"))?;
        let value = text("linux.sysctl", value.as_str())?;
        draft.step(Step::Write { path: Text(&path), value: Text(&value) });
    }
    Ok(())
}

/// sysctl(8): dots separate unless a slash comes first; then dots belong to names, as in net/ipv4/conf/eth0.1/forwarding.
fn path_of(name: &str) -> String {
    let separator = name.find(['.', '/']).map(|at| name.as_bytes()[at]);
    if separator == Some(b'/') { name.to_owned() } else { name.replace('.', "/").replace("//", ".") }
}

fn check(name: &str, path: &str, namespaces: &Namespaces) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid(format!("linux.sysctl: {name:?} {why}")));
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return refuse("is not a parameter's name");
    }
    if path.starts_with("net/") {
        return match namespaces.has(libc::CLONE_NEWNET) {
            true => Ok(()),
            false => refuse("belongs to the host's network namespace; add a network namespace to linux.namespaces"),
        };
    }
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return match namespaces.has(libc::CLONE_NEWIPC) {
            true => Ok(()),
            false => refuse("belongs to the host's ipc namespace; add an ipc namespace to linux.namespaces"),
        };
    }
    match path {
        "kernel/domainname" if namespaces.has(libc::CLONE_NEWUTS) => Ok(()),
        "kernel/hostname" => refuse("is set by the field hostname"),
        _ if path.starts_with("user/") && namespaces.has(libc::CLONE_NEWUSER) => Ok(()),
        _ => refuse("is not in a namespace of the container's own: it would change the host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_and_with_slashes_mean_the_same() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }

    #[test]
    fn what_is_the_hosts_is_refused() {
        let none = Namespaces::default();
        for name in ["vm.swappiness", "net.ipv4.ip_forward", "kernel.shmmax", "kernel.hostname", "net/../vm/swappiness"]
        {
            assert!(check(name, &path_of(name), &none).is_err(), "{name}");
        }
    }
}
