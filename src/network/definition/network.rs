//! A definition that makes sense: its options as typed values, its ranges with their first and last addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::firewall::{Isolation, Zone};
use super::super::link::Ifname;
use super::super::request::{IpvlanMode, MacvlanMode};
use super::options::Options;
use super::range::{self, Range};
use super::{Definition, Driver, NetworkName, NetworkRoute};
use crate::{Context, Error, Result};

/// What IPv4 needs (RFC 791), what IPv6 needs (RFC 8200), and the most that the kernel takes.
const LEAST_MTU: u32 = 68;
const LEAST_MTU_OF_IPV6: u32 = 1280;
const MOST_MTU: u32 = 65535;
/// The UDP port of VXLAN: RFC 7348.
const VXLAN_PORT: u32 = 4789;

/// A named network, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    definition: Definition,
    carrier: Carrier,
    ranges: Vec<Range>,
    mtu: Option<u32>,
    isolation: Isolation,
    default_route: bool,
    metric: Option<u32>,
}

/// What carries a network's packets, with all that the driver needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// A bridge.
    Bridge {
        /// Its name on the host.
        bridge: Ifname,
        /// Whether nfrun makes it, gives it addresses, filters and takes it away; else it is somebody's who does all that.
        managed: bool,
        /// Whether what leaves the network has the host's address.
        masquerade: bool,
    },
    /// macvlan interfaces on an interface of the host.
    Macvlan {
        /// The host's interface.
        parent: Ifname,
        /// The VLAN of it that they are in.
        vlan: Option<u16>,
        /// How they reach each other.
        mode: MacvlanMode,
    },
    /// ipvlan interfaces on an interface of the host.
    Ipvlan {
        /// The host's interface.
        parent: Ifname,
        /// The VLAN of it that they are in.
        vlan: Option<u16>,
        /// At which layer.
        mode: IpvlanMode,
    },
    /// A bridge with a VXLAN as one of its ports.
    Vxlan {
        /// The bridge's name on the host.
        bridge: Ifname,
        /// The VXLAN's name on the host.
        tunnel: Ifname,
        /// The number that its packets carry.
        vni: u32,
        /// The other end, or the multicast group of all.
        remote: Option<IpAddr>,
        /// This end.
        local: Option<IpAddr>,
        /// The UDP port.
        port: u16,
        /// The host's interface that carries it.
        parent: Option<Ifname>,
        /// Whether what leaves the network has the host's address.
        masquerade: bool,
    },
}

impl TryFrom<Definition> for Network {
    type Error = Error;

    fn try_from(definition: Definition) -> Result<Self> {
        let name = definition.name.clone();
        read(definition).context(|| format!("network {name}"))
    }
}

fn read(definition: Definition) -> Result<Network> {
    let mut options = Options::of(&definition.options);
    let carrier = carrier(&definition, &mut options)?;
    let least = if has_ipv6(&definition) { LEAST_MTU_OF_IPV6 } else { LEAST_MTU };
    let mtu = options.number("mtu", least, MOST_MTU)?;
    let isolation = match carrier.bridge() {
        Some(_) => options.isolation()?,
        None => Isolation::None,
    };
    let default_route = !options.truth("no_default_route")?.unwrap_or(false);
    let metric = options.number("metric", 0, u32::MAX)?;
    options.finish(definition.driver)?;
    if !carrier.is_filtered() && carrier.bridge().is_some() && (definition.internal || isolation != Isolation::None) {
        return Err(Error::invalid(
            "internal and isolate need a bridge with mode=managed: of another nothing is filtered",
        ));
    }
    let ranges = range::read(&definition.subnets, &carrier)?;
    check_routes(&definition, &ranges)?;
    check_leasing(&definition)?;
    if let Some(server) = definition.network_dns_servers.iter().find(|server| server.is_unspecified()) {
        return Err(Error::invalid(format!("network_dns_servers: {server} is no server's address")));
    }
    Ok(Network { definition, carrier, ranges, mtu, isolation, default_route, metric })
}

fn has_ipv6(definition: &Definition) -> bool {
    definition.subnets.iter().any(|subnet| subnet.subnet.addr().is_ipv6())
}

