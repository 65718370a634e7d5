//! Hooks: see step.rs for the steps, plan.rs for how the spec becomes them, run.rs for what init does.

pub mod plan;
pub mod step;
