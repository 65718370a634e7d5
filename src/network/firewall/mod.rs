//! The packet filter: one table of nf_tables, `inet nfrun`, through netlink. What is in it is told by zones (networks) and
//! endpoints (interfaces of containers); nothing here knows where those are written down, or what a container is.
//!
//! `wire` and `expression` write messages and rules, `layout` is what the table always consists of, `contents` what zones
//! and endpoints are in it, `whole` all of it at once, `foreign` the filters of others. Each change is one transaction that
//! holds only if nobody else's came between (`seen`); where one did, the table is written anew, whole, from what the caller
//! says there is.

use std::cell::Cell;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use ipnet::IpNet;
use nix::sys::socket::SockProtocol;

use super::conntrack;
use super::link::Ifname;
use super::netlink::{Socket, attribute};
use super::request::{Filter, Publish};
use crate::{Context, Error, Result};

mod bridged;
mod contents;
mod expression;
mod foreign;
mod layout;
mod numbers;
mod seen;
mod transaction;
mod whole;
mod wire;
mod words;

#[cfg(test)]
mod tests;

use seen::Claim;
pub use seen::{Memory, Seen};
use transaction::{About, Batch, Refused};
use wire::{BRIDGE, INET, Table};
pub use words::words;

/// How a network's containers are kept from those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Not at all.
    #[default]
    None,
    /// From those of other isolated networks.
    Isolated,
    /// From those of all other networks.
    Strict,
}

/// A network, as far as packets are filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// What it is called.
    pub name: String,
    /// The host's interface that leads to it: its bridge, or the host's end of a ptp.
    pub interface: Ifname,
    /// Its ranges of addresses.
    pub subnets: Vec<IpNet>,
    /// Whether what leaves it has the host's address.
    pub masquerade: bool,
    /// Whether nothing is forwarded to or from it.
    pub internal: bool,
    /// From whom it is kept.
    pub isolation: Isolation,
}

/// An interface of a container in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What no other is called: `CONTAINER:INTERFACE`.
    pub key: String,
    /// The name of its zone.
    pub zone: String,
    /// The host's end of its veth.
    pub host_end: Option<Ifname>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The host's ports that lead to it.
    pub publish: Vec<Publish>,
    /// What may come in: with one rule nothing else may.
    pub allow: Vec<Filter>,
    /// What may not, asked before.
    pub deny: Vec<Filter>,
}

/// All that there is to be in the packet filter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The networks that have an interface on the host.
    pub zones: Vec<Zone>,
    /// The interfaces of containers in them.
    pub endpoints: Vec<Endpoint>,
}

impl Wanted {
    fn put(&mut self, zone: &Zone, endpoint: &Endpoint) {
        self.zones.retain(|other| other.name != zone.name);
        self.endpoints.retain(|other| other.key != endpoint.key);
        self.zones.push(zone.clone());
        self.endpoints.push(endpoint.clone());
    }

    fn take(&mut self, endpoint: &Endpoint, zone: Option<&Zone>) {
        self.endpoints.retain(|other| other.key != endpoint.key);
        self.zones.retain(|other| zone.is_none_or(|zone| other.name != zone.name));
    }
}

impl Endpoint {
    /// Whether nothing of it is in the packet filter.
    fn is_plain(&self) -> bool {
        self.publish.is_empty() && !contents::has_gate(self)
    }
}

/// How often a change is begun anew when others change their tables meanwhile.
const TRIES: u32 = 20;

/// The packet filter of a network namespace.
///
/// Whoever changes it holds the lock of [`Memory`] from before `all` reads what there is until what was attached is written
/// where `all` finds it, and gives each change what the last one returned.
#[derive(Debug)]
pub struct Firewall {
    socket: Socket,
    netns: u64,
    /// Whether a transaction has removed something.
    removed: Cell<bool>,
}

impl Firewall {
    /// That of the caller's network namespace.
    pub fn open() -> Result<Self> {
        let netns = std::fs::metadata("/proc/thread-self/ns/net").context(|| "look at /proc/thread-self/ns/net")?.ino();
        let socket = Socket::open_protocol(SockProtocol::NetlinkNetFilter).context(|| "open the packet filter")?;
        Ok(Self { socket, netns, removed: Cell::new(false) })
    }

