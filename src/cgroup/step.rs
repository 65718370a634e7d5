//! The steps of a cgroup's making, as data: complete enough to be printed, compared, and executed by `run` with no
//! further decision.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::devices::DeviceWrite;
use super::systemd::Start;

/// Which of the kernel's two interfaces a hierarchy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// Documentation/admin-guide/cgroup-v1.
    V1,
    /// Documentation/admin-guide/cgroup-v2.rst; beside v1 hierarchies it has no controller of its own.
    V2,
}

/// One cgroup: a directory of one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// The hierarchy as /proc/self/cgroup names it: `cpu,cpuacct`, `name=systemd`, or `unified` for cgroup2.
    pub hierarchy: String,
    /// Where the hierarchy is mounted.
    pub mount: String,
    /// The path below the mount point, with a leading slash.
    pub path: String,
    /// The interface.
    pub version: Version,
}

impl Cgroup {
    /// The directory.
    pub fn dir(&self) -> String {
        [self.mount.as_str(), self.path.as_str()].concat()
    }

    /// Whether the hierarchy carries `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.hierarchy.split(',').any(|name| name == controller)
    }

    /// How many levels below the mount point it lies; at least 1.
    pub fn depth(&self) -> usize {
        self.path.matches('/').count()
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hierarchy, self.path)
    }
}

/// What to do about a file that this kernel does not have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IfAbsent {
    /// It is an error: the limit that was asked for would not hold.
    Fail,
    /// Nothing is lost without it.
    Skip,
    /// Write another file instead: another kernel's name for it, which may count in other units.
    Instead {
        /// The file.
        file: String,
        /// The value.
        text: String,
    },
}

/// One value for one file of a cgroup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// The property that asks for it, for the error that the kernel may give.
    pub property: &'static str,
    /// The file's name.
    pub file: String,
    /// What is written.
    pub text: String,
    /// What to do when there is no such file.
    pub if_absent: IfAbsent,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.file, self.text.trim_end_matches('\n'))
    }
}

/// One step of the runtime's side of the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Make the directory and its missing parents, or take an existing one that holds no process and is not frozen.
    Make {
        /// The cgroup.
        cgroup: Cgroup,
    },
    /// Have systemd start a unit with init in it.
    Start(Box<Start>),
    /// Make the directory beside a unit's where systemd has not made it.
    Join {
        /// The cgroup.
        cgroup: Cgroup,
    },
    /// Put init into each cgroup that systemd has not put it into.
    Enter {
        /// The cgroups; at least one.
        cgroups: Vec<Cgroup>,
    },
    /// Copy `cpuset.cpus` and `cpuset.mems` down from the nearest parent that has them: a v1 cpuset with either empty
    /// takes no process, and a new one is born empty.
    FillCpuset {
        /// The leaf; its parents are filled before it.
        cgroup: Cgroup,
        /// Which of the two the leaf inherits; what it does not, a limit gives.
        leaf: Vec<&'static str>,
    },
    /// Write one value.
    Write {
        /// The cgroup.
        cgroup: Cgroup,
        /// The value.
        value: Value,
    },
    /// Write values that the kernel checks against each other: in this order, and those that it refuses with EINVAL
    /// again after the others.
    WriteTogether {
        /// The cgroup.
        cgroup: Cgroup,
        /// The values.
        values: Vec<Value>,
    },
    /// Make the controllers of the mount's root available to a cgroup2, by way of all its parents.
    EnableControllers {
        /// The cgroup.
        cgroup: Cgroup,
        /// Those without which a limit would not hold.
        needed: Vec<&'static str>,
    },
    /// Give the cgroup, and those of its files that the kernel lists for that, to the user of the container's process:
    /// config-linux.md, "Cgroup ownership".
    Delegate {
        /// The cgroup.
        cgroup: Cgroup,
        /// The user as the host numbers him.
        uid: u32,
    },
    /// Restrict devices by a program, as cgroup2 has it.
    DeviceProgram {
        /// The cgroup.
        cgroup: Cgroup,
        /// What the program does, in the words of the v1 controller.
        rules: Vec<DeviceWrite>,
        /// eBPF, 8 bytes an instruction.
        program: Vec<u64>,
    },
    /// Write the device rules.
    Devices {
        /// The cgroup.
        cgroup: Cgroup,
        /// The writes, in order.
        writes: Vec<DeviceWrite>,
    },
}