fn carrier(definition: &Definition, options: &mut Options) -> Result<Carrier> {
    match definition.driver {
        Driver::Bridge => {
            options.refuse("vlan", "needs driver macvlan or ipvlan, whose parent's VLAN it is")?;
            let managed = options.take::<BridgeMode>("mode")?.is_none_or(|mode| mode == BridgeMode::Managed);
            let masquerade = options.truth("masquerade")?;
            if !managed && masquerade == Some(true) {
                return Err(Error::invalid("option masquerade: needs mode=managed"));
            }
            let masquerade = managed && !definition.internal && masquerade.unwrap_or(true);
            Ok(Carrier::Bridge { bridge: bridge_name(definition)?, managed, masquerade })
        }
        Driver::Macvlan => {
            let mode = options.take("mode")?.unwrap_or(MacvlanMode::Bridge);
            Ok(Carrier::Macvlan { parent: parent(definition, options)?, vlan: vlan(options)?, mode })
        }
        Driver::Ipvlan => {
            let mode = options.take("mode")?.unwrap_or(IpvlanMode::L2);
            Ok(Carrier::Ipvlan { parent: parent(definition, options)?, vlan: vlan(options)?, mode })
        }
        Driver::Vxlan => vxlan(definition, options),
    }
}

fn vxlan(definition: &Definition, options: &mut Options) -> Result<Carrier> {
    let needed = || Error::invalid("option vni: the VXLAN's number is missing, 0 to 16777215");
    let vni = options.number("vni", 0, 0xff_ffff)?.ok_or_else(needed)?;
    let (remote, local) = (options.address("remote")?, options.address("local")?);
    let parent: Option<Ifname> = options.take("parent")?;
    if let (Some(remote), Some(local)) = (remote, local)
        && remote.is_ipv4() != local.is_ipv4()
    {
        return Err(Error::invalid(format!(
            "options remote and local: {remote} and {local} are of different families"
        )));
    }
    if let Some(remote) = remote
        && remote.is_multicast()
        && parent.is_none()
    {
        return Err(Error::invalid(format!("option parent: the multicast group {remote} needs the host's interface")));
    }
    let port = options.number("port", 1, 65535)?.unwrap_or(VXLAN_PORT) as u16;
    let masquerade = options.truth("masquerade")?.unwrap_or(true) && !definition.internal;
    let (bridge, tunnel) = (bridge_name(definition)?, format!("nfvx{vni}").parse()?);
    if bridge == tunnel {
        return Err(Error::invalid(format!("network_interface: {bridge} is what the VXLAN is called")));
    }
    Ok(Carrier::Vxlan { bridge, tunnel, vni, remote, local, port, parent, masquerade })
}

#[derive(PartialEq)]
enum BridgeMode {
    Managed,
    Unmanaged,
}

impl std::str::FromStr for BridgeMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "managed" => Ok(Self::Managed),
            "unmanaged" => Ok(Self::Unmanaged),
            _ => Err(Error::invalid(format!("{text:?}: expected managed or unmanaged"))),
        }
    }
}

/// The bridge that the definition names; else `nf-NAME`, or the name alone where that begins with `nf`; and `nf-` with the
/// beginning of the id where the name is too long.
fn bridge_name(definition: &Definition) -> Result<Ifname> {
    if let Some(named) = &definition.network_interface {
        return Ok(named.clone());
    }
    let prefix = if definition.name.as_ref().starts_with("nf") { "" } else { "nf-" };
    let by_name = format!("{prefix}{}", definition.name).parse();
    by_name.or_else(|_| format!("nf-{}", definition.id.chars().take(12).collect::<String>()).parse())
}

/// podman writes the parent as the network's interface, and takes it as an option too.
fn parent(definition: &Definition, options: &mut Options) -> Result<Ifname> {
    match (options.take::<Ifname>("parent")?, definition.network_interface.clone()) {
        (Some(option), Some(named)) if option != named => Err(Error::invalid(format!(
            "option parent: it is {option}, and network_interface is {named}; one of the two is enough"
        ))),
        (Some(parent), _) | (None, Some(parent)) => Ok(parent),
        (None, None) => Err(Error::invalid(format!(
            "option parent: missing; name the host's interface that the {} interfaces are on",
            definition.driver.word()
        ))),
    }
}

fn vlan(options: &mut Options) -> Result<Option<u16>> {
    Ok(options.number("vlan", 1, 4094)?.map(|id| id as u16))
}

fn check_routes(definition: &Definition, ranges: &[Range]) -> Result<()> {
    for (at, route) in definition.routes.iter().enumerate() {
        let (to, gateway) = (route.destination, route.gateway);
        let wrong = |why: String| Err(Error::invalid(format!("route {to} by {gateway}: {why}")));
        if to != to.trunc() {
            return wrong(format!("bits behind the prefix are set; write {}", to.trunc()));
        }
        if to.addr().is_ipv4() != gateway.is_ipv4() {
            return wrong("they are of different families".into());
        }
        if !ranges.is_empty() && !ranges.iter().any(|range| range.subnet.contains(&gateway)) {
            return wrong("the gateway is outside of the network's subnets".into());
        }
        let same = |other: &NetworkRoute| other.destination == to && other.metric == route.metric;
        if definition.routes[..at].iter().any(same) {
            return wrong("there is another one to the same range; give one of them a metric".into());
        }
    }
    Ok(())
}

