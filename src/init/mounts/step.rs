//! Steps that mount beneath the root: mount(2), move_mount(2), mount_setattr(2).

use crate::init::wire::{Slot, Text, wire};

wire! {
    /// Mounts.
    pub enum Step<'a> {
        /// Mount a new filesystem.
        New { kind: Text<'a>, source: Text<'a>, target: Text<'a>, flags: u64, data: Text<'a> } = 0,
        /// Bind a path of the host, as this mount namespace has it: its copies of the host's mounts are no peers of
        /// those, and in a user namespace their flags are locked. `tree` is the same opened by the runtime, for a source
        /// that the user namespace's root cannot reach. `shown` binds what the step before has shown. `set` and `clear` are MOUNT_ATTR_* bits of the mount itself,
        /// `deep_set` and `deep_clear` of all below it too.
        Bind {
            tree: Option<Slot>,
            source: Text<'a>,
            recursive: bool,
            shown: bool,
            target: Text<'a>,
            set: u64,
            clear: u64,
            deep_set: u64,
            deep_clear: u64,
        } = 1,
        /// Open what the next step binds, and show it to the runtime, which maps its ids: in a user namespace this process
        /// could not. mount_setattr(2), MOUNT_ATTR_IDMAP.
        Show { tree: Option<Slot>, source: Text<'a>, recursive: bool } = 6,
        /// Attach a fresh filesystem that the runtime made.
        Attach { tree: Slot, target: Text<'a>, set: u64, clear: u64 } = 5,
        /// Set a mount's propagation, of all below it too where the flags say so.
        Propagation { target: Text<'a>, flags: u64 } = 2,
        /// Set and clear attributes of a mount and all below it: mount_setattr(2), AT_RECURSIVE.
        SetRecursively { target: Text<'a>, set: u64, clear: u64 } = 4,
        /// Change the flags of a mount that is there: MS_REMOUNT, with or without MS_BIND.
        Remount { target: Text<'a>, flags: u64, data: Text<'a> } = 3,
    }
}
