//! From a request to what is done: steps of the runtime, and what init does in the container's network namespace. Everything
//! that can be refused without the kernel is refused here, before anything is made.
//!
//! Where addresses are leased the networks' locks are held from here until the leases are taken, so that nobody else gets
//! what was chosen.

mod addresses;
mod interface;
mod publish;

pub use interface::{LINK, PTP};

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use super::attachment::Attachment;
use super::definition::{self, Network, NetworkName};
use super::dirs::Dirs;
use super::filter;
use super::firewall::{self, Zone};
use super::inside::Inside;
use super::link::{self, Ifname};
use super::lock;
use super::netlink::Socket;
use super::request::Request;
use super::route;
use super::run::Choosing;
use super::step::{Bridge, Step};
use super::transfer::Origin;
use crate::{Context, Error, Result};

/// What decides besides the request.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The container's id.
    pub container: &'a str,
    /// The state root that it is in.
    pub root: &'a Path,
    /// What the networks' other containers call it.
    pub names: &'a [String],
    /// Its /etc/hosts on the host, where it gets one.
    pub hosts: Option<&'a Path>,
    /// Where networks are on disk.
    pub dirs: &'a Dirs,
    /// The network namespace that it joins; else it gets a new one.
    pub joined: Option<&'a Path>,
    /// Whether what is planned will be done: only then addresses are chosen that nobody else can take meanwhile.
    pub takes: bool,
    /// Whether the host may be looked at; without, no network is known.
    pub look: bool,
}

/// What is done.
#[derive(Debug, Default)]
pub struct Planned {
    /// Before init is started.
    pub first: Vec<Step>,
    /// While init waits in its network namespace.
    pub attach: Vec<Step>,
    /// Then, by init.
    pub inside: Vec<Inside>,
    /// Interfaces of the host that move.
    pub moves: Vec<Origin>,
    /// The interfaces that are made, by name and number.
    pub made: Vec<(Ifname, u32)>,
    /// What is attached.
    pub attachments: Vec<Attachment>,
    /// The container's own addresses, for its /etc/hosts.
    pub addresses: Vec<IpAddr>,
    /// The name servers of its networks.
    pub servers: Vec<IpAddr>,
    /// The host as the container sees it: the first gateway.
    pub gateway: Option<IpAddr>,
    /// The locks of the networks that addresses are chosen from, held until those are taken.
    pub locks: Choosing,
}

/// The planner's own view.
struct Planner<'a> {
    scene: Scene<'a>,
    planned: Planned,
    /// Numbers of interfaces that are in use in a joined namespace, or were given.
    taken: Vec<Link>,
    has_ipv6: bool,
    /// Whether a default route was given: IPv4, IPv6.
    has_default: [bool; 2],
    groups: Vec<Group>,
    networks: BTreeMap<NetworkName, Network>,
}

/// What is done for one interface, whose network is held from the first step to the last.
#[derive(Debug, Default)]
struct Group {
    steps: Vec<Step>,
    attachment: Option<Attachment>,
    /// What the packet filter is to know of its network, where that is filtered.
    zone: Option<Zone>,
}

/// An interface that is there.
struct Link {
    index: u32,
    name: String,
}

/// The first number that an interface gets, above those of tunnels that a kernel puts into every new namespace.
const FIRST: u32 = 100;
/// The first of those that the kernel looks for where they are asked for as well: few hosts have a million interfaces.
const FIRST_ELSEWHERE: u32 = 1_000_000;

/// Plans a container's interfaces.
///
/// # Errors
/// Names the field of the request.
pub fn plan(request: &Request, scene: Scene) -> Result<Planned> {
    let names = request.names()?;
    let mut planner = Planner {
        scene,
        planned: Planned::default(),
        taken: Vec::new(),
        has_ipv6: scene.look && Path::new("/proc/sys/net/ipv6").exists(),
        has_default: [false, false],
        groups: Vec::new(),
        networks: BTreeMap::new(),
    };
    if !scene.look {
        return Ok(planner.planned);
    }
    planner.look_at_joined(!request.interfaces.is_empty())?;
    planner.lock(request)?;
    for (i, (interface, name)) in request.interfaces.iter().zip(&names).enumerate() {
        planner
            .interface(interface, name)
            .map_err(|error| error.context(format!("network: interfaces[{i}] ({name})")))?;
    }
    planner.publish(request)?;
    planner.finish()
}

