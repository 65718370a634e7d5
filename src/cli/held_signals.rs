//! Signals held back while a command works, so that it sees to them where it can, and ends whole.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::{Context, Result};

/// A descriptor that signals are read from.
pub(super) struct HeldSignals {
    fd: SignalFd,
    before: SigSet,
}

impl HeldSignals {
    /// Those that ask a command to end.
    pub const OF_AN_END: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

    /// Holds signals back until it is dropped.
    pub fn hold(signals: &[Signal]) -> Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before)).context(|| "hold signals back")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self { fd: fd.context(|| "make a descriptor of signals")?, before })
    }

    /// The next one that has come.
    pub fn next(&self) -> Option<Signal> {
        let told = self.fd.read_signal().ok().flatten()?;
        Signal::try_from(told.ssi_signo as i32).ok()
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // Those that have come are seen to.
        while self.next().is_some() {}
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

impl AsFd for HeldSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
