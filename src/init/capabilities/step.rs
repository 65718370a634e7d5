//! Steps that set capabilities: capabilities(7).

use crate::init::wire::wire;

wire! {
    /// Capabilities; masks have bit N for capability N.
    pub enum Step {
        /// Drop from the bounding set what is not in the mask.
        Bound { keep: u64 } = 0,
        /// capset(2).
        Set { effective: u64, permitted: u64, inheritable: u64 } = 1,
        /// Raise ambient capabilities.
        Ambient { raise: u64 } = 2,
        /// PR_SET_NO_NEW_PRIVS.
        NoNewPrivileges {} = 3,
        /// Lower the effective set only, so that what follows is judged as the process will be.
        Narrow { effective: u64 } = 4,
        /// Raise the effective set to all that is permitted.
        Widen {} = 5,
    }
}
