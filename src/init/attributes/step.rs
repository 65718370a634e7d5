//! Steps that set where a process runs, where its memory lies, and how it sees the machine.

use crate::init::wire::{Bytes, Text, wire};

wire! {
    /// Attributes that the kernel lets a process set of itself alone, or without privilege only of itself.
    pub enum Step<'a> {
        /// sched_setaffinity(2); bit N of the mask is CPU N. `setting` is what asked for it.
        Affinity { cpus: Bytes<'a>, setting: Text<'a> } = 0,
        /// sched_setaffinity(2) to every CPU, of which the kernel leaves those of the cpuset.
        ResetAffinity {} = 1,
        /// set_mempolicy(2): the mode with its flags, and the mask of nodes, empty where the mode takes none.
        MemoryPolicy { mode: u32, nodes: Bytes<'a> } = 2,
        /// personality(2).
        Personality { persona: u32 } = 3,
        /// sched_setattr(2) with these attributes, which are those words.
        Scheduling { attributes: Bytes<'a>, words: Text<'a> } = 4,
        /// ioprio_set(2).
        IoPriority { value: u32 } = 5,
    }
}
