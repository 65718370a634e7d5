//! A container's networks: what it asks for into a connection, before it is created.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, fchown};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::store::Directory;
use super::{ContainerId, Globals, identity};
use crate::bundle::network::{self as bundle, Connection, Made};
use crate::network::plan::{Planned, Scene};
use crate::network::request::Request;
use crate::network::{Socket, device, link};
use crate::undo::{Attached, Interface, Line};
use crate::{Context, Error, Result};

/// Plans the networks of a container whose spec was adapted to them. `takes`: the container will be created.
pub fn connect(
    globals: &Globals,
    id: &ContainerId,
    spec: &Spec,
    request: &Request,
    (takes, look): (bool, bool),
) -> Result<Connection> {
    let state = globals.root.join(id.as_str());
    let names = names(id, spec);
    let hosts = state.join("hosts");
    let joined = joined(spec);
    if let Some(path) = joined.filter(|_| look && !request.interfaces.is_empty()) {
        refuse_the_hosts(path)?;
    }
    let scene = Scene {
        container: id.as_str(),
        root: &globals.root,
        names: &names,
        hosts: bundle::makes_hosts(request, spec).then_some(hosts.as_path()),
        dirs: &globals.networks,
        joined,
        takes,
        look,
    };
    let planned = crate::network::plan::plan(request, scene)?;
    let files = bundle::files(request, spec, &state, &planned, &names)?;
    Ok(Connection { planned, files })
}

/// What the networks' other containers call a container.
pub fn names(id: &ContainerId, spec: &Spec) -> Vec<String> {
    let hostname = spec.hostname().as_deref().filter(|name| !name.is_empty() && *name != id.as_str());
    [Some(id.as_str()), hostname].into_iter().flatten().map(str::to_owned).collect()
}

/// The network namespace that a spec joins.
pub fn joined(spec: &Spec) -> Option<&Path> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_deref()?;
    namespaces.iter().find(|namespace| namespace.typ() == LinuxNamespaceType::Network)?.path().as_deref()
}

/// Interfaces for a container are no reason to change the host's own.
fn refuse_the_hosts(path: &Path) -> Result<()> {
    let inode = |path: &Path| std::fs::metadata(path).map(|found| found.ino()).ok();
    if inode(path).is_some() && inode(path) == inode(Path::new("/proc/thread-self/ns/net")) {
        return Err(Error::invalid(format!(
            "network: interfaces: {} is the host's own network namespace, which the container joins; give it one of its own",
            path.display()
        )));
    }
    Ok(())
}

/// The file of the network namespace of another container, which runs.
pub fn namespace_of(globals: &Globals, id: &str) -> Result<PathBuf> {
    let find = || -> Result<PathBuf> {
        let id = id.parse()?;
        let state = Directory::open(&globals.root, &id)?.state()?;
        let state = state.ok_or_else(|| super::store::no_such_container(&id))?;
        match identity::find(&state.init) {
            Some(_) => Ok(format!("/proc/{}/ns/net", state.init.pid).into()),
            None => Err(Error::new("container not running")),
        }
    };
    find().map_err(|error| error.context(format!("network: share: container:{id}")))
}

/// What is noted before any of it is made. `joined`: the network namespace, where it goes on without the container.
pub fn intents(globals: &Globals, joined: Option<&Path>, planned: &Planned) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = planned
        .attachments
        .iter()
        .map(|attachment| {
            let (dirs, attachment) = (globals.networks.clone(), attachment.clone());
            Line::Attach(Box::new(Attached { dirs, attachment, stays: joined.is_some() }))
        })
        .collect();
    if let Some(path) = joined {
        let inode = std::fs::metadata(path).context(|| format!("look at {}", path.display()))?.ino();
        let interface = |(name, index): &(crate::network::Ifname, u32)| {
            Line::Interface(Interface { netns: path.into(), inode, name: name.clone(), index: *index })
        };
        lines.extend(planned.made.iter().map(interface));
    }
    Ok(lines)
}

/// Makes a file of a container's own.
pub fn make_file(made: &Made) -> Result<()> {
    let attempt = || -> Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&made.path)?;
        std::io::Write::write_all(&mut file, made.text.as_bytes())?;
        if let Some((uid, gid)) = made.owner {
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    };
    attempt().context(|| format!("make {}", made.path.display()))
}

/// Removes an interface from a namespace that goes on without the container. All of it may be gone.
pub fn remove_interface(interface: &Interface) -> Result<()> {
    let Interface { netns, inode, name, index } = interface;
    let file = match File::open(netns) {
        Err(error) if [Some(libc::ENOENT), Some(libc::ESRCH)].contains(&error.raw_os_error()) => return Ok(()),
        other => other.context(|| format!("open {}", netns.display()))?,
    };
    if file.metadata().context(|| format!("look at {}", netns.display()))?.ino() != *inode {
        return Ok(());
    }
    let Ok(socket) = Socket::open_in(file.as_fd()) else { return Ok(()) };
    match link::by_index(&socket, *index)?.filter(|link| link.name == name.as_ref()) {
        Some(_) => device::remove(&socket, *index).context(|| format!("remove {name} in {}", netns.display())),
        None => Ok(()),
    }
}
