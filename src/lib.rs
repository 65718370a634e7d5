//! nfrun, an OCI container runtime for network functions, as a library.
//!
//! A bundle goes in; an isolated, limited process comes out; nothing else stays on the machine but one small state
//! directory per container. `docs/architecture.md` draws the data flow; the modules below are its rooms, and calls
//! point downward only: `cli`, `shim` → `container` → `bundle` → the plan halves of `init`, `cgroup`, `network` → `undo`, `sys`.

pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod container;
pub mod dbus;
mod error;
pub mod init;
mod logger;
pub mod network;
pub mod resctrl;
pub mod seccomp;
pub mod shim;
pub mod sys;
pub mod timestamp;
pub mod undo;

pub use error::{Context, Error, Kind, Result};
