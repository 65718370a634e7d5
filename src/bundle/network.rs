//! A container's network: where the bundle or its user asks for one, what that changes of config.json, and the steps that
//! come of it. A bundle that asks for nothing is as it was: config.json alone decides.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::CStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Spec};

use serde::Serialize;

use super::plan::RuntimeStep;
use crate::init::mounts::plan::bind_file;
use crate::init::network::step::Step as Inner;
use crate::init::program::{Draft, Source, text};
use crate::init::sysctls;
use crate::init::wire::{Bytes, Text};
use crate::network::inside::Inside;
use crate::network::names;
use crate::network::plan::Planned;
use crate::network::request::{ANNOTATION, Dns, FILE, HostsEntry, Publish, Request, Share};
use crate::{Context, Error, Result};

/// What flags ask for.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--network`, each.
    pub networks: Vec<String>,
    /// `--publish`.
    pub publish: Vec<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--add-host`.
    pub hosts: Vec<String>,
}

impl Flags {
    fn is_empty(&self) -> bool {
        let lists = [&self.networks, &self.publish, &self.dns, &self.dns_search, &self.hosts];
        lists.iter().all(|list| list.is_empty())
    }
}

/// What the flags, the bundle's network.json or the annotation ask for; None where nobody asks. `--network` takes the place
/// of the interfaces that the bundle has; the other flags add.
///
/// # Errors
/// Names the flag, or the file and its field. A bundle that asks in both ways is refused, since neither comes first.
pub fn request(bundle: &Path, annotations: Option<&HashMap<String, String>>, flags: &Flags) -> Result<Option<Request>> {
    let path = bundle.join(FILE);
    let file = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        other => Some(other.context(|| format!("read {}", path.display()))?),
    };
    let annotation = annotations.and_then(|all| all.get(ANNOTATION));
    let mut request = match (&file, annotation) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(format!(
                "annotations.{ANNOTATION}: the bundle has {FILE} as well: keep one of the two"
            )));
        }
        (Some(file), None) => Request::parse(file).context(|| path.display().to_string())?,
        (None, Some(text)) => Request::parse(text).context(|| format!("annotations.{ANNOTATION}"))?,
        (None, None) if flags.is_empty() => return Ok(None),
        (None, None) => Request::default(),
    };
    add(flags, &mut request)?;
    Ok(Some(request))
}

fn add(flags: &Flags, request: &mut Request) -> Result<()> {
    if !flags.networks.is_empty() {
        (request.interfaces, request.share) = (Vec::new(), None);
        if flags.networks.len() > 1
            && let Some(alone) = flags.networks.iter().find(|flag| is_alone(flag))
        {
            return Err(Error::invalid(format!("--network {alone}: stands alone, without another --network")));
        }
        flags.networks.iter().try_for_each(|flag| request.add_flag(flag))?;
    }
    for text in &flags.publish {
        request.publish.push(text.parse::<Publish>().map_err(|error| error.context("--publish"))?);
    }
    for text in &flags.dns {
        let server = text.parse().map_err(|_| Error::invalid(format!("--dns {text:?}: expected an address")))?;
        request.dns.servers.push(server);
    }
    request.dns.search.extend(flags.dns_search.iter().cloned());
    for text in &flags.hosts {
        request.hosts.push(text.parse::<HostsEntry>().map_err(|error| error.context("--add-host"))?);
    }
    request.check()
}

fn is_alone(flag: &str) -> bool {
    flag == "none" || flag == "host" || flag.starts_with("container:")
}

/// config.json with the network namespace that the request takes: none of its own with the host's, that of another
/// container, else one of its own. `other` finds the file of another container's.
pub fn adapt<'a>(
    spec: &'a Spec,
    request: Option<&Request>,
    other: impl FnOnce(&str) -> Result<PathBuf>,
) -> Result<Cow<'a, Spec>> {
    let Some(request) = request else { return Ok(Cow::Borrowed(spec)) };
    let mut spec = spec.clone();
    let mut linux = spec.linux().clone().unwrap_or_default();
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    let own = namespaces.iter().position(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    match (&request.share, own) {
        (Some(Share::Host), own) => drop(own.map(|at| namespaces.remove(at))),
        (Some(Share::Container(id)), own) => {
            own.map(|at| namespaces.remove(at));
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(LinuxNamespaceType::Network).set_path(Some(other(id)?));
            namespaces.push(namespace);
        }
        (None, Some(_)) => return Ok(Cow::Owned(spec)),
        (None, None) => {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(LinuxNamespaceType::Network);
            namespaces.push(namespace);
        }
    }
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));
    Ok(Cow::Owned(spec))
}

/// A file that is made for the container, below its state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Where on the host.
    pub path: PathBuf,
    /// Where in the container.
    pub inside: &'static str,
    /// What is in it.
    pub text: String,
    /// Its owner on the host, where that is not whoever runs this.
    pub owner: Option<(u32, u32)>,
}

/// What connects a container: the network's plan, and the files made for it.
#[derive(Debug)]
pub struct Connection {
    /// The network's plan.
    pub planned: Planned,
    /// Files, by their names in the state directory.
    pub files: Vec<Made>,
}

/// The names of the files in a state directory.
pub const FILES: [&CStr; 3] = [c"hosts", c"hostname", c"resolv.conf"];

/// The text of the files that a request has made, but for those that the bundle mounts itself.
pub fn files(request: &Request, spec: &Spec, state: &Path, planned: &Planned, names: &[String]) -> Result<Vec<Made>> {
    let owner = root_of(spec);
    let make = |file: &CStr, inside, text: String| Made {
        path: state.join(file.to_string_lossy().as_ref()),
        inside,
        text,
        owner,
    };
    let mut made = Vec::new();
    if makes_hosts(request, spec) {
        made.push(make(FILES[0], "/etc/hosts", names::own_hosts(names, &planned.addresses, &more(request, planned)?)));
    }
    let hostname = spec.hostname().as_deref().filter(|name| !name.is_empty());
    if let (true, Some(hostname), false) = (request.files.hostname, hostname, is_mounted(spec, "/etc/hostname")) {
        made.push(make(FILES[1], "/etc/hostname", format!("{hostname}\n")));
    }
    let leads_out = request.share.is_some() || !request.interfaces.is_empty() || !request.dns.servers.is_empty();
    if request.files.resolv && leads_out && !is_mounted(spec, "/etc/resolv.conf") {
        made.push(make(FILES[2], "/etc/resolv.conf", names::resolv_conf(&dns(request, planned))));
    }
    Ok(made)
}

/// The ids on the host of the container's root, where it has a user namespace with mappings.
fn root_of(spec: &Spec) -> Option<(u32, u32)> {
    let linux = spec.linux().as_ref()?;
    let host = |maps: &Option<Vec<LinuxIdMapping>>| {
        maps.iter().flatten().find(|map| map.container_id() == 0).map(LinuxIdMapping::host_id)
    };
    host(linux.uid_mappings()).zip(host(linux.gid_mappings()))
}

/// Whether a container's /etc/hosts is made, which its networks then keep current.
pub fn makes_hosts(request: &Request, spec: &Spec) -> bool {
    request.files.hosts && !is_mounted(spec, "/etc/hosts")
}

fn is_mounted(spec: &Spec, inside: &str) -> bool {
    let mut mounts = spec.mounts().iter().flatten();
    mounts.any(|mount| mount.destination() == Path::new(inside) || mount.destination() == Path::new("/etc"))
}

/// The lines of /etc/hosts that are asked for.
fn more(request: &Request, planned: &Planned) -> Result<Vec<(String, IpAddr)>> {
    let resolve = |(i, entry): (usize, &HostsEntry)| {
        let gateway = || {
            planned.gateway.ok_or_else(|| {
                Error::invalid(format!(
                    "network: hosts[{i}]: host-gateway: none of the container's networks has a gateway"
                ))
            })
        };
        Ok((entry.name.clone(), entry.address.map_or_else(gateway, Ok)?))
    };
    request.hosts.iter().enumerate().map(resolve).collect()
}

/// Its own name servers, else those of its networks, else the host's. Whoever names servers names all; the host's domains and
/// options are for whoever names nothing.
fn dns(request: &Request, planned: &Planned) -> Dns {
    let mut dns = request.dns.clone();
    if !dns.servers.is_empty() {
        return dns;
    }
    dns.servers.clone_from(&planned.servers);
    let names_nothing = dns.search.is_empty() && dns.options.is_empty();
    if dns.servers.is_empty() || names_nothing {
        let host = names::hosts_dns();
        let or = |own: &mut Vec<String>, other: Vec<String>| {
            if own.is_empty() {
                *own = other
            }
        };
        or(&mut dns.search, host.search);
        or(&mut dns.options, host.options);
        if dns.servers.is_empty() {
            dns.servers = host.servers;
        }
    }
    dns
}

impl Connection {
    /// What the runtime does before it starts init.
    pub fn first(&self) -> impl Iterator<Item = RuntimeStep> + '_ {
        let files = self.files.iter().map(|made| RuntimeStep::MakeFile(made.clone()));
        files.chain(self.planned.first.iter().cloned().map(RuntimeStep::Connect))
    }

    /// What init does in its network namespace, once the runtime has made the interfaces.
    pub fn inside(&self, draft: &mut Draft) -> Result<()> {
        for inside in &self.planned.inside {
            match inside {
                Inside::Send { request, words } => {
                    let words = text("network", words.as_str())?;
                    draft.step(Inner::Send { request: Bytes(request), words: Text(&words) });
                }
                Inside::Set { path, value } => {
                    let (path, value) = (text("network", path.as_str())?, text("network: sysctls", value.as_str())?);
                    draft.step(sysctls::step::Step::Write { path: Text(&path), value: Text(&value) });
                }
                Inside::Offload { name, command, on, words } => {
                    let (name, words) = (text("network", name.as_str())?, text("network", words.as_str())?);
                    draft.step(Inner::Offload { name: Text(&name), command: *command, on: *on, words: Text(&words) });
                }
            }
        }
        Ok(())
    }

    /// Shows its files to the container. `opened` says that the runtime opens them, since the state directory is closed to
    /// whoever is not its owner.
    pub fn mount(&self, opened: bool, draft: &mut Draft) -> Result<()> {
        for made in &self.files {
            let tree = opened.then(|| draft.slot(Source::HiddenTree { path: made.path.clone() }));
            bind_file(&made.path, tree, made.inside, "network: files", draft)?;
        }
        Ok(())
    }
}
