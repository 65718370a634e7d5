//! Creating a container: the plan's runtime steps, one after the other.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::agent::{self, Agent, Subject};
use super::host_cgroups::{self, HostCgroups};
use super::launch::Launch;
use super::notify::{self, Notifier};
use super::store::{self, Directory, Locked, NOTIFY, START_SOCKET, State};
use super::{
    CgroupManager, ContainerId, CreateOptions, Globals, Status, attributes, cleanup, fault, hooks, identity, links,
    networks, obstacles, terminal,
};
use crate::bundle::create::{Circumstances, Planned};
use crate::bundle::network::Flags;
use crate::bundle::notify::{Notify, ServiceManager};
use crate::bundle::plan::RuntimeStep;
use crate::bundle::{self, Config, Plan};
use crate::init::hooks::plan::{Document, Hook, List, Pid};
use crate::init::program::Source;
use crate::network::Origin;
use crate::network::request::{Interface, Share};
use crate::network::run::Connecting;
use crate::sys::Caller;
use crate::sys::spawn::Spawned;
use crate::undo::{self, Head, Identity, Line, Networks};
use crate::{Context, Error, Result, cgroup, resctrl, timestamp};

/// A container that waits for `start`.
pub struct NewContainer {
    /// Its first process, a child of the caller.
    pub init: Spawned,
    /// See [`State::ends_with_init`].
    pub ends_with_init: bool,
    /// Its cgroups.
    pub place: Option<cgroup::Place>,
}

/// Creates a container from a bundle and leaves it waiting for `start`.
pub fn create(globals: &Globals, id: &ContainerId, options: &CreateOptions) -> Result<NewContainer> {
    let config = Config::load(&options.bundle)?;
    // As of a detached run: whoever called keeps no terminal.
    terminal::check(wants_terminal(&config), true, options.console.is_some())?;
    let creation = Creation::begin(globals, id, options, &config, true)?;
    let console = options.console.as_ref().map(terminal::connect).transpose()?;
    let ends_with_init = creation.planned.ends_with_init();
    let Created { init, place, .. } = creation.carry_out(console)?;
    Ok(NewContainer { init, ends_with_init, place })
}

/// Whether config.json asks for a terminal.
pub fn wants_terminal(config: &Config) -> bool {
    config.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)
}

/// What create would do, without doing it.
pub fn plan(globals: &Globals, id: &ContainerId, bundle: &Path, no_host: bool, network: &Flags) -> Result<Plan> {
    let config = Config::load(bundle)?;
    let options = CreateOptions { bundle: config.bundle.clone(), network: network.clone(), ..CreateOptions::default() };
    Ok(make_plan(globals, id, &options, &config, (true, !no_host, false))?.0.plan)
}

/// The plan, and what of it is about networks. `takes`: it will be carried out.
fn make_plan(
    globals: &Globals,
    id: &ContainerId,
    options: &CreateOptions,
    config: &Config,
    (waits, look, takes): (bool, bool, bool),
) -> Result<(Planned, Option<Networked>)> {
    let table = if look {
        crate::sys::read_kernel_file("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?
    } else {
        String::new()
    };
    let caller = if look { Caller::find() } else { Caller::Root };
    let found = if look { host_cgroups::find(globals, config, caller, &table)? } else { HostCgroups::default() };
    let systemd = match globals.cgroup_manager {
        CgroupManager::Systemd if look => Some(cgroup::systemd::Manager::of_caller(caller)?),
        _ => None,
    };
    let notify = ServiceManager::from_environment()?
        .map(|manager| Notify { manager, directory: globals.root.join(id.as_str()).join(NOTIFY) });
    let request = bundle::network::request(&config.bundle, config.spec.annotations().as_ref(), &options.network)?;
    let other = |other: &str| networks::namespace_of(globals, other);
    let spec = bundle::network::adapt(&config.spec, request.as_ref(), other)?;
    let connect = |request| networks::connect(globals, id, &spec, request, (takes, look));
    let connection = request.as_ref().map(connect).transpose()?;
    let around = Circumstances {
        id: id.as_str(),
        bundle: &config.bundle,
        cgroups: found.layout.as_ref(),
        withheld: found.withheld.as_deref(),
        systemd: systemd.as_ref(),
        mount_table: &table,
        no_pivot: options.no_pivot,
        new_keyring: !options.no_new_keyring,
        waits,
        notify: notify.as_ref(),
        network: connection.as_ref(),
        caller,
        look,
        listen_fds: Launch::listen_fds(),
    };
    let planned = bundle::create::plan(&spec, &around)?;
    let networked = connection.zip(request).map(|(connection, request)| -> Result<Networked> {
        let intents = networks::intents(globals, networks::joined(&spec), &connection.planned)?;
        let leases = connection.planned.attachments.len();
        let connecting = Connecting::new(globals.networks.clone(), connection.planned.locks, leases);
        let shares = match &request.share {
            Some(Share::Container(other)) => Some(other.clone()),
            _ => None,
        };
        Ok(Networked { intents, connecting, apart: request.apart()?, shares })
    });
    Ok((planned, networked.transpose()?))
}

/// What of a plan is about networks.
struct Networked {
    /// What is noted of it first.
    intents: Vec<Line>,
    /// What carries it out.
    connecting: Connecting,
    /// The interfaces that are on no network.
    apart: Vec<Interface>,
    /// Whose network it shares.
    shares: Option<String>,
}

/// A container that is being created. Dropped before its end, it undoes what it has done.
pub struct Creation<'a> {
    id: &'a ContainerId,
    options: &'a CreateOptions,
    config: &'a Config,
    globals: &'a Globals,
    planned: Planned,
    locked: Option<Locked>,
    record: Option<File>,
    /// Init, as the record has it.
    recorded: Option<Identity>,
    /// The network namespaces that are held.
    networks: Option<Networks>,
    /// What connects it to networks.
    networked: Option<Networked>,
    /// The service manager, connected, until the container has its socket.
    manager: Option<(ServiceManager, OwnedFd)>,
    /// Then who waits for the container.
    notifier: Option<Notifier>,
}

