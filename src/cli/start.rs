//! `start`.

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command};
use crate::container;

pub(super) static COMMAND: Command = Command {
    name: "start",
    about: "Start the process of a created container.",
    details: "",
    usage: "ID",
    flags: &[],
    words: (1, 1),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    container::start(call.globals, &call.arguments.id()?)?;
    Ok(0)
}
