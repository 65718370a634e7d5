//! `kill`: a signal to init, or to every process of the container.

use super::failure::Failure;
use super::flag::Flag;
use super::parse::Order;
use super::{Call, Command, signal};
use crate::container;

pub(super) static COMMAND: Command = Command {
    name: "kill",
    about: "Send a signal to the first process of a container.",
    details: "SIGNAL is a name, with or without SIG (TERM, SIGTERM, RTMIN+3), or a number. The default is TERM.",
    usage: "ID [SIGNAL]",
    flags: &[&ALL],
    words: (1, 2),
    order: Order::Anywhere,
    run,
};

static ALL: Flag = Flag::switch("all", "Send it to every process of the container.").letter('a');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let signal = match call.arguments.rest()?.first().map(String::as_str) {
        None | Some("") => libc::SIGTERM,
        Some(text) => signal::parse(text)?,
    };
    container::kill(call.globals, &call.arguments.id()?, signal, call.arguments.on(&ALL))?;
    Ok(0)
}
