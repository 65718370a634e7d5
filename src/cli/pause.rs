//! `pause`.

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command};
use crate::container;

pub(super) static COMMAND: Command = Command {
    name: "pause",
    about: "Freeze every process of a container.",
    details: "They stay as they are until resume.",
    usage: "ID",
    flags: &[],
    words: (1, 1),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    container::pause(call.globals, &call.arguments.id()?)?;
    Ok(0)
}
