//! Steps that give the process and its mounts the labels of AppArmor and SELinux: proc_pid_attr(5).

use crate::init::wire::{Text, wire};

wire! {
    /// Labels of security modules.
    pub enum Step<'a> {
        /// Keep the host's /proc open, and see that it is that: labels are written there, wherever the process is by then
        /// (CVE-2019-16884).
        OpenProc {} = 0,
        /// The AppArmor profile that the next execve changes to.
        Profile { name: Text<'a> } = 1,
        /// The SELinux label that the next execve gives.
        Label { label: Text<'a> } = 2,
        /// The SELinux label of keyrings that are made from here on.
        KeyLabel { label: Text<'a> } = 3,
        /// The SELinux label of a mounted file system that takes none as an option: setxattr(2).
        MountLabel { target: Text<'a>, label: Text<'a> } = 4,
    }
}
