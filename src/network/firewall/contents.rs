//! What zones and endpoints are in the table: elements of its sets, and a chain for each endpoint that has rules.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expression::{Rule, Verdict, first_of};
use super::layout::{self, GUARDED_IN, GUARDED_OUT, INTERNAL, ISOLATED, PORT_GATES, SAME, STRICT, UPLINKS, ZONES};
use super::wire::{BRIDGE, Data, Element, Family, INET, Table, interface};
use super::{Endpoint, Isolation, Zone};
use crate::network::address::octets;
use crate::network::netlink::Request;
use crate::network::request::{Filter, FilterProtocol, Publish};
use crate::{Error, Result};

/// The elements of a zone. `guarded`: a filter of another's was opened for it.
pub fn of_zone(zone: &Zone, guarded: bool) -> Vec<Element> {
    let name = interface(zone.interface.as_ref());
    let element = |set, key: &[u8], end: Option<Vec<u8>>| Element {
        set,
        key: key.to_vec(),
        end,
        data: None,
        comment: zone.name.clone(),
    };
    let mut elements = vec![element(ZONES, &name, None), element(SAME, &[name, name].concat(), None)];
    let mut put = |set, wanted: bool| {
        if wanted {
            elements.push(element(set, &name, None));
        }
    };
    put(INTERNAL, zone.internal);
    put(ISOLATED, zone.isolation == Isolation::Isolated);
    put(STRICT, zone.isolation == Isolation::Strict);
    put(GUARDED_IN, guarded && zone.masquerade);
    put(GUARDED_OUT, guarded);
    for family in Family::BOTH {
        for net in ranges(zone, family) {
            let (first, last) = (octets(&net.network()), octets(&net.broadcast()));
            if masquerades(zone) {
                let key = |address: &[u8]| [&name[..], address].concat();
                elements.push(element(layout::masquerade(family), &key(&first), Some(key(&last))));
            }
        }
    }
    elements
}

/// A zone's ranges of one family. The kernel takes no interval twice: those within others go without saying.
fn ranges(zone: &Zone, family: Family) -> Vec<IpNet> {
    let nets: Vec<_> = zone.subnets.iter().filter(|net| Family::of(net.addr()) == family).copied().collect();
    IpNet::aggregate(&nets)
}

/// The ranges of a zone whose addresses are neighbours, without those that overlap one of `known`, another zone's.
pub fn neighbours(zone: &Zone, known: &mut Vec<IpNet>) -> Vec<Element> {
    let mut elements = Vec::new();
    for family in Family::BOTH {
        for net in ranges(zone, family) {
            let overlaps = |other: &IpNet| other.contains(&net) || net.contains(other);
            if known.iter().any(overlaps) {
                continue;
            }
            known.push(net);
            let twice = |address: IpAddr| octets(&address).repeat(2);
            let (set, comment) = (layout::neighbours(family), zone.name.clone());
            let (key, end) = (twice(net.network()), Some(twice(net.broadcast())));
            elements.push(Element { set, key, end, data: None, comment });
        }
    }
    elements
}

/// The interfaces of the host's default routes.
pub fn of_uplinks(names: &[String]) -> Vec<Element> {
    let element = |name: &String| {
        let (key, comment) = (interface(name).to_vec(), "default route".to_owned());
        Element { set: UPLINKS, key, end: None, data: None, comment }
    };
    names.iter().map(element).collect()
}

/// Whether what leaves a zone has the host's address. Nothing leaves an internal one.
pub fn masquerades(zone: &Zone) -> bool {
    zone.masquerade && !zone.internal
}

/// Where a published port leads to, in one family.
pub struct Target {
    /// Of which addresses.
    pub family: Family,
    /// The host's address; None for all that it has.
    pub host: Option<IpAddr>,
    /// The container's.
    pub container: IpAddr,
}