    /// Adds an endpoint, and its zone where that is new. `seen` is what the last change returned, None when it is not
    /// known; `all` is asked for what else there is where that does not hold any more. Returns what the next change is to
    /// be given.
    ///
    /// # Errors
    /// When a port is taken by another endpoint, or leads to no address; when the kernel refuses. Nothing is changed then.
    pub fn attach(
        &self,
        zone: &Zone,
        zone_is_new: bool,
        endpoint: &Endpoint,
        seen: Option<Seen>,
        all: impl FnOnce() -> Result<Wanted>,
    ) -> Result<Option<Seen>> {
        let claims = seen::claims(endpoint)?;
        if zone_is_new {
            foreign::warn_of_legacy();
        }
        if let Some(seen) = self.holds(seen)
            && let Some(seen) = self.attach_to(&seen, zone, zone_is_new, endpoint, &claims)?
        {
            return Ok(Some(seen));
        }
        let mut wanted = all()?;
        wanted.put(zone, endpoint);
        if let Some(conflict) = seen::conflict(&claims, &seen::all_claims(&wanted)) {
            return Err(conflict);
        }
        self.rebuild(&wanted).map(Some)
    }

    /// Adds to what was seen; None where that does not hold any more.
    fn attach_to(
        &self,
        seen: &Seen,
        zone: &Zone,
        zone_is_new: bool,
        endpoint: &Endpoint,
        claims: &[Claim],
    ) -> Result<Option<Seen>> {
        let known = seen.zones.contains(&zone.name);
        let bridged = contents::bridged_port(endpoint, std::slice::from_ref(zone));
        let of_ours = |claim: &Claim| claim.key == endpoint.key;
        if seen.zones.is_empty()
            || known == zone_is_new
            || bridged.is_some() && !seen.bridge_table
            || seen.taken.iter().any(of_ours)
            || seen::conflict(claims, &seen.taken).is_some()
        {
            return Ok(None);
        }
        if endpoint.is_plain() && known {
            return Ok((self.generation()? == seen.generation).then(|| seen.clone()));
        }
        let mut batch = Batch::default();
        if !known {
            let mut elements = contents::of_zone(zone, seen.guarded);
            elements.extend(contents::neighbours(zone, &mut Vec::new()));
            batch.put(About::Zone(&zone.name), INET.add(&elements)?);
            // Whether others drop is known, unless something changed since, which the kernel then says.
            if seen.guarded {
                batch.put(About::Foreign, foreign::look(&self.socket)?.meet_one(zone)?);
            }
        }
        batch.put(About::Endpoint(&endpoint.key), contents::of_endpoint(endpoint)?.add(INET)?);
        if let Some(port) = bridged {
            batch.put(About::Bridge, contents::of_bridged(endpoint, port)?.add(BRIDGE)?);
        }
        let mut next = seen.clone();
        next.zones.extend((!known).then(|| zone.name.clone()));
        next.taken.extend_from_slice(claims);
        self.commit_or_stale(batch, next)
    }

    /// Takes an endpoint out, and its zone where `zone_gone` has it. What is gone already is no error.
    pub fn detach(
        &self,
        endpoint: &Endpoint,
        zone_gone: Option<&Zone>,
        seen: Option<Seen>,
        all: impl FnOnce() -> Result<Wanted>,
    ) -> Result<Option<Seen>> {
        if endpoint.is_plain() && zone_gone.is_none() {
            return Ok(seen);
        }
        if let Some(seen) = self.holds(seen)
            && let Some(seen) = self.detach_from(&seen, endpoint, zone_gone)?
        {
            return Ok(Some(seen));
        }
        let mut wanted = all()?;
        wanted.take(endpoint, zone_gone);
        if wanted.zones.is_empty() {
            return self.remove().map(|()| None);
        }
        self.rebuild(&wanted).map(Some)
    }

    /// Takes out of what was seen; None where that does not hold any more, or nothing is left.
    fn detach_from(&self, seen: &Seen, endpoint: &Endpoint, zone_gone: Option<&Zone>) -> Result<Option<Seen>> {
        let mut next = seen.clone();
        next.zones.retain(|name| zone_gone.is_none_or(|zone| zone.name != *name));
        next.taken.retain(|claim| claim.key != endpoint.key);
        let port = contents::bridged_port(endpoint, zone_gone.map(std::slice::from_ref).unwrap_or_default());
        if next.zones.is_empty() || port.is_some() && !seen.bridge_table {
            return Ok(None);
        }
        let mut batch = Batch::default();
        // What cannot be put in (an address is missing) was not put in.
        let Ok(contents) = contents::of_endpoint(endpoint) else { return Ok(None) };
        self.removed.set(true);
        batch.put(About::Endpoint(&endpoint.key), contents.take(INET)?);
        if let Some(port) = port {
            batch.put(About::Bridge, contents::of_bridged(endpoint, port)?.take(BRIDGE)?);
        }
        if let Some(zone) = zone_gone {
            let mut elements = contents::of_zone(zone, seen.guarded);
            elements.extend(contents::neighbours(zone, &mut Vec::new()));
            batch.put(About::Zone(&zone.name), INET.take(&elements)?);
            if seen.guarded {
                batch.put(About::Foreign, foreign::look(&self.socket)?.leave(zone)?);
            }
        }
        self.commit_or_stale(batch, next)
    }

