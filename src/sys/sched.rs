//! How the kernel's schedulers treat a process: sched_setattr(2), ioprio_set(2).

use std::fmt::{self, Display, Formatter};

use nix::errno::Errno;
use serde::Serialize;

/// SCHED_*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Policy(u32);

impl Policy {
    /// The default: fair shares, by nice.
    pub const OTHER: Self = Self(libc::SCHED_OTHER as u32);
    /// Real time: until it sleeps.
    pub const FIFO: Self = Self(libc::SCHED_FIFO as u32);
    /// Real time, in turns.
    pub const RR: Self = Self(libc::SCHED_RR as u32);
    /// Fair shares for what nobody waits for.
    pub const BATCH: Self = Self(libc::SCHED_BATCH as u32);
    /// Less than the nicest.
    pub const IDLE: Self = Self(libc::SCHED_IDLE as u32);
    /// Real time, a runtime in every period.
    pub const DEADLINE: Self = Self(libc::SCHED_DEADLINE as u32);
}

impl Display for Policy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::OTHER => "SCHED_OTHER",
            Self::FIFO => "SCHED_FIFO",
            Self::RR => "SCHED_RR",
            Self::BATCH => "SCHED_BATCH",
            Self::IDLE => "SCHED_IDLE",
            Self::DEADLINE => "SCHED_DEADLINE",
            _ => "SCHED_?",
        })
    }
}

/// struct sched_attr without its size: sched_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// The policy.
    pub policy: Policy,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// -20 to 19.
    pub nice: i32,
    /// 1 to 99 for real time, 0 otherwise.
    pub priority: u32,
    /// Nanoseconds, as the next two: of SCHED_DEADLINE alone.
    pub runtime: u64,
    /// By when the runtime must be had.
    pub deadline: u64,
    /// How often.
    pub period: u64,
}

impl Display for Scheduling {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy)?;
        match self.policy {
            Policy::FIFO | Policy::RR => write!(f, " priority {}", self.priority)?,
            Policy::DEADLINE => {
                write!(f, " runtime {} deadline {} period {} ns", self.runtime, self.deadline, self.period)?
            }
            _ => write!(f, " nice {}", self.nice)?,
        }
        if self.flags == 0 { Ok(()) } else { write!(f, " flags {:#x}", self.flags) }
    }
}

impl Scheduling {
    /// struct sched_attr as of Linux 5.3 (SCHED_ATTR_SIZE_VER1), whose last two fields, the clamps of utilization, are 0.
    pub fn bytes(&self) -> [u8; 56] {
        let mut bytes = [0; 56];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&56u32.to_ne_bytes());
        put(&self.policy.0.to_ne_bytes());
        put(&self.flags.to_ne_bytes());
        put(&self.nice.to_ne_bytes());
        put(&self.priority.to_ne_bytes());
        [self.runtime, self.deadline, self.period].iter().for_each(|time| put(&time.to_ne_bytes()));
        bytes
    }
}

/// Sets how another process is scheduled: sched_setattr(2).
pub fn set_scheduling(pid: i32, given: &Scheduling) -> nix::Result<()> {
    let attributes = given.bytes();
    // SAFETY: the structure outlives the call and says its own size.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, attributes.as_ptr(), 0) }).map(drop)
}

/// A class of I/O scheduling and the level in it: ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IoPriority {
    /// 1 real time, 2 best effort, 3 idle.
    pub class: u8,
    /// 0, the highest, to 7.
    pub level: u8,
}

impl Display for IoPriority {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            1 => "IOPRIO_CLASS_RT",
            2 => "IOPRIO_CLASS_BE",
            _ => "IOPRIO_CLASS_IDLE",
        };
        write!(f, "{class} {}", self.level)
    }
}

impl IoPriority {
    /// As the kernel writes it: IOPRIO_PRIO_VALUE.
    pub fn value(self) -> u32 {
        u32::from(self.class) << 13 | u32::from(self.level)
    }

    /// What a value means.
    pub fn of(value: u32) -> Self {
        Self { class: (value >> 13) as u8, level: (value & 7) as u8 }
    }
}

/// Sets another process's I/O priority: ioprio_set(2). What it starts inherits it.
pub fn set_io_priority(pid: i32, priority: IoPriority) -> nix::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: the call takes numbers alone.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, priority.value()) }).map(drop)
}
