//! Steps that set kernel parameters: proc_sys(5).

use crate::init::wire::{Text, wire};

wire! {
    /// Kernel parameters.
    pub enum Step<'a> {
        /// Write a value below the host's /proc/sys, which shows the writer's own namespaces.
        Write { path: Text<'a>, value: Text<'a> } = 0,
    }
}
