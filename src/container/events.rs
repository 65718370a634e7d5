//! What happens in a container: what it uses at intervals, and that its memory ran out. Ends when the container ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::store::State;
use super::{ContainerId, Globals, Status, identity, status};
use crate::cgroup::{self, Place};
use crate::{Context, Error, Kind, Result};

/// One event, in runc's shape.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event<'a> {
    /// Memory ran out.
    Oom {
        /// The container.
        id: &'a str,
    },
    /// What is used now.
    Stats {
        /// The container.
        id: &'a str,
        /// The counters.
        data: Box<Data>,
    },
}

/// The counters of the cgroups, and what runc has besides.
#[derive(Debug, Serialize)]
pub struct Data {
    #[serde(flatten)]
    cgroups: cgroup::Stats,
    intel_rdt: serde_json::Value,
    network_interfaces: Option<Vec<Interface>>,
}

/// The counters of one interface, named as Go names what has no other name.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

/// What a container uses now.
///
/// # Errors
/// When it does not run or has no cgroup.
pub fn stats<'a>(globals: &Globals, id: &'a ContainerId) -> Result<Event<'a>> {
    let (state, _) = running(globals, id)?;
    Ok(Event::Stats { id: id.as_str(), data: Box::new(data(&state)?) })
}

/// The counters of a container's cgroups, and whether they are of cgroup2.
///
/// # Errors
/// As [`stats`].
pub fn counters(globals: &Globals, id: &ContainerId) -> Result<(cgroup::Stats, bool)> {
    let (state, _) = running(globals, id)?;
    let place = place_of(&state)?;
    Ok((place.stats()?, place.is_v2()))
}

/// Tells `tell` of every event until the container ends, or nobody reads `reader` any more.
///
/// # Errors
/// As [`stats`], and when `tell` fails. A round of counters that cannot be read is logged, and the next one tried.
pub fn events(
    globals: &Globals,
    id: &ContainerId,
    interval: Duration,
    reader: BorrowedFd,
    tell: &mut dyn FnMut(&Event) -> Result<()>,
) -> Result<()> {
    let (state, init) = running(globals, id)?;
    let notice = place_of(&state)?.notice_oom()?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
        let bound = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let (event, how) = notice.event();
        let mut waited_for = [
            PollFd::new(event, how),
            PollFd::new(init.as_fd(), PollFlags::POLLIN),
            // Nothing to wait for there but its end, which is always told.
            PollFd::new(reader, PollFlags::empty()),
        ];
        match poll(&mut waited_for, bound) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(|| "wait for events"),
        }
        let [_, ended, unread] = waited_for.map(|fd| fd.any().unwrap_or(false));
        // It may be what ended the container.
        if notice.has_run_out() {
            tell(&Event::Oom { id: id.as_str() })?;
        }
        if ended || unread || notice.is_over() {
            return Ok(());
        }
        if Instant::now() >= next {
            // Rounds that a slow reader has missed are not made up for.
            next = (next + interval).max(Instant::now());
            match data(&state) {
                Ok(data) => tell(&Event::Stats { id: id.as_str(), data: Box::new(data) })?,
                Err(error) => log::error!("{error}"),
            }
        }
    }
}

/// The state of a container that runs, and its first process.
pub(super) fn running(globals: &Globals, id: &ContainerId) -> Result<(State, OwnedFd)> {
    let refused = || Error::new(format!("container with id {id} is not running")).kind_of(Kind::WrongState);
    let (_, state) = status::open(globals, id)?;
    if status::of(&state) == Status::Stopped {
        return Err(refused());
    }
    let init = identity::find(&state.init).ok_or_else(refused)?;
    Ok((state, init))
}

fn place_of(state: &State) -> Result<&Place> {
    state.place.as_ref().ok_or_else(|| {
        Error::new(
            "the container has no cgroup (none was delegated to its user, or cgroups were disabled), so nothing is counted",
        )
    })
}

fn data(state: &State) -> Result<Data> {
    Ok(Data {
        cgroups: place_of(state)?.stats()?,
        intel_rdt: match &state.rdt {
            Some(group) => group.stats()?,
            None => serde_json::Value::Object(Default::default()),
        },
        network_interfaces: interfaces(state)?,
    })
}

/// The interfaces of the container's network namespace; None where it shares the host's.
pub(super) fn interfaces(state: &State) -> Result<Option<Vec<Interface>>> {
    if state.namespaces & libc::CLONE_NEWNET as u64 == 0 {
        return Ok(None);
    }
    let path = format!("/proc/{}/net/dev", state.init.pid);
    let text = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
    // The pid may have become another's meanwhile, with that one's interfaces.
    if identity::find(&state.init).is_none() {
        return Err(Error::new("the container has ended"));
    }
    let parse = |line| parse_interface(line).ok_or_else(|| Error::new(format!("{path}: {line:?} counts nothing")));
    text.lines().skip(2).map(parse).collect::<Result<_>>().map(Some)
}

/// A line of /proc/net/dev: proc_pid_net(5). Eight counters received, eight sent; both begin with bytes, packets, errors
/// and drops.
fn parse_interface(line: &str) -> Option<Interface> {
    // An interface's name may hold a colon.
    let (name, counters) = line.rsplit_once(':')?;
    let counters: Vec<u64> = counters.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [rx_bytes, rx_packets, rx_errors, rx_dropped, ..] = *counters.get(..8)? else { return None };
    let [tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = *counters.get(8..)? else { return None };
    let name = name.trim_start().to_owned();
    Some(Interface { name, rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_counters_is_read() {
        let line = "  eth0:1: 1500      10    1    2    0     0          0         3     700       5    3    4    0     0       0          0";
        let found = parse_interface(line).unwrap();
        assert_eq!(found.name, "eth0:1");
        assert_eq!((found.rx_bytes, found.rx_packets, found.rx_errors, found.rx_dropped), (1500, 10, 1, 2));
        assert_eq!((found.tx_bytes, found.tx_packets, found.tx_errors, found.tx_dropped), (700, 5, 3, 4));
        assert_eq!(parse_interface("eth0: 1 2 3"), None);
    }

    #[test]
    fn events_have_runcs_shape() {
        assert_eq!(serde_json::to_string(&Event::Oom { id: "c" }).unwrap(), r#"{"type":"oom","id":"c"}"#);
        let data = Data { cgroups: Default::default(), intel_rdt: serde_json::json!({}), network_interfaces: None };
        let text = serde_json::to_string(&Event::Stats { id: "c", data: Box::new(data) }).unwrap();
        assert!(text.starts_with(r#"{"type":"stats","id":"c","data":{"cpu":{"#), "{text}");
        assert!(text.ends_with(r#""hugetlb":{},"intel_rdt":{},"network_interfaces":null}}"#), "{text}");
    }
}
