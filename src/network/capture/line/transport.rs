//! What IP carries: TCP (RFC 9293), UDP, SCTP (RFC 9260), ICMP (RFC 792) and ICMPv6 (RFC 4443, 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Bytes;
use super::ip::Carried;

pub(super) fn describe(carried: &Carried) -> String {
    let [from, to] = carried.ends;
    let length = carried.length;
    match carried.protocol {
        6 => with_ports(carried, tcp, "[|tcp]"),
        17 => with_ports(carried, |carried| Some(format!("UDP, length {}", udp_length(carried)?)), "[|udp]"),
        132 => with_ports(carried, sctp, "[|sctp]"),
        1 => {
            let what = icmp(carried.bytes).unwrap_or_else(|| "[|icmp]".into());
            format!("{from} > {to}: ICMP {what}, length {length}")
        }
        58 => {
            let what = icmp6(carried.bytes).unwrap_or_else(|| "[|icmp6]".into());
            format!("{from} > {to}: ICMP6, {what}, length {length}")
        }
        59 => format!("{from} > {to}: nothing, length {length}"),
        protocol => format!("{from} > {to}: ip-proto-{protocol}, length {length}"),
    }
}

fn with_ports(carried: &Carried, describe: impl Fn(&Carried) -> Option<String>, cut: &str) -> String {
    let [from, to] = carried.ends;
    let (Some(source), Some(destination)) = (carried.bytes.half(0), carried.bytes.half(2)) else {
        return format!("{from} > {to}: {cut}");
    };
    let what = describe(carried).unwrap_or_else(|| cut.to_owned());
    format!("{from}.{source} > {to}.{destination}: {what}")
}

/// Without the header's eight bytes.
fn udp_length(carried: &Carried) -> Option<usize> {
    match carried.bytes.half(4)? {
        0 => Some(carried.length.saturating_sub(8)),
        length => Some(usize::from(length).saturating_sub(8)),
    }
}

fn tcp(carried: &Carried) -> Option<String> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    const URGENT: u8 = 0x20;
    /// SYN, FIN or RST.
    const COUNTED: u8 = 0x07;
    let bytes = carried.bytes;
    let header = usize::from(bytes.byte(12)? >> 4) * 4;
    let flags = bytes.byte(13)?;
    let (sequence, window) = (bytes.word(4)?, bytes.half(14)?);
    let length = carried.length.saturating_sub(header);
    let mut text = format!("Flags [{}]", tcp_flags(flags));
    if length > 0 && flags & SYN == 0 {
        text += &format!(", seq {sequence}:{}", sequence.wrapping_add(length as u32));
    } else if length > 0 || flags & COUNTED != 0 {
        text += &format!(", seq {sequence}");
    }
    if flags & ACK != 0 {
        text += &format!(", ack {}", bytes.word(8)?);
    }
    text += &format!(", win {window}");
    if flags & URGENT != 0 {
        text += &format!(", urg {}", bytes.half(18)?);
    }
    let options = bytes.0.get(20..header.min(bytes.0.len())).map(tcp_options).unwrap_or_default();
    if !options.is_empty() {
        text += &format!(", options [{}]", options.join(","));
    }
    Some(format!("{text}, length {length}"))
}

fn tcp_flags(flags: u8) -> String {
    let letters = "FSRP.UEW".chars().enumerate().filter(|(bit, _)| flags & 1 << bit != 0);
    let text: String = letters.map(|(_, letter)| letter).collect();
    if text.is_empty() { "none".to_owned() } else { text }
}

/// As many as are whole.
fn tcp_options(mut options: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(kind) = options.first().copied() {
        // The end, and what fills up: the two without a length.
        if kind == 0 {
            found.push("eol".to_owned());
            return found;
        }
        let length = if kind == 1 { 1 } else { options.get(1).map_or(0, |length| usize::from(*length)) };
        let Some(option) = options.get(..length).filter(|option| option.len() > usize::from(kind != 1)) else {
            return found;
        };
        found.push(tcp_option(kind, Bytes(option)).unwrap_or_else(|| format!("opt-{kind}")));
        options = &options[length..];
    }
    found
}

fn tcp_option(kind: u8, option: Bytes) -> Option<String> {
    match kind {
        1 => Some("nop".to_owned()),
        2 => Some(format!("mss {}", option.half(2)?)),
        3 => Some(format!("wscale {}", option.byte(2)?)),
        4 => Some("sackOK".to_owned()),
        5 => {
            let blocks = (2..option.0.len()).step_by(8);
            let blocks = blocks.map_while(|at| Some(format!("{{{}:{}}}", option.word(at)?, option.word(at + 4)?)));
            Some(format!("sack {}", blocks.collect::<String>()))
        }
        8 => Some(format!("TS val {} ecr {}", option.word(2)?, option.word(6)?)),
        _ => None,
    }
}