/// A container whose init is set up, and runs or waits for `start`.
pub struct Created {
    /// Its first process.
    pub init: Spawned,
    /// Its cgroups.
    pub place: Option<cgroup::Place>,
    /// Its directory, locked.
    pub locked: Locked,
    /// The hooks to run now that the process runs, or at `start`.
    pub poststart: Vec<Hook>,
    /// What they are told.
    pub told: Option<Document>,
    /// Who waits for the process to be ready.
    pub notifier: Option<Notifier>,
}

impl<'a> Creation<'a> {
    /// Plans, and makes nothing.
    pub fn begin(
        globals: &'a Globals,
        id: &'a ContainerId,
        options: &'a CreateOptions,
        config: &'a Config,
        waits: bool,
    ) -> Result<Self> {
        let (planned, networked) = make_plan(globals, id, options, config, (waits, true, true))?;
        Ok(Self {
            id,
            options,
            config,
            globals,
            planned,
            locked: None,
            record: None,
            recorded: None,
            networks: None,
            networked,
            manager: None,
            notifier: None,
        })
    }

    /// Carries the plan out. On any error nothing is left.
    pub fn carry_out(mut self, console: Option<OwnedFd>) -> Result<Created> {
        if !self.planned.are_known() {
            log::warn!(
                "the container has no cgroup and no pid namespace of its own: what its first process starts cannot be found to be listed, signalled or ended"
            );
        }
        let outcome = self.perform(console);
        match (outcome, self.locked.take()) {
            (Ok(init), Some(locked)) => {
                let Planned { poststart, told, place, .. } = self.planned;
                Ok(Created { init, place, locked, poststart, told, notifier: self.notifier })
            }
            (Ok(_), None) => Err(Error::new("the plan made no state directory")),
            (Err(error), None) => Err(error),
            (Err(error), Some(locked)) => {
                // The locks of networks, which the undo takes.
                self.networked = None;
                if let Err(left) = cleanup::undo(locked) {
                    log::warn!("clean up after the failed create: {left}; `gc` will try again");
                }
                Err(obstacles::explain(error))
            }
        }
    }

