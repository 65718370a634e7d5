//! `network rm`: one or more named networks.

use std::ffi::OsStr;

use super::super::failure::Failure;
use super::super::flag::Flag;
use super::super::parse::Order;
use super::super::{Call, Command, MANY, output};
use crate::container::{self, Globals};
use crate::network::definition;
use crate::network::{Dirs, NetworkName};
use crate::{Context, Result};

pub(super) static COMMAND: Command = Command {
    name: "network rm",
    about: "Remove named networks that no container is on, and print their names.",
    details: "Each name is tried. The exit code is that of the first failure.",
    usage: "NAME...",
    flags: &[&FORCE],
    words: (1, MANY),
    order: Order::Anywhere,
    run,
};

static FORCE: Flag = Flag::switch(
    "force",
    "Delete the containers that are on it first, as delete --force does; a network that does not exist is no error.",
)
.letter('f');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let words = &call.arguments.words;
    let mut code = 0;
    for word in words {
        match remove(call, word) {
            Ok(name) => output::print(name.map(|name| format!("{name}\n")).unwrap_or_default())?,
            Err(error) if words.len() == 1 => return Err(error.into()),
            Err(error) => {
                let failed = Failure::from(error).report();
                code = if code == 0 { failed } else { code };
            }
        }
    }
    Ok(code)
}

/// The name, where there was such a network.
fn remove(call: &Call<'_>, word: &OsStr) -> Result<Option<NetworkName>> {
    let (dirs, name) = (&call.globals.networks, super::name(word)?);
    if call.arguments.on(&FORCE) {
        if !definition::exists(dirs, &name) {
            return Ok(None);
        }
        delete_containers(call.globals, dirs, &name)?;
    }
    definition::remove(dirs, &name).map(|removed| Some(removed.name))
}

fn delete_containers(globals: &Globals, dirs: &Dirs, name: &NetworkName) -> Result<()> {
    for attachment in super::attached(dirs, name)? {
        let (id, root) = (attachment.container.parse()?, attachment.root);
        let globals = Globals { root, ..globals.clone() };
        container::delete(&globals, &id, true).context(|| format!("network {name}: delete container {id}"))?;
    }
    Ok(())
}
