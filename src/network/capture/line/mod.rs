//! A packet as a line of text, in tcpdump's manner: protocol, from whom, to whom, what, how long. Of what is cut short it says
//! so: `[|tcp]`. Numbers of TCP are those in the packet, not counted from the connection's first.

mod ip;
mod transport;

use super::{Direction, LinkType, Packet};

/// Reads numbers of a packet, as far as there are any.
#[derive(Debug, Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn half(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn word(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn from(self, at: usize) -> Bytes<'a> {
        Bytes(self.0.get(at..).unwrap_or_default())
    }
}

/// The line, without its time and end. `interface` is said where there are several.
pub fn describe(packet: &Packet, interface: Option<&str>) -> String {
    let bytes = Bytes(packet.bytes);
    let (ether_type, payload, ahead) = match packet.link {
        LinkType::Ethernet => (bytes.half(12), bytes.from(14), 14),
        LinkType::Cooked => (bytes.half(14), bytes.from(16), 16),
    };
    let text = match ether_type {
        None => "[|ether]".to_owned(),
        Some(ether_type) => {
            let length = (packet.length as usize).saturating_sub(ahead);
            network(ether_type, payload, length, 0).unwrap_or_else(|| other(packet, ether_type))
        }
    };
    match interface {
        None => text,
        Some(name) => {
            let way = if packet.direction == Direction::Out { "Out" } else { "In" };
            format!("{name:<6} {way:<3} {text}")
        }
    }
}

/// What an EtherType says is in there; None where it is nothing that is known.
fn network(ether_type: u16, bytes: Bytes, length: usize, depth: u8) -> Option<String> {
    match ether_type {
        0x0800 => Some(format!("IP {}", ip::v4(bytes).unwrap_or_else(|| "[|ip]".into()))),
        0x86dd => Some(format!("IP6 {}", ip::v6(bytes).unwrap_or_else(|| "[|ip6]".into()))),
        0x0806 => Some(format!("ARP, {}, length {length}", arp(bytes).unwrap_or_else(|| "[|arp]".into()))),
        0x8100 | 0x88a8 | 0x9100 if depth < 4 => {
            let (tag, inner) = (bytes.half(0)?, bytes.half(2)?);
            let rest = network(inner, bytes.from(4), length.saturating_sub(4), depth + 1);
            let rest = rest.unwrap_or_else(|| format!("ethertype 0x{inner:04x}, length {length}"));
            Some(format!("vlan {}, p {}, {rest}", tag & 0xfff, tag >> 13))
        }
        _ => None,
    }
}

fn arp(bytes: Bytes) -> Option<String> {
    // Of Ethernet and IPv4, whose addresses are six and four bytes long.
    if bytes.word(0)? != 0x0001_0800 || bytes.half(4)? != 0x0604 {
        return Some("of other than Ethernet and IPv4".to_owned());
    }
    let address = |at| bytes.array::<4>(at).map(std::net::Ipv4Addr::from);
    let (sender, target) = (address(14)?, address(24)?);
    Some(match bytes.half(6)? {
        1 => format!("Request who-has {target} tell {sender}"),
        2 => format!("Reply {sender} is-at {}", hardware(bytes.array(8)?)),
        operation => format!("operation {operation}"),
    })
}

