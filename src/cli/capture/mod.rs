//! `capture`: the packets of a container's interfaces, into a file or as lines.

mod output;
mod sink;

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::poll::PollFlags;

use super::failure::Failure;
use super::flag::{Flag, Value};
use super::held_signals::HeldSignals;
use super::parse::Order;
use super::{Call, Command};
use crate::Result;
use crate::container::{self, CaptureOptions, ContainerId};
use crate::network::Ifname;
use crate::network::capture::{Capture, Counts, End, Filter, Interface, WHOLE};
use output::Output;
use sink::{File, Lines, Recorder};

pub(super) static COMMAND: Command = Command {
    name: "capture",
    about: "Show or record the packets of a container's interfaces.",
    details: "Nothing runs in the container for it. Without an interface it is all but lo. FILTER is one of \
              pcap-filter(7): host, net, port, portrange, proto with src, dst, ether, ip, ip6, tcp, udp, sctp; arp, rarp, \
              icmp, icmp6, vlan, less, greater, broadcast, multicast, inbound, outbound; and, or, not, parentheses. It \
              ends with the container, at a signal, or after so many packets.",
    usage: "ID[:INTERFACE] [FILTER]...",
    flags: &[&WRITE, &COUNT, &SNAP],
    words: (1, super::MANY),
    order: Order::Anywhere,
    run,
};

static WRITE: Flag = Flag::new(
    "write",
    Value::File("FILE"),
    "Write the packets to FILE, or to stdout for -, in the pcapng format, which tcpdump and Wireshark read. Without it \
     each packet is a line on stdout.",
)
.letter('w');
static COUNT: Flag = Flag::new("count", Value::Text("N"), "End after N packets.").letter('c');
static SNAP: Flag = Flag::new(
    "snapshot-length",
    Value::Text("BYTES"),
    "Take no more than so many bytes of each packet. The default, and the most, is 262144.",
)
.letter('s');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let (id, interface) = whose(&call.arguments.words[0].to_string_lossy())?;
    let words = call.arguments.rest()?.join(" ");
    let count = call.arguments.last(&COUNT).map(|_| call.arguments.number(&COUNT)).transpose()?;
    let snap = match call.arguments.number(&SNAP)? {
        0 => WHOLE,
        bytes @ 1..=WHOLE => bytes,
        bytes => return Err(Failure::new(format!("--snapshot-length {bytes}: at most {WHOLE} bytes are taken"))),
    };
    if count == Some(0) {
        return Err(Failure::new("--count 0: at least one packet"));
    }
    let options = CaptureOptions { interface, filter: Filter::parse(&words)?, snap };
    let signals = HeldSignals::hold(&HeldSignals::OF_AN_END)?;
    let (mut capture, init) = container::capture(call.globals, &id, &options)?;
    let output = Output::open(call.arguments.path_or_stdout(&WRITE)?, signals.as_fd())?;
    let interfaces = capture.interfaces();
    let mut recorder: Box<dyn Recorder> = match call.arguments.last(&WRITE) {
        Some(_) => Box::new(File::begin(&output, id.as_str(), &interfaces, &words, snap)?),
        None => Box::new(Lines::of(&output, &interfaces)),
    };
    say(&format!("listening on {}, snapshot length {snap} bytes", listed(&id, &interfaces)));
    let ends =
        [(signals.as_fd(), PollFlags::POLLIN), (init.as_fd(), PollFlags::POLLIN), (output.as_fd(), PollFlags::empty())];
    let end = capture.run(&ends, count.map(u64::from), recorder.as_sink())?;
    finish(&mut capture, recorder.as_mut(), end)
}

/// Says what was counted, as tcpdump does, and writes it down.
fn finish(capture: &mut Capture, recorder: &mut dyn Recorder, end: End) -> Result<u8, Failure> {
    let counts = capture.counts();
    if end != End::Unread {
        recorder.finish(&counts, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())?;
    }
    let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
    say(&format!(
        "{} packets captured\n{} packets received by filter\n{} packets dropped by kernel",
        sum(|counts| counts.captured),
        sum(|counts| counts.received),
        sum(|counts| counts.dropped)
    ));
    Ok(0)
}

/// For whoever looks on; nobody has to.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn listed(id: &ContainerId, interfaces: &[Interface]) -> String {
    interfaces.iter().map(|interface| format!("{id}:{}", interface.name)).collect::<Vec<_>>().join(", ")
}

/// `ID`, `ID:INTERFACE`.
fn whose(word: &str) -> Result<(ContainerId, Option<Ifname>)> {
    match word.split_once(':') {
        Some((id, interface)) => Ok((id.parse()?, Some(interface.parse()?))),
        None => Ok((word.parse()?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_stands_behind_the_id() {
        let (id, interface) = whose("web:eth0").unwrap();
        assert_eq!((id.as_str(), interface.unwrap().as_ref()), ("web", "eth0"));
        assert!(whose("web").unwrap().1.is_none());
        for bad in ["web:", ":eth0", "a/b", "web:a/b", "web:eth0:1"] {
            assert!(whose(bad).is_err(), "{bad}");
        }
    }
}
