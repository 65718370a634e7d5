//! The part of a plan that a process has, whether it is the container's first or one of exec.

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxSeccomp, Process};

use super::plan::RuntimeStep;
use crate::init::capabilities::plan::{self as capabilities, Sets};
use crate::init::guard::{Guard, stands};
use crate::init::hooks::plan::Hook;
use crate::init::lsm::plan::Labels;
use crate::init::namespaces::ids;
use crate::init::program::{Draft, Source, text};
use crate::init::user::plan::Limit;
use crate::init::wire::{Bytes, Text};
use crate::init::{attributes, cgroups, control, exec, seccomp, terminal, user};
use crate::seccomp::{Filter, Listener};
use crate::{Error, Result, cgroup};

/// What a process needs besides its own document.
pub struct Surroundings<'a> {
    /// The user namespace's maps, where there is one.
    pub maps: Option<(&'a [LinuxIdMapping], &'a [LinuxIdMapping])>,
    /// The container's `linux` object, for what holds for each of its processes.
    pub linux: Option<&'a Linux>,
    /// The container's compiled filter.
    pub filter: Option<Filter>,
    /// The environment.
    pub environment: Vec<CString>,
    /// The capability sets.
    pub capabilities: Sets,
    /// The limits that init sets.
    pub limits: Vec<Limit>,
    /// What becomes of the caller's supplementary groups.
    pub groups: Groups,
    /// What AppArmor and SELinux are told of the process.
    pub labels: Labels<'a>,
}

/// What becomes of the supplementary groups that the caller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// Those of the bundle take their place.
    Set,
    /// They stay: an annotation asks for that.
    Kept,
    /// They stay, since the user namespace lets none be set: setgroups in proc_pid(5).
    Denied,
}

/// crun's annotation, which `podman run --group-add keep-groups` sets to 1.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

impl Groups {
    /// As the kernel and the annotations say.
    pub fn find(denied: bool, kept: Option<&str>) -> Self {
        match (denied, kept) {
            (_, Some("1" | "true")) => Self::Kept,
            (true, _) => Self::Denied,
            (false, _) => Self::Set,
        }
    }
}

/// process.rlimits as init and the runtime set them. To raise a hard limit the kernel asks for a capability in the host's
/// user namespace, so of a process in another one the runtime sets all.
pub fn share_limits(process: &Process, own_user: bool) -> Result<(Vec<Limit>, Vec<Limit>)> {
    let limits = user::plan::limits(process.rlimits().as_deref().unwrap_or_default())?;
    Ok(if own_user { (Vec::new(), limits) } else { (limits, Vec::new()) })
}

/// What the runtime sets of a process by its pid, once that waits to go on: what the kernel refuses to a process that has
/// no capability in the host's user namespace, and after the entry into the cgroups, which decide about schedulers.
pub fn by_runtime(process: &Process, limits: Vec<Limit>) -> Result<Vec<RuntimeStep>> {
    let limits = if limits.is_empty() { None } else { Some(RuntimeStep::Limits(limits)) };
    let scheduling = attributes::plan::scheduling(process)?.map(RuntimeStep::Scheduling);
    let io_priority = attributes::plan::io_priority(process)?.map(RuntimeStep::IoPriority);
    let by_pid = [scheduling, io_priority].into_iter().flatten().filter(|_| !init_schedules_itself(process));
    Ok(limits.into_iter().chain(by_pid).collect())
}

/// Whether scheduler and I/O priority are init's own work: a runtime without CAP_SYS_NICE on the host can set neither of
/// a process that has become another user. What takes no privilege init can still set before it does.
fn init_schedules_itself(process: &Process) -> bool {
    let asked = process.scheduler().is_some() || process.io_priority().is_some();
    let capable = || caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_NICE).unwrap_or(false);
    asked && !(capable() && crate::sys::userns::is_the_hosts())
}

/// The compiled filter. A relative `listenerPath` is the bundle's, as runc's create takes it.
pub fn filter(profile: Option<&LinuxSeccomp>, bundle: &Path) -> Result<Option<Filter>> {
    let mut filter = profile.map(crate::seccomp::compile).transpose()?.flatten();
    if let Some(listener) = filter.as_mut().and_then(|filter| filter.listener.as_mut()) {
        listener.path = bundle.join(&listener.path);
    }
    Ok(filter)
}

