//! process.scheduler, ioPriority and execCPUAffinity, linux.memoryPolicy and personality: config.md, "Linux Process";
//! config-linux.md, "Memory Policy" and "Personality".

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;

use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};

use super::list;
use super::step::Step;
use crate::init::program::{Draft, text};
use crate::init::wire::{Bytes, Text};
use crate::sys::sched::{IoPriority, Policy, Scheduling};
use crate::{Error, Result};

/// The annotation that says on which CPUs every `exec` runs that does not say it itself.
pub const EXEC_CPUS: &str = "io.nfrun.exec-cpus";
/// NR_CPUS is at most 8192.
const HIGHEST_CPU: usize = 8191;
/// MAX_NUMNODES is at most 1024.
const HIGHEST_NODE: usize = 1023;

/// process.scheduler and ioPriority, set by init itself.
pub fn set(process: &Process, draft: &mut Draft) -> Result<()> {
    if let Some(scheduling) = scheduling(process)? {
        let words = text("process.scheduler", scheduling.to_string())?;
        draft.step(Step::Scheduling { attributes: Bytes(&scheduling.bytes()), words: Text(&words) });
    }
    if let Some(priority) = io_priority(process)? {
        draft.step(Step::IoPriority { value: priority.value() });
    }
    Ok(())
}

/// process.scheduler, as sched_setattr(2) takes it.
pub fn scheduling(process: &Process) -> Result<Option<Scheduling>> {
    let Some(given) = process.scheduler() else { return Ok(None) };
    let policy = policy(*given.policy())?;
    let nice = given.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid(format!("process.scheduler.nice: {nice} is not between -20 and 19")));
    }
    if nice != 0 && !matches!(policy, Policy::OTHER | Policy::BATCH) {
        log::warn!("process.scheduler.nice: {nice} has no meaning with {policy}, as the kernel takes it");
    }
    let (runtime, deadline, period) = bandwidth(given, policy)?;
    let flags = given.flags().iter().flatten().fold(0, |all, flag| all | flag_bit(*flag));
    Ok(Some(Scheduling { policy, flags, nice, priority: priority(given, policy)?, runtime, deadline, period }))
}

fn policy(policy: LinuxSchedulerPolicy) -> Result<Policy> {
    Ok(match policy {
        LinuxSchedulerPolicy::SchedOther => Policy::OTHER,
        LinuxSchedulerPolicy::SchedFifo => Policy::FIFO,
        LinuxSchedulerPolicy::SchedRr => Policy::RR,
        LinuxSchedulerPolicy::SchedBatch => Policy::BATCH,
        LinuxSchedulerPolicy::SchedIdle => Policy::IDLE,
        LinuxSchedulerPolicy::SchedDeadline => Policy::DEADLINE,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(Error::invalid(
                "process.scheduler.policy: SCHED_ISO is a name that Linux reserves and does not implement; choose another",
            ));
        }
    })
}

/// sched(7): 1 to 99 for the two real-time policies, and 0 for all others.
fn priority(given: &Scheduler, policy: Policy) -> Result<u32> {
    let priority = given.priority().unwrap_or(0);
    let real_time = matches!(policy, Policy::FIFO | Policy::RR);
    let range = if real_time { 1..=99 } else { 0..=0 };
    match u32::try_from(priority) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ if real_time => Err(Error::invalid(format!(
            "process.scheduler.priority: {priority} is not between 1 and 99, as {policy} wants it"
        ))),
        _ => Err(Error::invalid(format!(
            "process.scheduler.priority: {priority} can only be given for SCHED_FIFO or SCHED_RR, not {policy}"
        ))),
    }
}