    fn perform(&mut self, mut console: Option<OwnedFd>) -> Result<Spawned> {
        let plan = std::mem::take(&mut self.planned.plan);
        let preserve = self.options.preserve_fds.saturating_add(Launch::listen_fds());
        let mut launch = Launch::new(&plan, preserve, self.options.stdio.clone())?;
        let mut made = cgroup::Made::default();
        let mut identities = Vec::new();
        let mut agent = None;
        for (number, step) in plan.runtime_steps() {
            fault::point();
            log::debug!("{}: step {number}: {step}", self.id);
            match step {
                RuntimeStep::MakeState => self.make_state(&plan)?,
                RuntimeStep::MeetManager(manager) => self.manager = Some((manager.clone(), notify::connect(manager)?)),
                RuntimeStep::MakeNotify { directory, listens } => self.make_notify(directory, *listens)?,
                RuntimeStep::Cgroup(step) => {
                    identities.extend(made.run(step)?);
                    // Those that are made around init are in use at once.
                    if self.recorded.is_some() {
                        self.note_made(&mut identities)?;
                    }
                }
                RuntimeStep::Resctrl(_, resctrl::Step::Enter(group)) => group.enter(launch.init()?.pid)?,
                RuntimeStep::Resctrl(root, step) => {
                    if let Some(made) = step.run(root)? {
                        self.append(&[Line::Made { path: made.path.into(), inode: made.inode }])?;
                    }
                }
                RuntimeStep::MakeFile(made) => networks::make_file(made)?,
                RuntimeStep::Connect(step) => {
                    let pid = launch.init().ok().map(|init| init.pid);
                    let networked = self.networked.as_mut();
                    let networked = networked.ok_or_else(|| Error::new("the plan connects and knows no networks"))?;
                    let connected = networked.connecting.run(step, pid);
                    connected.map_err(|error| launch.blame(error.context("network"), &plan))?;
                }
                RuntimeStep::Open(slot, source) => {
                    self.note_made(&mut identities)?;
                    self.open(&mut launch, *slot, source, &mut console)?;
                }
                RuntimeStep::Spawn { kinds, maps } => {
                    self.note_made(&mut identities)?;
                    let spawned = launch.spawn(&plan, *kinds, maps.as_ref(), made.v2_dir());
                    spawned.map_err(|error| made.explain_birth(error))?;
                }
                RuntimeStep::Record => {
                    let init = launch.init()?;
                    let identity = identity::of(init.pid, init.process.as_fd())?;
                    self.append(&[Line::Process(identity)])?;
                    self.recorded = Some(identity);
                    made.is_for(init.pid);
                }
                RuntimeStep::AwaitInit => launch.await_init(&plan)?,
                RuntimeStep::MapIds(maps) => launch.map_ids(maps)?,
                RuntimeStep::MapMount(map) => launch.map_mount(map, &plan)?,
                RuntimeStep::Release => launch.release()?,
                RuntimeStep::HoldNetwork => {
                    let networks = links::hold(self.directory()?, launch.init()?)?;
                    self.append(&[Line::Networks(networks)])?;
                    self.networks = Some(networks);
                }
                RuntimeStep::MoveLink(origin) => self.move_link(origin)?,
                RuntimeStep::LeaveLinks => {
                    launch.settle_for_good(&plan)?;
                    self.append(&[Line::LinksLeft])?;
                    links::let_go(self.directory()?)?;
                }
                RuntimeStep::Limits(_)
                | RuntimeStep::OomScoreAdj(_)
                | RuntimeStep::Scheduling(_)
                | RuntimeStep::IoPriority(_) => {
                    attributes::set(step, launch.init()?.pid, self.planned.place.as_ref())?;
                }
                RuntimeStep::Defer(hook) => self.defer(hook)?,
                // Its time comes once the process runs.
                RuntimeStep::Hook(hook) if hook.list == List::Poststart => {}
                RuntimeStep::Hook(hook) => self.run_hook(hook, launch.init()?)?,
                RuntimeStep::Save => self.save(launch.init()?, launch.program())?,
                RuntimeStep::FindAgent(listener) => agent::find(&listener.path)?,
                RuntimeStep::ConnectAgent(listener) => agent = Some(Agent::connect(listener)?),
                RuntimeStep::ServeAgent => self.serve(&mut launch, agent.take(), &plan)?,
            }
        }
        fault::point();
        launch.finish(&plan)
    }

    fn make_notify(&mut self, directory: &Path, listens: bool) -> Result<()> {
        notify::make_directory(directory)?;
        if let (true, Some((manager, connection))) = (listens, self.manager.take()) {
            self.notifier = Some(Notifier::listen(directory, manager, connection)?);
        }
        Ok(())
    }

    /// Notes a poststop hook, with what it will be told once nobody else knows that any more.
    fn defer(&mut self, hook: &Hook) -> Result<()> {
        let mut lines = Vec::new();
        if hook.number == 0 {
            lines.push(Line::Told(hooks::told(&self.config.spec)?));
        }
        lines.push(Line::Deferred { number: hook.number, what: serde_json::to_value(hook)? });
        self.append(&lines)
    }

