//! Mounts: see step.rs for the steps, plan.rs for how the spec becomes them, run.rs for what init does.

mod bind;
mod cgroups;
pub mod options;
pub mod plan;
pub mod step;
