//! The loop of a shim: one thread that waits for requests, ends of processes, terminals, memory that has run out, work that
//! is done, and containerd.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use prost::Message;

use super::connection::Connection;
use super::failure::{Code, Failure};
use super::jobs::Jobs;
use super::messages::ttrpc::Request;
use super::publisher::{Publisher, Way};
use super::relay::{End, Relay};
use super::tasks::{Call, Tasks};
use super::wire::{Frame, Kind};
use crate::{Context, Result};

/// How long a shim waits for more to do before it gives its memory back.
const SOON: Duration = Duration::from_millis(1500);
/// How long the last events are kept trying to be told when the shim ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a shim begins with.
pub struct Beginning {
    pub listener: UnixListener,
    /// Where that listens.
    pub path: PathBuf,
}

/// The shim.
pub struct Server {
    pub namespace: String,
    pub tasks: Tasks,
    pub jobs: Jobs,
    pub publisher: Publisher,
    /// Terminals, by the keys of their processes.
    pub relays: BTreeMap<u64, Relay>,
    listener: UnixListener,
    signals: SignalFd,
    connections: BTreeMap<u64, Connection>,
    last_key: u64,
    /// When it ends, however much is left to be told.
    end: Option<Instant>,
    /// Whether children may have ended that nobody waits for.
    orphans: bool,
    /// When it has been idle for long enough to make itself small.
    rest: Option<Instant>,
}

/// Something that is waited for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Jobs,
    Publisher,
    Connection(u64),
    Exit(u64),
    Oom(u64),
    Relay(u64, End),
}

/// Serves until there is nothing more to serve.
pub fn serve(namespace: &str, way: Way, beginning: Beginning) -> Result<()> {
    crate::sys::keep_one_heap();
    // What a container leaves comes to its shim, which reaps it.
    nix::sys::prctl::set_child_subreaper(true).context(|| "become subreaper")?;
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None).context(|| "hold signals back")?;
    let Beginning { listener, path } = beginning;
    listener.set_nonblocking(true)?;
    let mut server = Server {
        namespace: namespace.to_owned(),
        tasks: Tasks::default(),
        jobs: Jobs::new()?,
        publisher: Publisher::new(namespace.to_owned(), way),
        relays: BTreeMap::new(),
        listener,
        signals: SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
        connections: BTreeMap::new(),
        last_key: 0,
        end: None,
        orphans: false,
        rest: None,
    };
    let outcome = server.run();
    let _ = std::fs::remove_file(path);
    outcome
}

impl Server {
    fn run(&mut self) -> Result<()> {
        loop {
            if self.end.is_some_and(|end| self.publisher.is_idle() || Instant::now() >= end) {
                return Ok(());
            }
            let ready = self.wait()?;
            self.rest_if_idle(!ready.is_empty());
            for (source, events) in ready {
                self.attend(source, events);
            }
            self.publisher.advance();
            self.look_at_output();
            self.publish_by_program();
            self.reap_orphans();
            self.drop_relays();
        }
    }

    /// A number that no connection and no process has had.
    pub fn new_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Ends once the last events are told, and no later than in a while.
    pub fn end(&mut self) {
        self.end = Some(Instant::now() + LAST_WORDS);
    }

