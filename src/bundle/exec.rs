//! The plan of one more process in a running container.

use std::path::Path;

use oci_spec::runtime::{Linux, Process, Spec};

use super::accounts;
use super::plan::{Plan, RuntimeStep};
use super::process::{self, Appearance, Surroundings};
use crate::Result;
use crate::cgroup;
use crate::init::capabilities::plan::Sets;
use crate::init::lsm::plan::Labels;
use crate::init::namespaces::{plan as namespaces, step::Step as Namespaces};
use crate::init::program::{Draft, Source};
use crate::init::user::plan::Limit;
use crate::init::{attributes, control, exec, terminal, user};

/// What decides about an exec besides the process.
pub struct Circumstances<'a> {
    /// The container's configuration, as it was created.
    pub spec: &'a Spec,
    /// Its cgroups, or those beneath it that the caller asked for.
    pub place: Option<&'a cgroup::Place>,
    /// The container's id where it has a session keyring of its own: without joining it the process would keep the
    /// caller's, with the host's keys.
    pub keyring: Option<&'a str>,
    /// Whether the process may enter the one of cgroup2.
    pub enters_cgroup2: bool,
    /// The container's class of service.
    pub rdt: Option<&'a crate::resctrl::Group>,
    /// The namespaces that it does not share with the host: CLONE_NEW* flags.
    pub namespaces: u64,
    /// The CPUs to run on that the command line names.
    pub cpus: Option<&'a str>,
    /// Those that the container's annotation names.
    pub annotated_cpus: Option<&'a str>,
    /// Its bundle's absolute path.
    pub bundle: &'a Path,
    /// Its root as the host sees it, /proc/PID/root.
    pub root: &'a Path,
}

/// Plans an exec.
pub fn plan<'a>(process: &'a Process, around: &Circumstances<'a>) -> Result<Plan> {
    exec::plan::check(process)?;
    let mut draft = Draft::default();
    let affinity = attributes::plan::Affinity::of_exec(around.cpus, process, around.annotated_cpus)?;
    affinity.before_the_join(&mut draft);
    let labels = Labels::read(process, true)?;
    labels.prepare(&mut draft);
    if let Some(place) = around.place {
        process::enter_cgroups(place, &mut draft)?;
        if around.enters_cgroup2 && affinity.is_set_before() {
            process::enter_cgroup2(place, &mut draft)?;
        }
    }
    affinity.after_the_join(&mut draft);
    if let Some(score) = user::plan::score(process)? {
        user::plan::set_score(score, &mut draft)?;
    }
    if around.namespaces & libc::CLONE_NEWNS as u64 == 0 {
        // Without a mount namespace to join, the container's root is only a directory.
        crate::init::rootfs::plan::chroot(around.root, &mut draft)?;
    }
    let own_user = around.namespaces & libc::CLONE_NEWUSER as u64 != 0;
    let (limits, limits_by_runtime) = process::share_limits(process, own_user)?;
    let surroundings = surroundings(process, limits, labels, around)?;
    // Pid and time namespaces hold only children.
    let forks = around.namespaces & (libc::CLONE_NEWPID as u64 | 0x80) != 0;
    let appears = if forks { surroundings.appears(process) } else { Appearance::AtOnce };
    join(around.namespaces, forks && appears == Appearance::AtOnce, &mut draft);
    if appears == Appearance::AtOnce {
        draft.step(Namespaces::NewSession {});
    }
    surroundings.labels.of_keys(&mut draft)?;
    namespaces::session_keyring(around.keyring, &mut draft)?;
    if process.terminal().unwrap_or(false) {
        terminal::plan::open(process, false, &mut draft)?;
    }
    surroundings.prepare(process, false, &mut draft)?;
    if appears == Appearance::WithFilter {
        surroundings.load(process, &[], false, &mut draft)?;
    }
    if appears != Appearance::AtOnce {
        appear(process, &mut draft);
    }
    surroundings.find(process, &mut draft)?;
    draft.step(control::step::Step::AwaitRuntime {});
    let ready = draft.len();
    let mut loaded = ready;
    if appears != Appearance::WithFilter {
        loaded = surroundings.load(process, &[], false, &mut draft)?;
    }
    exec::plan::run(process, &mut draft)?;
    let spawn = RuntimeStep::Spawn { kinds: 0, maps: None };
    let mut between = vec![(ready, RuntimeStep::AwaitInit)];
    between.extend(process::by_runtime(process, limits_by_runtime)?.into_iter().map(|step| (ready, step)));
    if let Some(group) = around.rdt.cloned() {
        between.push((ready, RuntimeStep::Resctrl(group.root.clone(), crate::resctrl::Step::Enter(group))));
    }
    between.push((ready, RuntimeStep::Save));
    match surroundings.listener() {
        None => between.push((ready, RuntimeStep::Release)),
        Some(listener) => between.extend([
            (ready, RuntimeStep::ConnectAgent(listener)),
            (ready, RuntimeStep::Release),
            (loaded, RuntimeStep::ServeAgent),
        ]),
    }
    Ok(Plan::assemble(Vec::new(), spawn, draft, between))
}

/// Becomes a process of the joined namespaces. Only there it can begin a session, and have that session's terminal.
fn appear(process: &Process, draft: &mut Draft) {
    draft.step(Namespaces::Fork { kinds: 0 });
    draft.step(Namespaces::NewSession {});
    if process.terminal().unwrap_or(false) {
        draft.step(terminal::step::Step::Control {});
    }
}

/// All namespaces of init at once; those that hold only children by going on as one, now or later.
fn join(kinds: u64, fork: bool, draft: &mut Draft) {
    if kinds == 0 {
        return;
    }
    let process = draft.slot(Source::Process);
    draft.step(Namespaces::JoinProcess { process, kinds });
    if fork {
        draft.step(Namespaces::Fork { kinds: 0 });
    }
    if kinds & libc::CLONE_NEWUSER as u64 != 0 {
        draft.step(Namespaces::BecomeRoot {});
    }
}

fn surroundings<'a>(
    process: &Process,
    limits: Vec<Limit>,
    labels: Labels<'a>,
    around: &Circumstances<'a>,
) -> Result<Surroundings<'a>> {
    let linux = around.spec.linux().as_ref();
    let filter = linux.and_then(|linux| linux.seccomp().as_ref());
    let own_user = around.namespaces & libc::CLONE_NEWUSER as u64 != 0;
    let maps = linux
        .filter(|_| own_user)
        .and_then(|linux: &'a Linux| linux.uid_mappings().as_deref().zip(linux.gid_mappings().as_deref()));
    let uid = process.user().uid();
    let held = (!own_user).then(crate::init::capabilities::plan::held).flatten();
    Ok(Surroundings {
        maps,
        linux,
        filter: process::filter(filter, around.bundle)?,
        environment: exec::plan::environment(process, || accounts::home(around.root, uid))?,
        capabilities: Sets::read(process.capabilities().as_ref(), held),
        limits,
        groups: process::Groups::find(
            own_user && groups_are_denied(around.root),
            around.spec.annotations().as_ref().and_then(|all| all.get(process::KEEP_GROUPS)).map(String::as_str),
        ),
        labels,
    })
}

/// As the container's namespace has it. Root always wrote its maps without denying that.
fn groups_are_denied(root: &Path) -> bool {
    let file = root.parent().map(|process| process.join("setgroups"));
    !nix::unistd::geteuid().is_root()
        && file.is_some_and(|file| std::fs::read_to_string(file).is_ok_and(|word| word.starts_with("deny")))
}
