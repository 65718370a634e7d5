//! `network create`: a new named network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::super::arguments::Arguments;
use super::super::failure::Failure;
use super::super::flag::{Flag, Value};
use super::super::parse::Order;
use super::super::{Call, Command, output};
use crate::network::definition::{self, Driver, NetworkRoute, Wish};
use crate::network::request;
use crate::{Context, Error, Kind, Result};

pub(super) static COMMAND: Command = Command {
    name: "network create",
    about: "Make a named network, and print its name.",
    details: "Without a NAME it is called nf0, nf1 and so on. Without --subnet a bridge of nfrun's gets the first range of \
              256 addresses from 10.89.0.0 on that no network and no interface or route of the host has. Nothing of it is \
              on the host before a container is.",
    usage: "[NAME]",
    flags: &[
        &SUBNET, &GATEWAY, &IP_RANGE, &IPV6, &INTERNAL, &ISOLATE, &MTU, &DRIVER, &INTERFACE, &VLAN, &DNS, &ROUTE,
        &OPTION, &LABEL, &IGNORE,
    ],
    words: (0, 1),
    order: Order::Anywhere,
    run,
};

static SUBNET: Flag =
    Flag::new("subnet", Value::Text("CIDR"), "A range of addresses, such as 10.88.0.0/24. Can be repeated.");
static GATEWAY: Flag = Flag::new(
    "gateway",
    Value::Text("IP"),
    "The host's address in one of the ranges, by which containers reach others. The default is the first of each range; \
     with --internal there is none. Can be repeated.",
);
static IP_RANGE: Flag = Flag::new(
    "ip-range",
    Value::Text("CIDR|FIRST-LAST"),
    "Which addresses of one of the ranges are leased to containers that name none. Can be repeated.",
);
static IPV6: Flag = Flag::switch("ipv6", "Choose a range of IPv6 too, below fd00::/8, where no --subnet is one.");
static INTERNAL: Flag = Flag::switch(
    "internal",
    "Lead nowhere but to the network's own containers: no default route, nothing forwarded, no masquerading.",
);
static ISOLATE: Flag = Flag::new(
    "isolate",
    Value::SwitchOr("MODE", &["strict"]),
    "Keep its containers from those of other isolated networks, and with =strict from those of all others.",
);
static MTU: Flag = Flag::new("mtu", Value::Text("BYTES"), "The longest packet. The default is that of the uplink.");
static DRIVER: Flag = Flag::new(
    "driver",
    Value::OneOf("DRIVER", &["bridge", "macvlan", "ipvlan", "vxlan"]),
    "What carries the packets: a bridge of the host's, interfaces on one of the host's, or a bridge that a VXLAN connects \
     with those of other hosts.",
)
.letter('d');
static INTERFACE: Flag = Flag::new(
    "interface-name",
    Value::Text("IF"),
    "The bridge's name, by default nf-NAME, or NAME where that begins with nf; or the host's interface that macvlan and ipvlan are on.",
);
static VLAN: Flag = Flag::new("vlan", Value::Text("ID"), "The VLAN of the host's interface: for macvlan and ipvlan.");
static DNS: Flag =
    Flag::new("dns", Value::Text("IP"), "A name server of its containers instead of the host's. Can be repeated.");
static ROUTE: Flag = Flag::new(
    "route",
    Value::Text("DESTINATION,GATEWAY[,METRIC]"),
    "A route of its containers besides the default one. Can be repeated.",
);
static OPTION: Flag = Flag::new(
    "option",
    Value::Text("NAME=VALUE"),
    "An option of the driver, as docs/network.md lists them. Can be repeated.",
)
.letter('o');
static LABEL: Flag = Flag::new("label", Value::Text("NAME=VALUE"), "Something to remember with it. Can be repeated.");
static IGNORE: Flag = Flag::switch("ignore", "Leave a network of this name that exists as it is; that is no error.");

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let wish = wish(call.arguments)?;
    let name = wish.name.clone();
    let name = match definition::create(&call.globals.networks, wish) {
        Ok(definition) => definition.name,
        Err(error) => match name {
            Some(name) if error.kind() == Kind::Exists && call.arguments.on(&IGNORE) => name,
            _ => return Err(error.into()),
        },
    };
    output::print(format!("{name}\n"))?;
    Ok(0)
}

