//! Keeping in order with the runtime.

use linux_raw_sys::errno::{ECONNRESET, EINVAL, ENOSYS};
use linux_raw_sys::general::O_CLOEXEC;

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, Failure};
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
    // A runtime that is gone cannot undo what is made from here on, so its init ends with it.
    sys::send(context.channel, &[READY])?;
    let mut word = [0];
    match sys::read(context.channel, &mut word) {
        Ok(1) if word[0] == GO => Ok(()),
        _ => Err(Failure { act: Act::Step, errno: ECONNRESET as i32 }),
    }
}

fn close_descriptors(context: &mut Context) -> Result<(), Failure> {
    let mut first = 3 + context.head.preserve;
    // The listening socket moves to the first free number, so that one range covers everything else. What is closed
    // includes the runtime's socket: whoever waits there learns that init is ready for `start`.
    if context.listener >= 0 {
        if context.listener != first as i32 {
            sys::dup3(context.listener, first as i32, O_CLOEXEC)?;
        }
        context.listener = first as i32;
        first += 1;
    }
    match sys::close_range(first, u32::MAX, 0) {
        Err(errno) if errno == ENOSYS as i32 || errno == EINVAL as i32 => {
            // Before Linux 5.9: a loop over what the runtime can have opened.
            (first..1024).for_each(|fd| sys::close(fd as i32));
        }
        other => other?,
    }
    context.root = linux_raw_sys::general::AT_FDCWD;
    Ok(())
}

fn await_start(context: &mut Context) -> Result<(), Failure> {
    // A signal that comes now is for this process: held back, it would hit the command as it starts.
    sys::reset_signals();
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
