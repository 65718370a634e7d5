//! A client of D-Bus (the D-Bus specification, 0.43): calls, their answers, and signals, over one unix socket and within
//! one deadline. Nothing here knows systemd or a cgroup. Addresses, calls and a time limit come in; every wait is a
//! poll(2) until that limit, in the calling thread. Why it is ours: docs/decisions/systemd.md.

mod address;
mod connection;
mod message;
mod value;

pub use address::Address;
pub use connection::{Bus, Refusal};
pub use message::{Body, Call, Message};
pub use value::Value;
