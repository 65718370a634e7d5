//! Cgroups: see step.rs for the steps and run.rs for what init does.

pub mod step;