impl Planner<'_> {
    /// The networks' locks, in the order of their names, which everybody takes them in.
    fn lock(&mut self, request: &Request) -> Result<()> {
        let mut names: Vec<&NetworkName> = request
            .interfaces
            .iter()
            .filter_map(|interface| match &interface.kind {
                super::request::Kind::Network(name) => Some(name),
                _ => None,
            })
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            let network = if self.scene.takes {
                let (locked, network) = lock::open(self.scene.dirs, name)?;
                self.planned.locks.0.push(locked);
                network
            } else {
                definition::load(self.scene.dirs, name)?
            };
            self.networks.insert(name.clone(), network);
        }
        Ok(())
    }

    /// The interfaces of a namespace that is joined: their names and numbers are taken, and its default routes stay.
    fn look_at_joined(&mut self, has_interfaces: bool) -> Result<()> {
        let Some(path) = self.scene.joined.filter(|_| has_interfaces) else { return Ok(()) };
        let what = || format!("network: open network namespace {}", path.display());
        let netns = File::open(path).context(what)?;
        let socket = Socket::open_in(netns.as_fd()).context(what)?;
        let links = link::list(&socket)?;
        self.taken = links.into_iter().map(|link| Link { index: link.index, name: link.name }).collect();
        for (has, address) in self.has_default.iter_mut().zip(route::ANYWHERE) {
            *has = route::way_to(&socket, address)?.is_some();
        }
        Ok(())
    }

    /// A number for an interface in the container's namespace.
    fn number(&mut self, name: &Ifname, elsewhere: bool) -> Result<u32> {
        if let Some(joined) = self.scene.joined
            && self.taken.iter().any(|link| link.name == name.as_ref())
        {
            return Err(Error::invalid(format!(
                "name: there is an interface {name} in {} already; choose another name",
                joined.display()
            )));
        }
        let mut index = if elsewhere { number_by_chance() } else { FIRST };
        while self.taken.iter().any(|link| link.index == index) {
            index += 1;
        }
        self.taken.push(Link { index, name: name.to_string() });
        self.planned.made.push((name.clone(), index));
        Ok(index)
    }

    fn finish(mut self) -> Result<Planned> {
        for mut group in self.groups {
            // What is known of it is whole only now.
            if let Some(attachment) = group.attachment {
                let network = self.networks.get(&attachment.network).cloned().map(Box::new);
                self.planned.first.push(Step::Lease { attachment: Box::new(attachment.clone()), network });
                if let Some(zone) = group.zone {
                    let endpoint = filter::endpoint(&attachment);
                    // Whether the zone is there already is known only then.
                    let words = firewall::words(&zone, true, &endpoint).map_err(|error| error.context("network"))?;
                    group.steps.push(Step::Filter { zone: Box::new(zone), endpoint: Box::new(endpoint), words });
                }
                if self.networks.contains_key(&attachment.network) {
                    group.steps.push(Step::Tell(attachment.network.clone()));
                }
                self.planned.attachments.push(attachment);
            }
            self.planned.attach.append(&mut group.steps);
        }
        Ok(self.planned)
    }
}

/// Sixty-four bits that nobody can foresee.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A number for an interface of the host's, or one that is looked for there: which nobody else has.
fn number_by_chance() -> u32 {
    FIRST_ELSEWHERE + (random() % (1 << 30)) as u32
}

/// A name for the host's end of a veth, which no other had and none will have: what is left of a container that is gone may
/// be there for a while, and no later one meets it.
fn host_end() -> Result<Ifname> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bits = random();
    let mut name = "nf".to_owned();
    for _ in 0..10 {
        name.push(LETTERS[(bits % 32) as usize].into());
        bits /= 32;
    }
    name.parse()
}

/// The bridge of a network; None where it has none, or there is no such network any more.
pub fn bridge_of(dirs: &Dirs, network: &NetworkName) -> Result<Option<Bridge>> {
    if [PTP, LINK].contains(&network.as_ref()) || !dirs.definition(network).exists() {
        return Ok(None);
    }
    // Of a definition that makes no sense nothing was made.
    Ok(definition::load(dirs, network).ok().and_then(|network| interface::bridge(&network)))
}
