//! Starting init and talking with it: what create, run and exec have in common.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::sys::statvfs::FsFlags;

use super::agent::{Agent, Subject};
use super::identity::{Outcome, Program};
use super::{PATIENCE, copy_up, device_node, fault, id_maps, identity, map_mount};
use crate::bundle::plan::{IdMaps, Plan};
use crate::init::program::{Items, MapMount, Source, describe_failure};
use crate::init::step::{GO, Head, LISTENER, READY, SHOWN};
use crate::init::wire::Wire;
use crate::sys::spawn::{Spawn, Spawned, spawn};
use crate::sys::{self, SharedPage};
use crate::{Context, Error, Result};

/// An init that is being started.
pub struct Launch {
    slots: Vec<Option<OwnedFd>>,
    /// The runtime's end of the socket pair.
    socket: OwnedFd,
    /// Init's end, until it is started.
    other: Option<OwnedFd>,
    page: SharedPage,
    started: Option<Spawned>,
    preserve: u32,
    /// What it gets for stdin, stdout and stderr; without, it has the caller's.
    stdio: Option<Arc<[OwnedFd; 3]>>,
    program: Program,
}

impl Launch {
    /// How many sockets a service manager passes: sd_listen_fds(3). They come before the preserved descriptors.
    pub fn listen_fds() -> u32 {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        // Meant for this process, not for one above it that passed its environment on.
        let ours = number("LISTEN_PID") == Some(std::process::id());
        number("LISTEN_FDS").filter(|_| ours).unwrap_or(0)
    }

    /// Everything that does not depend on the plan's steps. Descriptors to be preserved must be open.
    pub fn new(plan: &Plan, preserve: u32, stdio: Option<Arc<[OwnedFd; 3]>>) -> Result<Self> {
        if preserve > 1 << 20 {
            return Err(Error::invalid(format!("--preserve-fds {preserve}: no process has so many descriptors")));
        }
        for fd in 3..3 + preserve as i32 {
            if sys::inherited(fd).is_none() {
                return Err(Error::invalid(format!(
                    "--preserve-fds {preserve}: descriptor {fd} is not open: please check that the file descriptors exist"
                )));
            }
        }
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
        let (socket, other) = pair.context(|| "make the socket to init")?;
        let slots = std::iter::repeat_with(|| None).take(plan.slots()).collect();
        let page = SharedPage::new().context(|| "make the page shared with init")?;
        Ok(Self { slots, socket, other: Some(other), page, started: None, preserve, stdio, program: (0, 0) })
    }

    /// Opens what a slot stands for.
    pub fn open(&mut self, slot: u32, source: &Source) -> Result<()> {
        let fd = match source {
            Source::HiddenTree { path } => hidden_tree(path)?,
            Source::NotifyDirectory { path } => slave_tree(path)?,
            Source::Device(node) => {
                device_node::make(node).map_err(|error| error.context(format!("linux.devices: {source}")))?
            }
            Source::CopiedTmpfs { rootfs, target, data, label, most } => {
                copy_up::filled_tmpfs(rootfs, target, (data, label.as_deref()), *most)
                    .map_err(|error| error.context(format!("fill a tmpfs from {} of the rootfs", target.display())))?
            }
            Source::Namespace { path, kind } => namespace(path, *kind)?,
            Source::Tasks { path } => open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
                .context(|| format!("open {}", path.display()))?,
            Source::Procs | Source::Listener | Source::Console | Source::Process => {
                return Err(Error::new(format!("{source}: the command that was given has none")));
            }
        };
        self.fill(slot, fd);
        Ok(())
    }