    /// Runs a hook while init waits. An init that dies ends its hook.
    fn run_hook(&self, hook: &Hook, init: &Spawned) -> Result<()> {
        let Some(told) = &self.planned.told else { return Err(Error::new("the plan has a hook and no state for it")) };
        let scene = hooks::Scene {
            told,
            pid: Pid::Of(init.pid),
            bundle: &self.config.bundle,
            lives: Some(init.process.as_fd()),
        };
        hooks::run(hook, &scene, |_| Ok(()))
    }

    /// An empty cgroup that is there already may be a driver's gift, or a stopped container's that would be deleted
    /// with this one in it.
    fn refuse_claimed_cgroup(&self, intents: &[Line]) -> Result<()> {
        let Some(place) = &self.planned.place else { return Ok(()) };
        // systemd has no two units of one name.
        if place.unit.is_some() {
            return Ok(());
        }
        let made = intents.iter().filter(|line| matches!(line, Line::Cgroup { leaf: true, .. })).count();
        if made == place.cgroups.len() {
            return Ok(());
        }
        for id in store::ids(&self.globals.root)?.unwrap_or_default() {
            let state = Directory::open(&self.globals.root, &id).and_then(|directory| directory.state());
            let theirs = state.ok().flatten().and_then(|state| state.place);
            let shared =
                theirs.and_then(|theirs| theirs.cgroups.into_iter().find(|cgroup| place.cgroups.contains(cgroup)));
            if let Some(cgroup) = shared {
                return Err(Error::invalid(format!(
                    "linux.cgroupsPath: {cgroup} belongs to container {id}: choose another"
                )));
            }
        }
        Ok(())
    }

    fn make_state(&mut self, plan: &Plan) -> Result<()> {
        let locked = Directory::make(self.globals, self.id)?;
        let head =
            Head { version: 1, id: self.id.to_string(), bundle: self.config.bundle.clone(), uptime: undo::uptime() };
        let mut intents = self.planned.place.as_ref().map(intents).unwrap_or_default();
        let claimed = self.refuse_claimed_cgroup(&intents);
        intents.extend(plan.runtime_steps().filter_map(|(_, step)| match step {
            RuntimeStep::Cgroup(cgroup::Step::Start(start)) => {
                Some(Line::Unit { unit: start.unit.clone(), path: start.cgroup.dir().into() })
            }
            RuntimeStep::Resctrl(_, step) => resctrl_intent(step),
            RuntimeStep::HoldNetwork => Some(Line::HoldNetworks),
            RuntimeStep::MoveLink(origin) => Some(Line::Link(Box::new(origin.clone()))),
            _ => None,
        }));
        intents.extend(self.networked.iter().flat_map(|networked| networked.intents.iter().cloned()));
        let record = undo::begin(&locked.directory, &head, &intents)
            .map_err(|error| error.context(format!("state directory {}", locked.directory.path.display())));
        self.locked = Some(locked);
        claimed?;
        self.record = Some(record?);
        Ok(())
    }

    fn move_link(&mut self, origin: &Origin) -> Result<()> {
        let networks = self.networks.ok_or_else(|| Error::new("an interface is to be moved to nowhere"))?;
        let (Some(locked), Some(record)) = (&self.locked, &mut self.record) else {
            return Err(Error::new("there is no state directory yet"));
        };
        links::send(&locked.directory, networks, origin, |index| {
            fault::point();
            undo::append(record, &[Line::Moved { name: origin.name.clone(), index }])
        })
    }

    fn append(&mut self, lines: &[Line]) -> Result<()> {
        match &mut self.record {
            Some(record) if !lines.is_empty() => undo::append(record, lines),
            _ => Ok(()),
        }
    }

    fn note_made(&mut self, identities: &mut Vec<cgroup::Identity>) -> Result<()> {
        let lines: Vec<_> =
            identities.drain(..).map(|made| Line::Made { path: made.path.into(), inode: made.inode }).collect();
        self.append(&lines)
    }

    fn open(&self, launch: &mut Launch, slot: u32, source: &Source, console: &mut Option<OwnedFd>) -> Result<()> {
        match source {
            Source::Listener => launch.fill(slot, crate::sys::net::listen_path(&self.directory()?.join(START_SOCKET))?),
            Source::Console => match console.take() {
                Some(socket) => launch.fill(slot, socket),
                None => return Err(Error::new("the plan has a terminal and nobody to receive it")),
            },
            _ => launch.open(slot, source)?,
        }
        Ok(())
    }

