//! `network reload`: what another firewall took.

use super::super::failure::Failure;
use super::super::parse::Order;
use super::super::{Call, Command};
use crate::network::{filter, run};

pub(super) static COMMAND: Command = Command {
    name: "network reload",
    about: "Put back what another took from the packet filter, of every network and container.",
    details: "A firewall that was restarted may have flushed what nfrun had there: published ports, masquerading, rules. \
              Every command that connects or deletes a container with any of that does the same.",
    usage: "",
    flags: &[],
    words: (0, 0),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    // Not for containers that are gone.
    run::sweep(&call.globals.networks)?;
    filter::reload(&call.globals.networks)?;
    Ok(0)
}
