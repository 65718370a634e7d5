//! Network interfaces over netlink. Nothing here knows a container, a bundle or a state directory: what comes in are
//! names, descriptors of network namespaces and typed values, from `bundle` (which looks at the host's interfaces) and
//! `container` (which moves them); what goes out are requests to the kernel, each with its acknowledgement checked.
//!
//! `netlink` speaks the protocol, `link` and `address` are interfaces and their addresses, `transfer` moves an interface
//! into another namespace with its addresses, and back. `definition` are named networks; `lock`, `lease`, `attachment` and
//! `sweep` are what runs on them, on disk.

pub mod address;
pub mod attachment;
pub mod capture;
pub mod conntrack;
pub mod definition;
pub mod device;
pub mod dirs;
pub mod filter;
pub mod firewall;
pub mod forwarding;
pub mod inside;
pub mod lease;
pub mod link;
pub mod lock;
pub mod names;
pub mod netlink;
pub mod offload;
pub mod plan;
pub mod ports;
pub mod qdisc;
pub mod request;
pub mod route;
pub mod run;
pub mod step;
pub mod subnets;
pub mod sweep;
pub mod transfer;
pub mod tun;

pub use address::Address;
pub use definition::{Network, NetworkName};
pub use dirs::Dirs;
pub use link::{Ifname, Link, Pattern};
pub use netlink::Socket;
pub use transfer::Origin;
