//! Moving an interface into another network namespace with its addresses, and back to where it came from.

use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use super::netlink::Socket;
use super::{Address, Ifname, Link, Pattern, address, link};
use crate::{Context, Error, Result};

/// An interface as it was before it was moved, and what it was to be called: all that is needed to find it again and to
/// make it what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Its name.
    pub name: Ifname,
    /// Its number.
    pub index: u32,
    /// Its hardware address, which it keeps wherever it is.
    pub hardware: String,
    /// The names that it could be found by as well, which go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_called: Vec<String>,
    /// Whether it was up.
    pub up: bool,
    /// What it was to be called in the other namespace.
    pub inside: Pattern,
    /// The number that it is to have there, where something else is said of it by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

impl Origin {
    /// The addresses that go with it.
    pub fn travelling(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(|address| address.travels())
    }

    fn is_same(&self, link: &Link) -> bool {
        link.hardware == self.hardware
    }
}

/// Looks at an interface that is going to be moved; None where there is none of that name.
pub fn look(socket: &Socket, name: &Ifname, inside: Pattern) -> Result<Option<Origin>> {
    let Some(Link { index, up, hardware, also_called, .. }) = link::by_name(socket, name.as_ref())? else {
        return Ok(None);
    };
    let addresses = address::list(socket, index)?;
    Ok(Some(Origin { name: name.clone(), index, hardware, also_called, up, inside, number: None, addresses }))
}

/// Moves an interface: under its new name, with the addresses that travel, and up. `moved` is told its number there as
/// soon as it has one.
pub fn send(
    origin: &Origin,
    here: &Socket,
    there: (&Socket, BorrowedFd),
    moved: impl FnOnce(u32) -> Result<()>,
) -> Result<()> {
    let (socket, netns) = there;
    // Planned by its name; since then it may have gone, and its name or number been given to another.
    let found = link::by_index(here, origin.index)?;
    if !found.is_some_and(|found| found.name == origin.name.as_ref() && origin.is_same(&found)) {
        return Err(Error::new("it is not there any more, or was renamed"));
    }
    let taken = match origin.inside.name() {
        Some(_) => Vec::new(),
        None => link::list(socket)?.into_iter().map(|link| link.name).collect(),
    };
    let name = origin.inside.resolve(&taken)?;
    link::move_to(here, origin.index, netns, (&name, origin.number)).map_err(|error| match error.errno() {
        Some(libc::EEXIST) => error.reworded(format!("an interface there is called {name} already")),
        Some(libc::EINVAL | libc::EOPNOTSUPP) => error.context("the kernel does not move interfaces of its kind"),
        _ => error,
    })?;
    let link = link::by_name(socket, name.as_ref())?.ok_or_else(|| Error::new(format!("{name} is gone again")))?;
    moved(link.index)?;
    if origin.number.is_some_and(|number| number != link.index) {
        return Err(Error::new(
            "this kernel does not let it have a number that is chosen, by which its addresses and routes would be set: that came with Linux 5.13",
        ));
    }
    for address in origin.travelling() {
        address::add(socket, link.index, name.as_ref(), address)?;
    }
    link::set_up(socket, link.index).context(|| format!("set {name} up"))
}

/// Brings an interface back and makes it what it was. It is found there by its number, where `moved` told that, else by
/// what it was to be called and its hardware address. One that is back already, or was never moved, gets what it lacks;
/// one that is nowhere is gone.
pub fn bring_back(origin: &Origin, index: Option<u32>, there: &Socket, here: (&Socket, BorrowedFd)) -> Result<()> {
    let (socket, netns) = here;
    if let Some(link) = find(origin, index, there)? {
        make_acceptable(origin, &link, there)?;
        link::move_to(there, link.index, netns, (&origin.name, None)).map_err(|error| match error.errno() {
            Some(libc::EEXIST) => {
                error.reworded(format!("another interface is called {} by now; rename that one", origin.name))
            }
            _ => error,
        })?;
    }
    let Some(link) = link::by_name(socket, origin.name.as_ref())?.filter(|link| origin.is_same(link)) else {
        return Ok(());
    };
    let present = address::list(socket, link.index)?;
    for address in &origin.addresses {
        if !present.iter().any(|other| (other.local, other.prefix) == (address.local, address.prefix)) {
            address::add(socket, link.index, origin.name.as_ref(), address)?;
        }
    }
    if origin.up && !link.up {
        link::set_up(socket, link.index).context(|| format!("set {} up", origin.name))?;
    }
    Ok(())
}

/// Undoes what would keep an interface from coming back or from being known there: another hardware address, and further
/// names, one of which an interface there may have.
fn make_acceptable(origin: &Origin, link: &Link, socket: &Socket) -> Result<()> {
    if !origin.is_same(link) && !origin.hardware.is_empty() {
        link::set_hardware(socket, link.index, &origin.hardware)?;
    }
    let new: Vec<_> = link.also_called.iter().filter(|name| !origin.also_called.contains(name)).collect();
    if new.is_empty() { Ok(()) } else { link::forget_names(socket, link.index, &new) }
}

fn find(origin: &Origin, index: Option<u32>, socket: &Socket) -> Result<Option<Link>> {
    match index {
        // No other gets its number there but by force.
        Some(index) => link::by_index(socket, index),
        None => {
            let mut links = link::list(socket)?.into_iter();
            Ok(links.find(|link| origin.inside.matches(&link.name) && origin.is_same(link)))
        }
    }
}
