//! Routes and rules of policy routing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A route of a container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Where to; `default` is 0.0.0.0/0, or ::/0 by a gateway of IPv6.
    #[serde(with = "destination")]
    pub to: Option<IpNet>,
    /// The gateway; without one what is on the link itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Its metric: the lowest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// The table that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The container's own address that is sent from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The longest packet in bytes on this way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

mod destination {
    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(to: &Option<IpNet>, serializer: S) -> Result<S::Ok, S::Error> {
        match to {
            None => "default".serialize(serializer),
            Some(net) => net.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpNet>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_destination(&text).map_err(D::Error::custom)
    }
}

/// `default`, a range or one address.
fn parse_destination(text: &str) -> Result<Option<IpNet>> {
    if text == "default" {
        return Ok(None);
    }
    range(text).map(Some)
}

/// A range of addresses, or one alone.
pub fn range(text: &str) -> Result<IpNet> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| Error::invalid(format!("{text:?}: expected a range such as 10.0.0.0/8 or fd00::/64")))?;
    if net.trunc() != net {
        return Err(Error::invalid(format!("{text:?}: bits behind the prefix are set; write {}", net.trunc())));
    }
    Ok(net)
}

impl Route {
    /// Whether it is one of IPv4.
    ///
    /// # Errors
    /// When its parts are of different families, or none says which.
    pub fn is_ipv4(&self) -> Result<bool> {
        let families: Vec<bool> = [self.to.map(|to| to.addr()), self.via, self.source]
            .into_iter()
            .flatten()
            .map(|address| address.is_ipv4())
            .collect();
        match families.first() {
            None => Err(Error::invalid("a default route needs a gateway (via)")),
            Some(first) if families.iter().all(|family| family == first) => Ok(*first),
            Some(_) => Err(Error::invalid("its destination, gateway and source are of different families")),
        }
    }
}

impl FromStr for Route {
    type Err = Error;

    /// `DESTINATION[@GATEWAY][@METRIC]`, as a flag has it.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('@');
        let to = parse_destination(parts.next().unwrap_or_default())?;
        let (mut via, mut metric) = (None, None);
        for part in parts {
            match (part.parse::<IpAddr>(), part.parse::<u32>()) {
                (Ok(address), _) if via.is_none() => via = Some(address),
                (_, Ok(number)) if metric.is_none() => metric = Some(number),
                _ => {
                    return Err(Error::invalid(format!("route {text:?}: expected DESTINATION[@GATEWAY][@METRIC]")));
                }
            }
        }
        Ok(Self { to, via, metric, table: None, source: None, mtu: None })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            None => f.write_str("default")?,
            Some(to) => to.fmt(f)?,
        }
        self.via.iter().try_for_each(|via| write!(f, " via {via}"))?;
        self.source.iter().try_for_each(|source| write!(f, " from {source}"))?;
        self.metric.iter().try_for_each(|metric| write!(f, " metric {metric}"))?;
        self.mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
        self.table.iter().try_for_each(|table| write!(f, " in table {table}"))
    }
}

/// A rule of policy routing: ip-rule(8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Packets from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpNet>,
    /// Packets to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpNet>,
    /// Packets that came in by this interface alone.
    #[serde(default)]
    pub incoming: bool,
    /// Packets with this mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// The table that is asked.
    pub table: u32,
    /// When it is asked: the lowest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

impl Rule {
    /// The families that it is of: those of its ranges, else both.
    ///
    /// # Errors
    /// When its ranges are of different families.
    pub fn families(&self) -> Result<Vec<bool>> {
        match (self.from.map(|net| net.addr().is_ipv4()), self.to.map(|net| net.addr().is_ipv4())) {
            (Some(from), Some(to)) if from != to => Err(Error::invalid("from and to are of different families")),
            (Some(family), _) | (_, Some(family)) => Ok(vec![family]),
            (None, None) => Ok(vec![true, false]),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("packets")?;
        self.from.iter().try_for_each(|from| write!(f, " from {from}"))?;
        self.to.iter().try_for_each(|to| write!(f, " to {to}"))?;
        self.mark.iter().try_for_each(|mark| write!(f, " with mark {mark}"))?;
        write!(f, " look up table {}", self.table)
    }
}

/// 0.0.0.0/0 or ::/0.
pub fn everywhere(ipv4: bool) -> IpNet {
    match ipv4 {
        true => IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0),
        false => IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}
