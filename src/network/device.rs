//! Making interfaces: RTM_NEWLINK, rtnetlink(7), with IFLA_LINKINFO for each kind.
//!
//! Both ends of a veth are born where they belong, by one request: one that is made and then moved waits in the kernel for
//! 16 ms at each end.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::address::octets;
use super::link::Ifname;
use super::netlink::{Request, Socket, attribute};
use super::request::{IpvlanMode, Mac, MacvlanMode};
use crate::{Context, Error, Result};

const NESTED: u16 = libc::NLA_F_NESTED as u16;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// IN6_ADDR_GEN_MODE_NONE.
const NO_ADDRESS: u8 = 1;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_GROUP: u16 = 2;
const IFLA_VXLAN_LINK: u16 = 3;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_GROUP6: u16 = 16;
const IFLA_VXLAN_LOCAL6: u16 = 17;

/// An interface that is going to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its name.
    pub name: Ifname,
    /// Its number, which is chosen so that what is said of it later needs no look-up; None for whichever is free.
    pub index: Option<u32>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The longest packet.
    pub mtu: Option<u32>,
    /// How many packets wait to be sent.
    pub txqlen: Option<u32>,
    /// How many queues in either direction. None is one: of a veth without a number the kernel makes one a processor.
    pub queues: Option<u32>,
}

/// What kind of interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// One end of a veth; the other stays on the host.
    Veth(HostEnd),
    /// macvlan on an interface of the host.
    Macvlan {
        /// The host's interface.
        parent: Ifname,
        /// How those on one reach each other.
        #[serde(serialize_with = "word")]
        mode: MacvlanMode,
    },
    /// ipvlan on an interface of the host.
    Ipvlan {
        /// The host's interface.
        parent: Ifname,
        /// At which layer.
        #[serde(serialize_with = "word")]
        mode: IpvlanMode,
    },
    /// A VLAN of an interface of the host.
    Vlan {
        /// The host's interface.
        parent: Ifname,
        /// Its number.
        id: u16,
    },
    /// A tunnel of Ethernet over UDP.
    Vxlan(Vxlan),
    /// One that leads nowhere.
    Dummy,
    /// A bridge.
    Bridge,
}

fn word<S: serde::Serializer>(mode: &impl fmt::Debug, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{mode:?}").to_lowercase())
}

/// The host's end of a veth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostEnd {
    /// Its name.
    pub name: Ifname,
    /// Its number, by chance: nobody else has it.
    pub index: u32,
    /// The bridge that it is in.
    pub bridge: Option<Ifname>,
    /// What `ip link` shows of it: whose it is.
    pub alias: String,
}

/// What a VXLAN is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vxlan {
    /// VNI.
    pub id: u32,
    /// The other end, or the multicast group of all.
    pub remote: Option<IpAddr>,
    /// This end.
    pub local: Option<IpAddr>,
    /// The UDP port.
    pub port: u16,
    /// The host's interface that carries it.
    pub parent: Option<Ifname>,
}

/// What its parts are on this host, by their numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Of the bridge, or the parent.
    pub index: Option<u32>,
}

impl Kind {
    /// The kernel's word for it: IFLA_INFO_KIND.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Veth(_) => "veth",
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Vxlan(_) => "vxlan",
            Self::Dummy => "dummy",
            Self::Bridge => "bridge",
        }
    }

    /// The host's interface that it is on, or in.
    pub fn upper(&self) -> Option<&Ifname> {
        match self {
            Self::Veth(end) => end.bridge.as_ref(),
            Self::Macvlan { parent, .. } | Self::Ipvlan { parent, .. } | Self::Vlan { parent, .. } => Some(parent),
            Self::Vxlan(vxlan) => vxlan.parent.as_ref(),
            Self::Dummy | Self::Bridge => None,
        }
    }
}

/// Where an interface is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In the network namespace of whoever asks.
    Here,
    /// In that of the process of this pid.
    Of(i32),
}