impl Surroundings<'_> {
    /// The seccomp agent, where the filter hands calls to one.
    pub fn listener(&self) -> Option<Listener> {
        self.filter.as_ref()?.listener.clone()
    }

    /// Ids, limits and terminal, before the process is told to go on.
    pub fn prepare(&self, process: &Process, waits: bool, draft: &mut Draft) -> Result<()> {
        user::plan::check_ids(process)?;
        let ids = process.user();
        if let Some((uids, gids)) = self.maps {
            let unmapped = |field: &str, id: u32| {
                Err(Error::invalid(format!("process.user.{field}: {id} is not mapped in the user namespace")))
            };
            if !ids::is_mapped(uids, ids.uid()) {
                return unmapped("uid", ids.uid());
            }
            if !ids::is_mapped(gids, ids.gid()) {
                return unmapped("gid", ids.gid());
            }
            for (i, group) in ids.additional_gids().iter().flatten().enumerate() {
                if !ids::is_mapped(gids, *group) {
                    return unmapped(&format!("additionalGids[{i}]"), *group);
                }
            }
        }
        if process.terminal().unwrap_or(false) {
            draft.step(terminal::step::Step::Attach {});
        } else {
            user::plan::own_stdio(process, draft);
        }
        user::plan::set_limits(&self.limits, draft);
        user::plan::umask(process, draft);
        attributes::plan::memory_policy(self.linux.and_then(|linux| linux.memory_policy().as_ref()), draft)?;
        if init_schedules_itself(process) {
            attributes::plan::set(process, draft)?;
        }
        attributes::plan::personality(self.linux.and_then(|linux| linux.personality().as_ref()), draft)?;
        self.capabilities.bound(draft);
        self.labels.on_exec(draft)?;
        // Nothing of the image is looked up with descriptors of the host still open.
        let listener = waits.then(|| draft.slot(Source::Listener));
        draft.step(control::step::Step::CloseDescriptors { listener });
        exec::plan::change_directory(process, false, draft)?;
        let asked = ids.additional_gids().as_ref().is_some_and(|groups| !groups.is_empty());
        match self.groups {
            Groups::Denied if asked => {
                return Err(Error::invalid(
                    "process.user.additionalGids: the user namespace maps the caller's own group alone, so the kernel lets no groups be set there",
                ));
            }
            // podman lists those that the image gives the user all the same.
            Groups::Kept if asked => {
                log::warn!(
                    "process.user.additionalGids: left out, since the annotation {KEEP_GROUPS} keeps the caller's"
                );
            }
            _ => {}
        }
        user::plan::become_user(process, self.groups == Groups::Set, draft);
        exec::plan::change_directory(process, true, draft)?;
        let privileged_load = self.loads_with_privilege(process);
        if process.no_new_privileges().unwrap_or(false) {
            capabilities::no_new_privileges(draft);
        }
        // The search is made with the capabilities that the process will have.
        if privileged_load {
            self.capabilities.narrow(draft)
        } else {
            self.capabilities.set(draft)
        }
        Ok(())
    }

    /// The search of the command, as the process.
    pub fn find(&self, process: &Process, draft: &mut Draft) -> Result<()> {
        exec::plan::find(process, &self.environment, draft)
    }

    /// Where a process that joins a pid namespace may appear in it: once it has no more power than what runs there, so
    /// that nothing is won by tracing it (CVE-2016-9962, with CAP_SYS_PTRACE).
    pub fn appears(&self, process: &Process) -> Appearance {
        if !stands(Guard::LateFork) {
            return Appearance::AtOnce;
        }
        if !self.loads_with_privilege(process) {
            return Appearance::WithoutCapabilities;
        }
        // What init still calls is then under the filter.
        match &self.filter {
            Some(filter)
                if filter.listener.is_none()
                    && calls_after_load(process).all(|(call, args)| filter.lets_pass(call, args)) =>
            {
                Appearance::WithFilter
            }
            _ => Appearance::AtOnce,
        }
    }

    /// Without no_new_privs the load of a filter needs CAP_SYS_ADMIN, so capabilities go after it; with it the load comes
    /// last, so that the filter need not allow what init still does.
    fn loads_with_privilege(&self, process: &Process) -> bool {
        self.filter.is_some() && !process.no_new_privileges().unwrap_or(false)
    }

    /// Whether the hooks of startContainer come behind the filter, as with runc. A filter has one listener, and the agent is
    /// told of it once. And without no_new_privs init keeps its capabilities until the filter is loaded, which a hook from
    /// the image could win by tracing it (CAP_SYS_PTRACE).
    fn loads_before_hooks(&self, process: &Process) -> bool {
        let Some(filter) = &self.filter else { return false };
        let lets_hooks_run = || calls_for_hooks().all(|(call, args)| filter.lets_pass(call, args));
        filter.listener.is_some()
            || (stands(Guard::LateHooks) && self.loads_with_privilege(process) && lets_hooks_run())
    }

    /// The filter and the command: what is done once the process may run. `hooks` are those of startContainer, which go
    /// through what stands behind them as the command does. Returns after which step the filter is loaded.
    pub fn run(&self, process: &Process, hooks: &[&Hook], waits: bool, draft: &mut Draft) -> Result<usize> {
        let loaded = self.load(process, hooks, waits, draft)?;
        exec::plan::run(process, draft)?;
        Ok(loaded)
    }

    /// All of that but execve.
    pub fn load(&self, process: &Process, hooks: &[&Hook], waits: bool, draft: &mut Draft) -> Result<usize> {
        exec::plan::prepare(process, &self.environment, draft)?;
        let loads_first = !hooks.is_empty() && self.loads_before_hooks(process);
        if !loads_first {
            run_hooks(hooks, waits, draft)?;
        }
        let privileged_load = self.loads_with_privilege(process);
        if privileged_load {
            self.capabilities.widen(draft);
        }
        if let Some(filter) = &self.filter {
            let close = filter.lets_pass(libc::SYS_close as u32, [None; 6]);
            draft.step(seccomp::step::Step::Load { flags: filter.flags, program: Bytes(&filter.bytes()), close });
        }
        let loaded = draft.len();
        if privileged_load {
            self.capabilities.set(draft);
        }
        if loads_first {
            run_hooks(hooks, waits, draft)?;
        }
        Ok(loaded)
    }
}

