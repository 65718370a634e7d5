//! The step that loads a filter: seccomp(2).

use crate::init::wire::{Bytes, wire};

wire! {
    /// The filter.
    pub enum Step<'a> {
        /// SECCOMP_SET_MODE_FILTER.
        Load { flags: u32, program: Bytes<'a> } = 0,
    }
}
