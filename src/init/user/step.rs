//! Steps that set ids, limits and other attributes of the process.

use crate::init::wire::{List, Text, wire};

wire! {
    /// The process's attributes.
    pub enum Step<'a> {
        /// /proc/self/oom_score_adj: proc(5).
        OomScoreAdj { value: Text<'a> } = 0,
        /// setrlimit(2).
        Limit { resource: u32, soft: u64, hard: u64 } = 1,
        /// umask(2).
        Umask { mask: u32 } = 2,
        /// Give stdio to the user, except what is not the container's own: fchown(2).
        OwnStdio { uid: u32 } = 3,
        /// setgroups(2), setresgid(2), setresuid(2), keeping permitted capabilities; `groups` None leaves them.
        Become { uid: u32, gid: u32, groups: Option<List<'a, u32>> } = 4,
    }
}
