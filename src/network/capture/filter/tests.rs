//! Filters on packets made by hand.

use super::interpreter::{Seen, run};
use super::{Filter, Link};

/// An Ethernet frame.
pub(super) fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A packet of IPv4 with a header of so many words, and the fragment's offset.
pub(super) fn v4(
    protocol: u8,
    source: [u8; 4],
    destination: [u8; 4],
    words: u8,
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0x40 | words, 0, 0, 0, 0, 0];
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.resize(usize::from(words) * 4, 0);
    bytes.extend(payload);
    bytes
}

pub(super) fn v6(next: u8, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    for address in [source, destination] {
        bytes.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    bytes.extend(payload);
    bytes
}

pub(super) fn ports(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.resize(20, 0);
    bytes
}

pub(super) const A: [u8; 4] = [10, 1, 0, 1];
pub(super) const B: [u8; 4] = [10, 2, 0, 2];

fn tcp4() -> Vec<u8> {
    frame(0x0800, &v4(6, A, B, 5, 0, &ports(40000, 80)))
}

fn tagged(tags: &[(u16, u16)], frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for (kind, tag) in tags {
        bytes.extend([kind.to_be_bytes(), tag.to_be_bytes()].concat());
    }
    bytes.extend(&frame[12..]);
    bytes
}

pub(super) fn ethernet(bytes: Vec<u8>) -> Seen {
    let ether_type = u32::from(u16::from_be_bytes([bytes[12], bytes[13]]));
    Seen { bytes, ether_type, kind: 0, tag: None }
}

#[track_caller]
fn takes(filter: &str, link: Link, packet: &Seen) -> bool {
    let program = Filter::parse(filter).unwrap().compile(link, 77).unwrap();
    match run(&program, packet) {
        0 => false,
        77 => true,
        other => panic!("{filter}: {other}"),
    }
}

#[track_caller]
fn check(packet: &Seen, yes: &[&str], no: &[&str]) {
    for filter in yes {
        assert!(takes(filter, Link::Ethernet, packet), "{filter}");
        assert!(!takes(&format!("not ({filter})"), Link::Ethernet, packet), "not {filter}");
    }
    for filter in no {
        assert!(!takes(filter, Link::Ethernet, packet), "{filter}");
        assert!(takes(&format!("!({filter})"), Link::Ethernet, packet), "not {filter}");
    }
}

#[test]
fn tcp_over_ipv4_is_found_by_its_addresses_and_ports() {
    check(
        &ethernet(tcp4()),
        &[
            "ip",
            "tcp",
            "ip proto 6",
            "proto tcp",
            "ip proto \\tcp",
            "ether proto 0x800",
            "ether proto \\ip",
            "host 10.1.0.1",
            "10.2.0.2",
            "src host 10.1.0.1",
            "src 10.1.0.1 and dst 10.2.0.2",
            "src or dst host 10.2.0.2",
            "dst or src net 10.1",
            "src and dst net 10.0.0.0/8",
            "net 10",
            "net 10.1.0.0 mask 255.255.0.0",
            "10.1.0.0/16",
            "port 80",
            "tcp port http",
            "tcp dst port 80",
            "src port 40000",
            "portrange 70-80",
            "tcp portrange 80-90",
            "port 443 or 80",
            "port (443 or 80)",
            "tcp dst port (443 or 80)",
            "ether host 02:00:00:00:00:01",
            "ether src 02:00:00:00:00:02",
            "less 54",
            "greater 54",
            "inbound",
            "tcp and not udp",
            "tcp && !udp || arp",
            "host 10.9.9.9 or 10.1.0.1",
        ],
        &[
            "ip6",
            "arp",
            "udp",
            "sctp",
            "icmp",
            "icmp6",
            "udp port 80",
            "sctp port 80",
            "src port 80",
            "port 81",
            "portrange 81-90",
            "dst host 10.1.0.1",
            "src and dst net 10.1.0.0/16",
            "host 10.1.0.0",
            "net 10.3",
            "host ::1",
            "net ::/0",
            "ether dst 02:00:00:00:00:02",
            "broadcast",
            "multicast",
            "ip multicast",
            "less 53",
            "greater 55",
            "outbound",
            "vlan",
            "ip6 proto 6",
        ],
    );
}

#[test]
fn and_and_or_bind_alike_from_the_left() {
    let packet = ethernet(tcp4());
    assert!(takes("", Link::Ethernet, &packet), "without a word every packet is taken");
    // (udp and tcp) or tcp; were `and` the stronger one, the second would be tcp or (…).
    assert!(takes("udp and arp or tcp", Link::Ethernet, &packet));
    assert!(!takes("tcp or udp and arp", Link::Ethernet, &packet));
    assert!(takes("not udp and tcp", Link::Ethernet, &packet));
}

#[test]
fn options_and_fragments_of_ipv4_move_and_hide_the_ports() {
    let long = ethernet(frame(0x0800, &v4(17, A, B, 15, 0x4000, &ports(53, 5353))));
    check(&long, &["port domain", "udp dst port 5353", "udp"], &["tcp port 53", "src port 5353"]);
    let first = ethernet(frame(0x0800, &v4(17, A, B, 5, 0x2000, &ports(53, 5353))));
    check(&first, &["udp port 53"], &[]);
    let later = ethernet(frame(0x0800, &v4(17, A, B, 5, 0x2001, &ports(53, 5353))));
    check(&later, &["udp", "host 10.1.0.1"], &["udp port 53", "portrange 1-65535"]);
}

#[test]
fn ipv6_is_found_by_its_addresses_and_ports() {
    let tcp = ethernet(frame(0x86dd, &v6(6, "2001:db8::1", "2001:db8:8000::2", &ports(40000, 443))));
    check(
        &tcp,
        &[
            "ip6",
            "tcp",
            "ip6 proto 6",
            "proto 6",
            "host 2001:db8::1",
            "dst net 2001:db8:8000::/33",
            "net 2001:db8::/32",
            "net ::/0",
            "tcp port https",
            "ip6 host 2001:db8::1",
            "src 2001:db8::1",
        ],
        &[
            "ip",
            "icmp6",
            "ip proto 6",
            "dst host 2001:db8::1",
            "src net 2001:db8:8000::/33",
            "udp port 443",
            "host 10.1.0.1",
        ],
    );
    let ping = ethernet(frame(0x86dd, &v6(58, "fe80::1", "ff02::1", &[128, 0, 0, 0, 0, 0, 0, 0])));
    check(&ping, &["icmp6", "ip6 multicast"], &["icmp", "tcp", "port 0"]);
    let first =
        ethernet(frame(0x86dd, &v6(44, "::1", "::2", &[&[17, 0, 0, 1, 0, 0, 0, 0][..], &ports(53, 9)].concat())));
    check(&first, &["udp", "udp port 53", "ip6 proto udp"], &["tcp", "proto 44"]);
    let later =
        ethernet(frame(0x86dd, &v6(44, "::1", "::2", &[&[17, 0, 0, 9, 0, 0, 0, 0][..], &ports(53, 9)].concat())));
    check(&later, &["udp"], &["udp port 53"]);
}

#[test]
fn icmp_sctp_arp_and_multicast_are_found() {
    check(&ethernet(frame(0x0800, &v4(1, A, B, 5, 0, &[8, 0, 0, 0]))), &["icmp", "icmp or icmp6"], &["icmp6", "tcp"]);
    let sctp = ethernet(frame(0x0800, &v4(132, A, B, 5, 0, &ports(36412, 9))));
    check(&sctp, &["sctp", "port 36412", "sctp port 9"], &["tcp port 9"]);
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2];
    request.extend([&A[..], &[0; 6], &B].concat());
    let mut bytes = frame(0x0806, &request);
    bytes[..6].fill(0xff);
    check(
        &ethernet(bytes),
        &[
            "arp",
            "broadcast",
            "ether broadcast",
            "ether multicast",
            "multicast",
            "host 10.1.0.1",
            "arp dst host 10.2.0.2",
        ],
        &["ip", "ip host 10.1.0.1", "port 80", "rarp", "arp src host 10.2.0.2"],
    );
    let group = ethernet(frame(0x0800, &v4(17, A, [239, 1, 1, 1], 5, 0, &ports(1, 2))));
    check(&group, &["ip multicast"], &["ip6 multicast"]);
}

