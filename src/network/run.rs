//! The runtime's steps, carried out: each in the network namespace of whoever runs this, with the container's named by the
//! pid of a process in it.

use std::fs::File;
use std::os::fd::AsFd;

use ipnet::IpNet;

use super::attachment::{self, Attachment, Peer, Progress};
use super::definition::{Network, NetworkName};
use super::device::{self, Device, Found, HostEnd, Kind, Where};
use super::dirs::Dirs;
use super::forwarding;
use super::link::{self, Ifname, Link};
use super::lock::Locked;
use super::netlink::{Request, Socket};
use super::plan::{LINK, PTP};
use super::request::Route;
use super::step::{Bridge, Step};
use super::sweep::is_gone;
use super::{Address, address, filter, names, qdisc, route, tun};
use crate::{Context, Error, Result};

/// The longest packet where there is no uplink to go by, and what a VXLAN takes of it: its own headers.
const DEFAULT_MTU: u32 = 1500;
const VXLAN_HEADERS: u32 = 50;

/// A container that is being connected, one step after the other.
#[derive(Debug)]
pub struct Connecting {
    dirs: Dirs,
    /// From the choice of addresses until they are taken.
    choosing: Choosing,
    /// How many attachments have not taken theirs.
    leases: usize,
    /// While a network is changed, that network's.
    changing: Option<(NetworkName, Locked)>,
    /// Whether the bridge of the network was made just now.
    is_new: bool,
    /// The bridge that was found or made last.
    bridge: Option<Link>,
    /// The number of the end on the host of the veth that was made last.
    end: Option<u32>,
    route: Option<Socket>,
}

impl Connecting {
    /// Begins, with the locks that were taken for the choice of addresses, of so many attachments.
    pub fn new(dirs: Dirs, choosing: Choosing, leases: usize) -> Self {
        Self { dirs, choosing, leases, changing: None, is_new: false, bridge: None, end: None, route: None }
    }

    /// Carries out a step; `pid` is of a process in the container's network namespace, and without one only what is done
    /// before there is one.
    pub fn run(&mut self, step: &Step, pid: Option<i32>) -> Result<()> {
        match step {
            Step::Lease { attachment, network } => self.lease(attachment, network.as_deref()),
            Step::Vlan { name, parent, id } => self.vlan(name, parent, *id),
            Step::Bridge(bridge) => self.bridge(bridge),
            Step::Make { device, kind } => {
                let pid = pid.ok_or_else(|| Error::new("an interface is to be made for nobody"))?;
                self.make(device, kind, pid)
            }
            Step::Link { device, outer, attachment } => {
                let pid = pid.ok_or_else(|| Error::new("a link is to be made for nobody"))?;
                self.lock(&attachment.network)?;
                let linked = self.link(device, outer, attachment, pid);
                self.changing = None;
                linked
            }
            Step::Tap(tap) => {
                let pid = pid.ok_or_else(|| Error::new("a tap is to be made for nobody"))?;
                tun::make(tap, pid).map_err(|error| error.context(format!("make tap {}", tap.name)))
            }
            Step::Lead { host_end, index, gateways, to } => self.lead((host_end, *index), gateways, to),
            Step::Limit { host_end, index, rate } => {
                self.route()?.change(qdisc::limit(*index, *rate)?).context(|| format!("limit {host_end} to {rate}"))
            }
            Step::Filter { zone, endpoint, .. } => {
                let is_alone = zone.name == endpoint.key;
                if let (Some(index), false, false) = (self.end, is_alone, endpoint.publish.is_empty()) {
                    device::let_back(self.route()?, index)?;
                }
                filter::attach(&self.dirs, zone, endpoint, std::mem::take(&mut self.is_new) || is_alone)
            }
            Step::Tell(network) => {
                self.lock(network)?;
                let told = names::tell(network, &attachment::list(&self.dirs, network)?);
                self.changing = None;
                told
            }
        }
    }

