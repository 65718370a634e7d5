//! The whole table as one transaction, from all that there is to be in it.

use std::collections::HashSet;

use super::contents::{self, Contents};
use super::foreign::Foreign;
use super::layout;
use super::seen::{self, Seen};
use super::transaction::{About, Batch};
use super::wire::{BRIDGE, Element, INET, Table};
use super::{Endpoint, Wanted};
use crate::Result;

/// The transaction that makes everything as wanted in place of the tables that are there, and what is seen then, but for
/// its number and the namespace.
pub fn whole<'a>(
    all: &'a Wanted,
    present: &[Table],
    foreign: &Foreign,
    bridge_table: bool,
) -> Result<(Batch<'a>, Seen)> {
    let guarded = foreign.drops() && !all.zones.is_empty();
    let mut seen = Seen { guarded, ..Seen::default() };
    let mut batch = Batch::default();
    for table in present {
        batch.put(if *table == INET { About::Table } else { About::Bridge }, vec![table.remove()?]);
    }
    batch.put(About::Foreign, foreign.meet(&all.zones)?);
    if all.zones.is_empty() {
        return Ok((batch, seen));
    }
    batch.put(About::Table, layout::make()?);
    if guarded {
        batch.put(About::Table, INET.add(&contents::of_uplinks(&foreign.uplinks))?);
    }
    let (mut nets, mut once) = (Vec::new(), Once::default());
    for zone in &all.zones {
        let mut elements = contents::of_zone(zone, guarded);
        elements.extend(contents::neighbours(zone, &mut nets));
        once.keep(&mut elements);
        batch.put(About::Zone(&zone.name), INET.add(&elements)?);
        seen.zones.push(zone.name.clone());
    }
    if bridge_table {
        batch.put(About::Bridge, layout::make_bridge()?);
        seen.bridge_table = true;
    }
    for endpoint in &all.endpoints {
        let mut contents = admitted(endpoint, &mut seen)?;
        once.keep(&mut contents.elements);
        batch.put(About::Endpoint(&endpoint.key), contents.add(INET)?);
        if let Some(port) = contents::bridged_port(endpoint, &all.zones).filter(|_| bridge_table) {
            batch.put(About::Bridge, contents::of_bridged(endpoint, port)?.add(BRIDGE)?);
        }
    }
    Ok((batch, seen))
}

/// Keys that are in a set already. What two zones or endpoints have alike, as no attach would have let it be, the first
/// keeps.
#[derive(Default)]
struct Once(HashSet<(&'static str, Vec<u8>)>);

impl Once {
    fn keep(&mut self, elements: &mut Vec<Element>) {
        elements.retain(|element| {
            let new = self.0.insert((element.set, element.key.clone()));
            if !new {
                log::warn!(
                    "packet filter: set {}: {} is not the first of its key; left out",
                    element.set,
                    element.comment
                );
            }
            new
        });
    }
}

/// What an endpoint is in the table, without ports that one before has, as no attach would have let it be.
fn admitted(endpoint: &Endpoint, seen: &mut Seen) -> Result<Contents> {
    let claims = seen::claims(endpoint);
    let wrong = match &claims {
        Ok(claims) => seen::conflict(claims, &seen.taken).map(|conflict| conflict.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match (wrong, claims) {
        (None, Ok(claims)) => {
            seen.taken.extend(claims);
            contents::of_endpoint(endpoint)
        }
        (wrong, _) => {
            log::warn!("packet filter: {}: {}; left out", endpoint.key, wrong.unwrap_or_default());
            contents::of_endpoint(&Endpoint { publish: Vec::new(), ..endpoint.clone() })
        }
    }
}
