//! What is known of a container's interface on a named network: a file in the network's directory below [`RUN`] for as long
//! as the interface is, and the same in the container's undo record. It says what the packet filter has for the
//! interface, by which names the network's other containers find it, and whose it is.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::definition::NetworkName;
use super::dirs::Dirs;
use super::lease::Owner;
use super::link::Ifname;
use super::lock::Locked;
use super::request::{Filter, Mac, Publish};
use crate::{Context, Result};

/// Where attachments and leases are: on a tmpfs, so that a boot takes them all.
pub const RUN: &str = "/run/nfrun-networks";

/// An interface of a container's on a named network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The network.
    pub network: NetworkName,
    /// The container's id.
    pub container: String,
    /// The state root that the container is in: it is gone when its directory there is.
    pub root: PathBuf,
    /// The interface's name in the container.
    pub interface: Ifname,
    /// The veth's other end, on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_end: Option<Ifname>,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its addresses, with their networks' prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// What the network's other containers call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The container's /etc/hosts on the host, which is kept current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<PathBuf>,
    /// The host's ports that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Publish>,
    /// What may come in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Filter>,
    /// What may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Filter>,
    /// The other end of a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// What a link leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// The key of the other end's attachment.
    pub key: String,
    /// How far it has come.
    pub progress: Progress,
}

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// The container is being created.
    Asked,
    /// Its end is there, and the other waits on the host for the other container.
    Waiting,
    /// Both ends are where they belong.
    Connected,
}

impl Attachment {
    /// The name of its file, and of its place in the packet filter: `CONTAINER:INTERFACE`, which no other has.
    pub fn key(&self) -> String {
        format!("{}:{}", self.container, self.interface)
    }

    /// Its first address of a family.
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        self.addresses.iter().map(IpNet::addr).find(|address| address.is_ipv4() == ipv4)
    }
}

/// The directory of the attachments in that of a network.
const ATTACHED: &str = "attached";

impl Attachment {
    /// Whose its leases are.
    pub fn owner(&self) -> Owner {
        Owner { container: self.container.clone(), root: self.root.clone(), interface: self.interface.clone() }
    }
}

impl Locked {
    /// Writes an attachment down. The one of its name that was there, if any: of an earlier container of the same id, or of
    /// one in another state root.
    ///
    /// # Errors
    /// When a container of that id in another state root has that interface on this network.
    pub fn attach(&self, attachment: &Attachment) -> Result<Option<Attachment>> {
        let key = attachment.key();
        self.stage(&serde_json::to_vec(attachment)?)?;
        if self.place(ATTACHED, &key, false)? {
            return Ok(None);
        }
        let old = self.attachment(&key)?;
        if let Some(other) = old.as_ref().filter(|other| other.root != attachment.root)
            && !super::sweep::is_gone(&other.root, &other.container)
        {
            self.unstage();
            let (id, interface, root) = (&other.container, &other.interface, other.root.display());
            let message = format!("network {}: {interface} of a container {id} in {root} is on it", self.name);
            return Err(crate::Error::new(format!("{message}; give this one another id")));
        }
        self.place(ATTACHED, &key, true)?;
        Ok(old)
    }

    /// The attachment of a key, if there is one.
    pub fn attachment(&self, key: &str) -> Result<Option<Attachment>> {
        read(&self.path.join(ATTACHED).join(key))
    }

    /// Removes the attachment of a key; one that is not there is as it should be.
    pub fn detach(&self, key: &str) -> Result<()> {
        self.unlink(&format!("{ATTACHED}/{key}"))
    }

    /// Every attachment, in the order of their keys.
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        read_all(&self.path, |_| true)
    }

    /// Whether anything is attached.
    pub fn is_used(&self) -> Result<bool> {
        Ok(!keys(&self.path)?.is_empty())
    }
}

/// Every attachment of a network, as it is without the lock: what comes and goes meanwhile may be missing.
pub fn list(dirs: &Dirs, network: &NetworkName) -> Result<Vec<Attachment>> {
    read_all(&dirs.of_network(network), |_| true)
}

/// The networks that anything is attached to, or was.
pub fn networks(dirs: &Dirs) -> Result<Vec<NetworkName>> {
    let entries = match std::fs::read_dir(&dirs.run) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| format!("open {}", dirs.run.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.context(|| format!("read {}", dirs.run.display()))?.file_name();
        names.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    names.sort();
    Ok(names)
}

/// Every attachment of a container, of all networks, in the order of its interfaces' names.
pub fn of_container(dirs: &Dirs, root: &Path, container: &str) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for network in networks(dirs)? {
        let own = |key: &str| key.split_once(':').is_some_and(|(id, _)| id == container);
        found.extend(read_all(&dirs.of_network(&network), own)?);
    }
    found.retain(|attachment| attachment.root == root);
    found.sort_by(|one, other| one.interface.cmp(&other.interface));
    Ok(found)
}

/// The names of the files below a network's directory.
fn keys(network: &Path) -> Result<Vec<String>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let path = network.join(ATTACHED);
    let entries = match std::fs::read_dir(&path) {
        Err(error) if [NotFound, NotADirectory].contains(&error.kind()) => return Ok(Vec::new()),
        other => other.context(|| format!("open {}", path.display()))?,
    };
    let mut keys = Vec::new();
    for entry in entries {
        keys.push(entry.context(|| format!("read {}", path.display()))?.file_name().to_string_lossy().into_owned());
    }
    keys.sort();
    Ok(keys)
}

fn read_all(network: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for key in keys(network)?.iter().filter(|key| wanted(key)) {
        found.extend(read(&network.join(ATTACHED).join(key))?);
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Option<Attachment>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| format!("read {}", path.display()))?,
    };
    serde_json::from_slice(&text).context(|| format!("read {}", path.display())).map(Some)
}