/// The first chunk of an association's packet.
fn sctp(carried: &Carried) -> Option<String> {
    const NAMES: [&str; 15] = [
        "DATA",
        "INIT",
        "INIT ACK",
        "SACK",
        "HB REQ",
        "HB ACK",
        "ABORT",
        "SHUTDOWN",
        "SHUTDOWN ACK",
        "OP ERR",
        "COOKIE ECHO",
        "COOKIE ACK",
        "ECN ECHO",
        "CWR",
        "SHUTDOWN COMPLETE",
    ];
    let kind = carried.bytes.byte(12)?;
    let name = NAMES.get(usize::from(kind)).map_or_else(|| format!("chunk {kind}"), |name| (*name).to_owned());
    Some(format!("sctp (1) [{name}], length {}", carried.length))
}

fn icmp(bytes: Bytes) -> Option<String> {
    let (kind, code) = (bytes.byte(0)?, bytes.byte(1)?);
    Some(match kind {
        0 => format!("echo reply, id {}, seq {}", bytes.half(4)?, bytes.half(6)?),
        8 => format!("echo request, id {}, seq {}", bytes.half(4)?, bytes.half(6)?),
        3 => unreachable(code, bytes)?,
        5 => {
            let (gateway, original) = (Ipv4Addr::from(bytes.array::<4>(4)?), original(bytes)?);
            format!("redirect {} to {gateway}", original.0)
        }
        11 if code == 0 => "time exceeded in-transit".to_owned(),
        11 => "ip reassembly time exceeded".to_owned(),
        12 => "parameter problem".to_owned(),
        kind => format!("type-{kind} code-{code}"),
    })
}

/// To whom the packet went that an error of ICMP is about, what it carried, and the rest of it.
fn original(bytes: Bytes) -> Option<(IpAddr, u8, Bytes)> {
    let inner = bytes.from(8);
    let header = usize::from(inner.byte(0)? & 0xf) * 4;
    Some((Ipv4Addr::from(inner.array::<4>(16)?).into(), inner.byte(9)?, inner.from(header)))
}

fn unreachable(code: u8, bytes: Bytes) -> Option<String> {
    let (to, protocol, rest) = original(bytes)?;
    Some(match code {
        0 => format!("net {to} unreachable"),
        1 => format!("host {to} unreachable"),
        2 => format!("{to} protocol {protocol} unreachable"),
        3 => {
            let name = match protocol {
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                132 => "sctp".to_owned(),
                number => format!("ip-proto-{number}"),
            };
            format!("{to} {name} port {} unreachable", rest.half(2)?)
        }
        4 => format!("{to} unreachable - need to frag (mtu {})", bytes.half(6)?),
        9 | 10 | 13 => format!("host {to} unreachable - admin prohibited"),
        code => format!("{to} unreachable, code {code}"),
    })
}

fn icmp6(bytes: Bytes) -> Option<String> {
    let (kind, code) = (bytes.byte(0)?, bytes.byte(1)?);
    let target = || bytes.array::<16>(8).map(Ipv6Addr::from);
    Some(match kind {
        1 => {
            // To whom the packet went that it is about: behind eight bytes, in the fixed header.
            let to = Ipv6Addr::from(bytes.array::<16>(8 + 24)?);
            let why = ["no route", "prohibited", "beyond scope", "unreachable address", "unreachable port"];
            format!("destination unreachable, {}, {to}", why.get(usize::from(code)).unwrap_or(&"unreachable"))
        }
        2 => format!("packet too big, mtu {}", bytes.word(4)?),
        3 => "time exceeded in-transit".to_owned(),
        4 => "parameter problem".to_owned(),
        128 => format!("echo request, id {}, seq {}", bytes.half(4)?, bytes.half(6)?),
        129 => format!("echo reply, id {}, seq {}", bytes.half(4)?, bytes.half(6)?),
        130 => "multicast listener query".to_owned(),
        131 => "multicast listener report".to_owned(),
        132 => "multicast listener done".to_owned(),
        133 => "router solicitation".to_owned(),
        134 => "router advertisement".to_owned(),
        135 => format!("neighbor solicitation, who has {}", target()?),
        136 => format!("neighbor advertisement, tgt is {}", target()?),
        137 => "redirect".to_owned(),
        143 => "multicast listener report v2".to_owned(),
        kind => format!("type-{kind} code-{code}"),
    })
}
