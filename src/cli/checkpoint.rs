//! `checkpoint` and `restore`, which are not there yet: refused in words, so that a driver that asks for them can say why
//! it does without.

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command, MANY};

pub(super) static CHECKPOINT: Command = Command {
    name: "checkpoint",
    about: "Not supported yet: write a container's processes to disk.",
    details: "It always fails, with exit code 1, and changes nothing. To stop a container's processes for a while, use pause.",
    usage: "ID",
    flags: &[],
    words: (0, MANY),
    order: Order::WordsOnly,
    run,
};

pub(super) static RESTORE: Command = Command {
    name: "restore",
    about: "Not supported yet: make a container of what checkpoint wrote.",
    details: "It always fails, with exit code 1, and changes nothing.",
    usage: "ID",
    flags: &[],
    words: (0, MANY),
    order: Order::WordsOnly,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    Err(Failure::new(format!(
        "checkpoint and restore are not supported yet: {} does not work with CRIU; the container is left as it is",
        call.program
    )))
}
