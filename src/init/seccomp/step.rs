//! The step that loads a filter: seccomp(2).

use crate::init::wire::{Bytes, wire};

wire! {
    /// The filter.
    pub enum Step<'a> {
        /// SECCOMP_SET_MODE_FILTER. A listener goes to the agent; init's own descriptor of it, by which the agent's calls
        /// would wait for ever once the agent is gone, is closed where the filter lets that pass.
        Load { flags: u32, program: Bytes<'a>, close: bool } = 0,
    }
}
