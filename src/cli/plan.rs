//! `plan`: what create would do, without doing it.

use serde::Serialize;

use super::create::{self, ADD_HOST, BUNDLE, DNS, DNS_SEARCH, NETWORK, PUBLISH};
use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::{Call, Command, output};
use crate::Result;

pub(super) static COMMAND: Command = Command {
    name: "plan",
    about: "Print what create would do with a bundle, step by step, and touch nothing.",
    details: "The id, on which names and the default cgroup depend, is \"plan\" when none is given.",
    usage: "[ID]",
    flags: &[&BUNDLE, &FORMAT, &NO_HOST, &NETWORK, &PUBLISH, &DNS, &DNS_SEARCH, &ADD_HOST],
    words: (0, 1),
    order: Order::Anywhere,
    run,
};

static FORMAT: Flag = Flag::new("format", Value::OneOf("FORMAT", &["text", "json"]), "Print text or JSON.").letter('f');
static NO_HOST: Flag = Flag::switch(
    "no-host",
    "Do not look for what must exist on this host, such as the root file system, mount sources and hooks.",
);

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let id = if call.arguments.words.is_empty() { "plan".parse()? } else { call.arguments.id()? };
    let format = call.arguments.choice(&FORMAT)?;
    let bundle = create::bundle(call.arguments)?;
    let network = create::network(call.arguments)?;
    let plan = crate::container::plan(call.globals, &id, &bundle, call.arguments.on(&NO_HOST), &network)?;
    let text = if format == "json" { pretty(&plan)? } else { plan.to_string() };
    output::print(format!("{}\n", text.trim_end()))?;
    Ok(0)
}

fn pretty(plan: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(plan)?)
}