fn wish(arguments: &Arguments) -> Result<Wish> {
    Ok(Wish {
        name: arguments.words.first().map(|word| super::name(word)).transpose()?,
        driver: Driver::from_str(arguments.choice(&DRIVER)?)?,
        interface: arguments.text(&INTERFACE)?.map(|text| text.parse()).transpose().context(|| "--interface-name")?,
        subnets: each(arguments, &SUBNET, request::range)?,
        gateways: each(arguments, &GATEWAY, address)?,
        lease_ranges: each(arguments, &IP_RANGE, lease_range)?,
        ipv6: arguments.on(&IPV6),
        internal: arguments.on(&INTERNAL),
        dns: each(arguments, &DNS, address)?,
        routes: each(arguments, &ROUTE, route)?,
        options: options(arguments)?,
        labels: each(arguments, &LABEL, pair)?.into_iter().collect(),
    })
}

/// Every value of a flag, parsed; an error names the flag.
fn each<T>(arguments: &Arguments, flag: &Flag, parse: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    arguments.texts(flag)?.iter().map(|text| parse(text).context(|| format!("--{}", flag.long))).collect()
}

/// `--option`, and the flags that stand for one.
fn options(arguments: &Arguments) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for (name, value) in each(arguments, &OPTION, pair)? {
        if let Some(other) = options.insert(name.clone(), value.clone()).filter(|other| *other != value) {
            return Err(Error::invalid(format!("--option {name}: it is given as {other:?} and as {value:?}")));
        }
    }
    let isolate = match (arguments.text(&ISOLATE)?, arguments.on(&ISOLATE)) {
        (None, on) => on.then(|| "true".to_owned()),
        (word, _) => word,
    };
    for (name, value) in [("mtu", arguments.text(&MTU)?), ("vlan", arguments.text(&VLAN)?), ("isolate", isolate)] {
        let Some(value) = value else { continue };
        if let Some(other) = options.insert(name.to_owned(), value.clone()).filter(|other| *other != value) {
            return Err(Error::invalid(format!("--{name} {value}: --option {name}={other} says otherwise")));
        }
    }
    Ok(options)
}

fn address(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| Error::invalid(format!("{text:?}: expected an address such as 10.88.0.1 or fd00::1")))
}

/// A range as `FIRST-LAST` or as a CIDR.
fn lease_range(text: &str) -> Result<(IpAddr, IpAddr)> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (address(first)?, address(last)?),
        None => {
            let net: IpNet = request::range(text)?;
            (net.network(), net.broadcast())
        }
    };
    match first.is_ipv4() == last.is_ipv4() && first <= last {
        true => Ok((first, last)),
        false => Err(Error::invalid(format!("{text:?}: expected the first and the last address of a range"))),
    }
}

fn route(text: &str) -> Result<NetworkRoute> {
    let form = || Error::invalid(format!("{text:?}: expected DESTINATION,GATEWAY[,METRIC], as 10.0.0.0/8,10.88.0.1"));
    let parts: Vec<&str> = text.split(',').collect();
    let (destination, gateway, metric) = match parts.as_slice() {
        [destination, gateway] => (destination, gateway, None),
        [destination, gateway, metric] => (destination, gateway, Some(metric.parse().map_err(|_| form())?)),
        _ => return Err(form()),
    };
    Ok(NetworkRoute { destination: request::range(destination)?, gateway: address(gateway)?, metric })
}

fn pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name.is_empty() {
        true => Err(Error::invalid(format!("{text:?}: expected NAME=VALUE"))),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}