/// sched(7), "SCHED_DEADLINE": runtime ≤ deadline ≤ period, in nanoseconds; a period of 0 is the deadline.
fn bandwidth(given: &Scheduler, policy: Policy) -> Result<(u64, u64, u64)> {
    let fields = [("runtime", given.runtime()), ("deadline", given.deadline()), ("period", given.period())];
    let [runtime, deadline, period] = fields.map(|(_, value)| value.unwrap_or(0));
    if policy != Policy::DEADLINE {
        return match fields.into_iter().find(|(_, value)| value.is_some_and(|value| value != 0)) {
            Some((field, _)) => Err(Error::invalid(format!(
                "process.scheduler.{field}: can only be given for SCHED_DEADLINE, not {policy}"
            ))),
            None => Ok((0, 0, 0)),
        };
    }
    if fields.iter().any(|(_, value)| value.is_some_and(|value| value >> 63 != 0)) {
        return Err(Error::invalid("process.scheduler: runtime, deadline and period are nanoseconds below 2^63"));
    }
    if runtime < 1024 {
        return Err(Error::invalid(format!(
            "process.scheduler.runtime: {runtime} ns; SCHED_DEADLINE wants 1024 at least"
        )));
    }
    if runtime > deadline || (period != 0 && deadline > period) {
        return Err(Error::invalid(format!(
            "process.scheduler: SCHED_DEADLINE wants runtime <= deadline <= period, and {runtime}, {deadline}, {period} are not"
        )));
    }
    Ok((runtime, deadline, period))
}

/// SCHED_FLAG_*. The clamps have no value in the spec, so theirs is 0, as with runc.
fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// process.ioPriority, as ioprio_set(2) takes it.
pub fn io_priority(process: &Process) -> Result<Option<IoPriority>> {
    let Some(given) = process.io_priority() else { return Ok(None) };
    let class = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u8::try_from(given.priority()) {
        Ok(level) if level <= 7 => Ok(Some(IoPriority { class, level })),
        _ => Err(Error::invalid(format!(
            "process.ioPriority.priority: {} is not between 0, the highest, and 7",
            given.priority()
        ))),
    }
}

/// linux.personality.
pub fn personality(personality: Option<&LinuxPersonality>, draft: &mut Draft) -> Result<()> {
    let Some(given) = personality else { return Ok(()) };
    if let Some(flag) = given.flags().iter().flatten().next() {
        return Err(Error::invalid(format!(
            "linux.personality.flags: {flag:?}: the specification has no flag yet; leave the list empty"
        )));
    }
    let persona = match given.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    };
    draft.step(Step::Personality { persona });
    Ok(())
}

/// linux.memoryPolicy, by the rules of set_mempolicy(2).
pub fn memory_policy(policy: Option<&LinuxMemoryPolicy>, draft: &mut Draft) -> Result<()> {
    use MemoryPolicyModeType as Mode;
    let Some(given) = policy else { return Ok(()) };
    let mode = given.mode();
    let flags = memory_flags(given)?;
    let fixed = flags & (STATIC_NODES | RELATIVE_NODES) != 0;
    let nodes = match given.nodes().as_deref().filter(|list| !list.trim().is_empty()) {
        Some(nodes) => list::mask("linux.memoryPolicy.nodes", nodes, HIGHEST_NODE)?,
        None => Vec::new(),
    };
    let takes_none = matches!(mode, Mode::MpolDefault | Mode::MpolLocal);
    let wants_some = !takes_none && (mode != Mode::MpolPreferred || fixed);
    if takes_none && !nodes.is_empty() {
        return Err(Error::invalid(format!("linux.memoryPolicy.nodes: {mode} takes none")));
    }
    if takes_none && flags != 0 {
        return Err(Error::invalid(format!("linux.memoryPolicy.flags: {mode} takes none")));
    }
    if wants_some && nodes.is_empty() {
        return Err(Error::invalid(format!("linux.memoryPolicy.nodes: {mode} wants one node at least, such as 0-1")));
    }
    if flags & NUMA_BALANCING != 0 && !matches!(mode, Mode::MpolBind | Mode::MpolPreferredMany) {
        return Err(Error::invalid(format!(
            "linux.memoryPolicy.flags: MPOL_F_NUMA_BALANCING goes with MPOL_BIND and MPOL_PREFERRED_MANY, not {mode}"
        )));
    }
    draft.step(Step::MemoryPolicy { mode: mode_number(mode) | flags, nodes: Bytes(&nodes) });
    Ok(())
}

const NUMA_BALANCING: u32 = 1 << 13;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

