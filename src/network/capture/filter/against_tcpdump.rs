//! Filters beside tcpdump's own, on random packets.

use std::process::{Command, Stdio};

use super::interpreter::{Seen, run};
use super::tests::{A, B, ethernet, frame, ports, v4, v6};
use super::{Filter, Link};
use crate::seccomp::Instruction;

/// tcpdump's program for a filter; None where there is no tcpdump.
fn tcpdumps(filter: &str) -> Option<Vec<Instruction>> {
    let mut tcpdump = Command::new("tcpdump");
    let output = tcpdump.args(["-ddd", "-s", "77", "-y", "EN10MB", filter]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("rejects all packets") {
        return Some(vec![Instruction { code: 0x06, jt: 0, jf: 0, k: 0 }]);
    }
    assert!(output.status.success(), "{filter}: {}", String::from_utf8_lossy(&output.stderr));
    let row = |line: &str| {
        let numbers: Vec<u32> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        Instruction { code: numbers[0] as u16, jt: numbers[1] as u8, jf: numbers[2] as u8, k: numbers[3] }
    };
    Some(text.lines().skip(1).map(row).collect())
}

/// xorshift: the same packets each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }

    /// A packet of which much is what the filters below look for, and the rest anything.
    fn packet(&mut self) -> Vec<u8> {
        let mut payload: Vec<u8> = (0..64).map(|_| self.next() as u8).collect();
        let (from, to) = (self.of(&[80, 443, 53, 8080, 9]), self.of(&[80, 443, 53, 40000, 9]));
        payload.splice(..20, ports(from, to));
        let addresses = [A, B, [10, 1, 255, 3], [192, 168, 0, 1], [239, 0, 0, 1]];
        let sixes = ["2001:db8::1", "2001:db8:1::1", "fe80::1", "ff02::1"];
        let protocol = self.of(&[1, 6, 17, 58, 132, 47, 44]);
        let (words, fragment) = (self.of(&[5, 5, 6, 15]), self.of(&[0, 0x4000, 0x2000, 0x2003]));
        let inner = match self.next() % 4 {
            0 | 1 => frame(0x0800, &v4(protocol, self.of(&addresses), self.of(&addresses), words, fragment, &payload)),
            2 => frame(0x86dd, &v6(protocol, self.of(&sixes), self.of(&sixes), &payload)),
            _ => {
                let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2];
                arp.extend([&self.of(&addresses)[..], &[0; 6], &self.of(&addresses)].concat());
                frame(self.of(&[0x0806, 0x8035, 0x88cc]), &arp)
            }
        };
        let mut packet = inner;
        packet[..6].copy_from_slice(&self.of(&[[0xff; 6], [2, 0, 0, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]]));
        packet
    }
}

#[test]
fn verdicts_are_tcpdumps() {
    let parts = [
        "ip",
        "ip6",
        "arp",
        "rarp",
        "tcp",
        "udp",
        "sctp",
        "icmp",
        "icmp6",
        "port 80",
        "tcp port 443",
        "udp src port 53",
        "tcp dst port 80 or 443",
        "portrange 50-100",
        "src portrange 8000-9000",
        "src and dst port 9",
        "host 10.1.0.1",
        "src host 10.2.0.2",
        "dst net 10.1.0.0/16",
        "net 10",
        "ip host 10.1.0.1",
        "arp host 10.1.0.1",
        "host 2001:db8::1",
        "dst net 2001:db8::/33",
        "ip6 host fe80::1",
        "ether host 02:00:00:00:00:01",
        "ether src 02:00:00:00:00:02",
        "ip proto 47",
        "proto 132",
        "ip6 proto 17",
        "ether proto 0x88cc",
        "broadcast",
        "multicast",
        "ip multicast",
        "ip6 multicast",
        "less 90",
        "greater 80",
        "net 10.1.0.0 mask 255.255.0.0",
        "src or dst net 192.168",
        "port (80 or 53)",
        "host 10.1.0.1 or 10.2.0.2",
        "ether dst 02:00:00:00:00:01",
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut filters: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    for _ in 0..100 {
        let [a, b, c] = [(); 3].map(|()| random.of(&parts));
        let [first, second] = [(); 2].map(|()| random.of(&["and", "or", "and not", "or not"]));
        filters.push(match random.next() % 3 {
            0 => format!("{a} {first} ({b} {second} {c})"),
            1 => format!("not ({a} {first} {b}) {second} ({c})"),
            _ => format!("({a}) {first} ({b}) {second} ({c})"),
        });
    }
    let packets: Vec<Seen> = (0..1500).map(|_| ethernet(random.packet())).collect();
    for filter in &filters {
        let Some(theirs) = tcpdumps(filter) else {
            eprintln!("SKIP: verdicts_are_tcpdumps: tcpdump is not installed");
            return;
        };
        let ours = Filter::parse(filter).unwrap().compile(Link::Ethernet, 77).unwrap();
        for packet in &packets {
            // libpcap looks for ports of IPv6 in no fragment.
            if packet.bytes[12..14] == [0x86, 0xdd] && packet.bytes[20] == 44 && filter.contains("port") {
                continue;
            }
            let verdicts = [&ours, &theirs].map(|program| run(program, packet) != 0);
            assert_eq!(verdicts[0], verdicts[1], "{filter}: ours, then tcpdump's, of {:02x?}", packet.bytes);
        }
    }
}
