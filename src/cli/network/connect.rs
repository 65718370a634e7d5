//! `network connect`: a container that was created before to a network.

use super::super::arguments::id;
use super::super::failure::Failure;
use super::super::parse::Order;
use super::super::{Call, Command};
use crate::{Error, Result, container};

pub(super) static COMMAND: Command = Command {
    name: "network connect",
    about: "Connect a container that was created to a named network.",
    details: "The network is told as to --network of create, with what the interface is to have: nf0, or nf0,ip=10.88.0.5. Its \
              name is the lowest ethN that is free, where none is given. It has a default route where the container has none.",
    usage: "NETWORK[,KEY=VALUE]... ID",
    flags: &[],
    words: (2, 2),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let [network, container] = super::two(call)?;
    let wish = network.to_str().ok_or_else(|| Error::invalid(format!("network {network:?} is not UTF-8")))?;
    container::connect(call.globals, &id(container)?, wish)?;
    Ok(0)
}
