//! Addresses of interfaces: rtnetlink(7), struct ifaddrmsg.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::netlink::{Message, Request, Socket, attribute};
use crate::{Context, Error, Result};

/// Flags that whoever adds an address may give: no duplicate detection, home address, base of temporary ones, no route
/// for the prefix, multicast joined.
const SETTABLE: u32 = libc::IFA_F_NODAD
    | libc::IFA_F_HOMEADDRESS
    | libc::IFA_F_MANAGETEMPADDR
    | libc::IFA_F_NOPREFIXROUTE
    | libc::IFA_F_MCAUTOJOIN;
/// RT_SCOPE_UNIVERSE.
const UNIVERSE: u8 = 0;
/// IFA_RT_PRIORITY: the metric of the prefix's route.
const IFA_RT_PRIORITY: u16 = 9;

/// One address of an interface, with what is needed to add it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The address.
    pub local: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// The other end's, on a point-to-point interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The broadcast address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<IpAddr>,
    /// The label, by default the interface's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// RT_SCOPE_*.
    pub scope: u8,
    /// IFA_F_*.
    pub flags: u32,
    /// The metric of its prefix's route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// For how many seconds it is preferred and valid, where it is not for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<(u32, u32)>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.local, self.prefix)
    }
}

impl Address {
    /// One that an administrator gives for ever. Nobody else on the link has it, so that it need not be asked for there:
    /// duplicate address detection keeps an address of IPv6 from use for a second.
    pub fn given(address: IpNet) -> Self {
        let broadcast = match address {
            IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast().into()),
            _ => None,
        };
        Self {
            local: address.addr(),
            prefix: address.prefix_len(),
            peer: None,
            broadcast,
            label: None,
            scope: UNIVERSE,
            flags: if address.addr().is_ipv6() { libc::IFA_F_NODAD } else { 0 },
            priority: None,
            lifetime: None,
        }
    }

    /// Whether it goes with its interface into another namespace: permanent and of global scope. Others were made for the
    /// place where they are (config-linux.md, "Network Devices").
    pub fn travels(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0 && self.scope == UNIVERSE
    }

    /// Whether an administrator or a client of DHCP gave it, as opposed to the kernel, which makes temporary ones itself.
    fn is_given(&self) -> bool {
        !(self.local.is_ipv6() && self.flags & libc::IFA_F_TEMPORARY != 0)
    }

    /// The label as it is when the interface is renamed.
    fn label(&self, name: &str) -> Option<String> {
        let suffix = self.label.as_ref()?.split_once(':').map(|(_, suffix)| suffix);
        let label = suffix.map_or_else(|| name.to_owned(), |suffix| format!("{name}:{suffix}"));
        (label.len() < libc::IFNAMSIZ).then_some(label)
    }
}

fn read(message: &Message) -> Result<(u32, Address)> {
    // struct ifaddrmsg: family, prefix length, flags, scope (8 bits each), index.
    let short = || Error::new("netlink: an address's message is too short");
    let (header, attributes) = message.body.split_first_chunk::<8>().ok_or_else(short)?;
    let [_, prefix, flags, scope, index @ ..] = *header;
    let (mut local, mut remote) = (None, None);
    let mut address = Address {
        local: Ipv4Addr::UNSPECIFIED.into(),
        prefix,
        peer: None,
        broadcast: None,
        label: None,
        scope,
        flags: flags.into(),
        priority: None,
        lifetime: None,
    };
    for (kind, value) in attribute::parse(attributes)? {
        match kind {
            libc::IFA_LOCAL => local = Some(ip(value)?),
            libc::IFA_ADDRESS => remote = Some(ip(value)?),
            libc::IFA_BROADCAST => address.broadcast = Some(ip(value)?),
            libc::IFA_LABEL => address.label = Some(attribute::text(value)),
            libc::IFA_FLAGS => address.flags = attribute::number(value)?,
            IFA_RT_PRIORITY => address.priority = Some(attribute::number(value)?),
            // struct ifa_cacheinfo: preferred, valid, and when it was made and changed.
            libc::IFA_CACHEINFO if value.len() >= 8 => {
                address.lifetime = Some((attribute::number(&value[..4])?, attribute::number(&value[4..8])?));
            }
            _ => {}
        }
    }
    address.local = local.or(remote).ok_or_else(short)?;
    address.peer = remote.filter(|remote| *remote != address.local);
    if address.flags & libc::IFA_F_PERMANENT != 0 {
        address.lifetime = None;
    }
    Ok((u32::from_ne_bytes(index), address))
}

