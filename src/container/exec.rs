//! One more process in a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, Spec};

use super::agent::{Agent, Subject};
use super::attributes;
use super::create::hand_out;
use super::launch::Launch;
use super::store::State;
use super::terminal::{self, Foreground, Terminal};
use super::{ContainerId, Document, ExecOptions, Globals, Status, identity, status};
use crate::bundle::create::limit_asked_for;
use crate::bundle::exec::Circumstances;
use crate::bundle::plan::RuntimeStep;
use crate::bundle::{self, Plan, config};
use crate::init::attributes::plan as attributes_plan;
use crate::init::guard::{Guard, stands};
use crate::init::program::Source;
use crate::resctrl::Step;
use crate::sys::spawn::Spawned;
use crate::{Context, Error, Kind, Result, cgroup};

/// Runs one more process in a running container. The exit code is as `run`'s.
pub fn exec(globals: &Globals, id: &ContainerId, options: &ExecOptions) -> Result<u8> {
    let foreground = if options.detach { None } else { Some(Foreground::begin(false)?) };
    let (started, terminal) = launch(globals, id, options)?;
    match foreground {
        Some(foreground) => foreground.wait(&started, terminal, None),
        None => Ok(0),
    }
}

/// Starts one more process in a running container, which is the caller's child.
pub fn exec_detached(globals: &Globals, id: &ContainerId, options: &ExecOptions) -> Result<Spawned> {
    launch(globals, id, options).map(|(started, _)| started)
}

fn launch(globals: &Globals, id: &ContainerId, options: &ExecOptions) -> Result<(Spawned, Option<Terminal>)> {
    let (_, state) = status::open(globals, id)?;
    let init = running_init(&state, options)?;
    let spec = config::parse(state.config.get())?;
    let mut process = process(&spec, options)?;
    let tty = process.terminal().unwrap_or(false);
    if tty && !options.detach {
        terminal::adopt_size(&mut process);
    }
    terminal::check(tty, options.detach, options.console.is_some())?;
    let place = match &state.place {
        Some(place) if !options.cgroup.is_empty() => Some(place.sub_place(&options.cgroup)?),
        Some(place) => Some(place.clone()),
        None if options.cgroup.is_empty() => None,
        None => return Err(Error::invalid("--cgroup: the container has no cgroup")),
    };
    let v2 = place.as_ref().map(|place| cgroup_to_enter(place, &spec, &state)).transpose()?.flatten();
    let around = Circumstances {
        spec: &spec,
        place: place.as_ref(),
        enters_cgroup2: v2.is_some(),
        rdt: state.rdt.as_ref(),
        keyring: state.own_keyring.then_some(id.as_str()),
        namespaces: joinable(&state)?,
        cpus: options.exec_cpus.as_deref(),
        annotated_cpus: attributes_plan::exec_cpus(&state.annotations),
        bundle: &state.bundle,
        root: &PathBuf::from(format!("/proc/{}/root", state.init.pid)),
    };
    let plan = bundle::exec::plan(&process, &around)?;
    let (console, terminal) = Terminal::open(tty, options.console.as_ref())?;
    let started = start(&plan, options, init, console, (place.as_ref(), v2), &state)?;
    Ok((started, terminal))
}

/// Where the process is born on cgroup2. A user whose own cgroup is not beside the container's may have no process there:
/// without limits it is left outside, as with runc.
fn cgroup_to_enter(place: &cgroup::Place, spec: &Spec, state: &State) -> Result<Option<OwnedFd>> {
    // A unit of systemd is entered by way of that.
    let wall = if place.of_user && place.unit.is_none() { place.wall()? } else { None };
    let Some(wall) = wall else { return place.v2_dir_beside(state.init.pid) };
    let why =
        format!("this user may not write to {wall}/cgroup.procs, which holds the caller's cgroup and the container's");
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    if let Some(limit) = resources.and_then(limit_asked_for) {
        return Err(Error::new(format!(
            "enter the container's cgroup: {why}, so the process would have no limits (linux.resources.{limit}): call from a cgroup of the user's own, as `systemd-run --user --scope` makes one"
        )));
    }
    log::warn!("the process runs outside of the container's cgroup: {why}");
    Ok(None)
}

fn running_init(state: &State, options: &ExecOptions) -> Result<OwnedFd> {
    let refuse = |message: &str| Err(Error::new(message).kind_of(Kind::WrongState));
    match status::of(state) {
        Status::Paused if !options.ignore_paused => {
            return refuse("cannot exec in a paused container (use --ignore-paused to override)");
        }
        Status::Stopped => return refuse("cannot exec in a stopped container"),
        _ => {}
    }
    match identity::find(&state.init) {
        Some(init) => Ok(init),
        None => refuse("cannot exec in a stopped container"),
    }
}

/// The namespaces to join. One's own user namespace cannot be joined once more: setns(2).
fn joinable(state: &State) -> Result<u64> {
    let user = libc::CLONE_NEWUSER as u64;
    if state.namespaces & user == 0 {
        return Ok(state.namespaces);
    }
    let inode = |path: String| std::fs::read_link(&path).context(|| format!("read {path}"));
    let own = inode("/proc/self/ns/user".into())?;
    let theirs = inode(format!("/proc/{}/ns/user", state.init.pid))?;
    Ok(if own == theirs { state.namespaces & !user } else { state.namespaces })
}

