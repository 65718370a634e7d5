//! The program of a container's start: what init does, a folder a family. `step.rs` is the data and `plan.rs` what nfrun
//! makes of the spec and says of a step; `run.rs` is compiled into the init program alone (main.rs, Cargo.toml), which
//! build.rs builds and this module embeds. Data comes from `bundle` as a Spec and goes into a [`program::Program`].

pub mod attributes;
pub mod capabilities;
pub mod cgroups;
pub mod control;
pub mod devices;
pub mod exec;
pub mod failure;
pub mod guard;
pub mod hooks;
pub mod lsm;
pub mod mounts;
pub mod namespaces;
pub mod network;
pub mod paths;
pub mod program;
pub mod rootfs;
pub mod seccomp;
pub mod step;
pub mod sysctls;
pub mod terminal;
pub mod user;
pub mod wire;
mod words;

/// The init program: a static ELF file.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nfrun-init"));
