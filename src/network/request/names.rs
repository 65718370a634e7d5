//! How names are resolved, and the files that say so.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a container resolves names: resolv.conf(5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// The servers; by default the network's, else the host's.
    pub servers: Vec<IpAddr>,
    /// The domains that short names are looked for in.
    pub search: Vec<String>,
    /// Options such as `ndots:2`.
    pub options: Vec<String>,
}

/// A line of /etc/hosts: `NAME:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostsEntry {
    /// The name.
    pub name: String,
    /// Its address; None for the host's, as the container sees it (`host-gateway`).
    pub address: Option<IpAddr>,
}

/// Whether a name may stand in /etc/hosts: RFC 1123, with underscores as many have them.
pub fn is_host_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !text.is_empty()
        && text.len() <= 253
        && text.chars().all(good)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

impl FromStr for HostsEntry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("host {text:?}: {why}"));
        let (name, address) = text.split_once(':').ok_or_else(|| wrong("expected NAME:ADDRESS"))?;
        if !is_host_name(name) {
            return Err(wrong("a name has letters, digits, -, _ and ."));
        }
        let bare = address.strip_prefix('[').and_then(|bare| bare.strip_suffix(']')).unwrap_or(address);
        let address = match bare {
            "host-gateway" => None,
            _ => Some(bare.parse().map_err(|_| wrong("expected an address behind the name, or host-gateway"))?),
        };
        Ok(Self { name: name.to_owned(), address })
    }
}

impl TryFrom<String> for HostsEntry {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<HostsEntry> for String {
    fn from(entry: HostsEntry) -> Self {
        match entry.address {
            Some(address) => format!("{}:{address}", entry.name),
            None => format!("{}:host-gateway", entry.name),
        }
    }
}

/// Which files a container gets; by default those that its bundle does not mount itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Files {
    /// /etc/hosts.
    pub hosts: bool,
    /// /etc/hostname.
    pub hostname: bool,
    /// /etc/resolv.conf.
    pub resolv: bool,
}

impl Default for Files {
    fn default() -> Self {
        Self { hosts: true, hostname: true, resolv: true }
    }
}