/// The hooks of startContainer. `start` is told of their end, which it cannot see.
fn run_hooks(hooks: &[&Hook], waits: bool, draft: &mut Draft) -> Result<()> {
    hooks.iter().try_for_each(|hook| hook.step(None, draft))?;
    if waits && !hooks.is_empty() {
        draft.step(crate::init::hooks::step::Step::Done {});
    }
    Ok(())
}

/// When a process that joins a pid namespace becomes a process there, by a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appearance {
    /// As it joins, still with all that the runtime has.
    AtOnce,
    /// Once its capabilities are lowered.
    WithoutCapabilities,
    /// Once its filter is loaded, for which it needs a capability, and its capabilities are lowered then.
    WithFilter,
}

/// What init calls from the fork to execve and its failure.
fn calls_after_load(process: &Process) -> impl Iterator<Item = (u32, [Option<u64>; 6])> {
    const ANY: [Option<u64>; 6] = [None; 6];
    let clone =
        [Some((libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID) as u64), Some(0), None, Some(0), Some(0), Some(0)];
    let terminal = process.terminal().unwrap_or(false).then_some((libc::SYS_ioctl, ANY));
    let others = [
        libc::SYS_setsid,
        libc::SYS_exit_group,
        libc::SYS_sendto,
        libc::SYS_read,
        libc::SYS_faccessat2,
        libc::SYS_openat,
        libc::SYS_newfstatat,
        libc::SYS_close,
        libc::SYS_execve,
    ];
    let calls = others.map(|call| (call, ANY)).into_iter().chain(terminal).chain([(libc::SYS_clone, clone)]);
    calls.map(|(call, args)| (call as u32, args))
}

/// What init calls to run a hook. Without close_range it does.
fn calls_for_hooks() -> impl Iterator<Item = (u32, [Option<u64>; 6])> {
    const ANY: [Option<u64>; 6] = [None; 6];
    let clone = [Some((libc::CLONE_PIDFD | libc::SIGCHLD) as u64), Some(0), None, Some(0), Some(0), Some(0)];
    let others = [
        libc::SYS_memfd_create,
        libc::SYS_write,
        libc::SYS_lseek,
        libc::SYS_pipe2,
        libc::SYS_fcntl,
        libc::SYS_socketpair,
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_setpgid,
        libc::SYS_prctl,
        libc::SYS_dup3,
        libc::SYS_mmap,
        libc::SYS_ppoll,
        libc::SYS_clock_gettime,
        libc::SYS_read,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_waitid,
        libc::SYS_wait4,
        libc::SYS_kill,
        libc::SYS_close,
        libc::SYS_execve,
        libc::SYS_exit_group,
    ];
    let calls = others.map(|call| (call, ANY)).into_iter().chain([(libc::SYS_clone, clone)]);
    calls.map(|(call, args)| (call as u32, args))
}

/// The step that enters the cgroup2 that limits the container, for a process that has something to do before: it pays by a
/// wait for a grace period. Others are born there.
pub fn enter_cgroup2(place: &cgroup::Place, draft: &mut Draft) -> Result<()> {
    let Some(cgroup) = place.v2().filter(|_| place.is_v2()) else { return Ok(()) };
    let tasks = draft.slot(Source::Procs);
    let name = text("linux.cgroupsPath", cgroup.to_string())?;
    draft.step(cgroups::step::Step::Enter { tasks, path: Text(&name) });
    Ok(())
}

/// The steps that enter v1 cgroups. The one of cgroup2 is entered by the clone itself.
pub fn enter_cgroups(place: &cgroup::Place, draft: &mut Draft) -> Result<()> {
    for cgroup in place.cgroups.iter().filter(|cgroup| cgroup.version == cgroup::Version::V1) {
        let tasks = draft.slot(Source::Tasks { path: format!("{}/tasks", cgroup.dir()).into() });
        let name = text("linux.cgroupsPath", cgroup.to_string())?;
        draft.step(cgroups::step::Step::Enter { tasks, path: Text(&name) });
    }
    Ok(())
}