    /// Puts a descriptor into a slot.
    pub fn fill(&mut self, slot: u32, fd: OwnedFd) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(fd);
        }
    }

    /// Starts init with everything that was opened, and closes that here.
    pub fn spawn(&mut self, plan: &Plan, kinds: u64, maps: Option<&IdMaps>, cgroup: Option<BorrowedFd>) -> Result<()> {
        self.spawn_in_one_of(plan, kinds, maps, &[cgroup]).map(drop)
    }

    /// The same in the first of these cgroups (None is the caller's own) that the kernel lets this process be born in; its
    /// number among them.
    pub fn spawn_in_one_of(
        &mut self,
        plan: &Plan,
        kinds: u64,
        maps: Option<&IdMaps>,
        cgroups: &[Option<BorrowedFd>],
    ) -> Result<usize> {
        let program = init_program().map_err(|error| error.context("prepare the init program"))?;
        let found = nix::sys::stat::fstat(&program)?;
        self.program = (found.st_dev, found.st_ino);
        let Some(other) = self.other.take() else { return Err(Error::new("init was started before")) };
        let numbers: Vec<i32> = self.slots.iter().map(|fd| fd.as_ref().map_or(-1, |fd| fd.as_raw_fd())).collect();
        let items = Items::new(numbers.iter().copied());
        let head = Head {
            control: self.page.fd.as_raw_fd(),
            socket: other.as_raw_fd(),
            preserve: self.preserve,
            fault: fault::init_step(),
            #[cfg(feature = "fault")]
            left_out: crate::init::guard::left_out(),
            slots: items.list(),
        };
        let mut bytes = Vec::with_capacity(64 + numbers.len() * 4);
        head.write(&mut bytes);
        let steps = plan.program().bytes();
        let text = sys::sealed_memfd(c"nfrun-plan", &[&bytes, steps], 0).context(|| "hand init its plan")?;
        let argument = format!("{}:{}", text.as_raw_fd(), bytes.len() + steps.len());
        let argument = CString::new(argument).map_err(|_| Error::new("init's argument"))?;
        let mut keep: Vec<i32> = numbers.into_iter().filter(|fd| *fd >= 0).collect();
        keep.extend([text.as_raw_fd(), self.page.fd.as_raw_fd(), other.as_raw_fd()]);
        let stdio = self.stdio.as_deref().map(|stdio| stdio.each_ref().map(AsFd::as_fd));
        let attempt = |cgroup| {
            let what = Spawn { program: program.as_fd(), argument: &argument, stdio, keep: &keep, kinds, cgroup };
            spawn(&what, |pid| maps.map_or(Ok(()), |maps| id_maps::write(pid, maps, "linux")))
        };
        let mut started = Err(Error::new("there is no cgroup to start it in"));
        let mut at = 0;
        for (number, cgroup) in cgroups.iter().enumerate() {
            (at, started) = (number, attempt(*cgroup));
            let is_refused = |error: &Error| matches!(error.errno(), Some(libc::EACCES | libc::EPERM));
            if !started.as_ref().is_err_and(is_refused) {
                break;
            }
        }
        self.slots.clear();
        self.started = Some(started.map_err(|error| error.context("start init"))?);
        Ok(at)
    }

    /// Init as it was started last.
    pub fn init(&self) -> Result<&Spawned> {
        self.started.as_ref().ok_or_else(|| Error::new("init was not started"))
    }

    /// The file that init was started from.
    pub fn program(&self) -> Program {
        self.program
    }

    /// Writes the maps of a user namespace that init made as it forked.
    pub fn map_ids(&self, maps: &IdMaps) -> Result<()> {
        id_maps::write(self.init()?.pid, maps, "linux")
    }

    /// Maps the ids of a mount that init shows, and lets it go on.
    pub fn map_mount(&mut self, map: &MapMount, plan: &Plan) -> Result<()> {
        let mount = match sys::net::receive_word(self.socket.as_fd()) {
            Ok((Some(SHOWN), Some(mount))) => mount,
            Ok((word, _)) => return Err(self.failure(word.as_slice(), plan)),
            Err(Errno::ECONNRESET) => return Err(self.failure(&[], plan)),
            Err(errno) => return Err(Error::from(errno).context("receive a mount from init")),
        };
        // Init may have gone on as another process by now, with the user namespace that is asked for.
        self.follow_fork()?;
        map_mount::map_ids(mount.as_fd(), map, self.init()?.pid)?;
        self.release()
    }

    /// Waits until init waits for the runtime; an init that went on as another process is followed.
    pub fn await_init(&mut self, plan: &Plan) -> Result<()> {
        let mut word = [0; 1];
        match read_retrying(self.socket.as_fd(), &mut word)? {
            1 if word[0] == READY => self.follow_fork(),
            read => Err(self.failure(&word[..read], plan)),
        }
    }

    /// Why a step failed that the runtime did while init worked: where init has ended, that is what was in its way.
    pub fn blame(&mut self, error: Error, plan: &Plan) -> Error {
        match &self.started {
            Some(init) if sys::pidfd::has_ended(init.process.as_fd()) || identity::is_ending(init.pid) => {
                self.failure(&[], plan)
            }
            _ => error,
        }
    }

    /// As `await_init`, of an init that runs hooks for the container whose process `lives`: None where that ends first.
    pub fn await_init_of(&mut self, plan: &Plan, lives: Option<BorrowedFd>) -> Result<Option<()>> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        if let Some(lives) = lives {
            let mut fds = [self.socket.as_fd(), lives].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            while let Err(errno) = poll(&mut fds, PollTimeout::NONE) {
                if errno != Errno::EINTR {
                    return Err(Error::from(errno).context("wait for init"));
                }
            }
            if !fds[0].any().unwrap_or(true) {
                return Ok(None);
            }
        }
        self.await_init(plan).map(Some)
    }

    /// Tells init by the end of its socket to stop what it does, and waits for its end.
    pub fn abandon(&self) {
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if let Some(init) = &self.started {
            sys::pidfd::wait_for_end(init.process.as_fd(), Some(PATIENCE));
        }
    }

    /// The process group of the hook that init runs, or was running when it was killed.
    pub fn hook(&self) -> Option<nix::unistd::Pid> {
        let pid = self.page.progress().hook.load(Ordering::Acquire);
        (pid > 0).then(|| nix::unistd::Pid::from_raw(pid))
    }

    fn follow_fork(&mut self) -> Result<()> {
        let forked = self.page.progress().forked.swap(0, Ordering::AcqRel);
        if forked == 0 {
            return Ok(());
        }
        let process = sys::pidfd::open(forked).context(|| format!("open process {forked}"))?;
        // Init is a process among those of the container by now, and who traces it may write any number.
        if !sys::pidfd::is_child(process.as_fd()) {
            return Err(Error::new(format!("what init names as its child, process {forked}, is none: was it traced?")));
        }
        if let Some(before) = self.started.replace(Spawned { pid: forked, process }) {
            reap(&before);
        }
        Ok(())
    }

    /// Lets a waiting init go on.
    pub fn release(&self) -> Result<()> {
        nix::unistd::write(&self.socket, &[GO]).context(|| "tell init to go on")?;
        Ok(())
    }

    /// Gives the listener of the filter that init loads to the seccomp agent.
    pub fn serve(&mut self, agent: &Agent, subject: &Subject, plan: &Plan) -> Result<()> {
        let mut word = [0; 1];
        match read_retrying(self.socket.as_fd(), &mut word)? {
            1 if word[0] == LISTENER => {}
            read => return Err(self.failure(&word[..read], plan)),
        }
        let init = self.init()?;
        let mut socket = std::fs::File::from(self.socket.try_clone()?);
        agent.serve(&mut socket, init.pid, init.process.as_fd(), subject)
    }

    /// Waits until init has closed its socket: it runs the command, or waits for `start` alone.
    pub fn finish(mut self, plan: &Plan) -> Result<Spawned> {
        self.settle(plan)?;
        self.started.take().ok_or_else(|| Error::new("init was not started"))
    }

    /// The same, for a step that comes after it.
    pub fn settle(&mut self, plan: &Plan) -> Result<()> {
        let mut word = [0; 1];
        match read_retrying(self.socket.as_fd(), &mut word)? {
            0 if !self.died_early(plan) => Ok(()),
            read => Err(self.failure(&word[..read], plan)),
        }
    }

    /// The same, before what cannot be undone: an init that is killed closes its socket before it shows as ended.
    pub fn settle_for_good(&mut self, plan: &Plan) -> Result<()> {
        self.settle(plan)?;
        let waits = self.page.progress().step.load(Ordering::Acquire) < plan.last_init_step();
        let init = self.init()?;
        if waits && identity::is_ending(init.pid) {
            sys::pidfd::wait_for_end(init.process.as_fd(), Some(PATIENCE));
            return Err(self.failure(&[], plan));
        }
        Ok(())
    }

    /// Whether init ended instead: after the last step, execve, what it runs is to be seen; before it, it waits for `start`.
    fn died_early(&self, plan: &Plan) -> bool {
        let Some(init) = &self.started else { return false };
        if self.page.progress().step.load(Ordering::Acquire) < plan.last_init_step() {
            return sys::pidfd::has_ended(init.process.as_fd());
        }
        !matches!(identity::outcome(init.pid, init.process.as_fd(), self.program), Outcome::Command)
    }

    /// What init told of its failure, or what became of it, in words.
    fn failure(&mut self, begin: &[u8], plan: &Plan) -> Error {
        let mut message = begin.to_vec();
        let _ = std::fs::File::from(match self.socket.try_clone() {
            Ok(socket) => socket,
            Err(error) => return error.into(),
        })
        .take(32 << 20)
        .read_to_end(&mut message);
        let _ = self.follow_fork();
        let step = self.page.progress().step.load(Ordering::Acquire);
        let at = plan.describe(step).unwrap_or_else(|| "its beginning".into());
        let ended = self.started.take().and_then(|init| reap(&init));
        describe_failure(&message)
            .unwrap_or_else(|| Error::new(format!("{} at step {step} ({at})", identity::describe_end(ended))))
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        // A start that failed midway: an init that still is there would wait for a word that never comes, or be
        // orphaned; nothing of it may stay.
        if let Some(init) = &self.started {
            let _ = sys::pidfd::signal(init.process.as_fd(), libc::SIGKILL);
            reap(init);
        }
    }
}

