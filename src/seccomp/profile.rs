//! The spec's profile as typed rules; what is not valid or not there yet is refused here, by the name of its field.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag, LinuxSyscall,
};

use super::arch::{Arch, NATIVE};
use super::condition::{Conditions, Test};
use crate::{Error, Result};

/// The greatest errno that a filter can return (MAX_ERRNO), and the greatest word that it can give a tracer.
const MAX_ERRNO: u32 = 4095;
const MAX_TRACE: u32 = 0xffff;

/// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
const FLAG_TSYNC: u32 = 1 << 0;
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
pub(super) const FLAG_NEW_LISTENER: u32 = 1 << 3;
const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// SECCOMP_RET_ERRNO with ENOSYS.
pub(super) const RET_ENOSYS: u32 = 0x0005_0000 | 38;
/// SECCOMP_RET_KILL_THREAD, what calls of an architecture that the profile does not list get.
pub(super) const RET_KILL: u32 = 0;
/// SECCOMP_RET_USER_NOTIF.
pub(super) const RET_NOTIFY: u32 = 0x7fc0_0000;

/// A profile whose every word was understood.
pub(super) struct Profile<'a> {
    /// The SECCOMP_RET_* word for calls that no rule matches.
    pub(super) default: u32,
    /// The word for calls newer than the profile.
    pub(super) newer: u32,
    pub(super) flags: u32,
    /// The native one first, none twice.
    pub(super) archs: Vec<Arch>,
    pub(super) rules: Vec<Rule<'a>>,
    /// It allows by default and neither lists architectures nor has rules.
    says_nothing: bool,
}

/// One entry of the profile's `syscalls`.
pub(super) struct Rule<'a> {
    pub(super) names: &'a [String],
    /// SECCOMP_RET_* with its data.
    pub(super) action: u32,
    /// The rule applies where any of these holds; none means always.
    pub(super) alternatives: Vec<Conditions>,
}

impl<'a> Profile<'a> {
    /// Reads the profile, or says which field is not valid.
    pub(super) fn read(spec: &'a LinuxSeccomp) -> Result<Self> {
        refuse_lone_metadata(spec)?;
        let entries = spec.syscalls().as_deref().unwrap_or_default();
        let default_action = spec.default_action();
        let default = action(default_action, spec.default_errno_ret())
            .map_err(|problem| problem.at("linux.seccomp", "defaultErrnoRet"))?;
        let says_nothing = default_action == Action::ScmpActAllow
            && entries.is_empty()
            && spec.architectures().as_ref().is_none_or(Vec::is_empty);
        // What lets unknown calls pass by default must let new ones pass: a tracer or an agent answers them itself.
        let newer = match default_action {
            Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace | Action::ScmpActNotify => default,
            _ => RET_ENOSYS,
        };
        Ok(Self {
            default,
            newer,
            flags: flags(spec)?,
            archs: archs(spec)?,
            rules: entries.iter().enumerate().map(|(at, entry)| rule(at, entry)).collect::<Result<_>>()?,
            says_nothing,
        })
    }

    /// Whether loading a filter would change nothing.
    pub(super) fn filters_nothing(&self) -> bool {
        self.says_nothing
    }
}

/// config-linux.md: listenerMetadata must not be set without listenerPath.
fn refuse_lone_metadata(spec: &LinuxSeccomp) -> Result<()> {
    if spec.listener_metadata().is_none() || listener_path(spec).is_some() {
        return Ok(());
    }
    Err(Error::invalid("linux.seccomp.listenerMetadata: there is nobody to tell it to: set listenerPath or remove it"))
}

