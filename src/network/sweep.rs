//! Containers that are gone without having been deleted: what they had on a network is free.

use std::net::IpAddr;
use std::path::Path;

use super::attachment::Attachment;
use super::lease::Owner;
use super::lock::Locked;
use crate::Result;

/// What was of containers that are gone.
#[derive(Debug, Default)]
#[must_use]
pub struct Swept {
    /// Their attachments, whose part of the packet filter the caller takes away.
    pub attachments: Vec<Attachment>,
    /// Their leases.
    pub leases: Vec<(IpAddr, Owner)>,
}

impl Swept {
    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.attachments.is_empty() && self.leases.is_empty()
    }
}

/// Whether a container does not exist any more: its directory below the state root is what it is known by. Where that cannot
/// be told, it exists.
pub fn is_gone(root: &Path, container: &str) -> bool {
    root.join(container).symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

impl Locked {
    /// Removes the attachments and leases of containers that are gone, and says which they were.
    pub fn sweep(&self) -> Result<Swept> {
        let mut swept = Swept::default();
        for attachment in self.attachments()? {
            if is_gone(&attachment.root, &attachment.container) {
                self.detach(&attachment.key())?;
                swept.attachments.push(attachment);
            }
        }
        for address in self.addresses()? {
            let Some(owner) = self.owner(address)? else { continue };
            if is_gone(&owner.root, &owner.container) {
                self.unlink(&format!("{}/{address}", super::lease::LEASES))?;
                swept.leases.push((address, owner));
            }
        }
        Ok(swept)
    }
}
