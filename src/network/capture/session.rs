//! A capture on several interfaces: their packets in the order of their times, until an end.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::tap::Tap;
use super::{Counts, Filter, Interface, Packet};
use crate::network::link::{self, Ifname};
use crate::network::netlink::{self, Socket};
use crate::{Context, Error, Result};

/// How many packets are taken before whoever waits for an end is asked again.
const BATCH: usize = 256;

/// Where packets go.
pub trait Sink {
    /// One packet.
    fn packet(&mut self, packet: &Packet) -> Result<()>;
    /// Whoever reads should see what there is. False when nobody reads any more.
    fn flush(&mut self) -> Result<bool>;
}

/// Why a capture ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As many packets as were asked for have been captured.
    Count,
    /// This one of what was waited for has come.
    Told(usize),
    /// Nobody reads what is captured.
    Unread,
}

/// A descriptor and what has to happen to it; with nothing, its end: poll(2).
pub type Awaited<'a> = (BorrowedFd<'a>, PollFlags);

/// Interfaces that are listened to.
pub struct Capture {
    taps: Vec<Tap>,
}

impl Capture {
    /// Listens to interfaces of a network namespace: to the one of that name, or to all but lo. Packets wait from now on.
    ///
    /// # Errors
    /// When there is no such interface, or the caller may not.
    pub fn open(netns: BorrowedFd, only: Option<&Ifname>, filter: &Filter, snap: u32) -> Result<Self> {
        let taps = netlink::within(netns, || {
            let links = link::list(&Socket::open()?)?;
            let wanted: Vec<_> = links.iter().filter(|link| wants(only, link)).collect();
            if wanted.is_empty() {
                let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
                return Err(Error::invalid(match only {
                    Some(name) => format!("there is no interface {name}; there are: {}", names.join(", ")),
                    None => "there is no interface but lo, which is captured on when it is named".to_owned(),
                }));
            }
            wanted.into_iter().map(|link| Tap::open(link.index, &link.name, filter, snap)).collect()
        });
        Ok(Self { taps: taps? })
    }

    /// The interfaces; packets have their numbers in this list.
    pub fn interfaces(&self) -> Vec<Interface> {
        self.taps.iter().map(|tap| tap.interface.clone()).collect()
    }

    /// Gives packets to a sink until so many were given, something happens to one of these descriptors or the sink says that
    /// nobody reads. Whatever had come before the end is given too.
    pub fn run(&mut self, ends: &[Awaited], count: Option<u64>, sink: &mut dyn Sink) -> Result<End> {
        let mut left = count.unwrap_or(u64::MAX);
        loop {
            let more = self.pass(&mut left, None, sink)?;
            if !sink.flush()? {
                return Ok(End::Unread);
            }
            if left == 0 {
                return Ok(End::Count);
            }
            // With more to read there is no need to wait, but still to look.
            if let Some(told) = self.wait(ends, if more { PollTimeout::ZERO } else { PollTimeout::NONE })? {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::MAX);
                while left > 0 && self.pass(&mut left, Some(now), sink)? {}
                sink.flush()?;
                return Ok(End::Told(told));
            }
        }
    }

    /// Waits for a packet or an end; which end.
    fn wait(&self, ends: &[Awaited], limit: PollTimeout) -> Result<Option<usize>> {
        let all = ends.iter().copied().chain(self.taps.iter().map(|tap| (tap.as_fd(), PollFlags::POLLIN)));
        let mut waited_for: Vec<_> = all.map(|(fd, how)| PollFd::new(fd, how)).collect();
        match poll(&mut waited_for, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(|| "wait for packets"),
        }
        Ok(waited_for[..ends.len()].iter().position(|fd| fd.any().unwrap_or(false)))
    }

    /// Gives some of the packets that wait, of those up to a time; whether there may be more.
    fn pass(&mut self, left: &mut u64, until: Option<Duration>, sink: &mut dyn Sink) -> Result<bool> {
        for _ in 0..BATCH {
            let mut earliest: Option<(Duration, usize)> = None;
            for (number, tap) in self.taps.iter_mut().enumerate() {
                let Some(time) = tap.peek()? else { continue };
                if earliest.is_none_or(|(first, _)| time < first) {
                    earliest = Some((time, number));
                }
            }
            let Some((time, number)) = earliest else { return Ok(false) };
            if *left == 0 || until.is_some_and(|until| time > until) {
                return Ok(false);
            }
            if let Some(packet) = self.taps[number].take(number) {
                sink.packet(&packet)?;
                *left -= 1;
            }
        }
        Ok(true)
    }

    /// What has been counted, for each interface.
    pub fn counts(&mut self) -> Vec<Counts> {
        self.taps.iter_mut().map(Tap::counts).collect()
    }
}

fn wants(only: Option<&Ifname>, link: &link::Link) -> bool {
    match only {
        Some(name) => link.name == name.as_ref() || link.also_called.iter().any(|also| also == name.as_ref()),
        None => link.name != "lo",
    }
}