fn start(
    plan: &Plan,
    options: &ExecOptions,
    init: OwnedFd,
    mut console: Option<OwnedFd>,
    (place, mut v2): (Option<&cgroup::Place>, Option<OwnedFd>),
    state: &State,
) -> Result<Spawned> {
    let mut launch = Launch::new(plan, options.preserve_fds, options.stdio.clone())?;
    let mut init = Some(init);
    let mut agent = None;
    let unit = place.and_then(|place| place.unit.as_ref()).filter(|unit| unit.is_a_users());
    let mut is_outside = false;
    for (number, step) in plan.runtime_steps() {
        log::debug!("exec: step {number}: {step}");
        match step {
            RuntimeStep::Open(slot, source) => {
                let given = match source {
                    Source::Console => console.take(),
                    Source::Process => init.take(),
                    // It enters by itself then, and is not born there.
                    Source::Procs => v2.take().map(cgroup::open_procs).transpose()?,
                    _ => None,
                };
                match given {
                    Some(fd) => launch.fill(*slot, fd),
                    None => launch.open(*slot, source)?,
                }
            }
            RuntimeStep::Spawn { kinds, .. } => {
                let cgroup = v2.as_ref().map(AsFd::as_fd);
                // A user may move no process out of his session into the container's unit, but his systemd may.
                let choices: &[_] = if unit.is_some() { &[cgroup, None] } else { &[cgroup] };
                is_outside = launch.spawn_in_one_of(plan, *kinds, None, choices)? > 0;
            }
            RuntimeStep::AwaitInit => launch.await_init(plan)?,
            RuntimeStep::Save => {
                if let (true, Some(unit), Some(dir)) = (is_outside, unit, &v2) {
                    unit.attach(&cgroup::systemd::below(unit, dir)?, launch.init()?.pid)?;
                }
                hand_out(launch.init()?, options.pid_file.as_deref(), options.pidfd_socket.as_deref())?
            }
            RuntimeStep::Release => launch.release()?,
            RuntimeStep::Resctrl(_, Step::Enter(group)) => group.enter(launch.init()?.pid)?,
            RuntimeStep::ConnectAgent(listener) => agent = Some(Agent::connect(listener)?),
            RuntimeStep::ServeAgent => {
                let agent = agent.take().ok_or_else(|| Error::new("the plan connects to no seccomp agent"))?;
                launch.serve(&agent, &Subject::of(state, Status::Running), plan)?;
            }
            step if attributes::set(step, launch.init()?.pid, place)? => {}
            step => return Err(Error::new(format!("an exec has no step such as: {step}"))),
        }
    }
    launch.finish(plan)
}

/// The container's own process document with what the flags change.
fn process(spec: &Spec, options: &ExecOptions) -> Result<Process> {
    if let Some(document) = &options.process {
        let process = match document {
            Document::Text(text) => config::parse_process(text),
            Document::File(path) => std::fs::read_to_string(path)
                .map_err(Error::from)
                .and_then(|text| config::parse_process(&text))
                .map_err(|error| error.context(format!("--process {}", path.display()))),
        };
        return Ok(with_the_containers_own(process?, spec.process().as_ref()));
    }
    let Some(mut process) = spec.process().clone() else {
        return Err(Error::new("the container has no process document to start from; use --process"));
    };
    process.set_args(Some(options.args.clone()));
    process.set_terminal(Some(options.tty));
    process.set_console_size(None);
    if let Some(cwd) = &options.cwd {
        process.set_cwd(cwd.into());
    }
    if !options.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(options.env.iter().cloned());
        process.set_env(Some(env));
    }
    set_user(&mut process, options);
    if options.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if options.apparmor.is_some() {
        process.set_apparmor_profile(options.apparmor.clone());
    }
    if options.process_label.is_some() {
        process.set_selinux_label(options.process_label.clone());
    }
    add_capabilities(&mut process, &options.caps);
    Ok(process)
}

/// What a process document does not say is as it is for the container's first process: as runc.
fn with_the_containers_own(mut process: Process, first: Option<&Process>) -> Process {
    if process.capabilities().is_none() {
        process.set_capabilities(first.and_then(|first| first.capabilities().clone()));
    }
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if !given(process.apparmor_profile()) {
        process.set_apparmor_profile(first.and_then(|first| first.apparmor_profile().clone()));
    }
    if !given(process.selinux_label()) {
        process.set_selinux_label(first.and_then(|first| first.selinux_label().clone()));
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(first.and_then(|first| first.rlimits().clone()));
    }
    if process.scheduler().is_none() {
        process.set_scheduler(first.and_then(|first| first.scheduler().clone()));
    }
    if process.io_priority().is_none() {
        process.set_io_priority(first.and_then(|first| *first.io_priority()));
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(first.and_then(|first| first.exec_cpu_affinity().clone()));
    }
    process
}

fn set_user(process: &mut Process, options: &ExecOptions) {
    let mut user = process.user().clone();
    if let Some((uid, gid)) = options.user {
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    if !options.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&options.additional_gids);
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
}

/// To the bounding, effective and permitted sets.
fn add_capabilities(process: &mut Process, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let mut added = Capabilities::new();
    for name in names {
        let full = name.to_ascii_uppercase();
        let full = if full.starts_with("CAP_") { full } else { format!("CAP_{full}") };
        let capability = serde_json::from_value(serde_json::Value::String(full));
        // A newer kernel's, or none: runc warns.
        match capability {
            Ok(capability) => drop(added.insert(capability)),
            Err(_) => log::warn!("--cap: unknown capability {name:?} left out"),
        }
    }
    let mut sets = process.capabilities().clone().unwrap_or_else(empty_sets);
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().copied().chain(added.iter().copied()).collect());
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    if !stands(Guard::NotInheritable) {
        let inheritable = with(sets.inheritable());
        sets.set_inheritable(inheritable);
    }
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
}

fn empty_sets() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    sets
}
