//! What `table inet nfrun` consists of whatever zones and endpoints there are: its sets, and the rules that look into them.
//!
//! ```text
//! loopback   raw          what zones send to 127.0.0.0/8, or say to come from there, is dropped
//! arriving   dstnat       to an address of the host's: -> publish
//! sent       dstnat       the same of the host's own packets
//! publish                 by port, address and port, or range: to the container
//! leaving    srcnat       masquerade what the host itself or a neighbour sent to a published port, and what leaves zones
//! forward    filter - 10  isolation, internal zones, what firewalls of others are to be kept from, -> gates
//! local      filter - 10  of the host's own packets: -> gates
//! gates                   by address: to the chain of an endpoint that has rules
//! ```
//!
//! It comes before the filters of others, since whatever it lets pass is let pass there (`foreign`).

use super::expression::{Rule, Verdict, Word};
use super::numbers::{FIB_DESTINATION, FIB_SOURCE};
use super::wire::{BRIDGE, Family, IFNAME, INET, PORT, PROTOCOL, Set, VERDICT};
use crate::Result;
use crate::network::netlink::Request;

/// Interfaces of zones.
pub const ZONES: &str = "zones";
/// Pairs of each interface of a zone with itself: what comes in and leaves by the same.
pub const SAME: &str = "same";
/// Interfaces of zones that lead nowhere.
pub const INTERNAL: &str = "internal";
/// Interfaces of zones that are kept from each other.
pub const ISOLATED: &str = "isolated";
/// Interfaces of zones that are kept from all others.
pub const STRICT: &str = "strict";
/// Interfaces of zones for which filters of others were opened: only answers and published ports come in.
pub const GUARDED_IN: &str = "guarded_in";
/// The same for what leaves: not into bridges of others.
pub const GUARDED_OUT: &str = "guarded_out";
/// The interfaces of the host's default routes.
pub const UPLINKS: &str = "uplinks";

const PUBLISH: &str = "publish";
const GATES: &str = "gates";
const FORWARD: &str = "forward";
/// The map of the bridge's table, by the name of the veth's end.
pub const PORT_GATES: &str = "gates";

/// Pairs of an interface and a range of addresses that are masqueraded.
pub fn masquerade(family: Family) -> &'static str {
    family.pick("masquerade4", "masquerade6")
}

/// Pairs of each range of a zone's addresses with itself.
pub fn neighbours(family: Family) -> &'static str {
    family.pick("neighbours4", "neighbours6")
}

/// Published ports of all the host's addresses.
pub fn any_host(family: Family) -> &'static str {
    family.pick("ports4", "ports6")
}

/// Published ports of one address.
pub fn one_host(family: Family) -> &'static str {
    family.pick("hosts4", "hosts6")
}

/// Ranges of published ports that are the container's as well.
pub fn ranges(family: Family) -> &'static str {
    family.pick("ranges4", "ranges6")
}

/// The chains of endpoints that have rules.
pub fn gates(family: Family) -> &'static str {
    family.pick("gates4", "gates6")
}

fn sets() -> Vec<Set> {
    let names = |name, key| Set { name, key, interval: false, data: None };
    let mut sets: Vec<_> = [ZONES, INTERNAL, ISOLATED, STRICT, GUARDED_IN, GUARDED_OUT, UPLINKS]
        .into_iter()
        .map(|name| names(name, vec![IFNAME]))
        .collect();
    sets.push(names(SAME, vec![IFNAME, IFNAME]));
    for family in Family::BOTH {
        let address = (family.kind(), family.length());
        let map = |name, key, interval, data| Set { name, key, interval, data: Some(data) };
        sets.push(Set { interval: true, ..names(masquerade(family), vec![IFNAME, address]) });
        sets.push(Set { interval: true, ..names(neighbours(family), vec![address, address]) });
        sets.push(map(any_host(family), vec![PROTOCOL, PORT], false, vec![address, PORT]));
        sets.push(map(one_host(family), vec![address, PROTOCOL, PORT], false, vec![address, PORT]));
        sets.push(map(ranges(family), vec![address, PROTOCOL, PORT], true, vec![address]));
        sets.push(map(gates(family), vec![address], false, vec![VERDICT]));
    }
    sets
}

/// Chains and their rules, each in its order.
fn rules() -> Result<Vec<(&'static str, Vec<Rule>)>> {
    let rule = Rule::new;
    let (accept, drop) = (Verdict::Accept, Verdict::Drop);
    let (to_gates, to_publish) = (Verdict::Goto(GATES.into()), Verdict::Jump(PUBLISH.into()));
    let loopback = vec![
        rule().loopback_destination()?.incoming_in(ZONES)?.verdict(&drop)?,
        rule().loopback_source()?.incoming_in(ZONES)?.verdict(&drop)?,
    ];
    let to_host = rule().local_address(FIB_DESTINATION)?.verdict(&to_publish)?;
    let forward = vec![
        rule().known()?.verdict(&accept)?,
        pair(rule())?.in_set(SAME)?.verdict(&to_gates)?,
        rule().incoming_in(INTERNAL)?.verdict(&drop)?,
        rule().outgoing_in(INTERNAL)?.verdict(&drop)?,
        rule().incoming_in(ISOLATED)?.outgoing_in(ISOLATED)?.verdict(&drop)?,
        rule().incoming_in(STRICT)?.outgoing_in(ZONES)?.verdict(&drop)?,
        rule().outgoing_in(STRICT)?.incoming_in(ZONES)?.verdict(&drop)?,
        rule().outgoing_in(GUARDED_IN)?.incoming_not_in(ZONES)?.not_redirected()?.verdict(&drop)?,
        rule()
            .incoming_in(GUARDED_OUT)?
            .leaves_by_bridge()?
            .outgoing_not_in(ZONES)?
            .outgoing_not_in(UPLINKS)?
            .verdict(&drop)?,
        rule().verdict(&to_gates)?,
    ];
    let local = vec![rule().known()?.verdict(&accept)?, rule().verdict(&to_gates)?];
    let mut gates_rules = Vec::new();
    for family in Family::BOTH {
        gates_rules.push(rule().family(family)?.destination(family, Word(0))?.verdict_map(gates(family))?);
    }
    Ok(vec![
        ("loopback", loopback),
        ("arriving", vec![to_host.clone()]),
        ("sent", vec![to_host]),
        (PUBLISH, publish()?),
        ("leaving", leaving()?),
        (FORWARD, forward),
        ("local", local),
        (GATES, gates_rules),
    ])
}

