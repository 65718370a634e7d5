//! Connecting a container that was created before to a network, and taking it off: the same plan as at its creation, where
//! the runtime does init's part too. What is made stands in the undo record first, as ever.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::store::{Locked, State};
use super::{ContainerId, Globals, Status, fault, identity, networks, status};
use crate::bundle::config;
use crate::network::attachment;
use crate::network::inside::{self, Interior};
use crate::network::plan::{Planned, Scene};
use crate::network::request::{Kind, Request};
use crate::network::run::{self, Connecting};
use crate::network::{Ifname, NetworkName, Socket, device, link, names, plan};
use crate::undo::{self, Line};
use crate::{Context, Error, Result};

/// Connects a container that runs, or waits to be started, to a named network. `wish` is what `--network` would be told.
///
/// # Errors
/// When the container has stopped, shares the host's network, or is on that network; names the part of the wish that cannot
/// be. Nothing is left of it then.
pub fn connect(globals: &Globals, id: &ContainerId, wish: &str) -> Result<()> {
    let (locked, state) = status::open_locked(globals, id)?;
    let container = Connected::find(&state)?;
    let mut request = Request::default();
    request.add_flag(wish)?;
    let Some(Kind::Network(network)) = request.interfaces.first().map(|interface| &interface.kind) else {
        return Err(Error::invalid(format!(
            "network {wish:?}: a container that was created is connected to named networks alone; what else it is to have, \
             `create` makes"
        )));
    };
    let attached = attachment::of_container(&globals.networks, &globals.root, id.as_str())?;
    if let Some(there) = attached.iter().find(|attachment| attachment.network == *network) {
        return Err(Error::new(format!("container {id} is on network {network} already, by {}", there.interface)));
    }
    container.name(&mut request)?;
    let planned = container.plan(globals, id, &locked, &request)?;
    // With a namespace of the container's own its interfaces go by themselves, but not now.
    let intents = networks::intents(globals, networks::joined(&container.spec), &planned)?;
    let made = networks::intents(globals, Some(&container.netns), &planned)?;
    fault::point();
    undo::append(&mut undo::reopen(&locked.directory)?, &intents)?;
    container.carry_out(globals, planned).inspect_err(|_| {
        for line in made.iter().rev() {
            if let Err(left) = take_back(line) {
                log::warn!("clean up after the failed connect: {left}; deleting the container will try again");
            }
        }
    })
}

/// Takes a container off a network: every interface that it has there.
///
/// # Errors
/// When it has none.
pub fn disconnect(globals: &Globals, id: &ContainerId, network: &NetworkName) -> Result<()> {
    let (_locked, state) = status::open_locked(globals, id)?;
    let mut attached = attachment::of_container(&globals.networks, &globals.root, id.as_str())?;
    attached.retain(|attachment| attachment.network == *network);
    if attached.is_empty() {
        return Err(Error::new(format!("container {id} is not on network {network}")));
    }
    for attachment in &attached {
        fault::point();
        // One that leads nowhere on the host, or to another container, is removed where it is.
        let leads_elsewhere = attachment.host_end.is_none() || attachment.peer.is_some();
        if leads_elsewhere && identity::find(&state.init).is_some() {
            remove_inside(&state, &attachment.interface)?;
        }
        fault::point();
        run::disconnect(&globals.networks, attachment, true)?;
    }
    attached
        .first()
        .and_then(|attachment| attachment.hosts.as_deref())
        .map_or(Ok(()), |own| names::forget(network, own))
}

/// A container whose first process is there.
struct Connected {
    spec: Spec,
    pid: i32,
    /// The file of its network namespace.
    netns: PathBuf,
}

impl Connected {
    fn find(state: &State) -> Result<Self> {
        if status::of(state) == Status::Stopped {
            return Err(Error::new("container not running"));
        }
        if let Some(other) = &state.shares {
            return Err(Error::invalid(format!(
                "the container shares the network of container {other}: connect that one"
            )));
        }
        let spec = config::parse(state.config.get())?;
        let joined = networks::joined(&spec).map(Path::to_path_buf);
        if state.namespaces & libc::CLONE_NEWNET as u64 == 0 {
            return Err(Error::invalid("the container shares the host's network, which is on no network of nfrun's"));
        }
        let netns = joined.unwrap_or_else(|| format!("/proc/{}/ns/net", state.init.pid).into());
        Ok(Self { spec, pid: state.init.pid, netns })
    }

    fn open(&self) -> Result<File> {
        File::open(&self.netns).context(|| format!("open network namespace {}", self.netns.display()))
    }

    /// The lowest ethN that is free, where the interface is to have no other name.
    fn name(&self, request: &mut Request) -> Result<()> {
        let links = link::list(&Socket::open_in(self.open()?.as_fd())?)?;
        let is_free = |name: &String| !links.iter().any(|link| link.name == *name);
        for interface in request.interfaces.iter_mut().filter(|interface| interface.name.is_none()) {
            let name = (0..).map(|n| format!("eth{n}")).find(is_free);
            interface.name = name.map(|name| name.parse()).transpose()?;
        }
        Ok(())
    }

    fn plan(&self, globals: &Globals, id: &ContainerId, locked: &Locked, request: &Request) -> Result<Planned> {
        let hosts = locked.directory.join("hosts");
        let names = networks::names(id, &self.spec);
        let scene = Scene {
            container: id.as_str(),
            root: &globals.root,
            names: &names,
            hosts: hosts.exists().then_some(hosts.as_path()),
            dirs: &globals.networks,
            joined: Some(&self.netns),
            takes: true,
            look: true,
        };
        let mut planned = plan::plan(request, scene)?;
        // As at a creation that asks for a network.
        let lo: Ifname = "lo".parse()?;
        Interior::new(&lo, link::LOOPBACK, &mut planned.inside).set_up()?;
        Ok(planned)
    }

    fn carry_out(&self, globals: &Globals, planned: Planned) -> Result<()> {
        let mut connecting = Connecting::new(globals.networks.clone(), planned.locks, planned.attachments.len());
        for step in planned.first.iter().chain(&planned.attach) {
            fault::point();
            connecting.run(step, Some(self.pid))?;
        }
        fault::point();
        inside::carry_out(&planned.inside, self.open()?.as_fd())
    }
}

fn take_back(line: &Line) -> Result<()> {
    match line {
        Line::Attach(attached) => run::disconnect(&attached.dirs, &attached.attachment, true),
        Line::Interface(interface) => networks::remove_interface(interface),
        _ => Ok(()),
    }
}

/// Removes an interface that nfrun has made; the container may have renamed it, or removed it itself.
fn remove_inside(state: &State, name: &Ifname) -> Result<()> {
    let path = format!("/proc/{}/ns/net", state.init.pid);
    let netns = File::open(&path).context(|| format!("open {path}"))?;
    let socket = Socket::open_in(netns.as_fd())?;
    let found = link::by_name(&socket, name.as_ref())?;
    match found.filter(|link| ["macvlan", "ipvlan", "veth"].contains(&link.kind.as_str())) {
        Some(link) => device::remove(&socket, link.index).context(|| format!("remove {name}")),
        None => Ok(()),
    }
}
