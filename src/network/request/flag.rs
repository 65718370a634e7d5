//! A `--network` flag: the same fields, in one line.

use super::interface::Interface;
use super::route::Route;
use crate::network::offload;
use crate::{Error, Result};

/// Those that a flag may name without a target; what it lacks then is told by its name.
const KINDS: [&str; 9] = ["ptp", "link", "macvlan", "ipvlan", "vlan", "vxlan", "dummy", "tap", "host-device"];

/// `bridge:nf0,ip=10.88.0.5,mtu=1400`; a name alone is a network's.
pub fn interface(flag: &str) -> Result<Interface> {
    let mut parts = flag.split(',');
    let head = parts.next().unwrap_or_default();
    let (kind, target) = match head.split_once(':') {
        Some((kind, target)) => (kind, Some(target)),
        None if KINDS.contains(&head) => (head, None),
        None => ("bridge", Some(head)),
    };
    let mut fields = serde_json::Map::new();
    fields.insert("kind".into(), kind.into());
    if let Some(target) = target {
        let field = match kind {
            "bridge" | "network" => "network",
            "link" => "peer",
            "host-device" => "device",
            "macvlan" | "ipvlan" | "vlan" | "vxlan" => "parent",
            _ => {
                return Err(Error::invalid(format!("{head:?}: an interface of kind {kind:?} has no target behind it")));
            }
        };
        fields.insert(field.into(), target.into());
    }
    for part in parts {
        let (key, value) =
            part.split_once('=').ok_or_else(|| Error::invalid(format!("{part:?}: expected KEY=VALUE")))?;
        add_field(&mut fields, key, value)?;
    }
    serde_json::from_value(fields.into()).map_err(|error| Error::invalid(error.to_string()))
}

fn add_field(fields: &mut serde_json::Map<String, serde_json::Value>, key: &str, value: &str) -> Result<()> {
    use serde_json::Value;
    let number = || {
        value.parse::<u32>().map(Value::from).map_err(|_| Error::invalid(format!("{key}={value}: expected a number")))
    };
    let switch = || match value {
        "on" | "true" | "1" => Ok(Value::Bool(true)),
        "off" | "false" | "0" => Ok(Value::Bool(false)),
        _ => Err(Error::invalid(format!("{key}={value}: expected on or off"))),
    };
    let mut push = |field: &str, value: Value| match fields.entry(field).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(list) => list.push(value),
        other => *other = value,
    };
    match key {
        "ip" | "address" => push("addresses", value.into()),
        "route" => {
            let route: Route = value.parse()?;
            push("routes", serde_json::to_value(route)?);
        }
        "alias" => push("aliases", value.into()),
        "allow" => push("allow", value.replace('+', " ").into()),
        "deny" => push("deny", value.replace('+', " ").into()),
        "rate-in" | "rate-out" => {
            let rate = fields.entry("rate").or_insert_with(|| Value::Object(serde_json::Map::new()));
            rate[&key[5..]] = value.into();
        }
        "mtu" | "txqlen" | "queues" | "id" | "port" | "owner" | "group" => {
            fields.insert(key.into(), number()?);
        }
        "slaac" => {
            fields.insert(key.into(), switch()?);
        }
        "default-route" => {
            fields.insert("defaultRoute".into(), switch()?);
        }
        "name" | "mac" | "mode" | "remote" | "local" | "parent" | "peer" | "network" | "device" => {
            fields.insert(key.into(), value.into());
        }
        _ => {
            let (table, name, value) = if let Some(setting) = key.strip_prefix("sysctl.") {
                ("sysctls", setting, value.into())
            } else if offload::names().any(|name| name == key) {
                ("offload", key, switch()?)
            } else {
                return Err(Error::invalid(format!(
                    "{key}: expected ip, mac, name, mtu, route, default-route, alias, allow, deny, rate-in, rate-out, queues, txqlen, slaac, sysctl.NAME, an offload ({}) or a field of the kind",
                    offload::names().collect::<Vec<_>>().join(", ")
                )));
            };
            let entry = fields.entry(table).or_insert_with(|| Value::Object(serde_json::Map::new()));
            entry[name] = value;
        }
    }
    Ok(())
}
