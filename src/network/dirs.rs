//! Where named networks are on disk: their definitions, which outlive a boot, and what is attached to them, which does not.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::attachment::RUN;
use super::definition::{DIRECTORY, Definition, NetworkName};

/// The two directories of named networks. Whoever calls the library says which; tests have their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirs {
    /// Of the definitions, a file a network.
    pub config: PathBuf,
    /// Of leases and attachments, a directory a network: on a tmpfs.
    pub run: PathBuf,
}

impl Dirs {
    /// Root's: /etc/nfrun/networks and /run/nfrun-networks.
    pub fn of_root() -> Self {
        Self { config: DIRECTORY.into(), run: RUN.into() }
    }

    /// Those of a user with these directories for configuration (`~/.config`) and for what runs (`/run/user/UID`).
    pub fn of_user(config_home: &Path, runtime: &Path) -> Self {
        Self { config: config_home.join("nfrun/networks"), run: runtime.join("nfrun-networks") }
    }

    /// The file of a network's definition.
    pub fn definition(&self, name: &NetworkName) -> PathBuf {
        Definition::path(&self.config, name)
    }

    /// The directory of what runs on a network, which is its lock as well.
    pub fn of_network(&self, name: &NetworkName) -> PathBuf {
        self.run.join(name.as_ref())
    }
}
