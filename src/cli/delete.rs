//! `delete`: one or more containers.

use super::failure::Failure;
use super::flag::Flag;
use super::parse::Order;
use super::{Call, Command, MANY, arguments};
use crate::container;

pub(super) static COMMAND: Command = Command {
    name: "delete",
    about: "Delete stopped containers and all that was made for them.",
    details: "Each id is tried. The exit code is that of the first failure.",
    usage: "ID...",
    flags: &[&FORCE],
    words: (1, MANY),
    order: Order::Anywhere,
    run,
};

static FORCE: Flag =
    Flag::switch("force", "Kill a container that still runs; a container that does not exist is no error.").letter('f');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let force = call.arguments.on(&FORCE);
    let words = &call.arguments.words;
    let mut code = 0;
    for word in words {
        let deleted = arguments::id(word).and_then(|id| container::delete(call.globals, &id, force));
        let Err(error) = deleted else { continue };
        let failure = Failure::from(error);
        if words.len() == 1 {
            return Err(failure);
        }
        let failed = failure.during(&word.to_string_lossy()).report();
        code = if code == 0 { failed } else { code };
    }
    Ok(code)
}
