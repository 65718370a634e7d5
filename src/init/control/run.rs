//! Keeping in order with the runtime.

use linux_raw_sys::errno::{ECONNRESET, ENOSYS};

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, Failure};
use crate::guard::{Guard, stands};
use crate::step::{GO, READY};
use crate::sys;

pub fn run(step: Step, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::AwaitRuntime {} => await_runtime(context),
        Step::CloseDescriptors { listener } => {
            if let Some(slot) = listener {
                context.listener = context.fd(slot);
            }
            close_descriptors(context)
        }
        Step::AwaitStart {} => await_start(context),
    }
}

fn await_runtime(context: &mut Context) -> Result<(), Failure> {
    sys::send(context.channel, &[READY])?;
    await_go(context)
}

/// A runtime that is gone cannot undo what is made from here on, so its init ends with it.
pub fn await_go(context: &Context) -> Result<(), Failure> {
    let mut word = [0];
    match sys::read(context.channel, &mut word) {
        Ok(1) if word[0] == GO => Ok(()),
        _ => Err(Failure { act: Act::Step, errno: ECONNRESET as i32 }),
    }
}

/// Before anything of the image is looked up: a descriptor that the caller left open, such as of a directory of the host,
/// could be a part of the path otherwise (CVE-2024-21626).
fn close_descriptors(context: &mut Context) -> Result<(), Failure> {
    if !stands(Guard::CloseDescriptors) {
        return Ok(());
    }
    let mut first = 3 + context.head.preserve;
    let mut kept = [context.channel, context.listener];
    kept.sort_unstable();
    for fd in kept.into_iter().filter(|fd| *fd >= 0) {
        sys::set_close_on_exec(fd);
        let fd = fd as u32;
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX)?;
    context.root = linux_raw_sys::general::AT_FDCWD;
    Ok(())
}

fn close_range(first: u32, last: u32) -> Result<(), Failure> {
    match sys::close_range(first, last, 0) {
        Err(errno) if errno == ENOSYS as i32 => {
            // Before Linux 5.9: a loop, as far as a limit of descriptors usually reaches.
            (first..=last.min(1 << 16)).for_each(|fd| sys::close(fd as i32));
            Ok(())
        }
        other => Ok(other?),
    }
}

fn await_start(context: &mut Context) -> Result<(), Failure> {
    // A signal that comes now is for this process: held back, it would hit the command as it starts.
    sys::reset_signals();
    // Whoever waits at the other end, `create`, learns that init is ready for `start`.
    sys::close(context.channel);
    loop {
        let connection = sys::accept(context.listener)?;
        let mut word = [0];
        if sys::read(connection, &mut word) == Ok(1) && word[0] == GO {
            context.channel = connection;
            sys::close(context.listener);
            return Ok(());
        }
        // That `start` died before it gave the word: the next one may.
        sys::close(connection);
    }
}
