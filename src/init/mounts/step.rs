//! Steps that mount beneath the root: mount(2), move_mount(2), mount_setattr(2).

use crate::init::wire::{Slot, Text, wire};

wire! {
    /// Mounts.
    pub enum Step<'a> {
        /// Mount a new filesystem.
        New { kind: Text<'a>, source: Text<'a>, target: Text<'a>, flags: u64, data: Text<'a> } = 0,
        /// Attach a tree that the runtime opened. `set` and `clear` are MOUNT_ATTR_* bits of the mount itself, `deep_set`
        /// and `deep_clear` of all below it too.
        Bind {
            tree: Slot,
            source: Text<'a>,
            target: Text<'a>,
            directory: bool,
            set: u64,
            clear: u64,
            deep_set: u64,
            deep_clear: u64,
        } = 1,
        /// Set a mount's propagation, of all below it too where the flags say so.
        Propagation { target: Text<'a>, flags: u64 } = 2,
        /// Set and clear attributes of a mount and all below it: mount_setattr(2), AT_RECURSIVE.
        SetRecursively { target: Text<'a>, set: u64, clear: u64 } = 4,
        /// Change the flags of a mount that is there: MS_REMOUNT, with or without MS_BIND.
        Remount { target: Text<'a>, flags: u64, data: Text<'a> } = 3,
    }
}
