//! `start`.

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command};
use crate::container;

pub(super) static COMMAND: Command = Command {
    name: "start",
    about: "Start the process of a created container.",
    details: "With $NOTIFY_SOCKET, which create had as well, it returns once the container is ready: sd_notify(3).",
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
