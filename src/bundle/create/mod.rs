//! The plan of a container's start: config.json's order of things, and runc's where it says none. `root` has the way from
//! the host's tree to the container's own, `cgroups` what bounds it from outside, `stops` where init waits for the runtime.

mod cgroups;
mod root;
mod stops;

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, Process, Spec};

pub use cgroups::limit_asked_for;
use stops::Stops;

use super::network::Connection;
use super::notify::Notify;
use super::plan::{IdMaps, Plan, RuntimeStep};
use super::process::{self, Surroundings};
use super::{accounts, net_devices};
use crate::cgroup;
use crate::init::capabilities::plan::Sets;
use crate::init::hooks::plan::{self as hooks, Document, Hook, List};
use crate::init::lsm::plan::Labels;
use crate::init::namespaces::ids;
use crate::init::namespaces::plan::{self as namespaces, Namespaces};
use crate::init::program::Draft;
use crate::init::user::plan::Limit;
use crate::init::{attributes, control, exec, user};
use crate::network::Origin;
use crate::resctrl;
use crate::seccomp::Listener;
use crate::sys::Caller;
use crate::{Context, Error, Result};

/// What decides about a plan besides config.json.
pub struct Circumstances<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle's absolute path.
    pub bundle: &'a Path,
    /// The host's cgroups; None where the container gets none.
    pub cgroups: Option<&'a cgroup::Layout>,
    /// Why it gets none, or not in every hierarchy: what an error about a limit says.
    pub withheld: Option<&'a str>,
    /// The systemd that manages them, where one does.
    pub systemd: Option<&'a cgroup::systemd::Manager>,
    /// The host's mount table, /proc/self/mountinfo.
    pub mount_table: &'a str,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// Unless `--no-new-keyring`.
    pub new_keyring: bool,
    /// Whether the process waits for `start`.
    pub waits: bool,
    /// How many sockets a service manager passes on: LISTEN_FDS.
    pub listen_fds: u32,
    /// The service manager that waits for the container to be ready, where there is one.
    pub notify: Option<&'a Notify>,
    /// What connects it to networks, where the bundle or its user asks for that.
    pub network: Option<&'a Connection>,
    /// Who runs this.
    pub caller: Caller,
    /// Whether the host may be looked at; without, what must exist there is left out.
    pub look: bool,
}

/// A plan and what of it is remembered for later commands.
pub struct Planned {
    /// The steps.
    pub plan: Plan,
    /// The rootfs's absolute path.
    pub rootfs: PathBuf,
    /// The container's place among the cgroups.
    pub place: Option<cgroup::Place>,
    /// Its class of service.
    pub rdt: Option<resctrl::Group>,
    /// The namespaces that it does not share with its creator.
    pub namespaces: u64,
    /// Whether the pid namespace among them is a joined one.
    pub joined_pids: bool,
    /// The seccomp agent that `start` tells of it.
    pub agent: Option<Listener>,
    /// Whether hooks run between `start` and the process.
    pub start_hooks: bool,
    /// The hooks to run once the process runs.
    pub poststart: Vec<Hook>,
    /// What hooks are told; None where there is none.
    pub told: Option<Document>,
}

/// Whether the kernel ends all of a container with its first process, by the namespaces that it does not share with its creator, and whether the pid
/// namespace is one that it joined.
pub fn ends_with_init(namespaces: u64, joined_pids: bool) -> bool {
    namespaces & libc::CLONE_NEWPID as u64 != 0 && !joined_pids
}

impl Planned {
    /// Whether its processes will be known from others, by its cgroups or by a pid namespace of its own.
    pub fn are_known(&self) -> bool {
        self.place.is_some() || self.ends_with_init()
    }

    /// Whether the kernel ends all of the container with its first process: that is pid 1 of a namespace of its own.
    pub fn ends_with_init(&self) -> bool {
        ends_with_init(self.namespaces, self.joined_pids)
    }
}

struct Planner<'a> {
    spec: &'a Spec,
    around: &'a Circumstances<'a>,
    linux: Linux,
    namespaces: Namespaces,
    rootfs: PathBuf,
    hooks: Vec<Hook>,
    told: Option<Document>,
    notes: Vec<String>,
}

/// Plans the start of a container.
pub fn plan(spec: &Spec, around: &Circumstances) -> Result<Planned> {
    let linux = spec.linux().clone().unwrap_or_else(no_linux);
    let namespaces = Namespaces::read(linux.namespaces().as_deref().unwrap_or_default())?;
    let rootfs = find_rootfs(spec, around)?;
    let hooks = hooks::read(spec.hooks().as_ref(), around.look)?;
    let told = if hooks.is_empty() { None } else { Some(document(spec, around)?) };
    let planner = Planner { spec, around, linux, namespaces, rootfs, hooks, told, notes: Vec::new() };
    planner.plan()
}

