//! Seccomp: an OCI profile becomes a classic BPF program.
//!
//! A pure compiler: no file, no environment, no system call lives here; `init/seccomp` loads what it makes.
//! `linux.seccomp` of config.json → `profile` (typed rules) → `calls` (a verdict for each call of each architecture) →
//! `tree` and `condition` (dispatch) → `assembler` (instructions).
//!
//! Profiles are written against libseccomp as runc drives it, so its rules hold here:
//! - a rule's names that no architecture has are skipped; a name of another architecture than the native one counts for
//!   that architecture; the native architecture is always part of the filter; any other dies with KILL;
//! - a rule whose action equals the default is skipped;
//! - for one call, an unconditional rule replaces all conditional ones, wherever it stands; of several unconditional
//!   rules the first holds; of overlapping conditional rules the more specific one is asked first (see `condition`);
//! - arguments are compared by 64 bits, by their low 32 on 32-bit architectures (x32 is one);
//! - where calls are multiplexed (socketcall, ipc), a rule for such a call covers its multiplexed form too, in which
//!   argument 0 is the number of the sub-call and a condition on argument 0 is dropped.
//!
//! As runc patches libseccomp's programs: unless the default lets calls pass (ALLOW, LOG, TRACE), a call that is newer
//! than any that the profile names gets ENOSYS, so that C libraries fall back to what the profile's author knew.

mod arch;
pub(crate) mod assembler;
mod calls;
mod condition;
#[cfg(test)]
#[path = "../../tests/seccomp/interpreter.rs"]
mod interpreter;
mod names;
mod profile;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod verdict;

use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

pub use assembler::Instruction;

use crate::{Error, Result};
use assembler::Assembler;
use calls::Calls;
use profile::Profile;

/// The kernel's limit to the length of a program (BPF_MAXINSNS).
const MAX_INSTRUCTIONS: usize = 4096;

/// A compiled filter: the arguments of seccomp(SECCOMP_SET_MODE_FILTER).
///
/// Manual page: [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
    /// The program, never empty and never longer than the kernel takes.
    pub program: Vec<Instruction>,
    /// Who answers the calls that the filter does not decide itself; only where there can be any.
    pub listener: Option<Listener>,
}

/// The seccomp agent: who answers calls with SCMP_ACT_NOTIFY.
///
/// Specification: config-linux.md, "Seccomp" (`listenerPath`, `listenerMetadata`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The unix socket that it listens on.
    pub path: PathBuf,
    /// What it is told besides the container's state.
    pub metadata: Option<String>,
}

impl Filter {
    /// The program as the array of struct sock_filter that struct sock_fprog points at, in the machine's byte order.
    pub fn bytes(&self) -> Vec<u8> {
        self.program.iter().flat_map(|instruction| instruction.bytes()).collect()
    }

    /// How many instructions the program has.
    #[allow(clippy::len_without_is_empty)] // no filter is empty
    pub fn len(&self) -> usize {
        self.program.len()
    }
}

/// Compiles `linux.seccomp`; None where the profile filters nothing: it allows by default and says nothing else.
pub fn compile(spec: &LinuxSeccomp) -> Result<Option<Filter>> {
    let profile = Profile::read(spec)?;
    if profile.filters_nothing() {
        return Ok(None);
    }
    let calls = Calls::of(&profile);
    let mut assembler = Assembler::default();
    tree::dispatch(&mut assembler, &calls);
    let program = assembler.finish();
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Error::invalid(format!(
            "linux.seccomp: the filter is {} instructions long and the kernel takes {MAX_INSTRUCTIONS}: \
             use fewer rules with arguments or fewer architectures",
            program.len()
        )));
    }
    let listener = listener(spec, &program)?;
    Ok(Some(Filter { flags: profile::flags_for(profile.flags, listener.is_some()), program, listener }))
}

/// The agent where the program hands a call to one. A `listenerPath` that no call needs says nothing, as with runc.
fn listener(spec: &LinuxSeccomp, program: &[Instruction]) -> Result<Option<Listener>> {
    if !program.iter().any(|instruction| instruction.returns(profile::RET_NOTIFY)) {
        return Ok(None);
    }
    match profile::listener_path(spec) {
        Some(path) => Ok(Some(Listener { path: path.into(), metadata: spec.listener_metadata().clone() })),
        None => Err(Error::invalid(
            "linux.seccomp.listenerPath: is missing: SCMP_ACT_NOTIFY hands calls to an agent; name the socket it listens on",
        )),
    }
}
