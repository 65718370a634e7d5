//! One connection, for one errand: everything that is sent before the first answer is needed goes in one write, the
//! authentication included, and every wait ends at one deadline.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use super::address::Address;
use super::message::{Body, Call, FIXED, Kind, MOST, Message};
use crate::{Error, Result};

/// The bus itself, as a peer on it.
const BUS: (&str, &str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus");

/// A connection to a bus.
#[derive(Debug)]
pub struct Bus {
    /// How errors call it.
    name: String,
    socket: OwnedFd,
    limit: Duration,
    deadline: Instant,
    serial: u32,
    /// What is to be sent.
    output: Vec<u8>,
    /// What was received and not read yet.
    input: Vec<u8>,
    authenticated: bool,
    /// What was received while an answer was waited for.
    signals: Vec<Message>,
    /// How long those are together.
    kept: usize,
    /// Why none comes: what was answered to [`Bus::watch`].
    deaf: Option<String>,
}

/// An error that a peer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its name, such as `org.freedesktop.systemd1.NoSuchUnit`.
    pub name: String,
    /// In words.
    pub words: String,
}

impl Bus {
    /// Connects and says hello, the answer to which nobody waits for. All that is done on the connection is done within
    /// `limit`. `name` is what errors call the bus.
    ///
    /// # Errors
    /// When nobody listens or accepts there.
    pub fn connect(name: &str, address: &Address, limit: Duration) -> Result<Self> {
        let name = format!("{name} ({})", address.as_str());
        let deadline = Instant::now() + limit;
        let socket = address.connect(deadline).map_err(|error| error.context(&name))?;
        let mut bus = Self::over(socket, name, limit, deadline);
        // "Authentication Protocol". Without a uid in it the bus takes the one that the kernel tells it, which in a user
        // namespace is not the one that is known here.
        bus.output.extend(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
        bus.send(&of_bus("Hello", Body::default()));
        Ok(bus)
    }

    fn over(socket: OwnedFd, name: String, limit: Duration, deadline: Instant) -> Self {
        Self {
            name,
            socket,
            limit,
            deadline,
            serial: 0,
            output: Vec::new(),
            input: Vec::new(),
            authenticated: false,
            signals: Vec::new(),
            kept: 0,
            deaf: None,
        }
    }

    /// Asks for signals, without waiting for the answer: [`Bus::signal`] tells of a refusal.
    pub fn watch(&mut self, rule: &str) {
        self.send(&of_bus("AddMatch", Body::default().text(rule)));
    }

    /// Sends a call, at the latest when an answer is waited for. Returns its serial.
    pub fn send(&mut self, call: &Call) -> u32 {
        self.serial += 1;
        self.output.extend(call.message(self.serial));
        self.serial
    }

    /// Waits for the answer to a call. `what` names it in errors.
    ///
    /// # Errors
    /// When the connection is lost, or the time is over.
    pub fn answer(&mut self, serial: u32, what: &str) -> Result<Result<Message, Refusal>> {
        loop {
            let message = self.receive(what)?;
            match message.kind {
                Kind::Signal => self.keep(message, what)?,
                Kind::Return if message.answers == Some(serial) => return Ok(Ok(message)),
                Kind::Error if message.answers == Some(serial) => return Ok(Err(refusal(message))),
                // Without a hello nothing else is answered.
                Kind::Error if message.answers == Some(1) => return Err(self.refused(refusal(message).words, what)),
                Kind::Error => self.deaf = Some(refusal(message).words),
                _ => {}
            }
        }
    }

    /// Keeps a signal for whoever asks for it later. Anybody on a bus may send some, so that there is an end to it.
    fn keep(&mut self, signal: Message, what: &str) -> Result<()> {
        self.kept += signal.length;
        if self.kept > MOST {
            return Err(
                Error::new("more than a megabyte of signals came before the answer").context(self.context(what))
            );
        }
        self.signals.push(signal);
        Ok(())
    }

    fn refused(&self, words: String, what: &str) -> Error {
        Error::new(words).context(self.context(what))
    }

    /// A call and its answer.
    ///
    /// # Errors
    /// As [`Bus::answer`].
    pub fn call(&mut self, call: &Call, what: &str) -> Result<Result<Message, Refusal>> {
        let serial = self.send(call);
        self.answer(serial, what)
    }

    /// Waits for a signal of this name that `is_it`; those that came before are looked at first.
    ///
    /// # Errors
    /// As [`Bus::answer`].
    pub fn signal(&mut self, member: &str, what: &str, is_it: impl Fn(&Message) -> bool) -> Result<Message> {
        let wanted = |message: &Message| message.kind == Kind::Signal && message.member == member && is_it(message);
        if let Some(at) = self.signals.iter().position(wanted) {
            return Ok(self.signals.swap_remove(at));
        }
        if let Some(words) = self.deaf.take() {
            return Err(self.refused(words, what));
        }
        loop {
            let message = self.receive(what)?;
            if wanted(&message) {
                return Ok(message);
            }
            if message.kind == Kind::Error {
                return Err(self.refused(refusal(message).words, what));
            }
        }
    }

    fn too_late(&self) -> Error {
        Error::new(format!("no answer within {:?}", self.limit))
    }

    fn context(&self, what: &str) -> String {
        format!("{what} over D-Bus, {}", self.name)
    }

    fn receive(&mut self, what: &str) -> Result<Message> {
        loop {
            if let Some(message) = self.next().map_err(|error| error.context(self.context(what)))? {
                return Ok(message);
            }
            self.exchange().map_err(|error| error.context(self.context(what)))?;
        }
    }

    /// The next message of what was received, if it is whole.
    fn next(&mut self) -> Result<Option<Message>> {
        if !self.authenticated && !self.take_authentication()? {
            return Ok(None);
        }
        loop {
            let Some(begin) = self.input.first_chunk::<FIXED>() else { return Ok(None) };
            let length = Message::length(begin)?;
            if self.input.len() < length {
                return Ok(None);
            }
            let bytes: Vec<u8> = self.input.drain(..length).collect();
            if let Some(message) = Message::parse(&bytes)? {
                return Ok(Some(message));
            }
        }
    }

    /// Reads the lines before the messages: DATA asks for a uid that is not given, OK ends it.
    fn take_authentication(&mut self) -> Result<bool> {
        while let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
            let line: Vec<u8> = self.input.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            match line.split(' ').next() {
                Some("OK") => {
                    self.authenticated = true;
                    return Ok(true);
                }
                Some("DATA") => {}
                _ => {
                    let uid = nix::unistd::geteuid();
                    return Err(Error::new(format!(
                        "the bus does not let uid {uid} in, it says {line:?}: use the bus of the user who runs this"
                    )));
                }
            }
        }
        if self.input.len() > MOST {
            return Err(Error::new("what answers there is no bus"));
        }
        Ok(false)
    }

