//! `network inspect`: all that is known of networks and of what is attached to them.

use std::path::Path;

use ipnet::IpNet;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::parse::Order;
use super::super::{Call, Command, MANY, output};
use crate::network::attachment::Attachment;
use crate::network::definition::{self, Definition};
use crate::network::request::{Mac, Publish};
use crate::network::{Ifname, Network};
use crate::{Error, Result};

pub(super) static COMMAND: Command = Command {
    name: "network inspect",
    about: "Print networks as a JSON array: their definitions, and what their containers have.",
    details: "",
    usage: "NAME...",
    flags: &[],
    words: (1, MANY),
    order: Order::Anywhere,
    run,
};

/// A network as it is printed.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    definition: &'a Definition,
    containers: Vec<Interface<'a>>,
}

/// A container's interface on it.
#[derive(Serialize)]
struct Interface<'a> {
    id: &'a str,
    root: &'a Path,
    interface: &'a Ifname,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_interface: Option<&'a Ifname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<Mac>,
    addresses: &'a [IpNet],
    names: &'a [String],
    ports: &'a [Publish],
}

impl<'a> From<&'a Attachment> for Interface<'a> {
    fn from(attachment: &'a Attachment) -> Self {
        Self {
            id: &attachment.container,
            root: &attachment.root,
            interface: &attachment.interface,
            host_interface: attachment.host_end.as_ref(),
            mac: attachment.mac,
            addresses: &attachment.addresses,
            names: &attachment.names,
            ports: &attachment.publish,
        }
    }
}

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let dirs = &call.globals.networks;
    let mut found: Vec<(Network, Vec<Attachment>)> = Vec::new();
    for word in &call.arguments.words {
        let network = definition::load(dirs, &super::name(word)?)?;
        let attached = super::attached(dirs, network.name())?;
        found.push((network, attached));
    }
    let document = |(network, attached): &'_ (Network, Vec<Attachment>)| {
        serde_json::to_value(Document {
            definition: network.definition(),
            containers: attached.iter().map(Interface::from).collect(),
        })
    };
    let documents: Result<Vec<_>, _> = found.iter().map(document).collect();
    let text = documents.and_then(|documents| serde_json::to_string_pretty(&documents)).map_err(Error::from)?;
    output::print(format!("{text}\n"))?;
    Ok(0)
}
