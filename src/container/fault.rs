//! Where a build for tests (feature `fault`) kills a side before its step k: `NFRUN_FAULT=kill:runtime:K` counts the
//! points that this process passes, `kill:init:K` the steps of init, both from 0. In a release these functions are empty.
//! `skip:NAME,NAME` leaves out protections instead: `init::guard`.

/// A point before a step of the runtime, or before an effect of a command that has no plan.
#[inline]
pub fn point() {
    #[cfg(feature = "fault")]
    {
        use std::sync::atomic::{AtomicU32, Ordering};
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let number = PASSED.fetch_add(1, Ordering::Relaxed);
        if wanted("kill:runtime:") == Some(number) {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// The step before which init kills itself.
pub fn init_step() -> u32 {
    #[cfg(feature = "fault")]
    if let Some(number) = wanted("kill:init:") {
        return number;
    }
    u32::MAX
}

#[cfg(feature = "fault")]
fn wanted(prefix: &str) -> Option<u32> {
    std::env::var("NFRUN_FAULT").ok()?.strip_prefix(prefix)?.parse().ok()
}
