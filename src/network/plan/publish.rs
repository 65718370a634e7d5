//! Which interface a published port leads to.

use std::net::IpAddr;

use super::Planner;
use crate::network::ports;
use crate::network::request::Request;
use crate::{Error, Result};

impl Planner<'_> {
    /// Gives each published port to the first interface that the host can lead it to, of either family where it names no
    /// address.
    pub(super) fn publish(&mut self, request: &Request) -> Result<()> {
        for (i, publish) in request.publish.iter().enumerate() {
            let field = |error: Error| error.context(format!("network: publish[{i}] ({publish})"));
            if let Some(other) = request.publish[..i].iter().find(|other| other.overlaps(publish)) {
                return Err(field(Error::invalid(format!(
                    "{other} is published as well; a port of the host leads to one place"
                ))));
            }
            let mut led = false;
            for ipv4 in [true, false] {
                if publish.address.is_some_and(|address| address.is_ipv4() != ipv4) {
                    continue;
                }
                // Only where the packet filter is nfrun's: not by a link, nor on somebody else's bridge.
                let filtered = self.groups.iter_mut().filter(|group| group.zone.is_some());
                let reached = filtered.filter_map(|group| group.attachment.as_mut());
                let mut reached = reached.filter(|attachment| attachment.address(ipv4).is_some());
                if let Some(attachment) = reached.next() {
                    led = true;
                    if !attachment.publish.contains(publish) {
                        attachment.publish.push(publish.clone());
                    }
                }
            }
            if !led {
                let family = match publish.address {
                    Some(IpAddr::V6(_)) => "of IPv6 ",
                    Some(IpAddr::V4(_)) => "of IPv4 ",
                    None => "",
                };
                return Err(field(Error::invalid(format!(
                    "no interface of the container has an address {family}that the host leads to: it takes one on a bridge that nfrun manages, or a ptp"
                ))));
            }
        }
        for attachment in self.groups.iter().filter_map(|group| group.attachment.as_ref()) {
            let has = |ipv4: bool| attachment.address(ipv4).is_some();
            ports::check(&attachment.publish, (has(true), has(false))).map_err(|error| error.context("network"))?;
        }
        Ok(())
    }
}