fn pair(rule: Rule) -> Result<Rule> {
    rule.meta(libc::NFT_META_IIFNAME, Word(0))?.meta(libc::NFT_META_OIFNAME, Word(4))
}

fn publish() -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for family in Family::BOTH {
        let behind = Word(family.words());
        let addressed = || Rule::new().family(family)?.destination(family, Word(0))?.protocol_and_port(behind);
        rules.push(addressed()?.map(one_host(family))?.dnat(family, true)?);
        let port = Rule::new().family(family)?.protocol_and_port(Word(0))?;
        rules.push(port.map(any_host(family))?.dnat(family, true)?);
        rules.push(addressed()?.map(ranges(family))?.dnat(family, false)?);
    }
    Ok(rules)
}

fn leaving() -> Result<Vec<Rule>> {
    let mut rules = vec![
        // The host's own packets to a published port: from 127.0.0.1, or to a container that has no route to the host.
        Rule::new().outgoing_in(ZONES)?.redirected()?.local_address(FIB_SOURCE)?.masquerade()?,
        // A container's to its own or to a neighbour's, which would else answer it directly.
        pair(Rule::new())?.in_set(SAME)?.redirected()?.masquerade()?,
    ];
    for family in Family::BOTH {
        // The same where br_netfilter has it bridged, and does not say by which interface it came.
        let both = Rule::new().family(family)?.source(family, Word(0))?.destination(family, Word(family.words()))?;
        rules.push(both.in_set(neighbours(family))?.redirected()?.masquerade()?);
        let from = Rule::new().family(family)?.meta(libc::NFT_META_IIFNAME, Word(0))?.source(family, Word(4))?;
        rules.push(from.in_set(masquerade(family))?.outgoing_not_in(ZONES)?.masquerade()?);
    }
    Ok(rules)
}

/// Everything of the table that is always there, as messages of a transaction in which there is no such table yet.
pub fn make() -> Result<Vec<Request>> {
    let mut requests = vec![INET.make()?];
    for (number, set) in sets().iter().enumerate() {
        requests.push(INET.make_set(set, number as u32 + 1)?);
    }
    let base = |name, kind, hook, priority| INET.make_base_chain(name, kind, hook, priority);
    let filter = libc::NF_IP_PRI_FILTER - 10;
    requests.push(base("loopback", "filter", libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_RAW)?);
    requests.push(base("arriving", "nat", libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_NAT_DST)?);
    requests.push(base("sent", "nat", libc::NF_INET_LOCAL_OUT, libc::NF_IP_PRI_NAT_DST)?);
    requests.push(base("leaving", "nat", libc::NF_INET_POST_ROUTING, libc::NF_IP_PRI_NAT_SRC)?);
    requests.push(base(FORWARD, "filter", libc::NF_INET_FORWARD, filter)?);
    requests.push(base("local", "filter", libc::NF_INET_LOCAL_OUT, filter)?);
    for name in [PUBLISH, GATES] {
        requests.push(INET.make_chain(name, None)?);
    }
    for (chain, rules) in rules()? {
        for rule in &rules {
            requests.push(INET.add_rule(chain, rule)?);
        }
    }
    Ok(requests)
}

/// The same of `table bridge nfrun`, which filters what containers of one bridge send each other.
pub fn make_bridge() -> Result<Vec<Request>> {
    let map = Set { name: PORT_GATES, key: vec![IFNAME], interval: false, data: Some(vec![VERDICT]) };
    let mut requests = vec![BRIDGE.make()?, BRIDGE.make_set(&map, 1)?];
    let (hook, priority) = (libc::NF_BR_FORWARD, libc::NF_BR_PRI_FILTER_BRIDGED);
    requests.push(BRIDGE.make_base_chain(FORWARD, "filter", hook, priority)?);
    requests.push(BRIDGE.add_rule(FORWARD, &Rule::new().known()?.verdict(&Verdict::Accept)?)?);
    for family in Family::BOTH {
        // Nothing but packets of IP: a neighbour's address must be found (ARP).
        let to = Rule::new().framed(family)?.meta(libc::NFT_META_OIFNAME, Word(0))?;
        requests.push(BRIDGE.add_rule(FORWARD, &to.verdict_map(PORT_GATES)?)?);
    }
    Ok(requests)
}
