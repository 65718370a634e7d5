//! Control groups: where a container's processes are counted, limited, frozen and killed. cgroup v1, v1 beside an empty
//! cgroup2 ("hybrid") and v2 alone are here, by their files or with systemd as their manager. Nothing here knows of
//! containers, bundles or state files: a `LinuxResources`, a path and a fallback name come in from `bundle` and
//! `container`, steps go to the kernel's files below /sys/fs/cgroup, and a [`Place`] goes into the container's state.
//!
//! `hierarchy` finds what the host has, `delegation` what of it a user other than root may use, `plan` (with `limits` and `devices`) turns the spec into steps, `run` executes
//! one, and `place` is what later commands hold: `freezer`, `kill` and `remove` act on it, `stuck` says why they cannot.

mod controllers;
mod delegation;
mod device_program;
pub mod devices;
mod events;
mod file;
mod freezer;
mod hierarchy;
mod kill;
mod limits;
mod oom;
mod place;
mod plan;
mod remove;
mod run;
mod stats;
mod step;
mod stuck;
pub mod systemd;
mod unified;
mod update;
mod v2;

pub use delegation::Delegated;
pub use freezer::Freezer;
pub use hierarchy::{Hierarchy, Layout, Mode};
pub use limits::limits;
pub use oom::OomNotice;
pub use place::{Place, open_procs, place};
pub use plan::plan;
pub use remove::{remove_leaf, remove_unused};
pub use run::{Identity, Made};
pub use stats::{BlockEntry, Limit, MemoryCounter, Stats, Usage};
pub use step::{Cgroup, IfAbsent, Step, Value, Version};
pub use stuck::describe_stuck;
pub use update::{Old, Update, plan_update, put_back};
