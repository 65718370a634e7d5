//! Steps that give the process a terminal: pty(7).

use crate::init::wire::{Slot, wire};

wire! {
    /// The terminal.
    pub enum Step {
        /// Open a pair in the container's devpts, send the master, and keep the other end for stdio.
        Open { receiver: Slot, rows: u32, columns: u32, uid: u32 } = 0,
        /// Put the terminal at /dev/console.
        MountConsole {} = 1,
        /// Make the terminal stdin, stdout, stderr and the controlling terminal.
        Attach {} = 2,
        /// Make stdin the controlling terminal of a session that was begun after that.
        Control {} = 3,
    }
}