/// MPOL_F_*, as they stand beside the mode.
fn memory_flags(policy: &LinuxMemoryPolicy) -> Result<u32> {
    let flags = policy.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFNumaBalancing => NUMA_BALANCING,
            MemoryPolicyFlagType::MpolFRelativeNodes => RELATIVE_NODES,
            MemoryPolicyFlagType::MpolFStaticNodes => STATIC_NODES,
        }
    });
    if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
        return Err(Error::invalid(
            "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
        ));
    }
    Ok(flags)
}

/// The kernel's order of the modes: include/uapi/linux/mempolicy.h.
const MODES: [MemoryPolicyModeType; 7] = [
    MemoryPolicyModeType::MpolDefault,
    MemoryPolicyModeType::MpolPreferred,
    MemoryPolicyModeType::MpolBind,
    MemoryPolicyModeType::MpolInterleave,
    MemoryPolicyModeType::MpolLocal,
    MemoryPolicyModeType::MpolPreferredMany,
    MemoryPolicyModeType::MpolWeightedInterleave,
];

fn mode_number(mode: MemoryPolicyModeType) -> u32 {
    MODES.iter().position(|known| *known == mode).map_or(0, |number| number as u32)
}

/// A memory policy in words: its mode, flags and nodes.
pub fn memory_policy_name(mode: u32, nodes: &[u8]) -> String {
    let flags = [(STATIC_NODES, "static"), (RELATIVE_NODES, "relative"), (NUMA_BALANCING, "balancing")];
    let name = MODES.get((mode & 0x1fff) as usize).map_or_else(String::new, ToString::to_string);
    let flags = flags.into_iter().filter(|(bit, _)| mode & bit != 0).map(|(_, word)| format!(" {word}"));
    let nodes = if nodes.is_empty() { String::new() } else { format!(" nodes {}", list::list(nodes)) };
    format!("{name}{}{nodes}", flags.collect::<String>())
}

/// On which CPUs an exec runs: config.md, `execCPUAffinity`.
#[derive(Debug, Default, PartialEq)]
pub struct Affinity {
    initial: Option<Pin>,
    last: Option<Pin>,
}

/// A set of CPUs, and what asked for it.
#[derive(Debug, Clone, PartialEq)]
struct Pin {
    setting: CString,
    mask: Vec<u8>,
}

impl Affinity {
    /// Of an exec, by whoever says it first: `--exec-cpus`, the process's own execCPUAffinity, the container's
    /// annotation. Without any it is the whole cpuset.
    pub fn of_exec(flag: Option<&str>, process: &Process, annotation: Option<&str>) -> Result<Self> {
        let given = |text: Option<&str>| text.is_some_and(|text| !text.trim().is_empty());
        if given(flag) {
            return Self::whole("--exec-cpus", flag);
        }
        match process.exec_cpu_affinity() {
            Some(affinity) => Self::read(affinity),
            None if given(annotation) => Self::whole(&format!("annotations.{EXEC_CPUS}"), annotation),
            None => Ok(Self::default()),
        }
    }

    /// What config.json says for later execs: nothing of it is for the first process, but a list that is none is refused
    /// before the container exists.
    pub fn check(process: &Process, annotations: Option<&HashMap<String, String>>) -> Result<()> {
        let annotation = annotations.and_then(|all| all.get(EXEC_CPUS)).map(String::as_str);
        Self::whole(&format!("annotations.{EXEC_CPUS}"), annotation)?;
        process.exec_cpu_affinity().as_ref().map_or(Ok(()), |affinity| Self::read(affinity).map(drop))
    }

    fn whole(setting: &str, list: Option<&str>) -> Result<Self> {
        let pin = Pin::read(setting, list)?;
        Ok(Self { initial: pin.clone(), last: pin })
    }

    fn read(affinity: &ExecCPUAffinity) -> Result<Self> {
        Ok(Self {
            initial: Pin::read("process.execCPUAffinity.initial", affinity.initial().as_deref())?,
            last: Pin::read("process.execCPUAffinity.final", affinity.cpu_affinity_final().as_deref())?,
        })
    }

    /// Whether there is something to do before.
    pub fn is_set_before(&self) -> bool {
        self.initial.is_some()
    }

