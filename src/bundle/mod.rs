//! A bundle's config.json into a Spec, and a Spec into a Plan by asking each family of steps for its own; for create and
//! for exec. Nothing here changes the machine: what can be refused is refused here. Data comes from the bundle's
//! directory, and with care from the host (account files, mount table); it goes to `container`, which carries it out.

pub mod accounts;
pub mod config;
pub mod create;
pub mod exec;
pub mod features;
mod json_path;
pub mod net_devices;
pub mod network;
pub mod notify;
pub mod plan;
mod process;
pub mod template;

pub use config::Config;
pub use plan::{Plan, RuntimeStep};