/// The request that makes an interface: RTM_NEWLINK. `up`: at once, which the inner end of a veth cannot be.
pub fn request(device: &Device, kind: &Kind, found: Found, place: Where, up: bool) -> Result<Request> {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let is_up = if up { libc::IFF_UP as u32 } else { 0 };
    let Kind::Veth(end) = kind else {
        let mut request = Request::link(libc::RTM_NEWLINK, flags, device.index.unwrap_or(0), is_up, is_up);
        for (kind, value) in describe(device, place)? {
            request.attribute(kind, &value)?;
        }
        if let (Some(index), false) = (found.index, matches!(kind, Kind::Vxlan(_))) {
            request.number(libc::IFLA_LINK, index)?;
        }
        request.attribute(libc::IFLA_LINKINFO | NESTED, &info(kind, &data(kind, found)?)?)?;
        return Ok(request);
    };
    // Only where both ends have chosen numbers the kernel hears that of the inner one (veth_newlink).
    let mut request = Request::link(libc::RTM_NEWLINK, flags, end.index, libc::IFF_UP as u32, libc::IFF_UP as u32);
    let outer = Device { name: end.name.clone(), index: None, mac: None, txqlen: None, ..device.clone() };
    for (kind, value) in describe(&outer, Where::Here)? {
        request.attribute(kind, &value)?;
    }
    if let Some(index) = found.index {
        request.number(libc::IFLA_MASTER, index)?;
    }
    // struct ifinfomsg, then the attributes of the inner end.
    let mut peer = vec![0; 16];
    peer[4..8].copy_from_slice(&device.index.unwrap_or(0).to_ne_bytes());
    for (kind, value) in describe(device, place)? {
        attribute::put(&mut peer, kind, &value)?;
    }
    let mut inner = Vec::new();
    attribute::put(&mut inner, VETH_INFO_PEER | NESTED, &peer)?;
    request.attribute(libc::IFLA_LINKINFO | NESTED, &info(kind, &inner)?)?;
    Ok(request)
}

/// What all kinds have.
fn describe(device: &Device, place: Where) -> Result<Vec<(u16, Vec<u8>)>> {
    let number = |kind: u16, value: u32| (kind, value.to_ne_bytes().to_vec());
    let mut all = vec![(libc::IFLA_IFNAME, [device.name.as_ref().as_bytes(), b"\0"].concat())];
    let queues = device.queues.unwrap_or(1);
    all.push(number(IFLA_NUM_TX_QUEUES, queues));
    all.push(number(IFLA_NUM_RX_QUEUES, queues));
    all.extend(device.mac.map(|mac| (libc::IFLA_ADDRESS, mac.0.to_vec())));
    all.extend(device.mtu.map(|mtu| number(libc::IFLA_MTU, mtu)));
    all.extend(device.txqlen.map(|length| number(libc::IFLA_TXQLEN, length)));
    if let Where::Of(pid) = place {
        all.push(number(libc::IFLA_NET_NS_PID, pid as u32));
    }
    Ok(all)
}

fn info(kind: &Kind, data: &[u8]) -> Result<Vec<u8>> {
    let mut info = Vec::new();
    attribute::put(&mut info, IFLA_INFO_KIND, kind.word().as_bytes())?;
    if !data.is_empty() {
        attribute::put(&mut info, IFLA_INFO_DATA | NESTED, data)?;
    }
    Ok(info)
}

/// IFLA_INFO_DATA.
fn data(kind: &Kind, found: Found) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    match kind {
        Kind::Macvlan { mode, .. } => attribute::put(&mut data, IFLA_MACVLAN_MODE, &mode.number().to_ne_bytes())?,
        Kind::Ipvlan { mode, .. } => {
            attribute::put(&mut data, IFLA_IPVLAN_MODE, &(mode.number() as u16).to_ne_bytes())?;
        }
        Kind::Vlan { id, .. } => attribute::put(&mut data, IFLA_VLAN_ID, &id.to_ne_bytes())?,
        Kind::Vxlan(vxlan) => {
            attribute::put(&mut data, IFLA_VXLAN_ID, &vxlan.id.to_ne_bytes())?;
            attribute::put(&mut data, IFLA_VXLAN_PORT, &vxlan.port.to_be_bytes())?;
            if let Some(index) = found.index {
                attribute::put(&mut data, IFLA_VXLAN_LINK, &index.to_ne_bytes())?;
            }
            for (address, four, six) in [
                (vxlan.remote, IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6),
                (vxlan.local, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6),
            ] {
                if let Some(address) = address {
                    attribute::put(&mut data, if address.is_ipv4() { four } else { six }, &octets(&address))?;
                }
            }
        }
        Kind::Veth(_) | Kind::Dummy | Kind::Bridge => {}
    }
    Ok(data)
}

