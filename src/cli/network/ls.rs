//! `network ls`: the named networks.

use super::super::failure::Failure;
use super::super::flag::{Flag, Value};
use super::super::parse::Order;
use super::super::{Call, Command, output, table};
use crate::Result;
use crate::network::definition;
use crate::network::{Dirs, Network};

pub(super) static COMMAND: Command = Command {
    name: "network ls",
    about: "List the named networks.",
    details: "",
    usage: "",
    flags: &[&FORMAT, &QUIET],
    words: (0, 0),
    order: Order::Anywhere,
    run,
};

static FORMAT: Flag =
    Flag::new("format", Value::OneOf("FORMAT", &["table", "json"]), "Print a table or a JSON array.").letter('f');
static QUIET: Flag = Flag::switch("quiet", "Print nothing but names, one a line.").letter('q');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let format = call.arguments.choice(&FORMAT)?;
    let dirs = &call.globals.networks;
    let networks = definition::list(dirs)?;
    let text = match format {
        _ if call.arguments.on(&QUIET) => networks.iter().map(|network| format!("{}\n", network.name())).collect(),
        "json" => {
            let definitions: Vec<_> = networks.iter().map(Network::definition).collect();
            format!("{}\n", serde_json::to_string_pretty(&definitions).map_err(crate::Error::from)?)
        }
        _ => rows(dirs, &networks)?,
    };
    output::print(text)?;
    Ok(0)
}

fn rows(dirs: &Dirs, networks: &[Network]) -> Result<String> {
    let mut rows = vec![["NAME", "DRIVER", "INTERFACE", "CONTAINERS", "SUBNETS"].map(str::to_owned)];
    for network in networks {
        let mut containers: Vec<_> =
            super::attached(dirs, network.name())?.into_iter().map(|one| (one.root, one.container)).collect();
        containers.sort();
        containers.dedup();
        let subnets: Vec<_> = network.ranges().iter().map(|range| range.subnet.to_string()).collect();
        rows.push([
            network.name().to_string(),
            network.driver().word().to_owned(),
            network.host_interface().to_string(),
            containers.len().to_string(),
            subnets.join(" "),
        ]);
    }
    Ok(table::table(&rows))
}
