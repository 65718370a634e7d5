//! Classes of service and monitoring groups of the processor's caches and memory bandwidth: config-linux.md, "IntelRdt";
//! the kernel's Documentation/filesystems/resctrl.rst. Knows no container: a `LinuxIntelRdt`, a name and the mount table
//! come in from `bundle`, steps go to the files of a mounted resctrl, and a [`Group`] into the container's state.
//!
//! `plan` turns the spec into steps and refuses, `run` executes one and removes what one made, `stats` reads.

mod plan;
mod run;
mod stats;

pub use plan::{lines, mount_point, plan};
pub use run::{Made, remove};

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a container's processes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where resctrl is mounted.
    pub root: String,
    /// The directory of the class of service; the mount point itself is the default class.
    pub dir: String,
    /// The directory of the monitoring group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
}

/// One step of the runtime's side of the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Take a class of service, which has to be there, as it is.
    Find {
        /// Its directory.
        dir: String,
    },
    /// Make a class of service with these lines in its schemata, or take one that is there.
    Make {
        /// Its directory.
        dir: String,
        /// Lines of schemata; none leaves the kernel's.
        lines: Vec<String>,
        /// Whether it is the container's own, so that one that is there is changed; another has to agree.
        own: bool,
    },
    /// Make a monitoring group.
    Monitor {
        /// Its directory.
        dir: String,
    },
    /// Move init in.
    Enter(Group),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Find { dir } => write!(f, "find class of service {dir}"),
            Self::Make { dir, lines, .. } if lines.is_empty() => write!(f, "make class of service {dir}"),
            Self::Make { dir, lines, .. } => write!(f, "make class of service {dir} with {}", lines.join(", ")),
            Self::Monitor { dir } => write!(f, "make monitoring group {dir}"),
            Self::Enter(group) => write!(f, "move init into {}", group.monitor.as_ref().unwrap_or(&group.dir)),
        }
    }
}

impl Step {
    /// The directory that the step may make, and whether it is the container's alone.
    pub fn makes(&self) -> Option<(&str, bool)> {
        match self {
            Self::Make { dir, own, .. } => Some((dir, *own)),
            Self::Monitor { dir } => Some((dir, true)),
            Self::Find { .. } | Self::Enter(_) => None,
        }
    }
}
