//! What happens, told to containerd in the order in which it happened: over its ttrpc socket, or where that is not known by
//! the program that it names. One event at a time, since the other side works on several at once. When containerd is away they
//! are kept until it is back.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use prost::Message;

use super::connection::Connection;
use super::messages::events::{Envelope, ForwardRequest};
use super::messages::ttrpc::{Request, Response};
use super::messages::{Any, Timestamp};
use super::wire::{Frame, Kind, frame};
use crate::{Context, Error, Result};

/// The most events that are kept; then the oldest go.
const MOST: usize = 20_000;
/// The pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long containerd may take over an event.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the program may, which tries again by itself.
const PROGRAMS_PATIENCE: Duration = Duration::from_secs(3600);

/// Streams that a client begins have odd numbers.
const FIRST_STREAM: u32 = 1;

/// How events reach containerd.
pub enum Way {
    /// A socket of its ttrpc service.
    Socket(PathBuf),
    /// A program, and containerd's address for it.
    Program(PathBuf, String),
    /// Nobody wants to know.
    None,
}

/// The events that are not told yet.
pub struct Publisher {
    namespace: String,
    way: Way,
    queue: VecDeque<Envelope>,
    connection: Option<Connection>,
    /// The stream of the event that is under way.
    stream: u32,
    /// Until when the first event of the queue may be being told.
    under_way: Option<Instant>,
    retry: Option<Instant>,
    pause: Duration,
}

impl Publisher {
    pub fn new(namespace: String, way: Way) -> Self {
        Self {
            namespace,
            way,
            queue: VecDeque::new(),
            connection: None,
            stream: FIRST_STREAM,
            under_way: None,
            retry: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Tells of an event as soon as may be.
    pub fn publish(&mut self, topic: &str, event: Any) {
        if matches!(self.way, Way::None) {
            return;
        }
        if self.queue.len() == MOST {
            // The first may be on its way.
            if let Some(lost) = self.queue.remove(1) {
                log::error!("containerd has been away for too long: an event is lost: {}", lost.topic);
            }
        }
        self.queue.push_back(Envelope {
            timestamp: Some(Timestamp::now()),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: Some(event),
        });
        self.advance();
    }

    /// Whether all has been told.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// What to wait for.
    pub fn waits(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let connection = self.connection.as_ref()?;
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, connection.is_behind());
        Some((connection.as_fd(), events))
    }

    /// When to look again although nothing came.
    pub fn deadline(&self) -> Option<Instant> {
        self.retry.or(self.under_way)
    }

    /// Something came, or a deadline has passed.
    pub fn advance(&mut self) {
        if self.under_way.is_some_and(|until| Instant::now() > until) {
            self.fail("containerd does not answer");
        }
        if self.retry.is_some_and(|at| Instant::now() >= at) {
            self.retry = None;
        }
        self.receive();
        if self.retry.is_none() && self.under_way.is_none() && matches!(self.way, Way::Socket(_)) {
            self.send();
        }
    }

    fn receive(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let (frames, open) = connection.receive();
        let open = connection.flush() && open;
        for frame in frames {
            let Frame::Whole { stream, kind, message } = frame else { continue };
            if kind != Kind::Response as u8 || stream != self.stream || self.under_way.is_none() {
                continue;
            }
            let status = Response::decode(message.as_slice()).ok().and_then(|response| response.status);
            if let Some(status) = status.filter(|status| status.code != 0) {
                log::warn!("containerd did not take an event: {}", status.message);
            }
            self.told();
        }
        if !open {
            self.connection = None;
            if self.under_way.is_some() {
                self.fail("containerd has closed the connection");
            }
        }
    }

    fn told(&mut self) {
        self.queue.pop_front();
        self.stream = self.stream.wrapping_add(2);
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        self.under_way = None;
        self.pause = FIRST_PAUSE;
    }

    fn send(&mut self) {
        let Some(event) = self.queue.front() else { return };
        let request = ForwardRequest { envelope: Some(event.clone()) };
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".into(),
            method: "Forward".into(),
            payload: request.encode_to_vec(),
            timeout_nano: PATIENCE.as_nanos() as i64,
        };
        match self.connected() {
            Ok(()) => {}
            Err(error) => return self.fail(&error.to_string()),
        }
        let bytes = frame(self.stream, Kind::Request, &request.encode_to_vec());
        let sent = self.connection.as_mut().is_some_and(|connection| connection.send(&bytes));
        match sent {
            true => self.under_way = Some(Instant::now() + PATIENCE),
            false => self.fail("containerd has closed the connection"),
        }
    }

    fn connected(&mut self) -> Result<()> {
        let Way::Socket(path) = &self.way else { return Err(Error::new("there is no socket")) };
        if self.connection.is_some() {
            return Ok(());
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        crate::sys::net::connect_to(&socket, path).context(|| format!("connect to {}", path.display()))?;
        self.connection = Some(Connection::new(UnixStream::from(socket))?);
        self.stream = FIRST_STREAM;
        Ok(())
    }

    /// The event stays, and is tried again after a pause.
    fn fail(&mut self, why: &str) {
        log::debug!("tell containerd of an event: {why}; trying again in {:?}", self.pause);
        self.connection = None;
        self.under_way = None;
        self.retry = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// The next event for the program, as the work of a thread; `finished` tells when that has ended.
    pub fn next_for_program(&mut self) -> Option<impl FnOnce() -> Result<()> + Send + 'static> {
        let Way::Program(program, address) = &self.way else { return None };
        let event = self.queue.front().filter(|_| self.under_way.is_none() && self.retry.is_none())?;
        self.under_way = Some(Instant::now() + PROGRAMS_PATIENCE);
        let mut command = Command::new(program);
        command.args(["--address", address, "publish", "--topic", &event.topic, "--namespace", &event.namespace]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let text = event.event.clone().unwrap_or_default().encode_to_vec();
        Some(move || {
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                std::io::Write::write_all(&mut stdin, &text)?;
            }
            match child.wait()?.success() {
                true => Ok(()),
                false => Err(Error::new("the program that passes on events has failed")),
            }
        })
    }

    pub fn finished(&mut self, told: Result<()>) {
        match told {
            Ok(()) => self.told(),
            Err(error) => self.fail(&error.to_string()),
        }
    }
}
