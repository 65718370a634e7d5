//! Which addresses an interface on a named network has.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Planner;
use crate::network::attachment;
use crate::network::definition::{Network, Range};
use crate::network::request::Interface;
use crate::network::run;
use crate::{Error, Result};

impl Planner<'_> {
    /// Those that it asks for, each in one of the network's ranges, and of a family of which it asks for none the lowest
    /// that is free.
    pub(super) fn choose(&self, network: &Network, wish: &Interface) -> Result<Vec<IpNet>> {
        let mut chosen: Vec<IpNet> = Vec::new();
        for asked in &wish.addresses {
            let field = |error: Error| error.context("addresses");
            let address = match (!network.ranges().is_empty(), asked.prefix) {
                (true, prefix) => {
                    let net = network.with_prefix(asked.address).map_err(field)?;
                    if prefix.is_some_and(|prefix| prefix != net.prefix_len()) {
                        return Err(Error::invalid(format!(
                            "addresses: {asked}: the network's range is {}; leave the prefix out",
                            net.trunc()
                        )));
                    }
                    net
                }
                (false, Some(prefix)) => IpNet::new(asked.address, prefix)
                    .map_err(|error| Error::invalid(format!("addresses: {asked}: {error}")))?,
                (false, None) => {
                    return Err(Error::invalid(format!(
                        "addresses: {asked}: network {} has no ranges: say how many bits are the network's, as {asked}/24",
                        network.name()
                    )));
                }
            };
            if chosen.iter().any(|other| other.addr() == address.addr()) || self.has(network, address) {
                return Err(Error::invalid(format!("addresses: {} is asked for twice", address.addr())));
            }
            chosen.push(address);
        }
        for ipv4 in [true, false] {
            let has_one = chosen.iter().any(|address| address.addr().is_ipv4() == ipv4);
            let range = network.ranges().iter().find(|range| range.subnet.addr().is_ipv4() == ipv4);
            if let (Some(range), false) = (range, has_one) {
                let address = self.lowest(network, range).map_err(|error| error.context("addresses"))?;
                chosen.push(network.with_prefix(address)?);
            }
        }
        Ok(chosen)
    }

    /// The lowest that is free: seen with the network's lock held, unless nothing will be done.
    fn lowest(&self, network: &Network, range: &Range) -> Result<IpAddr> {
        let mine: Vec<IpAddr> = self.on(network).map(|net| net.addr()).collect();
        match self.planned.locks.0.iter().find(|locked| locked.name() == network.name()) {
            Some(locked) => {
                if let Some(free) = locked.find_free(range, &mine)? {
                    return Ok(free);
                }
                run::sweep_held(self.scene.dirs, locked)?;
                locked.find_free(range, &mine)?.map_or_else(|| Err(locked.exhausted(range)?), Ok)
            }
            None => {
                let attached = attachment::list(self.scene.dirs, network.name())?;
                let theirs = attached.iter().flat_map(|attachment| &attachment.addresses).map(IpNet::addr);
                Ok(range.lowest_but(&theirs.chain(mine).collect()).unwrap_or(range.first))
            }
        }
    }

    /// What the container's other interfaces on the network have.
    fn on(&self, network: &Network) -> impl Iterator<Item = IpNet> {
        let attachments = self.groups.iter().filter_map(|group| group.attachment.as_ref());
        let there = attachments.filter(|attachment| attachment.network == *network.name());
        there.flat_map(|attachment| attachment.addresses.clone())
    }

    fn has(&self, network: &Network, address: IpNet) -> bool {
        self.on(network).any(|other| other.addr() == address.addr())
    }
}
