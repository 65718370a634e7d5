//! `features`: what this nfrun can do, as JSON.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command, output};
use crate::Error;
use crate::bundle::features;

pub(super) static COMMAND: Command = Command {
    name: "features",
    about: "Print what this program can do, as JSON.",
    details: "The document is that of the runtime-spec's features.md. What the host can is not looked at, but for the \
              flags of seccomp that its kernel supports.",
    usage: "",
    flags: &[],
    words: (0, 0),
    order: Order::Anywhere,
    run,
};

fn run(_: &Call<'_>) -> Result<u8, Failure> {
    let mut text = Vec::new();
    let indented = PrettyFormatter::with_indent(b"    ");
    features::features().serialize(&mut Serializer::with_formatter(&mut text, indented)).map_err(Error::from)?;
    text.push(b'\n');
    output::print(text)?;
    Ok(0)
}
