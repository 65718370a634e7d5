//! A new network from what is asked for: what was left open is chosen, and what another network or the host has already is
//! refused.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;

use super::store::{self, Lock};
use super::{Carrier, Definition, Driver, LeaseRange, Network, NetworkName, NetworkRoute, Subnet, ends, overlap};
use crate::network::link::{self, Ifname, Link};
use crate::network::subnets::{self, By, Used};
use crate::network::{Dirs, Socket};
use crate::{Context, Error, Result, timestamp};

/// Words that `--network` takes for something else, and directories of what is on no network.
const RESERVED: [&str; 10] = ["none", "host", "ptp", "link", "dummy", "tap", "macvlan", "ipvlan", "vlan", "vxlan"];

/// What is asked for.
#[derive(Debug, Default)]
pub struct Wish {
    /// The name; by default nf0, nf1 and so on.
    pub name: Option<NetworkName>,
    /// What carries its packets.
    pub driver: Driver,
    /// The bridge's name, or the parent's.
    pub interface: Option<Ifname>,
    /// Its ranges; by default one is chosen for a bridge of nfrun's.
    pub subnets: Vec<IpNet>,
    /// Gateways, each in one of the ranges; by default the first address of each, where there is a way out.
    pub gateways: Vec<IpAddr>,
    /// The first and the last addresses that are leased, each pair in one of the ranges.
    pub lease_ranges: Vec<(IpAddr, IpAddr)>,
    /// Whether a range of IPv6 is chosen where none is named.
    pub ipv6: bool,
    /// Whether it leads nowhere.
    pub internal: bool,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Routes that each container gets.
    pub routes: Vec<NetworkRoute>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Whatever its maker wants to remember.
    pub labels: BTreeMap<String, String>,
}

/// What the host has.
struct Host {
    links: Vec<Link>,
    used: Vec<Used>,
}

/// Makes a network.
///
/// # Errors
/// When there is one of that name ([`crate::Kind::Exists`]), or what is asked for makes no sense or is another's already.
pub fn create(dirs: &Dirs, wish: Wish) -> Result<Definition> {
    let lock = store::lock(dirs)?;
    let name = match &wish.name {
        Some(name) => name.clone(),
        None => free_name(dirs)?,
    };
    if RESERVED.contains(&name.as_ref()) {
        return Err(Error::invalid(format!(
            "network name {name}: it means something else to --network; choose another"
        )));
    }
    store::check_free(dirs, &name)?;
    let others = store::list(dirs)?;
    let socket = Socket::open()?;
    let host = Host { links: link::list(&socket)?, used: subnets::used(&socket)? };
    let definition = define(name, wish, &others, &host)?;
    save(dirs, &lock, definition, &others, &host)
}

fn save(dirs: &Dirs, lock: &Lock, definition: Definition, others: &[Network], host: &Host) -> Result<Definition> {
    let network = Network::try_from(definition.clone())?;
    let check = || -> Result<()> {
        check_interfaces(&network, others, host)?;
        check_ranges(&network, others, host)
    };
    check().context(|| format!("network {}", network.name()))?;
    store::save(dirs, lock, &definition)?;
    Ok(definition)
}

/// The first of nf0, nf1 and so on that no network is called.
fn free_name(dirs: &Dirs) -> Result<NetworkName> {
    let mut names = (0..u32::MAX).map(|n| format!("nf{n}"));
    let free = names.find(|name| dirs.config.join(format!("{name}.json")).symlink_metadata().is_err());
    free.unwrap_or_default().parse()
}

