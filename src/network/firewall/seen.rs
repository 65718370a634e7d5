//! What the last transaction of ours left: remembered by whoever calls, in a small file, so that the next one needs no
//! look at the kernel's tables. The kernel itself tells whether it still holds: each transaction, anybody's, has a number.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::contents::targets;
use super::wire::Family;
use super::{Endpoint, Wanted};
use crate::network::request::Publish;
use crate::{Context, Error, Result};

/// What the tables are after a transaction of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The inode of the network namespace.
    pub(super) netns: u64,
    /// The number of the transaction.
    pub(super) generation: u32,
    /// The zones that are in the table.
    pub(super) zones: Vec<String>,
    /// The published ports that are in it.
    pub(super) taken: Vec<Claim>,
    /// Whether filters of others were opened for our zones.
    pub(super) guarded: bool,
    /// Whether there is a table for what is bridged.
    pub(super) bridge_table: bool,
}

/// A published port or range, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The endpoint's key.
    pub(super) key: String,
    /// What it has.
    pub(super) publish: Publish,
    /// Of which families: IPv4, IPv6.
    pub(super) families: (bool, bool),
}

impl Claim {
    fn overlaps(&self, other: &Self) -> bool {
        let same_family = self.families.0 && other.families.0 || self.families.1 && other.families.1;
        same_family && self.publish.overlaps(&other.publish)
    }
}

/// What an endpoint claims of the host's ports.
///
/// # Errors
/// When a port is published twice, or the endpoint has no address that it could lead to.
pub fn claims(endpoint: &Endpoint) -> Result<Vec<Claim>> {
    let mut claims: Vec<Claim> = Vec::new();
    for publish in &endpoint.publish {
        let found = targets(publish, &endpoint.addresses)?;
        let has = |family| found.iter().any(|target| target.family == family);
        let families = (has(Family::V4), has(Family::V6));
        let claim = Claim { key: endpoint.key.clone(), publish: publish.clone(), families };
        if let Some(other) = claims.iter().find(|other| other.overlaps(&claim)) {
            let other = &other.publish;
            return Err(Error::invalid(format!("publish {publish}: {other} has the same port of the host already")));
        }
        claims.push(claim);
    }
    Ok(claims)
}

/// The claims of all endpoints. Of two that overlap, which no attach would have let be, the first stands.
pub fn all_claims(wanted: &Wanted) -> Vec<Claim> {
    let mut all: Vec<Claim> = Vec::new();
    for endpoint in &wanted.endpoints {
        match claims(endpoint) {
            Ok(claims) => all.extend(claims),
            Err(error) => log::warn!("packet filter: {}: {error}; left out", endpoint.key),
        }
    }
    all
}

/// The first of some claims that another endpoint has already, in words.
pub fn conflict(claims: &[Claim], taken: &[Claim]) -> Option<Error> {
    let pairs = claims.iter().flat_map(|claim| taken.iter().map(move |other| (claim, other)));
    let (claim, other) = pairs.into_iter().find(|(claim, other)| claim.key != other.key && claim.overlaps(other))?;
    let port = claim.publish.host.max(other.publish.host);
    let (container, interface) = other.key.rsplit_once(':').unwrap_or((&other.key, "?"));
    Some(Error::invalid(format!(
        "publish {}: port {port}/{} of the host leads to container {container} ({interface}) already, which publishes {}; \
         choose another port, or delete that container",
        claim.publish,
        claim.publish.protocol.word(),
        other.publish
    )))
}

/// The small file, locked: whoever changes the packet filter holds it from before the attachments are read until they are
/// written, so that no two changes meet.
#[derive(Debug)]
pub struct Memory {
    file: Flock<File>,
    path: PathBuf,
}

impl Memory {
    /// Opens the file, which is made where it is missing, and waits for the lock: flock(2).
    pub fn open(path: &Path) -> Result<Self> {
        let said = || format!("open {}", path.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = file.context(said)?;
        let file = loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(locked) => break locked,
                Err((back, nix::errno::Errno::EINTR)) => file = back,
                Err((_, errno)) => return Err(errno).context(|| format!("lock {}", path.display())),
            }
        };
        Ok(Self { file, path: path.to_owned() })
    }

    /// What it says. None where it says nothing, or was not written whole: then it is looked at the kernel.
    pub fn read(&mut self) -> Result<Option<Seen>> {
        let mut text = String::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_string(&mut text));
        match read {
            Ok(_) => Ok(serde_json::from_str(&text).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error).context(|| format!("read {}", self.path.display())),
        }
    }

    /// Writes it. A write that does not end leaves what is not JSON, which says nothing.
    pub fn write(&mut self, seen: Option<&Seen>) -> Result<()> {
        let text = seen.map(serde_json::to_string).transpose()?.unwrap_or_default();
        let written =
            self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| self.file.write_all(text.as_bytes()));
        written.context(|| format!("write {}", self.path.display()))
    }
}