pub(super) fn ip(value: &[u8]) -> Result<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(value) {
        return Ok(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(value);
    sixteen
        .map(|octets| Ipv6Addr::from(octets).into())
        .map_err(|_| Error::new(format!("netlink: an address of {} bytes", value.len())))
}

pub(super) fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// The addresses of an interface that were given to it, in their order: RTM_GETADDR.
pub fn list(socket: &Socket, index: u32) -> Result<Vec<Address>> {
    let mut addresses = Vec::new();
    let dumped = socket.dump(
        || Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; 8]),
        |message| {
            let Some(message) = message else {
                addresses.clear();
                return Ok(());
            };
            let (of, address) = read(message)?;
            if of == index && address.is_given() {
                addresses.push(address);
            }
            Ok(())
        },
    );
    dumped.context(|| "list addresses")?;
    Ok(addresses)
}

/// Adds an address to an interface of that name; one that is there already is as it should be.
pub fn add(socket: &Socket, index: u32, name: &str, address: &Address) -> Result<()> {
    socket.change(request(index, name, address)?).context(|| format!("add address {address} to {name}"))
}

/// RTM_NEWADDR for the interface of that number and name.
pub fn request(index: u32, name: &str, address: &Address) -> Result<Request> {
    let family = if address.local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut header = [family as u8, address.prefix, 0, address.scope, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut request = Request::new(libc::RTM_NEWADDR, flags, &header);
    request.attribute(libc::IFA_LOCAL, &octets(&address.local))?;
    request.attribute(libc::IFA_ADDRESS, &octets(address.peer.as_ref().unwrap_or(&address.local)))?;
    if let Some(broadcast) = &address.broadcast {
        request.attribute(libc::IFA_BROADCAST, &octets(broadcast))?;
    }
    if let Some(label) = address.label(name) {
        request.text(libc::IFA_LABEL, &label)?;
    }
    request.number(libc::IFA_FLAGS, address.flags & SETTABLE)?;
    if let Some(priority) = address.priority {
        request.number(IFA_RT_PRIORITY, priority)?;
    }
    if let Some((preferred, valid)) = address.lifetime {
        let mut cache = [0; 16];
        cache[..4].copy_from_slice(&preferred.to_ne_bytes());
        cache[4..8].copy_from_slice(&valid.to_ne_bytes());
        request.attribute(libc::IFA_CACHEINFO, &cache)?;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, flags: u32, scope: u8) -> Address {
        let (peer, broadcast, label, priority, lifetime) = (None, None, None, None, None);
        Address { local: text.parse().unwrap(), prefix: 24, peer, broadcast, label, scope, flags, priority, lifetime }
    }

    #[test]
    fn only_permanent_global_addresses_travel() {
        assert!(address("192.0.2.1", libc::IFA_F_PERMANENT, 0).travels());
        assert!(!address("192.0.2.1", 0, 0).travels(), "from DHCP");
        assert!(!address("fe80::1", libc::IFA_F_PERMANENT, 253).travels(), "of the link alone");
        assert!(!address("2001:db8::1", libc::IFA_F_TEMPORARY, 0).is_given());
        assert!(address("192.0.2.2", libc::IFA_F_PERMANENT | libc::IFA_F_SECONDARY, 0).is_given());
    }

    #[test]
    fn labels_follow_the_name() {
        let mut labelled = address("192.0.2.1", 0, 0);
        labelled.label = Some("eth0:web".into());
        assert_eq!(labelled.label("net1").as_deref(), Some("net1:web"));
        assert_eq!(labelled.label("exactly15bytes_"), None, "too long for a label");
        labelled.label = Some("eth0".into());
        assert_eq!(labelled.label("net1").as_deref(), Some("net1"));
    }
}
