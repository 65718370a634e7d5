//! Hooks of the runtime's namespaces: each is run by an init program that is started for nothing else. That one closes
//! what it inherits, feeds the hook, keeps its last words, ends it in time, and ends it too when the runtime dies.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::sys::signal::{Signal, killpg};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::launch::Launch;
use super::store::{Directory, State};
use super::{fault, identity};
use crate::bundle::Plan;
use crate::bundle::plan::RuntimeStep;
use crate::init::control::step::Step as Control;
use crate::init::hooks::plan::{Document, Hook, Pid};
use crate::init::program::Draft;
use crate::undo::{self, Identity, Line};
use crate::{Context, Error, Result};

/// What a hook runs for.
pub struct Scene<'a> {
    /// What it is told.
    pub told: &'a Document,
    /// The container's process.
    pub pid: Pid,
    /// Where it runs: the bundle.
    pub bundle: &'a Path,
    /// A process without which the hook has no purpose.
    pub lives: Option<BorrowedFd<'a>>,
}

/// Runs a hook to its end. `begin` is called with whoever runs it, before it runs.
pub fn run(hook: &Hook, scene: &Scene, begin: impl FnOnce(Identity) -> Result<()>) -> Result<()> {
    let plan = plan(hook, scene)?;
    let mut launch = Launch::new(&plan, 0, None)?;
    let outcome = carry_out(hook, scene, &plan, &mut launch, begin);
    if outcome.is_err() {
        launch.abandon();
        // Init kills what it runs, unless it was killed itself. The number is that of a hook which it did not reap.
        if let Some(group) = launch.hook() {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
    outcome
}

/// The program of an init that only runs a hook.
fn plan(hook: &Hook, scene: &Scene) -> Result<Plan> {
    let mut draft = Draft::default();
    draft.step(Control::CloseDescriptors { listener: None });
    draft.step(Control::AwaitRuntime {});
    let environment: Vec<CString> = match hook.env {
        Some(_) => Vec::new(),
        // As runc: that of the runtime. A variable with a NUL cannot be.
        None => std::env::vars_os().filter_map(|(name, value)| variable(name.into_vec(), value.into_vec())).collect(),
    };
    scene.told.step(scene.pid, &environment, &mut draft);
    hook.step(Some(scene.bundle), &mut draft)?;
    // It says by this that the hook has ended well.
    draft.step(Control::AwaitRuntime {});
    Ok(Plan::assemble(Vec::new(), RuntimeStep::Spawn { kinds: 0, maps: None }, draft, Vec::new()))
}

fn variable(mut name: Vec<u8>, value: Vec<u8>) -> Option<CString> {
    name.push(b'=');
    name.extend(value);
    CString::new(name).ok()
}

fn carry_out(
    hook: &Hook,
    scene: &Scene,
    plan: &Plan,
    launch: &mut Launch,
    begin: impl FnOnce(Identity) -> Result<()>,
) -> Result<()> {
    let failed = |error: Error| error.context(format!("run {hook}"));
    launch.spawn(plan, 0, None, None).map_err(failed)?;
    launch.await_init(plan).map_err(failed)?;
    let runner = launch.init()?;
    begin(identity::of(runner.pid, runner.process.as_fd())?)?;
    launch.release()?;
    match launch.await_init_of(plan, scene.lives)? {
        Some(()) => Ok(()),
        None => Err(Error::new(format!("run {hook}: the container's init was killed meanwhile, and the hook with it"))),
    }
}

/// The hooks of poststart, once the process runs; it may have ended since. Nobody's lock is held while they run: a hook may
/// ask for the container. As runc: a container whose poststart hook fails is killed.
pub fn poststart(
    hooks: &[Hook],
    told: &Document,
    (bundle, state): (&Path, &Path),
    pid: i32,
    process: Option<BorrowedFd>,
) -> Result<()> {
    for hook in hooks {
        fault::point();
        let scene = Scene { told, pid: Pid::Of(pid), bundle, lives: None };
        run(hook, &scene, |runner| note(state, runner)).inspect_err(|_| {
            if let Some(process) = process {
                let _ = crate::sys::pidfd::signal(process, libc::SIGKILL);
            }
        })?;
    }
    Ok(())
}

/// Notes who runs a poststart hook, so that `delete` ends it with the container.
fn note(state: &Path, runner: Identity) -> Result<()> {
    let gone = || Error::new(format!("{}: the container was deleted meanwhile", state.display()));
    let locked = Directory::at(state.to_owned()).map_err(|_| gone())?.lock()?.ok_or_else(gone)?;
    if locked.directory.is_being_removed() {
        return Err(gone());
    }
    undo::append(&mut undo::reopen(&locked.directory)?, &[Line::Process(runner)])
}

/// What hooks are told of a container that has state.
pub fn document_of(state: &State) -> Result<Document> {
    Document::new(&state.oci_version, &state.id, &state.bundle, &state.annotations)
}

/// What poststop hooks are told and the record's head does not hold.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    oci_version: String,
    annotations: BTreeMap<String, String>,
}

/// The part of config.json that poststop hooks are told, for the record.
pub fn told(spec: &Spec) -> Result<serde_json::Value> {
    let annotations = spec.annotations().clone().unwrap_or_default().into_iter().collect();
    Ok(serde_json::to_value(Told { oci_version: spec.version().clone(), annotations })?)
}

/// Runs the poststop hooks of a record that were not run yet. One that fails is a warning, and the others are still run:
/// runtime.md, "Lifecycle".
pub fn poststop(directory: &Directory, record: &undo::Record) {
    let deferred = record.deferred();
    if deferred.is_empty() {
        return;
    }
    let document = document_of_record(record);
    for (number, what) in deferred {
        fault::point();
        let outcome = match &document {
            Ok(told) => run_deferred(directory, record, told, number, what),
            Err(error) => Err(Error::new(error.to_string())),
        };
        if let Err(error) = outcome {
            log::warn!("{}: {error}", record.head.id);
        }
    }
}

fn document_of_record(record: &undo::Record) -> Result<Document> {
    let told = record.told().cloned().unwrap_or_default();
    let told: Told = serde_json::from_value(told).context(|| "the undo record's state for poststop hooks")?;
    Document::new(&told.oci_version, &record.head.id, &record.head.bundle, &told.annotations)
}

/// The hook is marked before it runs: whatever becomes of it, it is not run again.
fn run_deferred(
    directory: &Directory,
    record: &undo::Record,
    told: &Document,
    number: u32,
    what: &serde_json::Value,
) -> Result<()> {
    let hook: Hook = serde_json::from_value(what.clone()).context(|| "the undo record's poststop hook")?;
    let scene = Scene { told, pid: Pid::None, bundle: &record.head.bundle, lives: None };
    let mut file = undo::reopen(directory)?;
    run(&hook, &scene, |process| undo::append(&mut file, &[Line::Begun { number, process }]))
}
