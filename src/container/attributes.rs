//! What the runtime sets of an init that waits for it, by its pid: what the kernel refuses to a process without
//! capabilities in the host's user namespace.

use nix::errno::Errno;

use crate::bundle::plan::RuntimeStep;
use crate::init::user::plan::limit_name;
use crate::sys::sched::{Policy, Scheduling, set_io_priority, set_scheduling};
use crate::{Context, Error, Result, cgroup};

/// Carries out a step that sets an attribute of a process; false for any other step.
///
/// # Errors
/// Names the field, the value and the way out.
pub fn set(step: &RuntimeStep, pid: i32, place: Option<&cgroup::Place>) -> Result<bool> {
    match step {
        RuntimeStep::Limits(limits) => limits.iter().try_for_each(|&(resource, soft, hard)| {
            crate::sys::set_limit(pid, resource, soft, hard).context(|| {
                let name = limit_name(resource);
                format!("process.rlimits: set {name} soft {soft} hard {hard} (a hard limit is raised only with CAP_SYS_RESOURCE)")
            })
        })?,
        RuntimeStep::OomScoreAdj(score) => {
            let path = format!("/proc/{pid}/oom_score_adj");
            std::fs::write(&path, score.to_string())
                .context(|| format!("process.oomScoreAdj: write {score} to {path}"))?;
        }
        RuntimeStep::Scheduling(scheduling) => {
            set_scheduling(pid, scheduling).map_err(|errno| refused(scheduling, errno, place))?;
        }
        RuntimeStep::IoPriority(priority) => {
            set_io_priority(pid, *priority).context(|| {
                format!("process.ioPriority: set {priority}{}", if priority.class == 1 { NEEDS_NICE } else { "" })
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

const NEEDS_NICE: &str = " (it takes CAP_SYS_NICE)";

/// Why the kernel does not schedule a process so: sched_setattr(2).
fn refused(scheduling: &Scheduling, errno: Errno, place: Option<&cgroup::Place>) -> Error {
    let way_out = match (scheduling.policy, errno) {
        (Policy::FIFO | Policy::RR, Errno::EPERM) => match without_real_time(place) {
            Some(file) => format!(
                " ({file} is 0, so nothing in this cgroup may run in real time: set linux.resources.cpu.realtimeRuntime, for which the parent's file must hold as much)"
            ),
            None => NEEDS_NICE.into(),
        },
        (Policy::DEADLINE, Errno::EPERM) => {
            " (it takes CAP_SYS_NICE, and a cpuset with all CPUs: process.scheduler with SCHED_DEADLINE can't be used together with linux.resources.cpu.cpus)".into()
        }
        (Policy::DEADLINE, Errno::EBUSY) => {
            " (the CPUs have not so much time left: the sum of runtime/period of all such processes is bounded)".into()
        }
        (_, Errno::EPERM | Errno::EACCES) => NEEDS_NICE.into(),
        (_, Errno::EOPNOTSUPP) => " (this kernel is built without utilization clamping)".into(),
        _ => String::new(),
    };
    let error = Error::from(errno).context(format!("process.scheduler: set {scheduling}"));
    let message = format!("{error}{way_out}");
    error.reworded(message)
}

/// The file of a v1 cgroup that gives its processes no real time: sched(7), Documentation/scheduler/sched-rt-group.rst.
fn without_real_time(place: Option<&cgroup::Place>) -> Option<String> {
    let cgroup = place?.cgroups.iter().find(|cgroup| cgroup.has("cpu"))?;
    let file = format!("{}/cpu.rt_runtime_us", cgroup.dir());
    let text = std::fs::read_to_string(&file).ok()?;
    (text.trim() == "0").then_some(file)
}
