//! process.user, rlimits and oomScoreAdj, as steps: config.md, "Process" and "User".

use oci_spec::runtime::{PosixRlimit, Process};

use super::step::Step;
use crate::init::guard::{Guard, stands};
use crate::init::program::{Draft, Items, text};
use crate::init::wire::Text;
use crate::{Error, Result};

/// getrlimit(2)'s resources by number.
const LIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// A resource's name.
pub fn limit_name(number: u32) -> &'static str {
    LIMITS.get(number as usize).copied().unwrap_or("RLIMIT_?")
}

/// process.oomScoreAdj, in the kernel's range.
pub fn score(process: &Process) -> Result<Option<i32>> {
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Error::invalid(format!("process.oomScoreAdj: oom_score_adj {score} is not between -1000 and 1000")))
        }
        score => Ok(score),
    }
}

/// Written while the host's /proc is there.
pub fn set_score(score: i32, draft: &mut Draft) -> Result<()> {
    let value = text("process.oomScoreAdj", score.to_string())?;
    draft.step(Step::OomScoreAdj { value: Text(&value) });
    Ok(())
}

/// A limit as setrlimit(2) takes it: resource, soft, hard.
pub type Limit = (u32, u64, u64);

/// process.rlimits.
pub fn limits(limits: &[PosixRlimit]) -> Result<Vec<Limit>> {
    let mut read = Vec::with_capacity(limits.len());
    for (i, limit) in limits.iter().enumerate() {
        let name = limit.typ().to_string();
        let number = LIMITS.iter().position(|known| *known == name);
        let Some(resource) = number else {
            return Err(Error::invalid(format!("process.rlimits[{i}].type: {name} is not known")));
        };
        if limits[..i].iter().any(|earlier| earlier.typ() == limit.typ()) {
            return Err(Error::invalid(format!("process.rlimits[{i}].type: duplicate {name}: give it once")));
        }
        let (soft, hard) = (limit.soft(), limit.hard());
        if soft > hard {
            return Err(Error::invalid(format!("process.rlimits[{i}]: {name}: soft {soft} is above hard {hard}")));
        }
        read.push((resource as u32, soft, hard));
    }
    Ok(read)
}

/// Set by init itself.
pub fn set_limits(limits: &[Limit], draft: &mut Draft) {
    for &(resource, soft, hard) in limits {
        draft.step(Step::Limit { resource, soft, hard });
    }
}

/// Refuses ids that are none: setresuid(2), setresgid(2) and chown(2) take the highest number as "leave it as it is", so
/// the process would stay root.
pub fn check_ids(process: &Process) -> Result<()> {
    let user = process.user();
    let refuse = |field: &str, id: u32| {
        Err(Error::invalid(format!(
            "process.user.{field}: {id} is no id: the kernel takes it as \"no change\"; the highest is {}",
            u32::MAX - 1
        )))
    };
    for (field, id) in [("uid", user.uid()), ("gid", user.gid())] {
        if id == u32::MAX && stands(Guard::RealIds) {
            return refuse(field, id);
        }
    }
    match user.additional_gids().iter().flatten().position(|id| *id == u32::MAX) {
        Some(i) => refuse(&format!("additionalGids[{i}]"), u32::MAX),
        None => Ok(()),
    }
}

/// process.user. `groups` false leaves the caller's groups, where a user namespace does not let them be set.
pub fn become_user(process: &Process, groups: bool, draft: &mut Draft) {
    let user = process.user();
    let list = user.additional_gids().clone().unwrap_or_default();
    let items = Items::new(list);
    draft.step(Step::Become { uid: user.uid(), gid: user.gid(), groups: groups.then(|| items.list()) });
}

/// process.user.umask, 022 where none is given, as runc.
pub fn umask(process: &Process, draft: &mut Draft) {
    draft.step(Step::Umask { mask: process.user().umask().unwrap_or(0o022) });
}

/// Stdio for a user who is not root.
pub fn own_stdio(process: &Process, draft: &mut Draft) {
    if process.user().uid() != 0 {
        draft.step(Step::OwnStdio { uid: process.user().uid() });
    }
}