/// Waits for an init that ends, but not for ever: in a dead filesystem even SIGKILL waits.
fn reap(init: &Spawned) -> Option<i32> {
    if sys::pidfd::wait_for_end(init.process.as_fd(), Some(PATIENCE)) {
        return sys::reap(init.pid);
    }
    log::warn!("init does not end: {}", crate::cgroup::describe_stuck(init.pid));
    None
}

/// A namespace's file. What else lies there is not opened: a FIFO would wait for a writer, a device might do anything.
fn namespace(path: &Path, kind: u64) -> Result<OwnedFd> {
    let refuse = |what: &str| {
        let name = crate::init::namespaces::plan::names(kind);
        Error::invalid(format!("linux.namespaces: {}: it is {what}, not a {name} namespace", path.display()))
    };
    let what = || format!("linux.namespaces: open {}", path.display());
    let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).context(what)?;
    if nix::sys::statfs::fstatfs(&place).context(what)?.filesystem_type().0 as i64 != NSFS_MAGIC {
        return Err(refuse("no namespace"));
    }
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = open(link.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).context(what)?;
    let found = sys::namespace_kind(file.as_fd()).context(what)?;
    if found != kind {
        return Err(refuse(&format!("a {} namespace", crate::init::namespaces::plan::names(found))));
    }
    Ok(file)
}