/// Makes an interface, with the words for what the kernel refuses.
pub fn make(socket: &Socket, device: &Device, kind: &Kind, found: Found, place: Where, up: bool) -> Result<()> {
    socket.change(request(device, kind, found, place, up)?).map_err(|error| explain(error, device, kind))
}

fn explain(error: Error, device: &Device, kind: &Kind) -> Error {
    let (name, word) = (&device.name, kind.word());
    let error = match error.errno() {
        Some(libc::EEXIST) => {
            let why = match kind {
                Kind::Vxlan(vxlan) => format!("there is an interface {name}, or one of VXLAN {}, already", vxlan.id),
                Kind::Vlan { id, parent } => format!("there is an interface {name}, or VLAN {id} of {parent}, already"),
                _ => format!("there is an interface {name} already"),
            };
            error.reworded(why)
        }
        // rtnl_link_ops of an unknown kind.
        Some(libc::EOPNOTSUPP) => {
            error.reworded(format!("this kernel makes no {word} interfaces (load the module: `modprobe {word}`)"))
        }
        Some(libc::EPERM) => error.context("it takes CAP_NET_ADMIN in the network namespaces of both ends"),
        Some(libc::EBUSY) if matches!(kind, Kind::Macvlan { .. } | Kind::Ipvlan { .. }) => {
            error.context("its parent is in use in another way: by a bridge, or by the other of macvlan and ipvlan")
        }
        _ => error,
    };
    error.context(format!("make {word} {name}"))
}

/// Says of an interface whose it is: IFLA_IFALIAS.
pub fn set_alias(socket: &Socket, index: u32, alias: &str) -> Result<()> {
    let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, index, 0, 0);
    request.attribute(libc::IFLA_IFALIAS, alias.as_bytes())?;
    socket.change(request).context(|| format!("describe it as {alias:?}"))
}

/// Says of a veth's end on the host whose it is, and has the kernel give it no address of its own: it only passes packets
/// on.
pub fn describe_end(socket: &Socket, end: &HostEnd) -> Result<()> {
    let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, end.index, 0, 0);
    request.attribute(libc::IFLA_IFALIAS, end.alias.as_bytes())?;
    let (mut inet6, mut families) = (Vec::new(), Vec::new());
    attribute::put(&mut inet6, IFLA_INET6_ADDR_GEN_MODE, &[NO_ADDRESS])?;
    attribute::put(&mut families, libc::AF_INET6 as u16 | NESTED, &inet6)?;
    request.attribute(libc::IFLA_AF_SPEC | NESTED, &families)?;
    match socket.change(request) {
        // A kernel without IPv6, which has done nothing of it.
        Err(error) if [Some(libc::EAFNOSUPPORT), Some(libc::EOPNOTSUPP)].contains(&error.errno()) => {
            set_alias(socket, end.index, &end.alias)
        }
        other => other.context(|| format!("describe {}", end.name)),
    }
}

/// Lets packets leave a bridge by the port that they came in by: a container that asks for its own published port by the
/// host's address, where a bridge's packets pass the host's packet filter (br_netfilter). IFLA_BRPORT_MODE.
pub fn let_back(socket: &Socket, port: u32) -> Result<()> {
    const IFLA_BRPORT_MODE: u16 = 4;
    let mut header = [0; 16];
    header[0] = libc::AF_BRIDGE as u8;
    header[4..8].copy_from_slice(&port.to_ne_bytes());
    let mut request = Request::new(libc::RTM_SETLINK, libc::NLM_F_ACK, &header);
    let mut mode = Vec::new();
    attribute::put(&mut mode, IFLA_BRPORT_MODE, &[1])?;
    request.attribute(libc::IFLA_PROTINFO | NESTED, &mode)?;
    socket.change(request).context(|| "set a bridge's port to hairpin mode")
}

/// Removes an interface; one that is gone is as it should be. It waits in the kernel, for some 20 ms.
pub fn remove(socket: &Socket, index: u32) -> Result<()> {
    match socket.change(Request::link(libc::RTM_DELLINK, libc::NLM_F_ACK, index, 0, 0)) {
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}
