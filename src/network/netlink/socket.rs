//! A socket to the kernel's rtnetlink(7) or another protocol of netlink(7), in the network namespace of the caller or in another.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, recvfrom, sendto, setsockopt, socket,
    sockopt,
};

use super::{Message, Request, attribute, message};
use crate::{Context, Error, Result, sys};

/// More than the kernel puts into one datagram of a dump.
const BUFFER: usize = 64 << 10;
/// How often a dump that others' changes interrupted is begun anew.
const TRIES: u32 = 20;
/// NLMSGERR_ATTR_MSG: the kernel's own words about an error.
const KERNELS_WORDS: u16 = 1;

/// What fits into a socket's send buffer where nobody made it longer (net.core.wmem_default), less what the kernel keeps.
const SENDABLE: usize = 128 << 10;

/// A socket to netlink. One request at a time; the kernel answers within the call that asks it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// To rtnetlink, in the caller's own network namespace.
    pub fn open() -> Result<Self> {
        Self::open_protocol(SockProtocol::NetlinkRoute)
    }

    /// To another protocol, in the caller's own network namespace.
    pub fn open_protocol(kind: SockProtocol) -> Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind)
            .context(|| "make a netlink socket")?;
        sys::net::prepare_netlink(fd.as_fd()).context(|| "prepare a netlink socket")?;
        Ok(Self { fd, sequence: Cell::new(0) })
    }

    /// To rtnetlink, in another network namespace, in which the socket stays.
    pub fn open_in(netns: BorrowedFd) -> Result<Self> {
        within(netns, Self::open)
    }

    /// Closes it without waiting for what the kernel does then.
    pub fn close_aside(self) {
        // Where that cannot be had it is closed like any other.
        let _ = sys::net::close_aside(self.fd);
    }

    /// Sends a request that changes something, and waits for its acknowledgement.
    pub fn change(&self, request: Request) -> Result<()> {
        self.converse(request, |_| Ok(()))
    }

    /// Sends a request and gives each message that answers it to `take`.
    pub fn ask(&self, request: Request, take: impl FnMut(&Message) -> Result<()>) -> Result<()> {
        self.converse(request, take)
    }

    /// Asks for a whole table. `make` and `take` are called anew when somebody changed it meanwhile; `take` is told so by
    /// None.
    pub fn dump(&self, make: impl Fn() -> Request, take: impl FnMut(Option<&Message>) -> Result<()>) -> Result<()> {
        self.try_dump(|| Ok(make()), take)
    }

    /// The same with a request whose making may fail.
    pub fn try_dump(
        &self,
        make: impl Fn() -> Result<Request>,
        mut take: impl FnMut(Option<&Message>) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            take(None)?;
            let mut interrupted = false;
            self.converse(make()?, |message| {
                interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                take(Some(message))
            })?;
            if !interrupted {
                return Ok(());
            }
        }
        Err(Error::new("the kernel's table was changed each time that it was read; try again"))
    }

    /// Sends several requests in one datagram, and waits for the acknowledgement of each that wants one. The kernel tells
    /// of an error in any of them, also where it was not asked to: the first comes back with the number of its request.
    pub fn change_all(&self, requests: Vec<Request>) -> Result<(), (usize, Error)> {
        let first = self.sequence.get().wrapping_add(1);
        let mut waiting = requests.iter().filter(|request| request.wants_answer()).count();
        let count = requests.len();
        let mut bytes = Vec::new();
        for (number, request) in requests.into_iter().enumerate() {
            let sequence = self.next_sequence();
            bytes.extend(request.finish(sequence).map_err(|error| (number, error))?);
        }
        let failed = |error: Error| (0, error);
        if bytes.len() > SENDABLE {
            self.allow_sending(bytes.len());
        }
        self.send(&bytes).map_err(failed)?;
        let mut buffer = vec![0; BUFFER];
        while waiting > 0 {
            let length = self.receive(&mut buffer).map_err(failed)?;
            for message in message::parse(&buffer[..length]).map_err(failed)? {
                let number = message.sequence.wrapping_sub(first) as usize;
                if number >= count || i32::from(message.kind) != libc::NLMSG_ERROR {
                    continue;
                }
                if let Err(error) = outcome(&message) {
                    self.drain(&mut buffer);
                    return Err((number, error));
                }
                waiting = waiting.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Takes what the kernel still has to say of a datagram of which something failed, so that nothing is in the way of
    /// later answers.
    fn drain(&self, buffer: &mut [u8]) {
        for _ in 0..10_000 {
            match recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }

    /// Makes room for a long datagram: socket(7). Where even that is refused, sending says so.
    fn allow_sending(&self, length: usize) {
        let length = length.saturating_mul(2);
        if setsockopt(&self.fd, sockopt::SndBufForce, &length).is_err() {
            let _ = setsockopt(&self.fd, sockopt::SndBuf, &length);
        }
    }

    fn next_sequence(&self) -> u32 {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.fd.as_raw_fd(), bytes, &kernel, MsgFlags::empty()).context(|| "send to netlink")?;
        Ok(())
    }

    fn converse(&self, request: Request, mut take: impl FnMut(&Message) -> Result<()>) -> Result<()> {
        let sequence = self.next_sequence();
        self.send(&request.finish(sequence)?)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer)?;
            for message in message::parse(&buffer[..length])? {
                if message.sequence != sequence {
                    continue;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return outcome(&message),
                    libc::NLMSG_NOOP => {}
                    _ => take(&message)?,
                }
            }
        }
    }

    /// One datagram of the kernel's; others may write to the socket as well, and are not heard.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let (length, sender) = match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), buffer) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err(Error::new("netlink: the kernel does not answer")),
                other => other.context(|| "read from netlink")?,
            };
            if length == 0 {
                return Err(Error::new("netlink: an empty answer"));
            }
            if sender.is_some_and(|sender| sender.pid() == 0) {
                return Ok(length);
            }
        }
    }
}

/// Does something in another network namespace. A thread enters that, does it and ends, so the caller and its other threads
/// stay where they are.
pub fn within<T: Send>(netns: BorrowedFd, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let enter = || {
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).context(|| "enter the network namespace")?;
        what()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, enter);
        let thread = thread.context(|| "start a thread that enters the network namespace")?;
        thread.join().unwrap_or_else(|_| Err(Error::new("the thread that enters the network namespace failed")))
    })
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What NLMSG_ERROR or NLMSG_DONE says: 0, or a negative errno with the kernel's words about it (NETLINK_EXT_ACK).
fn outcome(message: &Message) -> Result<()> {
    let Some((errno, rest)) = message.body.split_first_chunk::<4>() else {
        // A dump's end without a status, as old kernels write it.
        return Ok(());
    };
    let errno = i32::from_ne_bytes(*errno);
    if errno == 0 {
        return Ok(());
    }
    let error = Error::from(Errno::from_raw(errno.saturating_neg()));
    // Behind an error comes the request's head alone (NETLINK_CAP_ACK), behind the end of a dump nothing.
    let skipped = if i32::from(message.kind) == libc::NLMSG_ERROR { message::HEAD } else { 0 };
    let attributes = attribute::parse(rest.get(skipped..).unwrap_or_default()).unwrap_or_default();
    let words = attributes.iter().find(|(kind, _)| *kind == KERNELS_WORDS).map(|(_, text)| attribute::text(text));
    Err(match words {
        Some(words) => {
            let both = format!("{error} ({words})");
            error.reworded(both)
        }
        None => error,
    })
}
