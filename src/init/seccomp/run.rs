//! Loading the filter, and letting go of its listener.
//!
//! Whatever init calls once the filter is loaded, the agent may be asked about, and nobody has told the agent yet. So init
//! says beforehand which number the listener will have, and waits without a system call until the runtime has fetched it
//! by that number and given it to the agent: docs/decisions/seccomp-notify.md.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU32, Ordering};

use linux_raw_sys::general::F_DUPFD;

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, During, Failure};
use crate::step::LISTENER;
use crate::sys;

/// SECCOMP_FILTER_FLAG_NEW_LISTENER.
const NEW_LISTENER: u32 = 1 << 3;

/// What the runtime writes to, through /proc/PID/mem.
static RELEASED: AtomicU32 = AtomicU32::new(0);

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    let Step::Load { flags, program, close } = step;
    if flags & NEW_LISTENER == 0 {
        return Ok(sys::seccomp(flags, program.0).map(drop)?);
    }
    announce(context).during(Act::Send)?;
    let listener = sys::seccomp(flags, program.0)?;
    await_release();
    if close {
        sys::close(listener);
    }
    Ok(())
}

/// The kernel gives the listener the lowest free number, as it gives any descriptor.
fn announce(context: &Context) -> sys::Outcome {
    let number = sys::fcntl(context.channel, F_DUPFD, 0)?;
    sys::close(number as sys::Fd);
    let mut word = [LISTENER; 13];
    word[1..5].copy_from_slice(&(number as u32).to_le_bytes());
    word[5..].copy_from_slice(&(RELEASED.as_ptr() as u64).to_le_bytes());
    sys::send(context.channel, &word).map(drop)
}

/// A runtime that has died would leave this process turning here for ever, so it does not wait for more than the 2^35
/// ticks of some ten seconds.
fn await_release() {
    // SAFETY: reads a counter; only a process that asked for SIGSEGV instead (PR_SET_TSC) may not, and init does not ask.
    let ticks = || unsafe { _rdtsc() };
    let begin = ticks();
    while RELEASED.load(Ordering::Acquire) == 0 {
        if ticks().wrapping_sub(begin) > 1 << 35 {
            sys::abort();
        }
        core::hint::spin_loop();
    }
}
