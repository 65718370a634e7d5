//! `gc`: what killed commands and earlier boots left.

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command, output};
use crate::container;

pub(super) static COMMAND: Command = Command {
    name: "gc",
    about: "Finish every half-made or half-deleted container of the root.",
    details: "A container of an earlier boot counts as half-deleted. The ids of what was finished are printed, one a \
              line; containers that run, and those that a command is at work on, are left alone.",
    usage: "",
    flags: &[],
    words: (0, 0),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let finished = container::gc(call.globals)?;
    output::print(finished.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    Ok(0)
}