/// listenerPath where it is not empty.
pub(super) fn listener_path(spec: &LinuxSeccomp) -> Option<&std::path::Path> {
    spec.listener_path().as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// The flags for a filter that hands calls to an agent, or that does not: the kernel makes the listener only where it is
/// asked for one, takes TSYNC with it only where an error is no thread's id, and refuses to wait for no answer.
pub(super) fn flags_for(flags: u32, notifies: bool) -> u32 {
    match (notifies, flags & FLAG_TSYNC != 0) {
        (false, _) => flags & !FLAG_WAIT_KILLABLE_RECV,
        (true, false) => flags | FLAG_NEW_LISTENER,
        (true, true) => flags | FLAG_NEW_LISTENER | FLAG_TSYNC_ESRCH,
    }
}

/// The flags of seccomp(2). As runc does, speculation is allowed where the profile is silent; an empty list is not silent.
fn flags(spec: &LinuxSeccomp) -> Result<u32> {
    let Some(flags) = spec.flags() else {
        return Ok(FLAG_SPEC_ALLOW);
    };
    let mut word = 0;
    for flag in flags {
        word |= match flag {
            Flag::SeccompFilterFlagTsync => FLAG_TSYNC,
            Flag::SeccompFilterFlagLog => FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv => FLAG_WAIT_KILLABLE_RECV,
        };
    }
    Ok(word)
}

/// The architectures to speak for: the native one and those that the profile lists.
fn archs(spec: &LinuxSeccomp) -> Result<Vec<Arch>> {
    let listed = spec.architectures().as_deref().unwrap_or_default();
    let mut archs: Vec<Arch> = Vec::with_capacity(listed.len() + 1);
    for (at, name) in std::iter::once(&NATIVE).chain(listed).enumerate() {
        let Some(arch) = Arch::named(*name) else {
            return Err(Error::invalid(format!(
                "linux.seccomp.architectures[{}]: nfrun has no table of the system calls of {name}: remove it",
                at.saturating_sub(1)
            )));
        };
        if !archs.iter().any(|other| (other.audit, other.base) == (arch.audit, arch.base)) {
            archs.push(arch);
        }
    }
    Ok(archs)
}

/// One entry of `linux.seccomp.syscalls`.
fn rule(at: usize, entry: &LinuxSyscall) -> Result<Rule<'_>> {
    let field = || format!("linux.seccomp.syscalls[{at}]");
    let action = action(entry.action(), entry.errno_ret()).map_err(|problem| problem.at(&field(), "errnoRet"))?;
    if entry.names().is_empty() {
        return Err(Error::invalid(format!("{}.names: is empty: name a system call", field())));
    }
    if let Some(at) = entry.names().iter().position(String::is_empty) {
        return Err(Error::invalid(format!("{}.names[{at}]: is empty: name a system call", field())));
    }
    let args = entry.args().as_deref().unwrap_or_default();
    let alternatives = alternatives(args, field)?;
    Ok(Rule { names: entry.names(), action, alternatives })
}

/// The conditions of a rule: all of them together; but where an argument is named twice, each alone, as runc does.
fn alternatives(args: &[LinuxSeccompArg], field: impl Fn() -> String) -> Result<Vec<Conditions>> {
    if args.is_empty() {
        return Ok(Vec::new());
    }
    let mut together = Conditions::default();
    let mut twice = false;
    for (at, arg) in args.iter().enumerate() {
        let Some(place) = together.get_mut(arg.index()) else {
            return Err(Error::invalid(format!(
                "{}.args[{at}].index: {} is no argument: a system call has arguments 0 to 5",
                field(),
                arg.index()
            )));
        };
        twice |= place.replace(Test::from(arg)).is_some();
    }
    if !twice {
        return Ok(vec![together]);
    }
    let alone = |arg: &LinuxSeccompArg| {
        let mut conditions = Conditions::default();
        conditions[arg.index()] = Some(Test::from(arg));
        conditions
    };
    Ok(args.iter().map(alone).collect())
}

/// What is wrong with an action.
enum Problem {
    NoErrno(Action),
    Range(u32, u32),
}

impl Problem {
    /// The problem as an error, naming the field that has it.
    fn at(self, object: &str, errno: &str) -> Error {
        Error::invalid(match self {
            Self::NoErrno(action) => {
                format!(
                    "{object}.{errno}: {action} returns no errno: remove it or use SCMP_ACT_ERRNO or SCMP_ACT_TRACE"
                )
            }
            Self::Range(value, most) => format!("{object}.{errno}: {value} is out of range: the most is {most}"),
        })
    }
}

/// The word that a filter returns for an action: SECCOMP_RET_* with the errno, which is EPERM where none is given.
fn action(action: Action, errno: Option<u32>) -> Result<u32, Problem> {
    let most = match action {
        Action::ScmpActErrno => MAX_ERRNO,
        Action::ScmpActTrace => MAX_TRACE,
        _ if errno.is_some() => return Err(Problem::NoErrno(action)),
        _ => 0,
    };
    match errno {
        Some(errno) if errno > most => Err(Problem::Range(errno, most)),
        _ => Ok(action.as_u32(errno)),
    }
}
