//! Steps that fill /dev.

use crate::init::wire::{Slot, Text, wire};

wire! {
    /// Devices.
    pub enum Step<'a> {
        /// mknod(2); a node that is there already must be the same one.
        Node { path: Text<'a>, mode: u32, major: u32, minor: u32, uid: u32, gid: u32 } = 0,
        /// Bind a device, since no node can be made in a user namespace: the host's at the same path, or one that the
        /// runtime made on a filesystem of its own. `kind` is its S_IFMT.
        Bind { made: Option<Slot>, path: Text<'a>, kind: u32, major: u32, minor: u32 } = 2,
        /// A symbolic link, where nothing is in its place.
        Link { path: Text<'a>, target: Text<'a> } = 1,
    }
}