    /// Carries out a transaction on what was seen; None where the tables are not as they were then.
    fn commit_or_stale(&self, batch: Batch, mut next: Seen) -> Result<Option<Seen>> {
        match self.commit(batch, next.generation) {
            Ok(generation) => {
                next.generation = generation;
                Ok(Some(next))
            }
            Err(refused) if refused.is_stale() => {
                log::debug!("packet filter: {}; it is written anew", refused.error);
                Ok(None)
            }
            Err(refused) => Err(refused.error),
        }
    }

    /// Writes the whole table anew in one transaction, so that it is never half, and meets filters of others. With no
    /// zones nothing is left of it.
    ///
    /// # Errors
    /// When the kernel refuses; then all is as it was.
    pub fn rebuild(&self, all: &Wanted) -> Result<Seen> {
        let mut bridge_table =
            all.endpoints.iter().any(|endpoint| contents::bridged_port(endpoint, &all.zones).is_some());
        for _ in 0..TRIES {
            let generation = self.generation()?;
            let foreign = foreign::look(&self.socket)?;
            let (batch, mut seen) = whole::whole(all, &self.present()?, &foreign, bridge_table)?;
            (seen.netns, seen.generation) = (self.netns, generation);
            if batch.is_empty() {
                return Ok(seen);
            }
            self.removed.set(true);
            match self.commit(batch, generation) {
                Ok(generation) => {
                    seen.generation = generation;
                    return Ok(seen);
                }
                Err(refused) if refused.moved() => {}
                Err(refused) if refused.bridged && bridge_table => {
                    log::debug!("packet filter: no connections of bridges: {}", refused.error);
                    bridged::filter_as_routed(all)?;
                    bridge_table = false;
                }
                Err(refused) => return Err(refused.explained()),
            }
        }
        Err(Error::new("packet filter: others changed theirs each time; try again"))
    }

    /// Has the kernel forget the connections that a change made stale, and says how many: those to published ports that
    /// lead elsewhere now, and those that addresses answered which are nobody's or another's now.
    pub fn forget_connections(&self, publish: &[Publish], addresses: &[IpAddr]) -> Result<usize> {
        conntrack::forget(&self.socket, publish, addresses)
    }

    /// Removes everything of ours.
    pub fn remove(&self) -> Result<()> {
        self.rebuild(&Wanted::default()).map(|_| ())
    }

    /// Lets go of it. Where something was removed the kernel has closing wait for the removed things' end, 7 ms and more, in
    /// which nobody has any interest.
    pub fn leave(self) {
        if self.removed.get() {
            self.socket.close_aside();
        }
    }

    /// Whether nobody changed anything since; then all is as the last change left it.
    pub fn is_as_seen(&self, seen: &Seen) -> Result<bool> {
        Ok(seen.netns == self.netns && self.generation()? == seen.generation)
    }

    fn holds(&self, seen: Option<Seen>) -> Option<Seen> {
        seen.filter(|seen| seen.netns == self.netns)
    }

    /// The number of the last transaction, anybody's: NFT_MSG_GETGEN.
    fn generation(&self) -> Result<u32> {
        const GENERATION: u16 = 1;
        let mut generation = None;
        let request = wire::message(libc::NFPROTO_UNSPEC as u8, libc::NFT_MSG_GETGEN, libc::NLM_F_ACK);
        let asked = self.socket.ask(request, |message| {
            for (kind, value) in attribute::parse(message.body.get(4..).unwrap_or_default())? {
                if kind == GENERATION {
                    generation = Some(attribute::big_number(value)?);
                }
            }
            Ok(())
        });
        asked.map_err(transaction::explained).context(|| "look at the packet filter")?;
        generation.ok_or_else(|| Error::new("look at the packet filter: the kernel does not tell its generation"))
    }

    /// The tables of ours that are there.
    fn present(&self) -> Result<Vec<Table>> {
        let mut present = Vec::new();
        for table in [INET, BRIDGE] {
            match self.socket.ask(table.get()?, |_| Ok(())) {
                Ok(()) => present.push(table),
                Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EAFNOSUPPORT)) => {}
                Err(error) => return Err(error).context(|| "look for the packet filter's table nfrun"),
            }
        }
        Ok(present)
    }

    /// Carries out a transaction, if the last one is still this; returns its number.
    fn commit(&self, batch: Batch, generation: u32) -> Result<u32, Refused> {
        batch.commit(&self.socket, generation)
    }
}