fn define(name: NetworkName, wish: Wish, others: &[Network], host: &Host) -> Result<Definition> {
    let mut definition = Definition {
        name,
        id: random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect(),
        driver: wish.driver,
        network_interface: wish.interface.clone(),
        created: timestamp::nanoseconds(SystemTime::now()),
        subnets: wish
            .subnets
            .iter()
            .map(|subnet| Subnet { subnet: *subnet, gateway: None, lease_range: None })
            .collect(),
        routes: wish.routes.clone(),
        ipv6_enabled: false,
        internal: wish.internal,
        dns_enabled: false,
        network_dns_servers: wish.dns.clone(),
        options: wish.options.clone(),
        ipam_options: BTreeMap::new(),
        labels: wish.labels.clone(),
    };
    // What the options make of it decides on what is chosen; without ranges, which those that are chosen cannot upset.
    let bare = Definition { subnets: Vec::new(), routes: Vec::new(), ..definition.clone() };
    let carrier = Network::try_from(bare)?.carrier().clone();
    if definition.driver == Driver::Bridge || definition.driver == Driver::Vxlan {
        definition.network_interface = carrier.bridge().cloned();
    }
    add_ranges(&mut definition, &wish, &carrier, others, host)?;
    definition.ipv6_enabled = definition.subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6());
    add_lease_ranges(&mut definition, &wish.lease_ranges)?;
    add_gateways(&mut definition, &wish.gateways, &carrier)?;
    let leasing = if definition.subnets.is_empty() { "none" } else { "host-local" };
    definition.ipam_options.insert("driver".into(), leasing.into());
    Ok(definition)
}

/// Chooses ranges where none is named and the network is nfrun's own: the host's interfaces and others' bridges have theirs
/// from elsewhere.
fn add_ranges(
    definition: &mut Definition,
    wish: &Wish,
    carrier: &Carrier,
    others: &[Network],
    host: &Host,
) -> Result<()> {
    let lacks_ipv6 = wish.ipv6 && !wish.subnets.iter().any(|subnet| subnet.addr().is_ipv6());
    if !carrier.is_filtered() {
        return match lacks_ipv6 {
            true => Err(Error::invalid(
                "--ipv6: name a --subnet of IPv6; only for a bridge of its own nfrun knows one that is free",
            )),
            false => Ok(()),
        };
    }
    let defined = others.iter().flat_map(|other| other.ranges()).map(|range| range.subnet);
    let taken: Vec<IpNet> = defined.chain(host.used.iter().map(|used| used.net)).collect();
    let mut add = |subnet| definition.subnets.push(Subnet { subnet, gateway: None, lease_range: None });
    if wish.subnets.is_empty() {
        add(subnets::free_ipv4(&taken)?);
    }
    if lacks_ipv6 {
        add(subnets::free_ipv6(&taken, random)?);
    }
    Ok(())
}

/// Gives each gateway to the range that it is in; and where there is a way out, its first address to each range without.
fn add_gateways(definition: &mut Definition, gateways: &[IpAddr], carrier: &Carrier) -> Result<()> {
    for gateway in gateways {
        let subnet = subnet_of(&mut definition.subnets, *gateway, &format!("--gateway {gateway}"))?;
        if let Some(other) = subnet.gateway.replace(*gateway) {
            let net = subnet.subnet;
            return Err(Error::invalid(format!("--gateway {gateway}: --gateway {other} is in {net} already")));
        }
    }
    let is_routed = matches!(carrier, Carrier::Ipvlan { mode, .. } if mode.word() != "l2");
    if !definition.internal && !is_routed {
        for subnet in &mut definition.subnets {
            let [first, _] = ends(&subnet.subnet);
            subnet.gateway.get_or_insert(first);
        }
    }
    Ok(())
}

fn add_lease_ranges(definition: &mut Definition, ranges: &[(IpAddr, IpAddr)]) -> Result<()> {
    for (first, last) in ranges {
        let what = format!("--ip-range {first}-{last}");
        let subnet = subnet_of(&mut definition.subnets, *first, &what)?;
        let net = subnet.subnet;
        if !net.contains(last) {
            return Err(Error::invalid(format!("{what}: its end is outside of {net}")));
        }
        if subnet.lease_range.is_some() {
            return Err(Error::invalid(format!("{what}: there is another --ip-range in {net} already")));
        }
        // A range as long as the subnet begins and ends with addresses that are nobody's.
        let [lowest, highest] = ends(&net);
        let (first, last) = ((*first).max(lowest), (*last).min(highest));
        subnet.lease_range = Some(LeaseRange { start_ip: Some(first), end_ip: Some(last) });
    }
    Ok(())
}