/// Where a published port of an endpoint leads to: one target a family.
///
/// # Errors
/// When the endpoint has no address of the family, or the host's address leads nowhere.
pub fn targets(publish: &Publish, addresses: &[IpAddr]) -> Result<Vec<Target>> {
    if publish.address.is_some_and(|address| address.is_ipv6() && address.is_loopback()) {
        return Err(Error::invalid(format!(
            "publish {publish}: the kernel lets nothing from ::1 leave the host itself; name 127.0.0.1, or no address"
        )));
    }
    let families = Family::BOTH.into_iter().filter(|family| match publish.address {
        Some(host) => Family::of(host) == *family,
        None => true,
    });
    let host = publish.address.filter(|address| !address.is_unspecified());
    let found: Vec<_> =
        families.filter_map(|family| Some(Target { family, host, container: first_of(addresses, family)? })).collect();
    if found.is_empty() {
        let which = match publish.address {
            Some(address) if address.is_ipv4() => "address of IPv4",
            Some(_) => "address of IPv6",
            None => "address",
        };
        return Err(Error::invalid(format!("publish {publish}: the interface has no {which} that it could lead to")));
    }
    Ok(found)
}

/// The elements of a published port or range. A range whose numbers are the same on both sides is one element.
fn of_publish(publish: &Publish, addresses: &[IpAddr], comment: &str) -> Result<Vec<Element>> {
    let mut elements = Vec::new();
    let protocol = [publish.protocol.number(), 0, 0, 0];
    for Target { family, host, container } in targets(publish, addresses)? {
        let container = octets(&container);
        let mut put = |set, key: Vec<u8>, end: Option<Vec<u8>>, value: Vec<u8>| {
            let data = Some(Data::Value(value));
            elements.push(Element { set, key, end, data, comment: comment.to_owned() });
        };
        if publish.count > 1 && publish.host == publish.container {
            let zero = vec![0; family.length() as usize];
            let last = vec![0xff; family.length() as usize];
            let (low, high) = host.map_or((zero, last), |host| (octets(&host), octets(&host)));
            let key = |address: Vec<u8>, at: u16| [&address[..], &protocol, &port(at)].concat();
            let (first, end) = (key(low, publish.host), key(high, publish.host_last()));
            put(layout::ranges(family), first, Some(end), container);
            continue;
        }
        for (from, to) in (publish.host..=publish.host_last()).zip(publish.container..) {
            let value = [&container[..], &port(to)].concat();
            match host {
                Some(host) => {
                    let key = [&octets(&host)[..], &protocol, &port(from)].concat();
                    put(layout::one_host(family), key, None, value);
                }
                None => put(layout::any_host(family), [protocol, port(from)].concat(), None, value),
            }
        }
    }
    Ok(elements)
}

fn port(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [high, low, 0, 0]
}

/// Whether an endpoint has rules, and so a chain.
pub fn has_gate(endpoint: &Endpoint) -> bool {
    !endpoint.allow.is_empty() || !endpoint.deny.is_empty()
}

/// The veth's end on a bridge, where what comes in may come from a neighbour, and where rules are to be obeyed.
pub fn bridged_port<'a>(endpoint: &'a Endpoint, zones: &[Zone]) -> Option<&'a str> {
    let host_end = endpoint.host_end.as_ref()?;
    // The end of a ptp is its zone's interface: what comes to it is always routed.
    let on_bridge = !zones.iter().any(|zone| zone.interface == *host_end);
    (has_gate(endpoint) && on_bridge).then(|| host_end.as_ref())
}

/// What of an endpoint is in a table: elements, and the chain of its rules where it has one.
#[derive(Default)]
pub struct Contents {
    pub elements: Vec<Element>,
    pub gate: Option<Gate>,
}

/// The chain of an endpoint's rules.
pub struct Gate {
    name: String,
    whose: String,
    rules: Vec<Rule>,
}

/// What an endpoint is in `table inet nfrun`.
pub fn of_endpoint(endpoint: &Endpoint) -> Result<Contents> {
    let mut contents = Contents::default();
    for publish in &endpoint.publish {
        contents.elements.extend(of_publish(publish, &endpoint.addresses, &endpoint.key)?);
    }
    if has_gate(endpoint) {
        let gate = Gate::of(endpoint, INET)?;
        for address in &endpoint.addresses {
            contents.elements.push(gate.element(layout::gates(Family::of(*address)), octets(address)));
        }
        contents.gate = Some(gate);
    }
    // Elements of one set side by side, so that they share messages.
    contents.elements.sort_by_key(|element| element.set);
    Ok(contents)
}

