//! Attributes of the process.

use linux_raw_sys::errno::{ENOSYS, EPERM};

use super::step::Step;
use crate::failure::Failure;
use crate::sys;

pub fn run(step: Step<'static>) -> Result<(), Failure> {
    let outcome = match step {
        Step::Affinity { cpus, .. } => sys::set_affinity(cpus.0),
        Step::ResetAffinity {} => reset_affinity(),
        Step::MemoryPolicy { mode, nodes } => sys::set_memory_policy(mode, nodes.0),
        Step::Personality { persona } => sys::personality(persona),
        Step::Scheduling { attributes, .. } => sys::set_scheduling(attributes.0),
        Step::IoPriority { value } => sys::set_io_priority(value),
    };
    Ok(outcome?)
}

/// The caller's own choice of CPUs, which a change of cpuset keeps since Linux 6.2, is not the container's.
fn reset_affinity() -> sys::Outcome {
    // One bit for each CPU that Linux can have (NR_CPUS).
    let every = [0xffu8; 1024];
    match sys::set_affinity(&every) {
        // A sandbox around the runtime may forbid the call. Nothing was asked for, so the CPUs stay as they are.
        Err(errno) if [EPERM as i32, ENOSYS as i32].contains(&errno) => Ok(()),
        other => other,
    }
}