    fn directory(&self) -> Result<&Directory> {
        self.locked
            .as_ref()
            .map(|locked| &locked.directory)
            .ok_or_else(|| Error::new("there is no state directory yet"))
    }

    fn serve(&self, launch: &mut Launch, agent: Option<Agent>, plan: &Plan) -> Result<()> {
        let agent = agent.ok_or_else(|| Error::new("the plan connects to no seccomp agent"))?;
        let annotations = self.config.spec.annotations().clone().unwrap_or_default();
        let subject = Subject {
            id: self.id.as_str(),
            oci_version: self.config.spec.version(),
            bundle: &self.config.bundle,
            annotations: &annotations.into_iter().collect(),
            status: Status::Created,
            init: launch.init()?.pid,
        };
        launch.serve(&agent, &subject, plan)
    }

    fn save(&self, init: &Spawned, program: identity::Program) -> Result<()> {
        let config = serde_json::value::RawValue::from_string(self.config.text.clone())?;
        let annotations = self.config.spec.annotations().clone().unwrap_or_default();
        let networked = self.networked.as_ref();
        let state = State {
            version: 1,
            id: self.id.to_string(),
            oci_version: self.config.spec.version().clone(),
            bundle: self.config.bundle.clone(),
            rootfs: self.planned.rootfs.clone(),
            created: timestamp::nanoseconds(std::time::SystemTime::now()),
            init: self.recorded.ok_or_else(|| Error::new("init is to be saved and was not recorded"))?,
            program,
            namespaces: self.planned.namespaces,
            joined_pids: self.planned.joined_pids,
            place: self.planned.place.clone(),
            rdt: self.planned.rdt.clone(),
            own_keyring: !self.options.no_new_keyring,
            updates: 0,
            agent: self.planned.agent.clone(),
            annotations: annotations.into_iter().collect(),
            start_hooks: self.planned.start_hooks,
            poststart: self.planned.poststart.clone(),
            apart: networked.map(|networked| networked.apart.clone()).unwrap_or_default(),
            shares: networked.and_then(|networked| networked.shares.clone()),
            config,
        };
        hand_out(init, self.options.pid_file.as_deref(), self.options.pidfd_socket.as_deref())?;
        self.directory()?.save(&state)
    }
}

/// Tells the caller who the process is: a pid file, written whole, and the pidfd.
pub fn hand_out(process: &Spawned, pid_file: Option<&Path>, pidfd_socket: Option<&Path>) -> Result<()> {
    if let Some(path) = pid_file {
        store::write_whole(path, process.pid.to_string().as_bytes())
            .map_err(|error| error.context(format!("write pid file {}", path.display())))?;
    }
    if let Some(path) = pidfd_socket {
        let socket = crate::sys::net::connect_path_within(path, super::PATIENCE);
        let socket = socket.map_err(|error| error.context("--pidfd-socket"))?;
        crate::sys::net::send_descriptor(socket.as_fd(), b"pidfd", process.process.as_fd())
            .context(|| format!("--pidfd-socket: send the pidfd to {}", path.display()))?;
    }
    Ok(())
}

/// The directories that do not exist yet and will be made. Those of a unit are whoever's who has the unit, and may be left of
/// another who had it and is not deleted yet.
fn intents(place: &cgroup::Place) -> Vec<Line> {
    // Of cgroup2 systemd makes all of it.
    if place.unit.is_some() && place.is_v2() {
        return Vec::new();
    }
    let leaves: Vec<_> = place.cgroups.iter().map(|cgroup| PathBuf::from(cgroup.dir())).collect();
    let mut dirs = place.missing_dirs();
    if place.unit.is_some() {
        let found: Vec<_> = leaves.iter().filter(|leaf| !dirs.contains(leaf)).cloned().collect();
        dirs.extend(found);
    }
    let directory = |path: PathBuf| Line::Cgroup { leaf: leaves.contains(&path), path };
    dirs.into_iter().map(directory).collect()
}

/// A directory of resctrl that does not exist yet and will be made.
pub fn resctrl_intent(step: &resctrl::Step) -> Option<Line> {
    let (dir, own) = step.makes().filter(|(dir, _)| !Path::new(dir).exists())?;
    Some(Line::Resctrl { path: dir.into(), own })
}
