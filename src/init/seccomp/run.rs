//! Loading the filter.

use super::step::Step;
use crate::failure::Failure;
use crate::sys;

pub fn run(step: Step<'static>) -> Result<(), Failure> {
    match step {
        Step::Load { flags, program } => Ok(sys::seccomp(flags, program.0)?),
    }
}
