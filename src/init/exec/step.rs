//! Steps that find and run the command: execve(2).

use crate::init::wire::{List, Text, wire};

wire! {
    /// The command.
    pub enum Step<'a> {
        /// chdir(2). The first try, before the change of user, may be refused; the second may not.
        ChangeDirectory { path: Text<'a>, last: bool } = 0,
        /// Find the command in the directories of PATH, as the user.
        Find { command: Text<'a>, path: Text<'a> } = 1,
        /// Lay out arguments and environment as execve wants them, and give signals back their meaning. Done before a
        /// filter is loaded, which need allow nothing of init but execve.
        Prepare { args: List<'a, Text<'a>>, env: List<'a, Text<'a>> } = 2,
        /// Become the command.
        Run { name: Text<'a> } = 3,
    }
}