fn subnet_of<'a>(subnets: &'a mut [Subnet], address: IpAddr, what: &str) -> Result<&'a mut Subnet> {
    let all: Vec<_> = subnets.iter().map(|subnet| subnet.subnet.to_string()).collect();
    let outside = || match all.is_empty() {
        true => Error::invalid(format!("{what}: the network has no subnet; name one by --subnet")),
        false => Error::invalid(format!("{what}: outside of {}", all.join(" and "))),
    };
    subnets.iter_mut().find(|subnet| subnet.subnet.contains(&address)).ok_or_else(outside)
}

/// That the interfaces that it is on exist, and the ones that it makes are no other's.
fn check_interfaces(network: &Network, others: &[Network], host: &Host) -> Result<()> {
    let find = |name: &Ifname| host.links.iter().find(|link| link.name == name.as_ref());
    let missing =
        |name: &Ifname, field| Error::invalid(format!("{field} {name}: the host has no interface of that name"));
    for other in others {
        let both = own_interfaces(network).into_iter().find(|name| own_interfaces(other).contains(name));
        let shared = network.is_managed() || other.is_managed();
        if let Some(name) = both.filter(|_| shared) {
            return Err(Error::invalid(format!("interface name {name}: network {} has it already", other.name())));
        }
    }
    if let Some(bridge) = network.bridge() {
        match find(bridge) {
            Some(link) if link.kind != "bridge" => {
                return Err(Error::invalid(format!("interface name {bridge}: the host's {bridge} is no bridge")));
            }
            None if !network.is_managed() => return Err(missing(bridge, "interface name")),
            _ => {}
        }
    }
    match network.carrier() {
        Carrier::Macvlan { parent, .. }
        | Carrier::Ipvlan { parent, .. }
        | Carrier::Vxlan { parent: Some(parent), .. } => {
            find(parent).map(|_| ()).ok_or_else(|| missing(parent, "option parent"))
        }
        _ => Ok(()),
    }
}

/// The host's interfaces that are there for this network.
fn own_interfaces(network: &Network) -> Vec<&Ifname> {
    match network.carrier() {
        Carrier::Bridge { bridge, .. } => vec![bridge],
        Carrier::Vxlan { bridge, tunnel, .. } => vec![bridge, tunnel],
        Carrier::Macvlan { .. } | Carrier::Ipvlan { .. } => Vec::new(),
    }
}

/// That no range is another network's or the host's. A network on an interface of the host, or on somebody's bridge, has the
/// ranges of that.
fn check_ranges(network: &Network, others: &[Network], host: &Host) -> Result<()> {
    if !network.is_managed() {
        return Ok(());
    }
    let index_of = |name: &Ifname| host.links.iter().find(|link| link.name == name.as_ref()).map(|link| link.index);
    let own = network.bridge().and_then(index_of);
    for range in network.ranges().iter().map(|range| range.subnet) {
        for other in others.iter().filter(|other| other.is_managed()) {
            if let Some(theirs) = other.ranges().iter().find(|theirs| overlap(&theirs.subnet, &range)) {
                let (name, theirs) = (other.name(), theirs.subnet);
                return Err(Error::invalid(format!("subnet {range}: overlaps {theirs} of network {name}")));
            }
        }
        if let Some(used) = host.used.iter().find(|used| Some(used.interface) != own && clashes(used, &range)) {
            let link = host.links.iter().find(|link| link.index == used.interface);
            let on = link.map(|link| format!(" on the host's {}", link.name)).unwrap_or_default();
            let what = if used.by == By::Address { "addresses" } else { "a route" };
            return Err(Error::invalid(format!("subnet {range}: overlaps {what} {}{on}", used.net)));
        }
    }
    Ok(())
}

/// Whether packets to a range would go, or have gone, elsewhere. A route to a larger range yields to the network's own.
fn clashes(used: &Used, range: &IpNet) -> bool {
    match used.by {
        By::Address => overlap(&used.net, range),
        By::Route => range.contains(&used.net),
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut read = || std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes);
    read().context(|| "read /dev/urandom")?;
    Ok(bytes)
}