impl Step {
    /// The values that the step writes as they are.
    pub(super) fn values(&self) -> &[Value] {
        match self {
            Self::Write { value, .. } => std::slice::from_ref(value),
            Self::WriteTogether { values, .. } => values,
            _ => &[],
        }
    }

    /// The same, to be changed.
    pub(super) fn values_mut(&mut self) -> &mut [Value] {
        match self {
            Self::Write { value, .. } => std::slice::from_mut(value),
            Self::WriteTogether { values, .. } => values,
            _ => &mut [],
        }
    }

    /// The cgroup that the step acts on.
    pub fn cgroup(&self) -> &Cgroup {
        match self {
            Self::Start(start) => &start.cgroup,
            Self::Enter { cgroups } => &cgroups[0],
            Self::Join { cgroup }
            | Self::Make { cgroup }
            | Self::FillCpuset { cgroup, .. }
            | Self::Write { cgroup, .. }
            | Self::WriteTogether { cgroup, .. }
            | Self::EnableControllers { cgroup, .. }
            | Self::Delegate { cgroup, .. }
            | Self::DeviceProgram { cgroup, .. }
            | Self::Devices { cgroup, .. } => cgroup,
        }
    }
}

/// Items with ", " between.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make { cgroup } => write!(f, "make cgroup {cgroup}"),
            Self::Start(start) => start.fmt(f),
            Self::Join { cgroup } => write!(f, "join cgroup {cgroup}"),
            Self::Enter { cgroups } => write!(f, "put init into {}", Listed(cgroups)),
            Self::FillCpuset { cgroup, leaf } if leaf.is_empty() => {
                write!(f, "fill cpuset.cpus, cpuset.mems of the parents of {cgroup} where empty")
            }
            Self::FillCpuset { cgroup, leaf } => write!(f, "fill {} of {cgroup} from its parents", Listed(leaf)),
            Self::Write { cgroup, value } => write!(f, "write {value} in {cgroup}"),
            Self::WriteTogether { cgroup, values } => write!(f, "write {} in {cgroup}", Listed(values)),
            Self::EnableControllers { cgroup, needed } if needed.is_empty() => {
                write!(f, "enable controllers for {cgroup} where they are")
            }
            Self::EnableControllers { cgroup, needed } => {
                write!(f, "enable controllers for {cgroup}, {} at least", Listed(needed))
            }
            Self::Delegate { cgroup, uid } => write!(f, "give {cgroup} to uid {uid}"),
            Self::DeviceProgram { cgroup, rules, .. } => {
                write!(f, "restrict devices in {cgroup} by a program: {}", Listed(rules))
            }
            Self::Devices { cgroup, writes } => write!(f, "restrict devices in {cgroup}: {}", Listed(writes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_as_one_line_of_a_plan() {
        let cgroup = Cgroup {
            hierarchy: "memory".into(),
            mount: "/sys/fs/cgroup/memory".into(),
            path: "/ocibench/c".into(),
            version: Version::V1,
        };
        assert_eq!(cgroup.depth(), 2);
        assert_eq!(Step::Make { cgroup: cgroup.clone() }.to_string(), "make cgroup memory:/ocibench/c");
        let value = Value {
            property: "linux.resources.memory.limit",
            file: "memory.limit_in_bytes".into(),
            text: "67108864".into(),
            if_absent: IfAbsent::Fail,
        };
        assert_eq!(
            Step::Write { cgroup, value }.to_string(),
            "write memory.limit_in_bytes = 67108864 in memory:/ocibench/c"
        );
    }
}
