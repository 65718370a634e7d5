//! One interface of a container: what makes it, and what is done with it inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Group, Planner, host_end, number_by_chance};
use crate::network::attachment::{Attachment, Peer, Progress};
use crate::network::definition::{Carrier, Network, NetworkName};
use crate::network::device::{self, Device, HostEnd, Vxlan};
use crate::network::inside::Interior;
use crate::network::link::{Ifname, Pattern};
use crate::network::netlink::Socket;
use crate::network::request::{Interface, Kind, Mac, Route};
use crate::network::step::{Bridge, Step, Tap};
use crate::network::{Address, filter, transfer};
use crate::{Error, Result};

/// The gateway of a ptp, which is on the host's end alone; the same on each of them: RFC 3927 and RFC 4291, link-local.
const PTP_GATEWAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];

/// The run directory of ptp interfaces, which are on no network of a definition; no network may be called so.
pub const PTP: &str = "ptp";

/// The run directory of links, likewise.
pub const LINK: &str = "link";

/// What an interface will have.
struct Layer3 {
    addresses: Vec<IpNet>,
    /// Gateways of default routes, and whether they lie outside of the addresses' ranges.
    gateways: Vec<(IpAddr, bool)>,
    routes: Vec<Route>,
}

impl Planner<'_> {
    /// Plans one interface.
    pub(super) fn interface(&mut self, wish: &Interface, name: &Ifname) -> Result<()> {
        if self.scene.joined.is_some() && !wish.rules.is_empty() {
            return Err(Error::invalid(
                "rules: they would outlast the interface, in a network namespace that is there already",
            ));
        }
        match &wish.kind {
            Kind::Network(network) => {
                let network = self.networks.get(network).cloned();
                let network = network.ok_or_else(|| Error::new("its network was not looked for"))?;
                self.on_network(wish, name, &network)
            }
            Kind::Ptp => self.ptp(wish, name),
            Kind::HostDevice { device } => self.host_device(wish, name, device),
            Kind::Link { container, interface } => self.link(wish, name, &format!("{container}:{interface}")),
            _ => self.alone(wish, name),
        }
    }

    /// A veth to another container, which may come later: whose end is there first makes both.
    fn link(&mut self, wish: &Interface, name: &Ifname, to: &str) -> Result<()> {
        let layer3 = Layer3 { addresses: given(wish)?, gateways: Vec::new(), routes: Vec::new() };
        self.limit(wish, &mut Group::default())?;
        let end = host_end()?;
        let mut device = self.device(wish, name, None);
        let index = self.number(name, false)?;
        device.index = Some(index);
        let mut attachment =
            self.attachment(wish, name, LINK.parse()?, (Some(end.clone()), wish.mac), &layer3.addresses);
        if attachment.key() == to {
            return Err(Error::invalid(format!("peer: {to} is this interface itself")));
        }
        attachment.peer = Some(Peer { key: to.to_owned(), progress: Progress::Asked });
        let outer = self.host_end(end, name, None);
        let step =
            Step::Link { device: Box::new(device), outer: Box::new(outer), attachment: Box::new(attachment.clone()) };
        self.groups.push(Group { steps: vec![step], attachment: Some(attachment), zone: None });
        let mut interior = Interior::new(name, index, &mut self.planned.inside);
        wish.mac.map_or(Ok(()), |mac| interior.set_mac(mac))?;
        // Where the other container has made this end.
        interior.adjust(wish.mtu, wish.txqlen)?;
        self.inside(wish, name, index, &layer3)
    }

    fn on_network(&mut self, wish: &Interface, name: &Ifname, network: &Network) -> Result<()> {
        let addresses = self.choose(network, wish)?;
        let mac = wish.mac.or_else(|| addresses.first().map(|address| mac_of(address.addr())));
        let mut group = Group::default();
        let mut device = self.device(wish, name, mac);
        device.mtu = wish.mtu.or(network.mtu());
        let mut end = None;
        let kind = match network.carrier() {
            Carrier::Bridge { bridge, .. } | Carrier::Vxlan { bridge, .. } => {
                group.steps.extend(self::bridge(network).map(|bridge| Step::Bridge(Box::new(bridge))));
                let host_end = host_end()?;
                end = Some(host_end.clone());
                device::Kind::Veth(self.host_end(host_end, name, Some(bridge)))
            }
            Carrier::Macvlan { parent, vlan, mode } => {
                let parent = self.on_vlan(parent, *vlan, &mut group)?;
                device::Kind::Macvlan { parent, mode: *mode }
            }
            Carrier::Ipvlan { parent, vlan, mode } => {
                let parent = self.on_vlan(parent, *vlan, &mut group)?;
                device::Kind::Ipvlan { parent, mode: *mode }
            }
        };
        if matches!(kind, device::Kind::Ipvlan { .. }) {
            // It has its parent's.
            device.mac = None;
        }
        let index = self.number(name, end.is_none())?;
        device.index = Some(index);
        let routes = network.routes().iter();
        let routes = routes.map(|route| Route {
            to: Some(route.destination),
            via: Some(route.gateway),
            metric: route.metric,
            table: None,
            source: None,
            mtu: None,
        });
        let layer3 = Layer3 {
            gateways: self.default_gateways(wish, network, &addresses),
            routes: routes.collect(),
            addresses: addresses.clone(),
        };
        group.steps.push(Step::Make { device: Box::new(device), kind });
        self.limit(wish, &mut group)?;
        self.planned.servers.extend(network.dns());
        let attachment = self.attachment(wish, name, network.name().clone(), (end, mac), &addresses);
        group.attachment = Some(attachment);
        group.zone = network.zone();
        if group.zone.is_none() && !(wish.allow.is_empty() && wish.deny.is_empty()) {
            return Err(Error::invalid(format!(
                "allow: packets of network {} do not pass the host's packet filter by nfrun's rules",
                network.name()
            )));
        }
        self.groups.push(group);
        self.inside(wish, name, index, &layer3)
    }

    /// The VLAN of a network's parent, which is made where it is missing.
    fn on_vlan(&self, parent: &Ifname, vlan: Option<u16>, group: &mut Group) -> Result<Ifname> {
        let Some(id) = vlan else { return Ok(parent.clone()) };
        let name: Ifname = format!("{parent}.{id}").parse().map_err(|error: Error| error.context("vlan"))?;
        group.steps.push(Step::Vlan { name: name.clone(), parent: parent.clone(), id });
        Ok(name)
    }

    /// What is written down of an interface that something of the host's knows.
    fn attachment(
        &self,
        wish: &Interface,
        name: &Ifname,
        network: NetworkName,
        (host_end, mac): (Option<Ifname>, Option<Mac>),
        addresses: &[IpNet],
    ) -> Attachment {
        Attachment {
            network,
            container: self.scene.container.to_owned(),
            root: self.scene.root.to_path_buf(),
            interface: name.clone(),
            host_end,
            mac,
            addresses: addresses.to_vec(),
            names: self.scene.names.iter().chain(&wish.aliases).cloned().collect(),
            hosts: self.scene.hosts.map(Into::into),
            publish: Vec::new(),
            allow: wish.allow.clone(),
            deny: wish.deny.clone(),
            peer: None,
        }
    }

    /// The default routes that a network gives: none of an internal one, and none where the container has one already.
    fn default_gateways(&mut self, wish: &Interface, network: &Network, addresses: &[IpNet]) -> Vec<(IpAddr, bool)> {
        let mut gateways = Vec::new();
        for ipv4 in [true, false] {
            let has = &mut self.has_default[usize::from(!ipv4)];
            let Some(gateway) = network.gateway(ipv4) else { continue };
            if !addresses.iter().any(|address| address.addr().is_ipv4() == ipv4) {
                continue;
            }
            self.planned.gateway = self.planned.gateway.or(Some(gateway));
            let internal = network.definition().internal;
            if internal || !wish.default_route.unwrap_or(network.default_route() && !*has) {
                continue;
            }
            *has = true;
            gateways.push((gateway, false));
        }
        gateways
    }

    fn ptp(&mut self, wish: &Interface, name: &Ifname) -> Result<()> {
        if wish.addresses.is_empty() {
            return Err(Error::invalid(
                "addresses: a ptp interface has those that it is given: name one (ip=10.99.0.2)",
            ));
        }
        let mut addresses = Vec::new();
        for address in wish.addresses.iter().map(|wish| wish.address) {
            addresses.push(IpNet::from(address));
        }
        let end = host_end()?;
        let mac = wish.mac.or_else(|| addresses.first().map(|address| mac_of(address.addr())));
        let mut device = self.device(wish, name, mac);
        let index = self.number(name, false)?;
        device.index = Some(index);
        let outer = self.host_end(end.clone(), name, None);
        let host_index = outer.index;
        let kind = device::Kind::Veth(outer);
        let has = |ipv4: bool| addresses.iter().any(|address| address.addr().is_ipv4() == ipv4);
        let gateways: Vec<IpAddr> = PTP_GATEWAY.into_iter().filter(|gateway| has(gateway.is_ipv4())).collect();
        let lead = Step::Lead {
            host_end: end.clone(),
            index: host_index,
            gateways: gateways.iter().map(|gateway| with_prefix(*gateway)).collect(),
            to: addresses.clone(),
        };
        let mut group = Group { steps: vec![Step::Make { device: Box::new(device), kind }, lead], ..Group::default() };
        self.limit(wish, &mut group)?;
        let mut layer3 = Layer3 { addresses: addresses.clone(), gateways: Vec::new(), routes: Vec::new() };
        for gateway in gateways {
            let has = &mut self.has_default[usize::from(gateway.is_ipv6())];
            if wish.default_route.unwrap_or(!*has) {
                *has = true;
                layer3.gateways.push((gateway, true));
            }
            self.planned.gateway = self.planned.gateway.or(Some(gateway));
        }
        let attachment = self.attachment(wish, name, PTP.parse()?, (Some(end), mac), &addresses);
        group.zone = filter::ptp_zone(&attachment);
        group.attachment = Some(attachment);
        self.groups.push(group);
        self.inside(wish, name, index, &layer3)
    }

    /// One that nothing of the host's knows: it is made, and has what it is given.
    fn alone(&mut self, wish: &Interface, name: &Ifname) -> Result<()> {
        let layer3 = Layer3 { addresses: given(wish)?, gateways: Vec::new(), routes: Vec::new() };
        let kind = match &wish.kind {
            Kind::Macvlan { parent, mode } => device::Kind::Macvlan { parent: parent.clone(), mode: *mode },
            Kind::Ipvlan { parent, mode } => device::Kind::Ipvlan { parent: parent.clone(), mode: *mode },
            Kind::Vlan { parent, id } => device::Kind::Vlan { parent: parent.clone(), id: *id },
            Kind::Vxlan { id, remote, local, port, parent } => device::Kind::Vxlan(Vxlan {
                id: *id,
                remote: *remote,
                local: *local,
                port: *port,
                parent: parent.clone(),
            }),
            _ => device::Kind::Dummy,
        };
        let is_tap = matches!(wish.kind, Kind::Tap { .. });
        // What leads nowhere is made from inside, where its number is looked for as well.
        let inside = is_tap || matches!(kind, device::Kind::Dummy);
        let index = self.number(name, !inside)?;
        let mut device = self.device(wish, name, wish.mac);
        device.index = Some(index);
        self.limit(wish, &mut Group::default())?;
        if let Kind::Tap { owner, group } = wish.kind {
            let many_queues = wish.queues.is_some_and(|queues| queues > 1);
            let steps = vec![Step::Tap(Box::new(Tap { name: name.clone(), index, many_queues, owner, group }))];
            self.groups.push(Group { steps, ..Group::default() });
            Interior::new(name, index, &mut self.planned.inside).adjust(wish.mtu, wish.txqlen)?;
        } else if inside {
            let request = device::request(&device, &kind, device::Found::default(), device::Where::Here, false)?;
            Interior::new(name, index, &mut self.planned.inside)
                .send(request, format!("make {} {name}", kind.word()))?;
        } else {
            if let Some(parent) = kind.upper() {
                self.must_exist(parent)?;
            }
            let steps = vec![Step::Make { device: Box::new(device), kind }];
            self.groups.push(Group { steps, ..Group::default() });
        }
        self.inside(wish, name, index, &layer3)
    }

    fn must_exist(&self, parent: &Ifname) -> Result<()> {
        match crate::network::link::by_name(&Socket::open()?, parent.as_ref())? {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!(
                "parent: there is no interface {parent} in the network namespace that this runs in (`ip link` lists them)"
            ))),
        }
    }

    fn host_device(&mut self, wish: &Interface, name: &Ifname, device: &Ifname) -> Result<()> {
        if device.as_ref() == "lo" {
            return Err(Error::invalid("device: the loopback interface cannot be moved"));
        }
        let inside: Pattern = name.as_ref().parse()?;
        let origin = transfer::look(&Socket::open()?, device, inside)?.ok_or_else(|| {
            Error::invalid(format!(
                "device: there is no interface {device} in the network namespace that this runs in (`ip link` lists them)"
            ))
        })?;
        self.limit(wish, &mut Group::default())?;
        let index = self.number(name, false)?;
        self.planned.moves.push(transfer::Origin { number: Some(index), ..origin });
        let layer3 = Layer3 { addresses: given(wish)?, gateways: Vec::new(), routes: Vec::new() };
        if let Some(mac) = wish.mac {
            Interior::new(name, index, &mut self.planned.inside).set_mac(mac)?;
        }
        Interior::new(name, index, &mut self.planned.inside).adjust(wish.mtu, wish.txqlen)?;
        self.inside(wish, name, index, &layer3)
    }

    fn host_end(&self, end: Ifname, inside: &Ifname, bridge: Option<&Ifname>) -> HostEnd {
        let alias = format!("{inside} of {}", self.scene.container);
        HostEnd { name: end, index: number_by_chance(), bridge: bridge.cloned(), alias }
    }

    fn device(&self, wish: &Interface, name: &Ifname, mac: Option<Mac>) -> Device {
        let Interface { mtu, txqlen, queues, .. } = *wish;
        Device { name: name.clone(), index: None, mac, mtu, txqlen, queues }
    }

    /// What comes in is limited where it is sent: on the host's end.
    fn limit(&self, wish: &Interface, group: &mut Group) -> Result<()> {
        let end = group.steps.iter().find_map(|step| match step {
            Step::Make { kind: device::Kind::Veth(end), .. } => Some(end.clone()),
            _ => None,
        });
        match (wish.rate.incoming, end) {
            (None, _) => {}
            (Some(rate), Some(HostEnd { name, index, .. })) => {
                group.steps.push(Step::Limit { host_end: name, index, rate });
            }
            (Some(_), None) => {
                return Err(Error::invalid(
                    "rate.in: what comes in is limited at the host's end, and an interface of this kind has none; limit what it sends (out)",
                ));
            }
        }
        Ok(())
    }

    /// What init does with it.
    fn inside(&mut self, wish: &Interface, name: &Ifname, index: u32, layer3: &Layer3) -> Result<()> {
        let has_ipv6 = self.has_ipv6;
        self.planned.addresses.extend(layer3.addresses.iter().map(IpNet::addr));
        let mut interior = Interior::new(name, index, &mut self.planned.inside);
        if has_ipv6 {
            // 2: also where the container forwards packets, as a router does.
            interior.set("ipv6.accept_ra", if wish.slaac { "2" } else { "0" })?;
        } else if wish.slaac || layer3.addresses.iter().any(|address| address.addr().is_ipv6()) {
            return Err(Error::invalid("addresses: this kernel has no IPv6, or it is disabled"));
        }
        for (setting, value) in &wish.sysctls {
            interior.set(setting, value)?;
        }
        for (offload, on) in &wish.offload {
            interior.switch(offload, *on)?;
        }
        interior.set_up()?;
        for address in &layer3.addresses {
            interior.add_address(&Address::given(*address))?;
        }
        for (via, on_link) in &layer3.gateways {
            let route = Route { to: None, via: Some(*via), metric: None, table: None, source: None, mtu: None };
            interior.add_route(&route, *on_link)?;
        }
        for route in layer3.routes.iter().chain(&wish.routes) {
            interior.add_route(route, false)?;
        }
        wish.rules.iter().try_for_each(|rule| interior.add_rule(rule))?;
        wish.rate.outgoing.map_or(Ok(()), |rate| interior.limit(rate))
    }
}

