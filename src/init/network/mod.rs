//! The container's side of its network: see step.rs for the steps, run.rs for what init does. What is sent is made in
//! `network`, which knows the kernel's messages; init only sends it from where it is, the container's network namespace.

pub mod step;