/// statfs(2).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// A mount for a user namespace whose root cannot reach it. It must not be a peer of the host's, and the flags that it has
/// must be locked, which they are not when it is attached from outside.
fn hidden_tree(path: &Path) -> Result<OwnedFd> {
    let tree = slave_tree(path)?;
    let locks = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC;
    let flags = nix::sys::statvfs::fstatvfs(&tree).context(|| format!("look at {}", path.display()))?.flags();
    if flags.intersects(locks) { locked_tree(path) } else { Ok(tree) }
}

/// The same with its flags locked: cloned in a mount namespace of less privilege, by a thread, which alone enters that.
fn locked_tree(path: &Path) -> Result<OwnedFd> {
    let mounts = sys::userns::locked_mounts()?;
    let enter_and_clone = || {
        // Root and current directory are the process's; who enters a mount namespace has them alone.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).context(|| "unshare")?;
        nix::sched::setns(&mounts, nix::sched::CloneFlags::CLONE_NEWNS).context(|| "enter the mount namespace")?;
        slave_tree(path)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, enter_and_clone);
        let thread = thread.context(|| "start a thread that enters a mount namespace")?;
        thread.join().unwrap_or_else(|_| Err(Error::new("the thread that enters a mount namespace failed")))
    })
    .map_err(|error| error.context(format!("open {} with its flags locked", path.display())))
}

/// A clone of what is mounted at a path that is no peer of it.
fn slave_tree(path: &Path) -> Result<OwnedFd> {
    let tree =
        sys::mount::clone_tree(CWD, &c_path(path)?).context(|| format!("open {} to mount it", path.display()))?;
    match sys::mount::make_slave(tree.as_fd()) {
        // Before Linux 5.12 it can only be said of what is attached: init says it then.
        Err(nix::errno::Errno::ENOSYS) => Ok(tree),
        made => made.map(|()| tree).context(|| format!("make the mount of {} a slave", path.display())),
    }
}

/// The current directory, for calls that take one beside an absolute path.
const CWD: BorrowedFd<'static> = nix::fcntl::AT_FDCWD;

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid(format!("{}: holds a NUL", path.display())))
}

fn read_retrying(fd: BorrowedFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match nix::unistd::read(fd, buffer) {
            Err(Errno::EINTR) => {}
            // An init that is killed with words of ours unread resets the connection.
            Err(Errno::ECONNRESET) => return Ok(0),
            other => return other.context(|| "read what init says"),
        }
    }
}

/// Init's program as something to execute that no process inside can change: a sealed memfd; where those must not be
/// executed (vm.memfd_noexec=2), a file on a read-only mount that no path leads to.
fn init_program() -> Result<OwnedFd> {
    let name: &CStr = c"nfrun-init";
    match sys::sealed_memfd(name, &[crate::init::PROGRAM], sys::MFD_EXEC) {
        Err(Errno::EACCES | Errno::EPERM) => {}
        other => return Ok(other?),
    }
    let mount = sys::mount::new_detached(c"tmpfs", &[(c"mode", c"700")], 0).context(|| "make a tmpfs for it")?;
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::openat(&mount, name, flags, Mode::from_bits_truncate(0o500))?;
    std::io::Write::write_all(&mut std::fs::File::from(file), crate::init::PROGRAM)?;
    sys::mount::make_read_only(mount.as_fd()).context(|| "make the tmpfs read-only")?;
    Ok(nix::fcntl::openat(&mount, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)
}
