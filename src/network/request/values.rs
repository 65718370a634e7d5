//! Addresses, of either layer, and speeds.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why| Error::invalid(format!("hardware address {text:?}: {why}"));
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
            let part = part.ok_or_else(|| wrong("expected six octets such as 02:00:5e:00:53:01"))?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong("an octet is no number"))?;
        }
        match (parts.next(), octets[0] & 1, octets) {
            (Some(_), ..) => Err(wrong("expected six octets, it has more")),
            (_, 1, _) => Err(wrong("it is one of a group (the first octet is odd), no interface's")),
            (_, _, [0, 0, 0, 0, 0, 0]) => Err(wrong("it is nobody's")),
            _ => Ok(Self(octets)),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address that is asked for, with or without the prefix of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressWish {
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: Option<u8>,
}

impl FromStr for AddressWish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("address {text:?}: {why}"));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(|_| wrong("the prefix is no number"))?)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| wrong("expected an address such as 10.88.0.5, 10.88.0.5/24 or fd00::5/64"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix.is_some_and(|prefix| prefix > most) {
            return Err(wrong(&format!("a prefix has {most} bits at most")));
        }
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(wrong("no interface's: it is unspecified, loopback or multicast"));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for AddressWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Some(prefix) => write!(f, "{}/{prefix}", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// Limits of speed, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rate {
    /// What comes in to the container.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub incoming: Option<Bits>,
    /// What it sends.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<Bits>,
}

/// Bits a second: `10mbit`, as tc(8) writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bits(pub u64);

impl FromStr for Bits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || Error::invalid(format!("rate {text:?}: expected a number with bit, kbit, mbit or gbit, as 10mbit"));
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.to_ascii_lowercase().as_str() {
            "bit" => 1,
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        match number.checked_mul(factor) {
            Some(bits @ 8_000..=1_000_000_000_000) => Ok(Self(bits)),
            _ => Err(Error::invalid(format!("rate {text:?}: between 8kbit and 1000gbit"))),
        }
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bits if bits % 1_000_000_000 == 0 => write!(f, "{}gbit", bits / 1_000_000_000),
            bits if bits % 1_000_000 == 0 => write!(f, "{}mbit", bits / 1_000_000),
            bits if bits % 1_000 == 0 => write!(f, "{}kbit", bits / 1_000),
            bits => write!(f, "{bits}bit"),
        }
    }
}
