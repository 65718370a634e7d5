//! Enabling controllers on cgroup2: a cgroup has those that its parent's `cgroup.subtree_control` names, and a parent can
//! name only what it has itself, so they are handed down from the mount's root (Documentation/admin-guide/cgroup-v2.rst,
//! "Enabling and Disabling").

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::file::{read_at, write_at};
use super::step::{Cgroup, Step, Value};
use crate::{Context, Error, Result};

/// Every controller of cgroup2 that has to be enabled.
const ALL: [&str; 9] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc", "dmem"];

/// The step that has `values` find their files in the cgroup.
pub(super) fn step(cgroup: &Cgroup, values: &[Value]) -> Step {
    Step::EnableControllers { cgroup: cgroup.clone(), needed: needed(values) }
}

/// The controllers whose files the values are for, in their order.
pub(super) fn needed(values: &[Value]) -> Vec<&'static str> {
    let mut needed = Vec::new();
    for value in values {
        let known = ALL.iter().find(|name| value.file.split('.').next() == Some(**name));
        needed.extend(known.filter(|name| !needed.contains(*name)).copied());
    }
    needed
}

/// Makes every controller that the mount's root has available to the cgroup, as runc does: limits that are set later,
/// and statistics, need them too. Only those that are needed now must be there.
///
/// # Errors
/// When one that is needed is not to be had: the first parent that does not hand it on is named, with what the kernel
/// said.
pub(super) fn enable(cgroup: &Cgroup, dir: &OwnedFd, needed: &[&str]) -> Result<()> {
    let levels = cgroup.depth();
    let above = |up: usize, file: &str| format!("{}{file}", "../".repeat(up));
    let offered = read_at(dir, &above(levels, "cgroup.controllers"))
        .context(|| format!("read {}/cgroup.controllers", cgroup.mount))?;
    let mut refusal = None;
    // The usual case: another container beside this one has been here before.
    let parent = read_at(dir, "../cgroup.subtree_control").unwrap_or_default();
    if !offered.split(' ').all(|name| has(&parent, name)) {
        for up in (1..=levels).rev() {
            let refused = hand_on(dir, &above(up, "cgroup.subtree_control"), &offered, needed);
            refusal = refusal.or(refused.map(|errno| (up, errno)));
        }
    }
    if needed.is_empty() {
        return Ok(());
    }
    let own = read_at(dir, "cgroup.controllers").context(|| format!("read {}/cgroup.controllers", cgroup.dir()))?;
    match needed.iter().find(|name| !has(&own, name)) {
        Some(missing) => Err(explain(cgroup, missing, has(&offered, missing), refusal)),
        None => Ok(()),
    }
}

fn has(list: &str, name: &str) -> bool {
    list.split_whitespace().any(|known| known == name)
}

/// All at once where the kernel takes that, else one by one those that are not handed on yet; what it said to one that is
/// needed. Where there are processes in the parent none is tried: it takes those that may be threaded, and no process can
/// enter below then.
fn hand_on(dir: &OwnedFd, file: &str, offered: &str, needed: &[&str]) -> Option<Errno> {
    let all: Vec<String> = offered.split_whitespace().map(|name| format!("+{name}")).collect();
    let Err(errno) = write_at(dir, file, &all.join(" ")) else { return None };
    // Who may not write to it may yet find there what he needs.
    let there = read_at(dir, file).unwrap_or_default();
    if errno == Errno::EBUSY {
        return needed.iter().any(|name| !has(&there, name)).then_some(errno);
    }
    let mut refusal = None;
    for name in offered.split_whitespace().filter(|name| !has(&there, name)) {
        if let Err(errno) = write_at(dir, file, &format!("+{name}"))
            && needed.contains(&name)
        {
            refusal.get_or_insert(errno);
        }
    }
    refusal
}

fn explain(cgroup: &Cgroup, missing: &str, offered: bool, refusal: Option<(usize, Errno)>) -> Error {
    let attempt =
        format!("linux.resources: the {missing} controller, which a limit needs, is not available to {cgroup}");
    if !offered {
        return Error::new(format!(
            "{attempt}: {} does not have it (see its cgroup.controllers): enable it there or drop the limit",
            cgroup.mount
        ));
    }
    let Some((up, errno)) = refusal else {
        return Error::new(format!("{attempt}: a parent does not hand it on (see its cgroup.subtree_control)"));
    };
    let parent = cgroup.dir().rsplitn(up + 1, '/').last().unwrap_or_default().to_owned();
    let why = match errno {
        Errno::EBUSY => {
            " (there are processes in it, and a cgroup has either processes or cgroups with controllers: move them to one below, or choose another linux.cgroupsPath)"
        }
        Errno::EOPNOTSUPP => " (it is a threaded cgroup, whose controllers count threads alone)",
        Errno::EACCES | Errno::EPERM => " (it is not delegated to this user)",
        _ => "",
    };
    Error::from(errno).context(format!("{attempt}: {parent} does not hand it on{why}"))
}
