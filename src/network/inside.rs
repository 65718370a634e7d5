//! What is done inside of a container's network namespace: data, which init carries out from where it is, or for a container
//! that runs already the runtime. A request to rtnetlink is made here and only sent there.

use std::os::fd::BorrowedFd;

use super::netlink::{Request, Socket, within};
use super::request::{Bits, Mac};
use super::{Address, Ifname, address, offload, qdisc, request, route};
use crate::{Context, Error, Result, sys};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// Send a request to rtnetlink.
    Send {
        /// The request, whole.
        request: Vec<u8>,
        /// What it is about.
        words: String,
    },
    /// Write a setting.
    Set {
        /// The file below /proc/sys.
        path: String,
        /// What to write.
        value: String,
    },
    /// Switch an offload.
    Offload {
        /// The interface.
        name: String,
        /// ETHTOOL_S*.
        command: u32,
        /// Whether on.
        on: bool,
        /// What it is called.
        words: String,
    },
}

/// Does it all in a network namespace.
pub fn carry_out(list: &[Inside], netns: BorrowedFd) -> Result<()> {
    within(netns, || {
        let socket = Socket::open()?;
        list.iter().try_for_each(|inside| inside.carry_out(&socket))
    })
}

impl Inside {
    fn carry_out(&self, socket: &Socket) -> Result<()> {
        match self {
            Self::Send { request, words } => socket.change(Request::again(request)?).context(|| words.clone()),
            Self::Set { path, value } => std::fs::write(path, value).context(|| format!("write {value} to {path}")),
            Self::Offload { name, command, on, words } => {
                let switched = sys::net::switch_offload(name, *command, *on);
                switched.context(|| format!("switch {words} of {name} {}", if *on { "on" } else { "off" }))
            }
        }
    }
}

/// An interface inside, by name and number, and what is done with it.
#[derive(Debug)]
pub struct Interior<'a> {
    name: &'a Ifname,
    index: u32,
    list: &'a mut Vec<Inside>,
}

impl<'a> Interior<'a> {
    /// Adds to the list what is done with that interface.
    pub fn new(name: &'a Ifname, index: u32, list: &'a mut Vec<Inside>) -> Self {
        Self { name, index, list }
    }

    /// Adds a request.
    pub fn send(&mut self, request: Request, words: String) -> Result<()> {
        self.list.push(Inside::Send { request: request.finish(1)?, words });
        Ok(())
    }

    /// Sets it up.
    pub fn set_up(&mut self) -> Result<()> {
        let up = libc::IFF_UP as u32;
        let request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, self.index, up, up);
        self.send(request, format!("set {} up", self.name))
    }

    /// Gives it an address.
    pub fn add_address(&mut self, address: &Address) -> Result<()> {
        let request = address::request(self.index, self.name.as_ref(), address)?;
        self.send(request, format!("add address {address} to {}", self.name))
    }

    /// Adds a route by it.
    pub fn add_route(&mut self, route: &request::Route, gateway_on_link: bool) -> Result<()> {
        let request = route::add(route, self.index, gateway_on_link)?;
        self.send(request, format!("add route {route} by {}", self.name))
    }

    /// Adds a rule of policy routing.
    pub fn add_rule(&mut self, rule: &request::Rule) -> Result<()> {
        for request in route::add_rule(rule, self.name.as_ref())? {
            self.send(request, format!("add rule: {rule}"))?;
        }
        Ok(())
    }

    /// Sets its hardware address, which many take only while they are down.
    pub fn set_mac(&mut self, mac: Mac) -> Result<()> {
        let down = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, self.index, 0, libc::IFF_UP as u32);
        self.send(down, format!("set {} down", self.name))?;
        let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, self.index, 0, 0);
        request.attribute(libc::IFLA_ADDRESS, &mac.0)?;
        self.send(request, format!("set the hardware address of {} to {mac}", self.name))
    }

    /// Sets the longest packet, and how many packets wait to be sent, of an interface that was made without.
    pub fn adjust(&mut self, mtu: Option<u32>, txqlen: Option<u32>) -> Result<()> {
        for (kind, value, words) in [(libc::IFLA_MTU, mtu, "mtu"), (libc::IFLA_TXQLEN, txqlen, "txqlen")] {
            if let Some(value) = value {
                let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, self.index, 0, 0);
                request.number(kind, value)?;
                self.send(request, format!("set {words} of {} to {value}", self.name))?;
            }
        }
        Ok(())
    }

    /// Limits what it sends.
    pub fn limit(&mut self, rate: Bits) -> Result<()> {
        self.send(qdisc::limit(self.index, rate)?, format!("limit what {} sends to {rate} a second", self.name))
    }

    /// Writes one of its settings: `ipv4.rp_filter`.
    pub fn set(&mut self, setting: &str, value: &str) -> Result<()> {
        let (family, setting) =
            setting.split_once('.').ok_or_else(|| Error::invalid(format!("sysctls: {setting:?} names no family")))?;
        // A dot in the interface's name is no separator here.
        let path = format!("/proc/sys/net/{family}/conf/{}/{setting}", self.name);
        self.list.push(Inside::Set { path, value: value.to_owned() });
        Ok(())
    }

    /// Switches one of its offloads.
    pub fn switch(&mut self, offload: &str, on: bool) -> Result<()> {
        let command = offload::command(offload)?;
        let (name, words) = (self.name.to_string(), offload.to_owned());
        self.list.push(Inside::Offload { name, command, on, words });
        Ok(())
    }
}
