//! Steps that make a directory the root: pivot_root(2).

use crate::init::wire::{Text, wire};

wire! {
    /// The root filesystem.
    pub enum Step<'a> {
        /// Set the propagation of every mount, so that nothing done here reaches the host: mount_namespaces(7).
        Propagation { flags: u64 } = 0,
        /// Make the mount that holds the rootfs private, as pivot_root wants.
        PrivateParent { path: Text<'a> } = 1,
        /// Bind the rootfs on its own path and keep it open. From this mount namespace, whose mounts no longer are peers
        /// of the host's.
        Attach { path: Text<'a> } = 2,
        /// Make the working directory where it is missing.
        MakeDirectory { path: Text<'a> } = 3,
        /// pivot_root and let go of the old root.
        Pivot {} = 4,
        /// Move the rootfs over / and chroot, for a host whose root cannot be pivoted.
        MoveRoot {} = 5,
        /// chroot(2), without a mount namespace.
        Chroot { path: Text<'a> } = 6,
        /// The root mount's own propagation, at the end.
        RootPropagation { flags: u64 } = 7,
        /// Make the root mount read-only.
        ReadOnly {} = 8,
    }
}