    /// Before init enters the cgroups.
    pub fn before_the_join(&self, draft: &mut Draft) {
        if let Some(pin) = &self.initial {
            pin.step(draft);
        }
    }

    /// Once it is in them.
    pub fn after_the_join(&self, draft: &mut Draft) {
        match &self.last {
            Some(pin) => pin.step(draft),
            None => draft.step(Step::ResetAffinity {}),
        }
    }
}

impl Pin {
    /// None for an empty list.
    fn read(setting: &str, list: Option<&str>) -> Result<Option<Self>> {
        let Some(list) = list.filter(|list| !list.trim().is_empty()) else { return Ok(None) };
        Ok(Some(Self { setting: text(setting, setting)?, mask: list::mask(setting, list, HIGHEST_CPU)? }))
    }

    fn step(&self, draft: &mut Draft) {
        draft.step(Step::Affinity { cpus: Bytes(&self.mask), setting: Text(&self.setting) });
    }
}

/// The container's annotation about execs.
pub fn exec_cpus(annotations: &BTreeMap<String, String>) -> Option<&str> {
    annotations.get(EXEC_CPUS).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(fields: &str) -> Process {
        let text = format!(r#"{{"user":{{"uid":0,"gid":0}},"cwd":"/","args":["a"]{fields}}}"#);
        crate::bundle::config::parse_process(&text).unwrap()
    }

    fn scheduler(fields: &str) -> Result<Scheduling> {
        scheduling(&process(&format!(r#","scheduler":{{{fields}}}"#))).map(Option::unwrap)
    }

    #[test]
    fn a_scheduler_is_what_sched_setattr_takes() {
        let batch = scheduler(r#""policy":"SCHED_BATCH","nice":19,"priority":0"#).unwrap();
        assert_eq!((batch.policy, batch.nice, batch.priority), (Policy::BATCH, 19, 0));
        let all = r#""policy":"SCHED_DEADLINE","runtime":42000,"deadline":100000,"period":1000000,"nice":19,
            "flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_RECLAIM","SCHED_FLAG_DL_OVERRUN","SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS","SCHED_FLAG_UTIL_CLAMP_MIN","SCHED_FLAG_UTIL_CLAMP_MAX"]"#;
        let deadline = scheduler(all).unwrap();
        assert_eq!((deadline.runtime, deadline.deadline, deadline.period), (42000, 100_000, 1_000_000));
        assert_eq!(deadline.flags, 0x7f);
        assert_eq!(scheduler(r#""policy":"SCHED_RR","priority":99"#).unwrap().priority, 99);
    }

    #[test]
    fn what_the_kernel_refuses_of_a_scheduler_is_refused_by_its_field() {
        for (fields, words) in [
            (r#""policy":"SCHED_OTHER","nice":20"#, "process.scheduler.nice: 20"),
            (r#""policy":"SCHED_OTHER","priority":1"#, "process.scheduler.priority: 1 can only"),
            (r#""policy":"SCHED_FIFO""#, "process.scheduler.priority: 0 is not between 1 and 99"),
            (r#""policy":"SCHED_RR","priority":100"#, "process.scheduler.priority: 100"),
            (r#""policy":"SCHED_FIFO","priority":-1"#, "process.scheduler.priority: -1"),
            (r#""policy":"SCHED_FIFO","priority":1,"runtime":5000"#, "process.scheduler.runtime: can only"),
            (r#""policy":"SCHED_DEADLINE""#, "process.scheduler.runtime: 0 ns"),
            (r#""policy":"SCHED_DEADLINE","runtime":9000,"deadline":8000"#, "runtime <= deadline <= period"),
            (r#""policy":"SCHED_DEADLINE","runtime":9223372036854775808"#, "below 2^63"),
            (r#""policy":"SCHED_ISO""#, "process.scheduler.policy: SCHED_ISO"),
        ] {
            let error = scheduler(fields).unwrap_err().to_string();
            assert!(error.contains(words), "{fields}: {error}");
        }
    }

    #[test]
    fn an_io_priority_is_a_class_and_a_level() {
        let read = |fields: &str| io_priority(&process(&format!(r#","ioPriority":{{{fields}}}"#)));
        let idle = read(r#""class":"IOPRIO_CLASS_IDLE","priority":4"#).unwrap().unwrap();
        assert_eq!((idle.class, idle.level), (3, 4));
        for level in [-1, 8, 256] {
            assert!(read(&format!(r#""class":"IOPRIO_CLASS_RT","priority":{level}"#)).is_err(), "{level}");
        }
    }

    fn policy_of(json: &str) -> Result<String> {
        let mut draft = Draft::default();
        memory_policy(Some(&serde_json::from_str(json).unwrap()), &mut draft)?;
        let steps = draft.finish().0;
        let step = crate::init::wire::Wire::read(&mut crate::init::wire::Reader(&steps[0]));
        let step: crate::init::step::Step = step.unwrap();
        Ok(step.to_string())
    }

    #[test]
    fn each_mode_of_memory_has_its_rules() {
        for (json, words) in [
            (r#"{"mode":"MPOL_DEFAULT"}"#, "MPOL_DEFAULT"),
            (
                r#"{"mode":"MPOL_BIND","nodes":"0-3,5","flags":["MPOL_F_STATIC_NODES","MPOL_F_NUMA_BALANCING"]}"#,
                "MPOL_BIND static balancing nodes 0-3,5",
            ),
            (r#"{"mode":"MPOL_PREFERRED","nodes":""}"#, "MPOL_PREFERRED"),
            (r#"{"mode":"MPOL_WEIGHTED_INTERLEAVE","nodes":"1","flags":[]}"#, "MPOL_WEIGHTED_INTERLEAVE nodes 1"),
            (r#"{"mode":"MPOL_PREFERRED_MANY","nodes":"0"}"#, "MPOL_PREFERRED_MANY nodes 0"),
        ] {
            assert_eq!(policy_of(json).unwrap(), format!("set memory policy {words}"), "{json}");
        }
        for (json, words) in [
            (r#"{"mode":"MPOL_DEFAULT","nodes":"0"}"#, "nodes: MPOL_DEFAULT takes none"),
            (r#"{"mode":"MPOL_LOCAL","flags":["MPOL_F_STATIC_NODES"]}"#, "flags: MPOL_LOCAL takes none"),
            (r#"{"mode":"MPOL_INTERLEAVE"}"#, "nodes: MPOL_INTERLEAVE wants one node"),
            (r#"{"mode":"MPOL_PREFERRED","flags":["MPOL_F_RELATIVE_NODES"]}"#, "nodes: MPOL_PREFERRED wants one"),
            (r#"{"mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]}"#, "goes with MPOL_BIND"),
            (r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]}"#, "exclude"),
            (r#"{"mode":"MPOL_BIND","nodes":"0-9876543210"}"#, "nodes: \"0-9876543210\": 9876543210 is above 1023"),
        ] {
            let error = policy_of(json).unwrap_err().to_string();
            assert!(error.starts_with("linux.memoryPolicy.") && error.contains(words), "{json}: {error}");
        }
    }

    #[test]
    fn whoever_says_it_first_says_where_an_exec_runs() {
        let pinned = process(r#","execCPUAffinity":{"initial":"1, 2","final":""}"#);
        let lists = |affinity: Affinity| {
            let list = |pin: Option<Pin>| pin.map(|pin| list::list(&pin.mask));
            (list(affinity.initial), list(affinity.last))
        };
        let both = |cpus: &str| (Some(cpus.to_owned()), Some(cpus.to_owned()));
        assert_eq!(lists(Affinity::of_exec(Some("3"), &pinned, Some("4")).unwrap()), both("3"));
        assert_eq!(lists(Affinity::of_exec(None, &pinned, Some("4")).unwrap()), (Some("1-2".into()), None));
        assert_eq!(lists(Affinity::of_exec(None, &process(""), Some("4")).unwrap()), both("4"));
        assert_eq!(lists(Affinity::of_exec(Some(""), &process(""), Some(" ")).unwrap()), (None, None));
        let error = Affinity::of_exec(None, &process(""), Some("x")).unwrap_err().to_string();
        assert!(error.starts_with("annotations.io.nfrun.exec-cpus: "), "{error}");
    }
}