    /// Waits until something can be sent or received, and does that.
    fn exchange(&mut self) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A peer that always has something to say would never have the poll end by its time.
        if left.is_zero() {
            return Err(self.too_late());
        }
        let events = if self.output.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
        let mut fds = [PollFd::new(self.socket.as_fd(), events)];
        // Rounded up, so that the last wait is not a loop of empty ones.
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
            Ok(0) => return Err(self.too_late()),
            Ok(_) => {}
        }
        let ready = fds[0].revents().unwrap_or(PollFlags::empty());
        if ready.contains(PollFlags::POLLOUT) && !self.output.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), &self.output, flags) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // What the bus said before it hung up is more than that it did.
                Err(Errno::EPIPE | Errno::ECONNRESET) => self.output.clear(),
                Err(errno) => return Err(errno.into()),
            }
        }
        if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            let mut part = [0u8; 4096];
            match recv(self.socket.as_raw_fd(), &mut part, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(Error::new("the bus has closed the connection")),
                Ok(received) => self.input.extend(&part[..received]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

fn of_bus(member: &str, body: Body) -> Call<'_> {
    let (destination, path, interface) = BUS;
    Call { destination, path, interface, member, body }
}

/// An error's words are its first argument, where that is a string.
fn refusal(message: Message) -> Refusal {
    let words = if message.signature.starts_with('s') { message.arguments().text() } else { None };
    let words = words.unwrap_or(message.error.as_str()).to_owned();
    Refusal { name: message.error, words }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A bus whose peer says all of this after it has let the caller in, while that has this long.
    fn saying(bytes: Vec<u8>, limit: Duration) -> Bus {
        let (mut peer, socket) = UnixStream::pair().unwrap();
        peer.write_all(b"OK x\r\n").unwrap();
        std::thread::spawn(move || {
            let _ = peer.write_all(&bytes);
            // Until the other end is gone, which is not to see this one go before.
            let _ = std::io::copy(&mut peer, &mut std::io::sink());
        });
        Bus::over(socket.into(), "a bus".into(), limit, Instant::now() + limit)
    }

    fn signal(member: &str) -> Vec<u8> {
        let mut bytes =
            Call { destination: "", path: "/a", interface: "a.b", member, body: Body::default() }.message(1);
        bytes[1] = Kind::Signal as u8;
        bytes
    }

    #[test]
    fn who_always_has_something_to_say_does_not_keep_the_limit_from_coming() {
        // More than is read at once comes before what is waited for.
        let all = [signal("Other").repeat(200), signal("Wanted")].concat();
        let in_time = saying(all.clone(), Duration::from_secs(60)).signal("Wanted", "look", |_| true);
        assert_eq!(in_time.unwrap().member, "Wanted");
        let mut late = saying(all, Duration::ZERO);
        std::thread::sleep(Duration::from_millis(5));
        let error = late.signal("Wanted", "look", |_| true).unwrap_err().to_string();
        assert!(error.contains("no answer within 0ns"), "{error}");
    }

    #[test]
    fn there_is_an_end_to_the_signals_that_are_kept() {
        let one = signal("Other");
        let mut bus = saying(one.repeat(MOST / one.len() + 2), Duration::from_secs(60));
        let error = bus.answer(1, "look").unwrap_err().to_string();
        assert!(error.contains("more than a megabyte of signals"), "{error}");
    }
}
