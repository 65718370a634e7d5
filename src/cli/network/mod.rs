//! `network`: named networks. One file a command, as above; each is one call of `crate::network::definition` and its output.

mod create;
mod inspect;
mod ls;
mod prune;
mod reload;
mod rm;

use std::ffi::OsStr;

use super::Group;
use crate::network::attachment::{self, Attachment};
use crate::network::sweep::is_gone;
use crate::network::{Dirs, NetworkName};
use crate::{Error, Result};

pub(super) static GROUP: Group = Group {
    name: "network",
    about: "Make, show and remove named networks.",
    details: "A network is a file of --network-config-dir, in podman's format. Its bridge appears with its first container \
              and goes with its last.",
    commands: &[&create::COMMAND, &inspect::COMMAND, &ls::COMMAND, &prune::COMMAND, &reload::COMMAND, &rm::COMMAND],
};

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
