//! `spec`: a config.json to start from.

use super::create::{self, BUNDLE};
use super::failure::Failure;
use super::flag::Flag;
use super::parse::Order;
use super::{Call, Command};
use crate::bundle::template;

pub(super) static COMMAND: Command = Command {
    name: "spec",
    about: "Write a config.json to start from.",
    details: "It runs sh at a terminal, on a read-only root file system in the bundle's rootfs. A config.json that \
              exists is left alone.",
    usage: "",
    flags: &[&BUNDLE, &ROOTLESS],
    words: (0, 0),
    order: Order::Anywhere,
    run,
};

static ROOTLESS: Flag = Flag::switch(
    "rootless",
    "Write a container that a user other than root can run, with a user namespace that maps root to the caller.",
);

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let bundle = create::bundle(call.arguments)?;
    template::write(&bundle, call.arguments.on(&ROOTLESS))?;
    Ok(0)
}