fn hardware(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// A frame of which no more is known than its head.
fn other(packet: &Packet, ether_type: u16) -> String {
    // Below that it is a length, and the protocol stands in an LLC header.
    let kind = if ether_type < 0x600 { "802.3".to_owned() } else { format!("ethertype 0x{ether_type:04x}") };
    let bytes = Bytes(packet.bytes);
    match (packet.link, bytes.array(6), bytes.array(0)) {
        (LinkType::Ethernet, Some(from), Some(to)) => {
            format!("{} > {}, {kind}, length {}", hardware(from), hardware(to), packet.length)
        }
        _ => format!("{kind}, length {}", packet.length),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Cast;
    use super::*;

    fn packet(link: LinkType, bytes: &[u8]) -> Packet<'_> {
        let direction = Direction::In(Cast::Unicast);
        Packet { interface: 0, link, time: Duration::ZERO, direction, bytes, length: bytes.len() as u32 }
    }

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits: String = hexadecimal.split_whitespace().collect();
        let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(octet).collect()
    }

    const HEAD: &str = "020000000001 020000000002";
    const V4: &str = "0800 4500 003c 0001 4000 40";
    const ENDS: &str = "0000 0a000001 0a000002";
    const ENDS6: &str = "20010db8000000000000000000000001 20010db8000000000000000000000002";

    fn samples() -> Vec<(String, &'static str)> {
        vec![
            (
                format!(
                    "{HEAD} {V4} 06 {ENDS} 9c40 0050 00000064 00000000 a002 faf0 0000 0000 020405b4 0402 080a 00000001 00000000 01 030307"
                ),
                "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 100, win 64240, options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0",
            ),
            (
                format!("{HEAD} {V4} 06 {ENDS} 9c40 0050 00000064 00000007 5018 0400 0000 0000 00"),
                "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [P.], seq 100:120, ack 7, win 1024, length 20",
            ),
            (format!("{HEAD} {V4} 11 {ENDS} 0035 9c40 0028 0000"), "IP 10.0.0.1.53 > 10.0.0.2.40000: UDP, length 32"),
            (
                format!("{HEAD} {V4} 01 {ENDS} 0800 0000 0007 0003"),
                "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 7, seq 3, length 40",
            ),
            (
                format!(
                    "{HEAD} {V4} 01 {ENDS} 0303 0000 00000000 4500 003c 0001 4000 4011 0000 0a000002 0a000001 1111 0063"
                ),
                "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.1 udp port 99 unreachable, length 40",
            ),
            (format!("{HEAD} {V4} 2f {ENDS} 0000"), "IP 10.0.0.1 > 10.0.0.2: ip-proto-47, length 40"),
            (
                format!("{HEAD} 0800 4500 003c 0001 00b9 4011 {ENDS} 0000"),
                "IP 10.0.0.1 > 10.0.0.2: fragment at 1480 of ip-proto-17, length 40",
            ),
            (
                format!("{HEAD} {V4} 84 {ENDS} 8e3c 0009 00000000 00000000 01000014"),
                "IP 10.0.0.1.36412 > 10.0.0.2.9: sctp (1) [INIT], length 40",
            ),
            (
                format!("{HEAD} 86dd 60000000 0018 3a ff {ENDS6} 8700 0000 00000000 20010db8000000000000000000000002"),
                "IP6 2001:db8::1 > 2001:db8::2: ICMP6, neighbor solicitation, who has 2001:db8::2, length 24",
            ),
            (
                format!("{HEAD} 86dd 60000000 0010 00 ff {ENDS6} 3a00 050200000100 8f00 0000 00000001"),
                "IP6 2001:db8::1 > 2001:db8::2: ICMP6, multicast listener report v2, length 8",
            ),
            (
                format!("{HEAD} 86dd 60000000 0010 2c ff {ENDS6} 1100 0001 00000007 0035 0001 0010 0000"),
                "IP6 2001:db8::1.53 > 2001:db8::2.1: UDP, length 8",
            ),
            (
                "ffffffffffff 020000000002 0806 0001 0800 0604 0001 020000000002 0a000001 000000000000 0a000002"
                    .to_owned(),
                "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28",
            ),
            (
                format!("{HEAD} 0806 0001 0800 0604 0002 020000000002 0a000001 000000000000 0a000002"),
                "ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:02, length 28",
            ),
            (
                format!("{HEAD} 8100 6005 {V4} 01 {ENDS} 0000 0000 0007 0003"),
                "vlan 5, p 3, IP 10.0.0.1 > 10.0.0.2: ICMP echo reply, id 7, seq 3, length 40",
            ),
            (format!("{HEAD} 88cc 0207"), "02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype 0x88cc, length 16"),
        ]
    }

    #[test]
    fn packets_read_as_in_tcpdump() {
        for (hexadecimal, line) in samples() {
            assert_eq!(describe(&packet(LinkType::Ethernet, &bytes(&hexadecimal)), None), line);
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_a_line() {
        for (hexadecimal, _) in samples() {
            let whole = bytes(&hexadecimal);
            for end in 0..whole.len() {
                assert!(!describe(&packet(LinkType::Ethernet, &whole[..end]), None).is_empty());
                assert!(!describe(&packet(LinkType::Cooked, &whole[..end]), None).is_empty());
            }
        }
        let cut = bytes(&samples()[0].0);
        let line = describe(&packet(LinkType::Ethernet, &cut[..40]), None);
        assert_eq!(line, "IP 10.0.0.1.40000 > 10.0.0.2.80: [|tcp]");
    }

    #[test]
    fn of_several_interfaces_each_line_says_which_and_whither() {
        let whole = bytes(&samples()[3].0);
        let line = describe(&Packet { direction: Direction::Out, ..packet(LinkType::Ethernet, &whole) }, Some("eth0"));
        assert!(line.starts_with("eth0   Out IP 10.0.0.1 > "), "{line}");
    }
}
