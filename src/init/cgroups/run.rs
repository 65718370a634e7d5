//! Entering cgroups.

use super::step::Step;
use crate::context::Context;
use crate::failure::{Act, During, Failure};
use crate::sys;

pub fn run(step: Step, context: &mut Context) -> Result<(), Failure> {
    match step {
        // 0 names the writer: cgroups(7).
        Step::Enter { tasks, .. } => sys::write(context.fd(tasks), b"0").map(drop).during(Act::Write),
    }
}
