//! Ids, limits and other attributes of the process.

use linux_raw_sys::errno::{EPERM, EROFS};
use linux_raw_sys::general::{AT_FDCWD, O_WRONLY};
use linux_raw_sys::prctl::PR_SET_KEEPCAPS;

use super::step::Step;
use crate::context::Context;
use crate::devices::run::device_number;
use crate::failure::{Act, During, Failure};
use crate::sys;
use crate::wire::List;

pub fn run(step: Step<'static>, _context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::OomScoreAdj { value } => {
            let file = sys::open(AT_FDCWD, c"/proc/self/oom_score_adj", O_WRONLY, 0).during(Act::Open)?;
            let outcome = sys::write(file, value.0.to_bytes()).map(drop).during(Act::Write);
            sys::close(file);
            outcome
        }
        Step::Limit { resource, soft, hard } => Ok(sys::setrlimit(resource, soft, hard)?),
        Step::Umask { mask } => {
            sys::umask(mask);
            Ok(())
        }
        Step::OwnStdio { uid } => own_stdio(uid),
        Step::Become { uid, gid, groups } => become_user(uid, gid, groups),
    }
}

/// So that the user can open /dev/stdout anew. Not /dev/null, which is the host's own.
fn own_stdio(uid: u32) -> Result<(), Failure> {
    for fd in 0..3 {
        let Ok(found) = sys::stat(fd, c"") else { continue };
        let is_null = found.st_mode & 0o170000 == 0o020000 && found.st_rdev == device_number(1, 3);
        if is_null || found.st_uid == uid {
            continue;
        }
        match sys::chown(fd, c"", uid, u32::MAX) {
            // Someone else's pipe, or one on a read-only mount: it works all the same, only not by its path.
            Err(errno) if [EPERM as i32, EROFS as i32, linux_raw_sys::errno::EINVAL as i32].contains(&errno) => {}
            other => other.during(Act::SetOwner)?,
        }
    }
    Ok(())
}

fn become_user(uid: u32, gid: u32, groups: Option<List<'static, u32>>) -> Result<(), Failure> {
    // Capabilities are set by steps of their own; the change of uid alone must not drop them.
    sys::prctl(PR_SET_KEEPCAPS, 1, 0)?;
    if let Some(groups) = groups {
        // Up to 65536 (NGROUPS_MAX), so not on the stack.
        let list = sys::map(-1, (groups.len() + 1) * size_of::<u32>(), false)?.cast::<u32>();
        for (i, gid) in groups.iter().enumerate() {
            // SAFETY: the mapping has room for every group, and is aligned to a page.
            unsafe { list.add(i).write(gid) };
        }
        sys::setgroups(groups.len(), list)?;
    }
    sys::setresgid(gid)?;
    sys::setresuid(uid)?;
    // What the change took from the effective set comes back: the steps that follow need it.
    let (_, permitted, inheritable) = sys::capget()?;
    sys::capset(permitted, permitted, inheritable)?;
    Ok(sys::prctl(PR_SET_KEEPCAPS, 0, 0)?)
}