/// The bridge of a network; None where it has none.
pub(super) fn bridge(network: &Network) -> Option<Bridge> {
    let vxlan = match network.carrier() {
        Carrier::Vxlan { tunnel, vni, remote, local, port, parent, .. } => {
            let (id, port) = (*vni, *port);
            let vxlan = Vxlan { id, remote: *remote, local: *local, port, parent: parent.clone() };
            Some((tunnel.clone(), vxlan))
        }
        _ => None,
    };
    Some(Bridge {
        network: network.name().clone(),
        name: network.bridge()?.clone(),
        managed: network.is_managed(),
        mac: mark(&network.definition().id),
        mtu: network.mtu(),
        addresses: network.gateways().collect(),
        forwards: !network.definition().internal,
        vxlan,
    })
}

/// A bridge's hardware address, which it has from the moment that it is made, and by which it is known as the network's own.
fn mark(id: &str) -> Mac {
    let [a, b, c, d] = hash(id.as_bytes());
    Mac([0x0a, 0x6e, a, b, c, d])
}

/// FNV-1a, of 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/.
fn hash(bytes: &[u8]) -> [u8; 4] {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_be_bytes()
}

/// The addresses of an interface that has no network to tell the prefix.
fn given(wish: &Interface) -> Result<Vec<IpNet>> {
    let net = |address: &crate::network::request::AddressWish| {
        let prefix = address.prefix.ok_or_else(|| {
            Error::invalid(format!("addresses: {address}: say how many bits are the network's, as {address}/24"))
        })?;
        IpNet::new(address.address, prefix).map_err(|error| Error::invalid(format!("addresses: {address}: {error}")))
    };
    wish.addresses.iter().map(net).collect()
}

/// A gateway's address as the host's end of a ptp has it.
fn with_prefix(gateway: IpAddr) -> IpNet {
    match gateway {
        IpAddr::V4(_) => IpNet::from(gateway),
        IpAddr::V6(_) => IpNet::new_assert(gateway, 64),
    }
}

/// A hardware address that follows from the address of IP: who takes an address that was another's is reached at once,
/// whoever remembers how to reach it. Its first octet says that it was given locally.
fn mac_of(address: IpAddr) -> Mac {
    let last = match address {
        IpAddr::V4(four) => four.octets(),
        IpAddr::V6(six) => hash(&six.octets()),
    };
    Mac([0x0a, 0x6e, last[0], last[1], last[2], last[3]])
}
