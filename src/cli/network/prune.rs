//! `network prune`: the named networks that nothing is on.

use super::super::failure::Failure;
use super::super::parse::Order;
use super::super::{Call, Command, output};
use crate::network::definition;

pub(super) static COMMAND: Command = Command {
    name: "network prune",
    about: "Remove every named network that no container is on, and print their names.",
    details: "",
    usage: "",
    flags: &[],
    words: (0, 0),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let removed = definition::prune(&call.globals.networks)?;
    output::print(removed.iter().map(|removed| format!("{}\n", removed.name)).collect::<String>())?;
    Ok(0)
}
