//! Kernel parameters.

use linux_raw_sys::general::{AT_FDCWD, O_WRONLY, PROC_SUPER_MAGIC, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};

use super::step::Step;
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::sys;

pub fn run(step: Step<'static>) -> Result<(), Failure> {
    match step {
        Step::Write { path, value } => {
            // The host's own /proc, before the pivot: nothing of the image lies on the way.
            let guarded = stands(Guard::RealProc);
            let resolve = if guarded { RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS } else { 0 };
            let file = sys::open_beneath(AT_FDCWD, path.0, O_WRONLY, 0, resolve).during(Act::Open)?;
            let outcome = match sys::filesystem(file) {
                Ok(kind) if kind == u64::from(PROC_SUPER_MAGIC) || !guarded => {
                    sys::write(file, value.0.to_bytes()).map(drop).during(Act::Write)
                }
                _ => Err(Failure { act: Act::NotGenuine, errno: linux_raw_sys::errno::EINVAL as i32 }),
            };
            sys::close(file);
            outcome
        }
    }
}