    /// Answers a request, whose client may be gone by now.
    pub fn answer(&mut self, call: Call, answer: Result<Vec<u8>, Failure>) {
        if let Some(connection) = self.connections.get_mut(&call.connection)
            && !connection.answer(call.stream, answer)
        {
            self.connections.remove(&call.connection);
        }
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let read = PollFlags::POLLIN;
        let mut all = vec![
            (Source::Listener, self.listener.as_fd(), read),
            (Source::Signals, self.signals.as_fd(), read),
            (Source::Jobs, self.jobs.as_fd(), read),
        ];
        all.extend(self.publisher.waits().map(|(fd, events)| (Source::Publisher, fd, events)));
        for (key, connection) in &self.connections {
            let mut events = read;
            events.set(PollFlags::POLLOUT, connection.is_behind());
            all.push((Source::Connection(*key), connection.as_fd(), events));
        }
        for task in self.tasks.0.values() {
            // What killed a process is told before its end.
            if let Some(oom) = &task.oom {
                let (fd, events) = oom.event();
                all.push((Source::Oom(task.init.key), fd, events));
            }
            for process in task.processes().filter(|process| process.is_watched()) {
                all.extend(process.pidfd.as_ref().map(|fd| (Source::Exit(process.key), fd.as_fd(), read)));
            }
        }
        for (key, relay) in &self.relays {
            all.extend(relay.waits().into_iter().map(|(end, fd, events)| (Source::Relay(*key, end), fd, events)));
        }
        all
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let sources = self.sources();
        let mut fds: Vec<_> = sources.iter().map(|(_, fd, events)| PollFd::new(*fd, *events)).collect();
        let look = self.keeps_ends_back().then(|| Instant::now() + super::exits::LOOK);
        let deadlines = self.publisher.deadline().into_iter().chain(self.end).chain(look).chain(self.rest);
        let next = deadlines.chain(self.relays.values().filter_map(|relay| relay.deadline)).min();
        let limit = match next {
            None => PollTimeout::NONE,
            Some(next) => {
                let left = next.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, limit) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno).context(|| "wait for requests"),
        }
        let came = |fd: &PollFd| fd.revents().unwrap_or(PollFlags::empty());
        let ready = sources.iter().zip(&fds).map(|((source, ..), fd)| (*source, came(fd)));
        Ok(ready.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn rest_if_idle(&mut self, is_busy: bool) {
        if is_busy {
            self.rest = Some(Instant::now() + SOON);
        } else if self.rest.is_some_and(|rest| Instant::now() >= rest) && self.jobs.is_idle() {
            self.rest = None;
            crate::sys::give_memory_back();
        }
    }

    fn attend(&mut self, source: Source, events: PollFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.take_signals(),
            Source::Jobs => {
                for finish in self.jobs.take() {
                    finish(self);
                }
            }
            Source::Publisher => {}
            Source::Connection(key) => self.read_requests(key, events),
            Source::Exit(key) => self.ended(key),
            Source::Oom(key) => self.ran_out_of_memory(key),
            Source::Relay(key, end) => {
                if let Some(relay) = self.relays.get_mut(&key) {
                    relay.pass(end);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let key = self.new_key();
            match Connection::new(socket) {
                Ok(connection) => drop(self.connections.insert(key, connection)),
                Err(error) => log::warn!("accept a connection: {error}"),
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match signal.ssi_signo as i32 {
                libc::SIGCHLD => self.orphans = true,
                libc::SIGHUP => {}
                // Its containers go on; containerd sees to them.
                number => {
                    log::info!("ending on signal {number}");
                    self.end();
                }
            }
        }
    }

    fn read_requests(&mut self, key: u64, events: PollFlags) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let mut open = !events.contains(PollFlags::POLLOUT) || connection.flush();
        let (frames, more) = connection.receive();
        open &= more;
        for frame in frames {
            self.take_frame(key, frame);
        }
        if !open {
            self.connections.remove(&key);
        }
    }

    fn take_frame(&mut self, connection: u64, frame: Frame) {
        match frame {
            Frame::TooLong { stream, length } => {
                let words = format!("the message is {length} bytes long, which is more than 4 MiB");
                self.answer(Call { connection, stream }, Err(Failure::new(Code::ResourceExhausted, words)));
            }
            Frame::Whole { stream, kind, message } if kind == Kind::Request as u8 => {
                let call = Call { connection, stream };
                match Request::decode(message.as_slice()) {
                    _ if stream % 2 == 0 => {
                        let words = "stream ids of a client are odd";
                        self.answer(call, Err(Failure::new(Code::InvalidArgument, words)));
                    }
                    Ok(request) => self.serve(call, &request),
                    Err(error) => {
                        let words = format!("read the request: {error}");
                        self.answer(call, Err(Failure::new(Code::InvalidArgument, words)));
                    }
                }
            }
            // Data of streams, of which this service has none.
            Frame::Whole { .. } => {}
        }
    }

    fn publish_by_program(&mut self) {
        if let Some(tell) = self.publisher.next_for_program() {
            self.jobs.run(move || {
                let told = tell();
                Box::new(move |server| server.publisher.finished(told))
            });
        }
    }

    /// Reaps what containers and hooks have left to the shim. While something is being made its children are not touched: who
    /// makes them waits for them.
    fn reap_orphans(&mut self) {
        if !self.orphans || !self.jobs.is_idle() {
            return;
        }
        self.orphans = false;
        while let Some(pid) = crate::sys::ended_child() {
            let ours = self
                .tasks
                .0
                .values()
                .flat_map(|task| task.processes())
                .find(|process| process.pid == pid && process.pidfd.is_some());
            match ours.map(|process| process.key) {
                Some(key) => self.ended(key),
                None => drop(crate::sys::reap(pid)),
            }
        }
    }

    /// Those that have passed on everything, and those of processes that are gone whose readers have not read in time.
    fn drop_relays(&mut self) {
        let now = Instant::now();
        self.relays.retain(|_, relay| !relay.is_over() && relay.deadline.is_none_or(|deadline| now < deadline));
    }
}
