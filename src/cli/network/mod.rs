//! `network`: named networks. One file a command, as above; each is one call of `crate::network` or `crate::container` and its
//! output.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod ls;
mod prune;
mod reload;
mod rm;

use std::ffi::OsStr;

use super::{Call, Group};
use crate::network::attachment::{self, Attachment};
use crate::network::sweep::is_gone;
use crate::network::{Dirs, NetworkName};
use crate::{Error, Result};

pub(super) static GROUP: Group = Group {
    name: "network",
    about: "Make, show and remove named networks.",
    details: "A network is a file of --network-config-dir, in podman's format. Its bridge appears with its first container \
              and goes with its last.",
    commands: &[
        &connect::COMMAND,
        &create::COMMAND,
        &disconnect::COMMAND,
        &inspect::COMMAND,
        &ls::COMMAND,
        &prune::COMMAND,
        &reload::COMMAND,
        &rm::COMMAND,
    ],
};

/// The two words of a command that takes two: the parser has counted them.
fn two<'a>(call: &'a Call<'_>) -> Result<[&'a OsStr; 2]> {
    match call.arguments.words.as_slice() {
        [network, container] => Ok([network, container]),
        _ => Err(Error::invalid("expected a network and a container")),
    }
}

/// A word as a network's name.
fn name(word: &OsStr) -> Result<NetworkName> {
    word.to_str().ok_or_else(|| Error::invalid(format!("network name {word:?} is not UTF-8")))?.parse()
}

/// What is attached to a network, without what is left of containers that are gone.
fn attached(dirs: &Dirs, name: &NetworkName) -> Result<Vec<Attachment>> {
    let mut attached = attachment::list(dirs, name)?;
    attached.retain(|attachment| !is_gone(&attachment.root, &attachment.container));
    Ok(attached)
}
