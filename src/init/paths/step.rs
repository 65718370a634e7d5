//! Steps that hide paths or make them read-only.

use crate::init::wire::{Text, wire};

wire! {
    /// Masked and read-only paths.
    pub enum Step<'a> {
        /// Open the host's /dev/null, and see that it is that, before the host's tree is gone.
        PrepareMasks {} = 0,
        /// Put nothing in the path's place: /dev/null over a file, an empty read-only tmpfs over a directory.
        Mask { path: Text<'a> } = 1,
        /// Make what is at the path read-only.
        ReadOnly { path: Text<'a> } = 2,
    }
}