#[test]
fn what_is_behind_tags_is_found_and_so_are_the_tags() {
    let one = ethernet(tagged(&[(0x8100, 0x6005)], &tcp4()));
    check(
        &one,
        &["vlan", "vlan 5", "vlan 5 and tcp port 80", "tcp port 80 and vlan 5", "host 10.1.0.1", "ip", "net 10.1"],
        &["vlan 6", "vlan 0", "udp"],
    );
    let two = ethernet(tagged(&[(0x88a8, 7), (0x8100, 8)], &tcp4()));
    check(&two, &["vlan 7", "vlan 8", "vlan 7 and vlan 8", "tcp dst port 80"], &["vlan 9"]);
    // The kernel takes the outer tag off what it receives.
    let taken = Seen { tag: Some(0x6005), ..ethernet(tcp4()) };
    check(&taken, &["vlan", "vlan 5", "tcp port 80"], &["vlan 6"]);
    let zero = Seen { tag: Some(0), ..ethernet(tcp4()) };
    check(&zero, &["vlan", "vlan 0"], &["vlan 1"]);
}

#[test]
fn without_an_ethernet_header_the_kernel_tells_the_protocol() {
    let packet = Seen { bytes: v4(6, A, B, 5, 0, &ports(40000, 80)), ether_type: 0x0800, kind: 4, tag: None };
    for yes in ["tcp port 80", "src 10.1.0.1", "outbound", "ip", "less 40", "not ether host 02:00:00:00:00:01"] {
        assert!(takes(yes, Link::Cooked, &packet), "{yes}");
    }
    for no in ["udp", "ip6", "broadcast", "ether host 02:00:00:00:00:01", "vlan"] {
        assert!(!takes(no, Link::Cooked, &packet), "{no}");
    }
}

