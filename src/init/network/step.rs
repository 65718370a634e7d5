//! Steps that set up interfaces from inside of the container's network namespace: rtnetlink(7), ethtool(8).

use crate::init::wire::{Bytes, Text, wire};

wire! {
    /// The container's network.
    pub enum Step<'a> {
        /// Send a request to rtnetlink and wait for its acknowledgement; `words` say what it is about.
        Send { request: Bytes<'a>, words: Text<'a> } = 0,
        /// Switch an offload: SIOCETHTOOL with a struct ethtool_value.
        Offload { name: Text<'a>, command: u32, on: bool, words: Text<'a> } = 1,
    }
}
