//! Steps that put init into its cgroups.

use crate::init::wire::{Slot, Text, wire};

wire! {
    /// Entering cgroups.
    pub enum Step<'a> {
        /// Write 0 to a `tasks` file that the runtime opened: cgroups(7). By init itself, since writing another's pid to
        /// cgroup.procs waits for a grace period on an idle machine. It is cgroup2's cgroup.procs for an exec that has
        /// something to do before.
        Enter { tasks: Slot, path: Text<'a> } = 0,
    }
}