/// What it is in `table bridge nfrun`, behind this port of its bridge.
pub fn of_bridged(endpoint: &Endpoint, bridge_port: &str) -> Result<Contents> {
    let gate = Gate::of(endpoint, BRIDGE)?;
    let elements = vec![gate.element(PORT_GATES, interface(bridge_port).to_vec())];
    Ok(Contents { elements, gate: Some(gate) })
}

impl Contents {
    /// Messages that put it into a table.
    pub fn add(&self, table: Table) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        if let Some(gate) = &self.gate {
            requests.push(table.make_chain(&gate.name, Some(&gate.whose))?);
            for rule in &gate.rules {
                requests.push(table.add_rule(&gate.name, rule)?);
            }
        }
        requests.extend(table.add(&self.elements)?);
        Ok(requests)
    }

    /// Messages that take it out again.
    pub fn take(&self, table: Table) -> Result<Vec<Request>> {
        let mut requests = table.take(&self.elements)?;
        if let Some(gate) = &self.gate {
            requests.push(table.remove_chain(&gate.name)?);
        }
        Ok(requests)
    }
}

impl Gate {
    fn of(endpoint: &Endpoint, table: Table) -> Result<Self> {
        let name = format!("gate_{:016x}", fingerprint(&endpoint.key));
        // What IPv6 needs to find a neighbour and to keep its groups: types 130 to 136.
        let mut rules = vec![of_family(Family::V6, table)?.icmpv6(130, 136)?.verdict(&Verdict::Accept)?];
        for filter in &endpoint.deny {
            rules.extend(of_filter(filter, table, &Verdict::Drop)?);
        }
        for filter in &endpoint.allow {
            rules.extend(of_filter(filter, table, &Verdict::Accept)?);
        }
        if !endpoint.allow.is_empty() {
            rules.push(Rule::new().verdict(&Verdict::Drop)?);
        }
        Ok(Self { name, whose: endpoint.key.clone(), rules })
    }

    fn element(&self, set: &'static str, key: Vec<u8>) -> Element {
        let data = Some(Data::Verdict(Verdict::Goto(self.name.clone())));
        Element { set, key, end: None, data, comment: self.whose.clone() }
    }
}

/// FNV-1a: a name for a chain that the kernel and the `nft` program take, whatever a container is called.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn of_family(family: Family, table: Table) -> Result<Rule> {
    if table == BRIDGE { Rule::new().framed(family) } else { Rule::new().family(family) }
}

/// One rule, or for ICMP one a family.
fn of_filter(filter: &Filter, table: Table, verdict: &Verdict) -> Result<Vec<Rule>> {
    let families: Vec<Option<Family>> = match (filter.from, filter.protocol) {
        (Some(net), _) => vec![Some(Family::of(net.addr()))],
        (None, Some(FilterProtocol::Icmp)) => Family::BOTH.map(Some).into(),
        (None, _) => vec![None],
    };
    let mut rules = Vec::new();
    for family in families {
        let mut rule = match family {
            Some(family) => of_family(family, table)?,
            None => Rule::new(),
        };
        if let Some(net) = filter.from.filter(|net| net.prefix_len() > 0) {
            rule = rule.from(net)?;
        }
        rule = match filter.protocol {
            Some(FilterProtocol::Ports(protocol)) => rule.protocol(protocol.number())?,
            Some(FilterProtocol::Icmp) => {
                let number = if family == Some(Family::V6) { libc::IPPROTO_ICMPV6 } else { libc::IPPROTO_ICMP };
                rule.protocol(number as u8)?
            }
            None => rule,
        };
        if let Some((first, last)) = filter.ports {
            rule = rule.ports(first, last)?;
        }
        rules.push(rule.verdict(verdict)?);
    }
    Ok(rules)
}
