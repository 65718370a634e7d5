//! Steps that fill /dev.

use crate::init::wire::{Text, wire};

wire! {
    /// Devices.
    pub enum Step<'a> {
        /// mknod(2); a node that is there already must be the same one.
        Node { path: Text<'a>, mode: u32, major: u32, minor: u32, uid: u32, gid: u32 } = 0,
        /// A symbolic link, where nothing is in its place.
        Link { path: Text<'a>, target: Text<'a> } = 1,
    }
}