    /// Takes the addresses that were chosen. With the last of a network's the others may choose theirs.
    fn lease(&mut self, attachment: &Attachment, network: Option<&Network>) -> Result<()> {
        let held = self.choosing.0.iter().find(|locked| *locked.name() == attachment.network);
        let taken;
        let locked = match held {
            Some(locked) => locked,
            None => {
                taken = Locked::take(&self.dirs, &attachment.network)?;
                &taken
            }
        };
        // First, so that whoever finds a lease finds whose it is.
        if let Some(old) = locked.attach(attachment)? {
            filter::detach(&self.dirs, &old, false)?;
        }
        if let Some(network) = network {
            for address in attachment.addresses.iter().filter(|address| network.range_of(address.addr()).is_some()) {
                let leased = locked.lease_this(network, address.addr(), &attachment.owner())?;
                for gone in &leased.swept.attachments {
                    filter::detach(&self.dirs, gone, false)?;
                }
            }
        }
        self.leases = self.leases.saturating_sub(1);
        if self.leases == 0 {
            self.choosing.0.clear();
        }
        Ok(())
    }

    /// A VLAN of the host's, which stays: other containers may be on it.
    fn vlan(&mut self, name: &Ifname, parent: &Ifname, id: u16) -> Result<()> {
        if link::by_name(self.route()?, name.as_ref())?.is_some() {
            return Ok(());
        }
        let index = self.index_of(parent)?;
        let device = Device { name: name.clone(), index: None, mac: None, mtu: None, txqlen: None, queues: None };
        let kind = Kind::Vlan { parent: parent.clone(), id };
        device::make(self.route()?, &device, &kind, Found { index: Some(index) }, Where::Here, true)
    }

    fn route(&mut self) -> Result<&Socket> {
        if self.route.is_none() {
            self.route = Some(Socket::open()?);
        }
        self.route.as_ref().ok_or_else(|| Error::new("there is no socket to netlink"))
    }

    /// Holds a network until its containers are told of the change, or another network is changed.
    fn lock(&mut self, network: &NetworkName) -> Result<()> {
        if self.changing.as_ref().is_some_and(|(held, _)| held == network) {
            return Ok(());
        }
        // Never two at once: others may take them the other way round.
        self.changing = None;
        self.changing = Some((network.clone(), Locked::take(&self.dirs, network)?));
        Ok(())
    }

    fn index_of(&mut self, name: &Ifname) -> Result<u32> {
        let found = link::by_name(self.route()?, name.as_ref())?;
        found.map(|link| link.index).ok_or_else(|| Error::new(format!("there is no interface {name}")))
    }

    fn bridge(&mut self, bridge: &Bridge) -> Result<()> {
        self.lock(&bridge.network)?;
        let (found, is_new) = find_or_make(self.route()?, bridge)
            .map_err(|error| error.context(format!("network {}: bridge {}", bridge.network, bridge.name)))?;
        self.is_new = is_new;
        self.bridge = Some(found);
        Ok(())
    }

