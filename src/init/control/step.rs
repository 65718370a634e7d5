//! Steps that keep init and the runtime in order.

use crate::init::wire::{Slot, wire};

wire! {
    /// Waiting for others.
    pub enum Step {
        /// Tell the runtime that all before is done, then wait for its word; end when it has died.
        AwaitRuntime {} = 0,
        /// Close every descriptor but the inherited ones, the socket to the runtime and the listening one.
        CloseDescriptors { listener: Option<Slot> } = 1,
        /// Wait until `start` connects to the socket and gives the word.
        AwaitStart {} = 2,
    }
}