fn document(spec: &Spec, around: &Circumstances) -> Result<Document> {
    let annotations = spec.annotations().clone().unwrap_or_default().into_iter().collect();
    Document::new(spec.version(), around.id, around.bundle, &annotations)
}

fn no_linux() -> Linux {
    let mut linux = Linux::default();
    // oci-spec's default is a container; ours is a config.json that says nothing.
    linux.set_namespaces(None).set_masked_paths(None).set_readonly_paths(None).set_resources(None);
    linux
}

fn find_rootfs(spec: &Spec, around: &Circumstances) -> Result<PathBuf> {
    let Some(root) = spec.root() else {
        return Err(Error::invalid("root: is missing: name the rootfs's path"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(Error::invalid("root.path: must not be empty"));
    }
    let path = around.bundle.join(root.path());
    if !around.look {
        return Ok(path);
    }
    let real =
        std::fs::canonicalize(&path).context(|| format!("root.path: rootfs ({}) does not exist", path.display()))?;
    if !real.is_dir() {
        return Err(Error::invalid(format!("root.path: rootfs ({}) is not a directory", path.display())));
    }
    if real == Path::new("/") {
        return Err(Error::invalid("root.path: the host's / cannot be a rootfs"));
    }
    Ok(real)
}

impl Planner<'_> {
    fn plan(mut self) -> Result<Planned> {
        let Some(process) = self.spec.process() else { return self.without_process() };
        exec::plan::check(process)?;
        self.ask_for_a_user_namespace()?;
        let mut draft = Draft::default();
        let mut first = vec![RuntimeStep::MakeState];
        if let Some(notify) = self.around.notify {
            notify.prepare(!self.around.waits, &mut first);
        }
        first.extend(self.hooks(List::Poststop).cloned().map(RuntimeStep::Defer));
        first.extend(self.around.network.iter().flat_map(|connection| connection.first()));
        let mut stops = Stops::default();
        let place = self.cgroups(&mut first, &mut draft, &mut stops)?;
        // Whatever CPUs the caller runs on, the container has those of its cpuset.
        attributes::plan::Affinity::check(process, self.spec.annotations().as_ref())?;
        attributes::plan::Affinity::default().after_the_join(&mut draft);
        let rdt = self.class_of_service(&mut first)?;
        let maps = self.id_maps()?;
        let none = HashMap::new();
        let clocks = namespaces::clock_offsets(self.linux.time_offsets().as_ref().unwrap_or(&none), &self.namespaces)?;
        let late_maps = namespaces::enter(&self.namespaces, clocks.as_deref(), &mut draft);
        if self.namespaces.makes(libc::CLONE_NEWCGROUP) {
            draft.step(crate::init::namespaces::step::Step::Unshare { kinds: libc::CLONE_NEWCGROUP as u64 });
        }
        let labels = Labels::read(process, self.around.look)?;
        labels.prepare(&mut draft);
        labels.of_keys(&mut draft)?;
        namespaces::session(self.around.new_keyring.then_some(self.around.id), &mut draft)?;
        if self.namespaces.makes(libc::CLONE_NEWNET) {
            draft.step(crate::init::namespaces::step::Step::RaiseLoopback {});
        }
        let devices = self.net_devices()?;
        // Those that its network brings return in any case.
        let brings = self.around.network.is_some_and(|connection| !connection.planned.moves.is_empty());
        let leaves_links = devices.as_ref().is_some_and(|devices| !devices.returned) && !brings;
        let score = user::plan::score(process)?;
        let own_user = self.namespaces.has(libc::CLONE_NEWUSER);
        let (limits, limits_by_runtime) = process::share_limits(process, own_user)?;
        if let (Some(score), false) = (score, own_user) {
            user::plan::set_score(score, &mut draft)?;
        }
        let surroundings = self.surroundings(process, limits, labels)?;
        let links = devices.map(|devices| devices.links).unwrap_or_default();
        self.root(process, place.as_ref(), (links, &surroundings.environment), &mut draft, &mut stops)?;
        surroundings.prepare(process, self.around.waits, &mut draft)?;
        surroundings.find(process, &mut draft)?;
        draft.step(control::step::Step::AwaitRuntime {});
        let score = score.filter(|_| own_user).map(RuntimeStep::OomScoreAdj);
        // Before the save, which the release follows: what fails leaves no state, and no pid file.
        let by_runtime = process::by_runtime(process, limits_by_runtime)?.into_iter().chain(score);
        let enter = rdt.clone().map(|group| RuntimeStep::Resctrl(group.root.clone(), resctrl::Step::Enter(group)));
        stops.add(&draft, by_runtime.chain(enter).chain([RuntimeStep::Save]).collect());
        if self.around.waits {
            draft.step(control::step::Step::AwaitStart {});
        }
        let start_hooks: Vec<_> = self.hooks(List::StartContainer).collect();
        let loaded = surroundings.run(process, &start_hooks, self.around.waits, &mut draft)?;
        let start_hooks = !start_hooks.is_empty();
        let listener = surroundings.listener();
        drop(surroundings);
        let poststart: Vec<_> = self.hooks(List::Poststart).cloned().collect();
        let mut between = stops.order(self.namespaces.forks(), maps.as_ref().zip(late_maps));
        if let Some(listener) = &listener {
            self.serve_agent(listener, &mut first, &mut between, loaded);
        }
        if leaves_links {
            between.push((draft.len(), RuntimeStep::LeaveLinks));
        }
        between.extend(poststart.iter().cloned().map(|hook| (draft.len(), RuntimeStep::Hook(hook))));
        let spawn =
            RuntimeStep::Spawn { kinds: self.namespaces.at_clone(), maps: maps.filter(|_| late_maps.is_none()) };
        let mut plan = Plan::assemble(first, spawn, draft, between);
        plan.notes = self.notes;
        Ok(Planned {
            plan,
            rootfs: self.rootfs,
            place,
            rdt,
            namespaces: self.namespaces.all(),
            joined_pids: self.namespaces.joins(libc::CLONE_NEWPID),
            agent: listener,
            start_hooks,
            poststart,
            told: self.told,
        })
    }

    /// The filter is loaded by `start`, which tells the agent; `create` only looks whether it is there.
    fn serve_agent(
        &self,
        listener: &Listener,
        first: &mut Vec<RuntimeStep>,
        between: &mut Vec<(usize, RuntimeStep)>,
        loaded: usize,
    ) {
        if self.around.waits {
            first.insert(0, RuntimeStep::FindAgent(listener.clone()));
            return;
        }
        // While init waits for the last time.
        if let Some(&(ready, _)) = between.last() {
            between.insert(between.len() - 1, (ready, RuntimeStep::ConnectAgent(listener.clone())));
        }
        between.push((loaded, RuntimeStep::ServeAgent));
    }

    /// What the runtime does with init's network namespace, and what init does then: interfaces are made and moved before
    /// anything is said of them. Where init was born into that, they are made while it does all that comes before.
    fn connect(&self, devices: Vec<Origin>, draft: &mut Draft, stops: &mut Stops) -> Result<()> {
        let made = self.around.network.map(|connection| &connection.planned);
        let mut steps: Vec<_> =
            made.iter().flat_map(|planned| planned.attach.iter().cloned().map(RuntimeStep::Connect)).collect();
        let connects = !steps.is_empty();
        if self.namespaces.at_clone() & libc::CLONE_NEWNET as u64 != 0 {
            stops.meanwhile(std::mem::take(&mut steps));
        }
        let moves = made.iter().flat_map(|planned| &planned.moves).cloned().chain(devices);
        let moves: Vec<_> = moves.map(RuntimeStep::MoveLink).collect();
        if !moves.is_empty() {
            steps.push(RuntimeStep::HoldNetwork);
            steps.extend(moves);
        }
        if connects || !steps.is_empty() {
            draft.step(control::step::Step::AwaitRuntime {});
            stops.add(draft, steps);
        }
        self.around.network.map_or(Ok(()), |connection| connection.inside(draft))
    }

    /// The interfaces that are moved, before init sets what their sysctls may name.
    fn net_devices(&mut self) -> Result<Option<net_devices::NetDevices>> {
        let none = HashMap::new();
        let devices = self.linux.net_devices().as_ref().unwrap_or(&none);
        if !self.around.look && !devices.is_empty() {
            self.notes.push("linux.netDevices".to_owned());
        }
        net_devices::plan(devices, self.spec.annotations().as_ref(), &self.namespaces, self.around.look)
    }

    /// A configuration without a process can be planned, not created: config.md, "Process".
    fn without_process(self) -> Result<Planned> {
        if self.around.look {
            return Err(Error::invalid("process: is missing: the container would have nothing to run"));
        }
        let mut plan = Plan::default();
        plan.notes = self.notes;
        Ok(Planned {
            plan,
            rootfs: self.rootfs,
            place: None,
            rdt: None,
            namespaces: self.namespaces.all(),
            joined_pids: self.namespaces.joins(libc::CLONE_NEWPID),
            agent: None,
            start_hooks: false,
            poststart: Vec::new(),
            told: None,
        })
    }

    /// Only in a user namespace may a user other than root do what a container takes.
    fn ask_for_a_user_namespace(&self) -> Result<()> {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        let may = || crate::init::capabilities::plan::held().is_some_and(|held| held & CAP_SYS_ADMIN != 0);
        if self.around.caller != Caller::User || self.namespaces.has(libc::CLONE_NEWUSER) || may() {
            return Ok(());
        }
        Err(Error::invalid(
            "linux.namespaces: a user other than root needs a user namespace, and the bundle has none: add {\"type\": \"user\"} with linux.uidMappings and gidMappings, or begin with what `nfrun spec --rootless` writes",
        ))
    }

    fn id_maps(&self) -> Result<Option<IdMaps>> {
        let uids = self.linux.uid_mappings().as_deref().unwrap_or_default();
        let gids = self.linux.gid_mappings().as_deref().unwrap_or_default();
        let maps = IdMaps { uids: ids::map("linux.uidMappings", uids)?, gids: ids::map("linux.gidMappings", gids)? };
        let none = uids.is_empty() && gids.is_empty();
        if self.namespaces.makes(libc::CLONE_NEWUSER) {
            for (field, list) in [("linux.uidMappings", uids), ("linux.gidMappings", gids)] {
                if !ids::is_mapped(list, 0) {
                    return Err(Error::invalid(format!(
                        "{field}: there is no mapping for id 0: a new user namespace needs one, or nothing in it may be set up"
                    )));
                }
            }
            return Ok(Some(maps));
        }
        if !none && !self.namespaces.has(libc::CLONE_NEWUSER) {
            return Err(Error::invalid(
                "linux.uidMappings: User namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        Ok(None)
    }

    fn hooks(&self, list: List) -> impl Iterator<Item = &Hook> {
        self.hooks.iter().filter(move |hook| hook.list == list)
    }

    /// The capabilities that can be given: of a user namespace of its own a process has all.
    fn held(&self) -> Option<u64> {
        let limited = self.around.look && !self.namespaces.has(libc::CLONE_NEWUSER);
        limited.then(crate::init::capabilities::plan::held).flatten()
    }

    fn environment(&self, process: &Process, home: impl FnOnce() -> Option<String>) -> Result<Vec<CString>> {
        let mut environment = exec::plan::environment(process, home)?;
        if self.around.notify.is_some() {
            Notify::tell(&mut environment)?;
        }
        if self.around.listen_fds > 0 {
            // The process is the first of its pid namespace, or else cannot know its pid beforehand: as runc.
            environment
                .push(crate::init::program::text("LISTEN_FDS", format!("LISTEN_FDS={}", self.around.listen_fds))?);
            environment.push(crate::init::program::text("LISTEN_PID", "LISTEN_PID=1")?);
        }
        Ok(environment)
    }

    fn surroundings<'a>(
        &'a self,
        process: &Process,
        limits: Vec<Limit>,
        labels: Labels<'a>,
    ) -> Result<Surroundings<'a>> {
        let uid = process.user().uid();
        let home = || accounts::home(&self.rootfs, uid).filter(|_| self.around.look);
        let filter = process::filter(self.linux.seccomp().as_ref(), self.around.bundle)?;
        let maps = (self.linux.uid_mappings().as_deref(), self.linux.gid_mappings().as_deref());
        Ok(Surroundings {
            maps: match maps {
                (Some(uids), Some(gids)) if self.namespaces.makes(libc::CLONE_NEWUSER) => Some((uids, gids)),
                _ => None,
            },
            linux: Some(&self.linux),
            filter,
            environment: self.environment(process, home)?,
            capabilities: Sets::read(process.capabilities().as_ref(), self.held()),
            limits,
            groups: process::Groups::find(
                self.groups_are_denied(),
                self.spec.annotations().as_ref().and_then(|all| all.get(process::KEEP_GROUPS)).map(String::as_str),
            ),
            labels,
        })
    }

    /// A caller without privilege may map his own group alone, once setgroups is denied: user_namespaces(7).
    fn groups_are_denied(&self) -> bool {
        let own = |gids: &[LinuxIdMapping]| ids::map("", gids).is_ok_and(|text| ids::is_own_group(&text));
        self.namespaces.makes(libc::CLONE_NEWUSER)
            && self.around.caller == Caller::User
            && self.linux.gid_mappings().as_deref().is_some_and(own)
    }
}

/// Whether every property of a configuration is one that there is, whatever the host has: for `features`.
pub fn is_supported(spec: &Spec) -> bool {
    let linux = spec.linux().clone().unwrap_or_else(no_linux);
    let namespaces = Namespaces::read(linux.namespaces().as_deref().unwrap_or_default());
    namespaces.is_ok() && hooks::read(spec.hooks().as_ref(), false).is_ok()
}