    fn make(&mut self, device: &Device, kind: &Kind, pid: i32) -> Result<()> {
        let mut device = device.clone();
        let upper = match kind.upper() {
            None => None,
            Some(name) => match self.bridge.take().filter(|bridge| bridge.name == name.as_ref()) {
                Some(bridge) => Some(bridge),
                None => Some(self.find(name)?),
            },
        };
        if let Kind::Veth(_) = kind {
            // A packet that the bridge takes and the veth does not would be lost without a word.
            let most = match &upper {
                Some(bridge) => bridge.mtu,
                None => uplink_mtu(self.route()?)?,
            };
            device.mtu = device.mtu.or(Some(most));
        }
        let found = Found { index: upper.map(|upper| upper.index) };
        let socket = self.route()?;
        device::make(socket, &device, kind, found, Where::Of(pid), false)?;
        match kind {
            Kind::Veth(end) => {
                device::describe_end(socket, end)?;
                self.end = Some(end.index);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whoever of the two comes first makes both ends, and leaves the other's on the host for it.
    fn link(&mut self, device: &Device, outer: &HostEnd, own: &Attachment, pid: i32) -> Result<()> {
        let peer = own.peer.as_ref().ok_or_else(|| Error::new("a link that leads to nobody"))?;
        let note = |locked: &Locked, of: &Attachment, progress: Progress| {
            let peer = of.peer.as_ref().map(|peer| Peer { progress, ..peer.clone() });
            locked.attach(&Attachment { peer, ..of.clone() }).map(drop)
        };
        let held = self.changing.as_ref().map(|(_, locked)| locked);
        let locked = held.ok_or_else(|| Error::new("the lock of links is not held"))?;
        let theirs = locked.attachment(&peer.key)?.filter(|other| !is_gone(&other.root, &other.container));
        let socket = match &self.route {
            Some(socket) => socket,
            None => self.route.insert(Socket::open()?),
        };
        if let Some(theirs) = theirs {
            let to = theirs.peer.as_ref().map(|peer| peer.key.as_str()).unwrap_or_default();
            if to != own.key() {
                return Err(Error::invalid(format!("peer: {} leads to {to}, not to {}", peer.key, own.key())));
            }
            match theirs.peer.as_ref().map(|peer| peer.progress) {
                Some(Progress::Connected) => {
                    return Err(Error::new(format!(
                        "peer: {} was linked with an earlier {}, and went down with it: delete that container and create it again",
                        peer.key,
                        own.key()
                    )));
                }
                Some(Progress::Waiting) => {
                    let end = theirs.host_end.as_ref().ok_or_else(|| Error::new("the waiting end has no name"))?;
                    let found = link::by_name(socket, end.as_ref())?;
                    let found = found.ok_or_else(|| Error::new(format!("the end {end} of {} is gone", peer.key)))?;
                    let path = format!("/proc/{pid}/ns/net");
                    let netns = File::open(&path).context(|| format!("open {path}"))?;
                    link::move_to(socket, found.index, netns.as_fd(), (&device.name, device.index))
                        .context(|| format!("move {end} to {}", device.name))?;
                    note(locked, &theirs, Progress::Connected)?;
                    return note(locked, own, Progress::Connected);
                }
                _ => {}
            }
        }
        let mut device = device.clone();
        device.mtu = device.mtu.or(Some(uplink_mtu(socket)?));
        let kind = Kind::Veth(outer.clone());
        device::make(socket, &device, &kind, Found::default(), Where::Of(pid), false)?;
        device::describe_end(socket, outer)?;
        note(locked, own, Progress::Waiting)
    }

    fn find(&mut self, name: &Ifname) -> Result<Link> {
        let found = link::by_name(self.route()?, name.as_ref())?;
        found.ok_or_else(|| Error::new(format!("there is no interface {name} any more")))
    }

    fn lead(&mut self, (host_end, index): (&Ifname, u32), gateways: &[IpNet], to: &[IpNet]) -> Result<()> {
        let socket = self.route()?;
        for gateway in gateways {
            address::add(socket, index, host_end.as_ref(), &Address::given(*gateway))?;
        }
        for to in to {
            let route = Route { to: Some(to.trunc()), via: None, metric: None, table: None, source: None, mtu: None };
            let added = socket.change(route::add(&route, index, false)?);
            added
                .map_err(|error| match error.errno() {
                    Some(libc::EEXIST) => {
                        error.reworded(format!("there is a route to {to} already: the address is another's"))
                    }
                    _ => error,
                })
                .context(|| format!("route {to} by {host_end}"))?;
        }
        forwarding::enable(
            gateways.iter().any(|net| net.addr().is_ipv4()),
            gateways.iter().any(|net| net.addr().is_ipv6()),
        )
    }
}

/// The locks of networks, from the choice of addresses until they are taken. Where that does not come to pass, a directory
/// that was made for the lock goes with it.
#[derive(Debug, Default)]
pub struct Choosing(pub Vec<Locked>);

impl Drop for Choosing {
    fn drop(&mut self) {
        self.0.iter().for_each(Locked::remove_if_unused);
    }
}

/// The network's bridge, and whether it was made now.
fn find_or_make(socket: &Socket, bridge: &Bridge) -> Result<(Link, bool)> {
    let found = link::by_name(socket, bridge.name.as_ref())?;
    let is_ours = |link: &Link| link.kind == "bridge" && link.hardware == bridge.mac.to_string();
    match found {
        Some(link) if !bridge.managed && link.kind == "bridge" => return Ok((link, false)),
        None if !bridge.managed => {
            return Err(Error::invalid(
                "it is not there, and the network does not manage it (mode=unmanaged): make it first",
            ));
        }
        // Set up last, so it is whole.
        Some(link) if is_ours(&link) && link.up => return Ok((link, false)),
        Some(link) if !is_ours(&link) => {
            let kind = if link.kind.is_empty() { "physical".to_owned() } else { link.kind };
            return Err(Error::invalid(format!(
                "there is an interface of that name ({kind}) that is not the network's own: remove it, give the network another by --interface-name, or let it use that one by --option mode=unmanaged"
            )));
        }
        Some(_) => {}
        None => make_bridge(socket, bridge)?,
    }
    let link = link::by_name(socket, bridge.name.as_ref())?.ok_or_else(|| Error::new("it is gone again"))?;
    finish_bridge(socket, bridge, &link)?;
    Ok((link, true))
}

fn make_bridge(socket: &Socket, bridge: &Bridge) -> Result<()> {
    let mtu = match (bridge.mtu, &bridge.vxlan) {
        (Some(mtu), _) => mtu,
        (None, None) => uplink_mtu(socket)?,
        (None, Some(_)) => uplink_mtu(socket)?.saturating_sub(VXLAN_HEADERS),
    };
    let device = Device {
        name: bridge.name.clone(),
        index: None,
        mac: Some(bridge.mac),
        mtu: Some(mtu),
        txqlen: None,
        queues: None,
    };
    device::make(socket, &device, &Kind::Bridge, Found::default(), Where::Here, false)
}

/// What a bridge has besides being there, which another may have left half-done.
fn finish_bridge(socket: &Socket, bridge: &Bridge, link: &Link) -> Result<()> {
    device::set_alias(socket, link.index, &format!("nfrun network {}", bridge.network))?;
    // A container must not tell the host where to send its packets.
    forwarding::take_no_advice(&bridge.name)?;
    for address in &bridge.addresses {
        address::add(socket, link.index, bridge.name.as_ref(), &Address::given(*address))?;
    }
    if let Some((name, vxlan)) = &bridge.vxlan {
        make_vxlan(socket, bridge, (name, vxlan), link)?;
    }
    link::set_up(socket, link.index)?;
    if bridge.forwards {
        let has = |ipv4: bool| bridge.addresses.iter().any(|address| address.addr().is_ipv4() == ipv4);
        forwarding::enable(has(true), has(false))?;
    }
    Ok(())
}

/// The interface that carries a VXLAN, in its bridge.
fn make_vxlan(socket: &Socket, bridge: &Bridge, (name, vxlan): (&Ifname, &device::Vxlan), link: &Link) -> Result<()> {
    let kind = Kind::Vxlan(vxlan.clone());
    let index = vxlan.parent.as_ref().map(|parent| {
        let found = link::by_name(socket, parent.as_ref())?;
        found.map(|link| link.index).ok_or_else(|| Error::invalid(format!("parent: there is no interface {parent}")))
    });
    let found = Found { index: index.transpose()? };
    let device = Device { name: name.clone(), index: None, mac: None, mtu: Some(link.mtu), txqlen: None, queues: None };
    if link::by_name(socket, name.as_ref())?.is_none() {
        device::make(socket, &device, &kind, found, Where::Here, false)?;
    }
    let made = link::by_name(socket, name.as_ref())?.ok_or_else(|| Error::new(format!("{name} is gone again")))?;
    let up = libc::IFF_UP as u32;
    let mut request = Request::link(libc::RTM_NEWLINK, libc::NLM_F_ACK, made.index, up, up);
    request.number(libc::IFLA_MASTER, link.index)?;
    socket.change(request).context(|| format!("put {name} into bridge {}", bridge.name))
}

/// The longest packet that the uplink takes.
fn uplink_mtu(socket: &Socket) -> Result<u32> {
    let Some(way) = route::way_to(socket, route::ANYWHERE[0])? else { return Ok(DEFAULT_MTU) };
    let of_link = link::by_index(socket, way.index)?.map_or(DEFAULT_MTU, |link| link.mtu);
    Ok(way.mtu.unwrap_or(of_link).min(of_link).min(65535))
}

/// Takes a container's interface off its network, whatever of it was made: its file, its leases, what the filter has for
/// it, the bridge with the last one, and its name among the others. All may be gone already.
pub fn disconnect(dirs: &Dirs, attachment: &Attachment, leaves_link: bool) -> Result<()> {
    let network = &attachment.network;
    let Some(lock) = Locked::take_existing(dirs, network)? else { return Ok(()) };
    // First, so that whoever makes the filter anew does it without this one.
    for address in &attachment.addresses {
        lock.release(address.addr(), &attachment.owner())?;
    }
    if lock.attachment(&attachment.key())?.is_some_and(|found| found.root == attachment.root) {
        lock.detach(&attachment.key())?;
    }
    let left = lock.attachments()?;
    let is_last = left.is_empty();
    if is_filtered(attachment) {
        filter::detach(dirs, attachment, is_last)?;
    }
    if leaves_link {
        remove_host_end(attachment)?;
    }
    if is_last {
        remove_bridge(dirs, network)?;
        lock.remove_if_unused();
        return Ok(());
    }
    tell(network, &left)
}

/// Tells who is there, where that is a network: links and ptps share a directory and nothing else.
fn tell(network: &NetworkName, attached: &[Attachment]) -> Result<()> {
    if [PTP, LINK].contains(&network.as_ref()) { Ok(()) } else { names::tell(network, attached) }
}

/// Whether the packet filter may have something for it.
fn is_filtered(attachment: &Attachment) -> bool {
    attachment.host_end.is_some() && attachment.network.as_ref() != LINK
}

/// Takes off every network what containers had on it that are gone.
pub fn sweep(dirs: &Dirs) -> Result<()> {
    for network in attachment::networks(dirs)? {
        if let Some(lock) = Locked::take_existing(dirs, &network)? {
            sweep_one(dirs, &lock)?;
        }
    }
    Ok(())
}

/// The same of one network, whose lock is held, and its bridge where nobody is left.
pub fn sweep_one(dirs: &Dirs, lock: &Locked) -> Result<()> {
    if sweep_held(dirs, lock)?.is_empty() {
        remove_bridge(dirs, lock.name())?;
        lock.remove_if_unused();
    }
    Ok(())
}

/// Takes off a network, whose lock is held, what containers had on it that are gone; those that are left.
pub fn sweep_held(dirs: &Dirs, lock: &Locked) -> Result<Vec<Attachment>> {
    let swept = lock.sweep()?;
    let left = lock.attachments()?;
    for (i, gone) in swept.attachments.iter().enumerate() {
        let is_last = left.is_empty() && i + 1 == swept.attachments.len();
        if is_filtered(gone) {
            filter::detach(dirs, gone, is_last)?;
        }
        remove_host_end(gone)?;
    }
    if !swept.is_empty() {
        tell(lock.name(), &left)?;
    }
    Ok(left)
}

/// The end on the host of a veth whose other end is in a namespace that goes on without the container.
fn remove_host_end(attachment: &Attachment) -> Result<()> {
    let Some(end) = &attachment.host_end else { return Ok(()) };
    let socket = Socket::open()?;
    match link::by_name(&socket, end.as_ref())? {
        Some(link) => device::remove(&socket, link.index).context(|| format!("remove {end}")),
        None => Ok(()),
    }
}

/// The bridge that nfrun made for a network, once nobody is on it.
fn remove_bridge(dirs: &Dirs, network: &NetworkName) -> Result<()> {
    let Some(bridge) = super::plan::bridge_of(dirs, network)?.filter(|bridge| bridge.managed) else { return Ok(()) };
    let socket = Socket::open()?;
    if let Some((name, _)) = &bridge.vxlan
        && let Some(link) = link::by_name(&socket, name.as_ref())?
    {
        device::remove(&socket, link.index)?;
    }
    match link::by_name(&socket, bridge.name.as_ref())? {
        Some(link) if link.kind == "bridge" && link.hardware == bridge.mac.to_string() => {
            device::remove(&socket, link.index).context(|| format!("remove bridge {}", bridge.name))
        }
        _ => Ok(()),
    }
}
