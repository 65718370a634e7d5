//! `network disconnect`: a container from a network.

use super::super::arguments::id;
use super::super::failure::Failure;
use super::super::parse::Order;
use super::super::{Call, Command};
use crate::{Result, container};

pub(super) static COMMAND: Command = Command {
    name: "network disconnect",
    about: "Take a container off a network.",
    details: "The interfaces that it has there are removed, with their addresses, routes and published ports. NETWORK may be \
              ptp or link, for what is on no named network.",
    usage: "NETWORK ID",
    flags: &[],
    words: (2, 2),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let [network, container] = super::two(call)?;
    container::disconnect(call.globals, &id(container)?, &super::name(network)?)?;
    Ok(0)
}
