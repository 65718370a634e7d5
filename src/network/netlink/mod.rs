//! The netlink protocol: netlink(7), rtnetlink(7). Requests are built and answers taken apart here, and nowhere else is a
//! length computed.

pub mod attribute;
pub mod message;
pub mod socket;

pub use message::{Message, Request};
pub use socket::{Socket, within};