/// podman's words for who gives addresses.
fn check_leasing(definition: &Definition) -> Result<()> {
    match definition.ipam_options.get("driver").map(String::as_str) {
        None | Some("host-local") => Ok(()),
        Some("none") if definition.subnets.is_empty() => Ok(()),
        Some("none") => Err(Error::invalid("ipam_options: driver none leases nothing, so there can be no subnets")),
        Some(other) => Err(Error::invalid(format!("ipam_options: driver {other:?}: expected host-local or none"))),
    }
}

impl Carrier {
    /// The bridge on the host, where there is one.
    pub fn bridge(&self) -> Option<&Ifname> {
        match self {
            Self::Bridge { bridge, .. } | Self::Vxlan { bridge, .. } => Some(bridge),
            Self::Macvlan { .. } | Self::Ipvlan { .. } => None,
        }
    }

    /// Whether its packets pass the host's packet filter by nfrun's rules.
    pub fn is_filtered(&self) -> bool {
        matches!(self, Self::Bridge { managed: true, .. } | Self::Vxlan { .. })
    }
}

impl Network {
    /// What stands in its file.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// What it is called.
    pub fn name(&self) -> &NetworkName {
        &self.definition.name
    }

    /// What carries its packets.
    pub fn driver(&self) -> Driver {
        self.definition.driver
    }

    /// The same with all that the driver needs to know.
    pub fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// Its bridge on the host, where it has one.
    pub fn bridge(&self) -> Option<&Ifname> {
        self.carrier.bridge()
    }

    /// The host's interface that it is on: its bridge, or the parent.
    pub fn host_interface(&self) -> &Ifname {
        match &self.carrier {
            Carrier::Bridge { bridge, .. } | Carrier::Vxlan { bridge, .. } => bridge,
            Carrier::Macvlan { parent, .. } | Carrier::Ipvlan { parent, .. } => parent,
        }
    }

    /// Whether nfrun makes the bridge and takes it away.
    pub fn is_managed(&self) -> bool {
        self.carrier.is_filtered()
    }

    /// Its ranges, in their order.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The range that an address is in.
    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.ranges.iter().find(|range| range.subnet.contains(&address))
    }

    /// An address that a container may have, with its range's prefix.
    ///
    /// # Errors
    /// When it lies in none of the ranges, or is nobody's to have there.
    pub fn with_prefix(&self, address: IpAddr) -> Result<IpNet> {
        let what = || format!("network {}: address {address}", self.name());
        let Some(range) = self.range_of(address) else {
            let subnets: Vec<_> = self.ranges.iter().map(|range| range.subnet.to_string()).collect();
            let subnets = if subnets.is_empty() { "which has none".into() } else { subnets.join(" and ") };
            return Err(Error::invalid(format!("outside of the network's subnets, {subnets}")).context(what()));
        };
        range.check(address).context(what)?;
        IpNet::new(address, range.subnet.prefix_len()).map_err(|error| Error::new(error.to_string()))
    }

    /// The gateway of a family: of the first range that has one.
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        self.gateways().map(|gateway| gateway.addr()).find(|gateway| gateway.is_ipv4() == ipv4)
    }

    /// The gateways with their ranges' prefixes: the addresses of a managed bridge.
    pub fn gateways(&self) -> impl Iterator<Item = IpNet> {
        self.ranges.iter().filter_map(Range::gateway_in_range)
    }

    /// Whether containers have a default route by it, where nobody says otherwise.
    pub fn default_route(&self) -> bool {
        self.default_route && !self.definition.internal
    }

    /// The metric of the containers' default route.
    pub fn metric(&self) -> Option<u32> {
        self.metric
    }

    /// The routes that each container gets besides.
    pub fn routes(&self) -> &[NetworkRoute] {
        &self.definition.routes
    }

    /// The longest packet in bytes; None for that of the uplink.
    pub fn mtu(&self) -> Option<u32> {
        self.mtu
    }

    /// The name servers of its containers; none for the host's.
    pub fn dns(&self) -> &[IpAddr] {
        &self.definition.network_dns_servers
    }

    /// What the packet filter is told of it; None where the host has no part in its packets, or another manages the bridge.
    pub fn zone(&self) -> Option<Zone> {
        let (Carrier::Bridge { bridge, managed: true, masquerade } | Carrier::Vxlan { bridge, masquerade, .. }) =
            &self.carrier
        else {
            return None;
        };
        Some(Zone {
            name: self.name().to_string(),
            interface: bridge.clone(),
            subnets: self.ranges.iter().map(|range| range.subnet).collect(),
            masquerade: *masquerade,
            internal: self.definition.internal,
            isolation: self.isolation,
        })
    }
}
