//! Steps that run hooks: runtime.md, "Lifecycle"; config.md, "POSIX-platform Hooks".

use crate::init::wire::{List, Text, wire};

wire! {
    /// Hooks.
    pub enum Step<'a> {
        /// What every hook of this program is told on stdin, but for its status and pid: the state document up to the
        /// status's value, and what follows the pid. `pid` is the container's as its hooks are told; 0 is that of the
        /// process that runs this, a negative one is left out. `env` is the environment of hooks that give none.
        Describe { before: Text<'a>, after: Text<'a>, pid: i32, env: List<'a, Text<'a>> } = 0,
        /// Run a hook and wait for its end, at most `timeout` seconds (0: for ever). It runs in `cwd`; without one where
        /// the container's root is attached. A `confined` one goes through the steps behind this one as the command
        /// will, and so runs with its filter and capabilities.
        Run {
            list: Text<'a>,
            number: u32,
            status: Text<'a>,
            path: Text<'a>,
            args: List<'a, Text<'a>>,
            env: Option<List<'a, Text<'a>>>,
            timeout: u32,
            cwd: Option<Text<'a>>,
            confined: bool,
        } = 1,
        /// Tell `start` that all hooks before the command have ended well: an init that dies before this has not run it.
        Done {} = 2,
    }
}
