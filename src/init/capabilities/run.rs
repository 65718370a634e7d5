//! Capabilities.

use linux_raw_sys::errno::EINVAL;
use linux_raw_sys::prctl::{PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS};

use super::step::Step;
use crate::failure::Failure;
use crate::guard::{Guard, stands};
use crate::sys;

pub fn run(step: Step) -> Result<(), Failure> {
    match step {
        Step::Bound { .. } | Step::Set { .. } | Step::Narrow { .. } if !stands(Guard::DropCapabilities) => Ok(()),
        Step::Bound { keep } => bound(keep),
        Step::Set { effective, permitted, inheritable } => Ok(sys::capset(effective, permitted, inheritable)?),
        Step::Ambient { raise } => {
            for capability in (0..64).filter(|n| raise >> n & 1 != 0) {
                // Refused where it is not permitted and inheritable: the process has it by its other sets or not at all.
                let _ = sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE as usize, capability);
            }
            Ok(())
        }
        Step::Narrow { effective } => {
            let (_, permitted, inheritable) = sys::capget()?;
            Ok(sys::capset(effective & permitted, permitted, inheritable)?)
        }
        Step::Widen {} => {
            let (_, permitted, inheritable) = sys::capget()?;
            Ok(sys::capset(permitted, permitted, inheritable)?)
        }
        Step::NoNewPrivileges {} => Ok(sys::prctl(PR_SET_NO_NEW_PRIVS, 1, 0)?),
    }
}

fn bound(keep: u64) -> Result<(), Failure> {
    for capability in (0..64).filter(|n| keep >> n & 1 == 0) {
        match sys::prctl(PR_CAPBSET_DROP, capability, 0) {
            // The kernel's last capability lies before this one.
            Err(errno) if errno == EINVAL as i32 => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}
