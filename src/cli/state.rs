//! `state`: what a container is now, as the runtime-spec's state document.

use super::failure::Failure;
use super::parse::Order;
use super::snapshot::Document;
use super::{Call, Command, output};
use crate::container;

pub(super) static COMMAND: Command = Command {
    name: "state",
    about: "Print the state of a container as JSON.",
    details: "",
    usage: "ID",
    flags: &[],
    words: (1, 1),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let snapshot = container::state(call.globals, &call.arguments.id()?)?;
    // No newline at the end, as runc has none.
    output::print(Document::from(&snapshot).pretty()?)?;
    Ok(0)
}