#[test]
fn a_packet_cut_short_is_not_taken_and_breaks_nothing() {
    let whole = tcp4();
    for end in 0..whole.len() {
        let packet = Seen { bytes: whole[..end].to_vec(), ..Seen::default() };
        assert_eq!(takes("dst port 80", Link::Ethernet, &packet), end >= 38, "{end}");
    }
}

#[test]
fn a_word_that_is_not_known_is_named_with_those_that_are() {
    for (filter, says) in [
        ("tpc port 80", "\"tpc\" is not known; what is: host, net, "),
        ("port htpp", "\"htpp\" is no port"),
        ("port 80 or htpp", "\"htpp\" is not known"),
        ("host web", "names are not looked up"),
        ("host 10.0.0.0/8", "\"10.0.0.0/8\" is no address"),
        ("ip broadcast", "say host and the address"),
        ("icmp port 80", "icmp port 80: these words do not go together"),
        ("tcp host 10.0.0.1", "tcp host 10.0.0.1: these words do not go together"),
        ("src proto 6", "do not go together"),
        ("ip host ::1", "ip host ::1: no packet of that protocol has such an address"),
        ("tcp[13] & 2", "&& is and"),
        ("tcp[13]", "looking at single bytes"),
        ("port", "port wants a value behind it"),
        ("src port and tcp", "src port wants a value"),
        ("ether", "ether wants host"),
        ("less x", "less wants a number behind it, not \"x\""),
        ("greater", "greater wants a number behind it"),
        ("vlan 4096", "a VLAN's number is 0 to 4095"),
        ("net 10.0.0.1/8", "bits are set behind the prefix"),
        ("tcp udp", "udp is behind what is whole"),
        ("(tcp", "a ( is not closed"),
        ("tcp)", "a ) closes nothing"),
        ("tcp and", "it ends where"),
        ("or tcp", "has to stand before or"),
        ("not", "it ends where"),
        ("()", "has to stand before )"),
        ("tcp multicast", "multicast goes with ether, ip or ip6"),
        ("net 10.0.0.0 mask", "mask wants a value"),
    ] {
        let error = Filter::parse(filter).unwrap_err().to_string();
        assert!(error.starts_with("filter: ") && error.contains(says), "{filter}: {error}");
    }
}

#[test]
fn long_and_deep_filters_are_compiled_or_refused() {
    let many = |count: usize| (1..=count).map(|port| format!("port {port}")).collect::<Vec<_>>().join(" or ");
    let filter = Filter::parse(&many(200)).unwrap().compile(Link::Ethernet, 1).unwrap();
    let packet = |port| ethernet(frame(0x0800, &v4(6, A, B, 5, 0, &ports(60000, port))));
    for (port, expected) in [(1, 1), (100, 1), (200, 1), (201, 0)] {
        assert_eq!(run(&filter, &packet(port)), expected, "{port}");
    }
    let error = Filter::parse(&many(1000)).unwrap().compile(Link::Ethernet, 1).unwrap_err().to_string();
    assert!(error.contains("the kernel takes at most 4096"), "{error}");
    assert!(Filter::parse(&many(2000)).unwrap_err().to_string().contains("more than 1024"));
    assert!(Filter::parse(&"(".repeat(100_000)).unwrap_err().to_string().contains("levels"));
    assert!(Filter::parse(&"not ".repeat(100_000)).unwrap_err().to_string().contains("levels"));
    assert!(Filter::parse(&format!("{}tcp{}", "(".repeat(50), ")".repeat(50))).is_ok());
    let mixed = (0..500).map(|n| format!("port {n} and src net {n}.0.0.0/8 or")).collect::<Vec<_>>();
    assert!(Filter::parse(&format!("{} tcp", mixed[..100].join(" "))).unwrap().compile(Link::Ethernet, 1).is_ok());
}
