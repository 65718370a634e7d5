//! Offloads that an interface may have, by ethtool(8)'s names, with the commands of its first interface, which every kernel
//! has: ETHTOOL_S*, linux/ethtool.h.

use crate::{Error, Result};

/// Name and command.
const COMMANDS: [(&str, u32); 6] =
    [("rx-checksum", 0x15), ("tx-checksum", 0x17), ("sg", 0x19), ("tso", 0x1f), ("gso", 0x24), ("gro", 0x2c)];

/// Those that there are.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _)| *name)
}

/// The command that switches it.
///
/// # Errors
/// Names those that there are.
pub fn command(name: &str) -> Result<u32> {
    let found = COMMANDS.iter().find(|(known, _)| *known == name);
    found.map(|(_, command)| *command).ok_or_else(|| {
        let names = names().collect::<Vec<_>>().join(", ");
        Error::invalid(format!("offload {name:?}: expected one of {names}"))
    })
}
