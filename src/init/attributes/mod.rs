//! Attributes: see step.rs for the steps, plan.rs for how the spec becomes them, run.rs for what init does. What the
//! kernel takes for another process by its pid, the scheduler and the I/O priority, is planned here and set by the runtime.

pub mod list;
pub mod plan;
pub mod step;
