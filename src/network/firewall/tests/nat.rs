//! Masquerading and published ports.

use super::*;

#[test]
fn what_leaves_a_zone_has_the_hosts_address_and_what_stays_keeps_its_own() {
    on_a_host(|host| {
        let world = host.world();
        let (one, two) = (host.zone(1), host.zone(2));
        let (inside, endpoint) = host.container(&one, 5);
        let (other, neighbour) = host.container(&two, 5);
        host.attach(&one, &endpoint);
        host.attach(&two, &neighbour);
        host.serve(Some(&world), "tcp 80-80");
        host.serve(Some(&other), "tcp 80-80");
        assert_eq!(inside.ask("tcp 192.0.2.2 80"), "192.0.2.1 80");
        assert_eq!(inside.ask("tcp 2001:db8::2 80"), "2001:db8::1 80");
        assert_eq!(inside.ask("tcp 10.2.0.5 80"), "10.1.0.5 80", "from zone to zone");
        assert_eq!(inside.ask("tcp fd00:2::5 80"), "fd00:1::5 80");
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    on_a_host(|host| {
        let world = host.world();
        let (zone, two) = (host.zone(1), host.zone(2));
        let (web, endpoint) = host.container(&zone, 5);
        let (neighbour, plain) = host.container(&zone, 6);
        let (far, elsewhere) = host.container(&two, 5);
        host.attach(&zone, &plain);
        host.attach(&two, &elsewhere);
        host.attach(&zone, &publishing(&endpoint, &["8080:80", "8080:80/udp"]));
        host.serve(Some(&web), "tcp 80-80");
        host.serve(Some(&web), "udp 80-80");
        route_alone();
        for protocol in ["tcp", "udp"] {
            let ask = |place: &lab::Place, address| place.ask(&format!("{protocol} {address} 8080"));
            assert_eq!(ask(&world, "192.0.2.1"), "192.0.2.2 80", "the client's address is kept");
            assert_eq!(ask(&world, "2001:db8::1"), "2001:db8::2 80");
            assert_eq!(host.ask(&format!("{protocol} 127.0.0.1 8080")), "10.1.0.1 80", "from the host itself");
            assert_eq!(host.ask(&format!("{protocol} 192.0.2.1 8080")), "10.1.0.1 80");
            assert_eq!(host.ask(&format!("{protocol} 2001:db8::1 8080")), "fd00:1::1 80");
            assert_eq!(ask(&neighbour, "10.1.0.1"), "10.1.0.1 80", "a neighbour, by the gateway");
            assert_eq!(ask(&neighbour, "192.0.2.1"), "10.1.0.1 80", "a neighbour, by the host's address");
            assert_eq!(ask(&web, "192.0.2.1"), "10.1.0.1 80", "by itself");
            assert_eq!(ask(&web, "2001:db8::1"), "fd00:1::1 80");
            assert_eq!(ask(&far, "192.0.2.1"), "10.2.0.5 80", "from another zone its address is kept");
        }
        host.detach(&publishing(&endpoint, &["8080:80", "8080:80/udp"]));
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 8080"), "none");
    });
}

/// br_netfilter takes what is bridged through the rules of what is routed, in both directions.
#[test]
fn a_neighbour_reaches_a_published_port_where_bridges_are_filtered() {
    on_a_host(|host| {
        if !filter_bridges() {
            return;
        }
        let zone = host.zone(1);
        let (web, endpoint) = host.container(&zone, 5);
        let (neighbour, plain) = host.container(&zone, 6);
        host.attach(&zone, &plain);
        host.attach(&zone, &publishing(&endpoint, &["8080:80"]));
        host.serve(Some(&web), "tcp 80-80");
        assert_eq!(neighbour.ask("tcp 10.1.0.1 8080"), "10.1.0.1 80");
        // The packet goes back to the port that it came from.
        run("bridge link set dev v1x5 hairpin on");
        assert_eq!(web.ask("tcp 10.1.0.1 8080"), "10.1.0.1 80");
        assert_eq!(web.ask("tcp fd00:1::1 8080"), "fd00:1::1 80");
        assert_eq!(neighbour.ask("tcp 10.1.0.5 80"), "10.1.0.6 80", "what is bridged keeps its address");
    });
}

#[test]
fn the_elements_of_what_goes_leave_with_it() {
    on_a_host(|host| {
        let world = host.world();
        let zone = host.zone(1);
        let (web, endpoint) = host.container(&zone, 5);
        let (_other, plain) = host.container(&zone, 6);
        host.attach(&zone, &plain);
        host.attach(&zone, &publishing(&endpoint, &["8080:80"]));
        host.serve(Some(&web), "tcp 80-80");
        assert_eq!(world.ask("tcp 192.0.2.1 8080"), "192.0.2.2 80");
        host.detach(&publishing(&endpoint, &["8080:80"]));
        assert_eq!(elements("ports4"), "");
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 8080"), "none");
    });
}

/// The lines of a map's listing that have elements.
fn elements(map: &str) -> String {
    let listed = run(&format!("nft list map inet nfrun {map}"));
    listed.split_once("elements = {").map(|(_, elements)| elements.to_owned()).unwrap_or_default()
}

#[test]
fn a_thousand_ports_are_one_element() {
    on_a_host(|host| {
        let world = host.world();
        let zone = host.zone(1);
        let (web, endpoint) = host.container(&zone, 5);
        host.attach(&zone, &publishing(&endpoint, &["20000-20999:20000-20999", "192.0.2.1:3000-3001:4000-4001"]));
        host.serve(Some(&web), "tcp 20000-20999");
        host.serve(Some(&web), "tcp 4000-4001");
        for port in [20000, 20500, 20999] {
            assert_eq!(world.ask(&format!("tcp 192.0.2.1 {port}")), format!("192.0.2.2 {port}"));
        }
        assert_eq!(world.ask("tcp 2001:db8::1 20999"), "2001:db8::2 20999");
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 21000"), "none");
        assert_eq!(world.ask("tcp 192.0.2.1 3001"), "192.0.2.2 4001", "a shifted range");
        assert_eq!(elements("ranges4").matches("comment").count(), 1, "{}", elements("ranges4"));
        assert!(elements("ranges4").contains("tcp . 20000-20999 comment \"c1-5:eth0\" : 10.1.0.5"));
        assert_eq!(elements("hosts4").matches("comment").count(), 2);
    });
}

#[test]
fn a_port_of_one_address_is_that_addresss_alone() {
    on_a_host(|host| {
        let world = host.world();
        run("ip addr add 192.0.2.9/24 dev up0");
        let zone = host.zone(1);
        let (web, endpoint) = host.container(&zone, 5);
        let ports = ["192.0.2.9:8080:80", "[2001:db8::1]:8081:80", "127.0.0.1:8082:80", "[::]:8083:80"];
        host.attach(&zone, &publishing(&endpoint, &ports));
        host.serve(Some(&web), "tcp 80-80");
        assert_eq!(world.ask("tcp 192.0.2.9 8080"), "192.0.2.2 80");
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 8080"), "none");
        assert_eq!(world.ask("tcp 2001:db8::1 8081"), "2001:db8::2 80");
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 8081"), "none");
        assert_eq!(host.ask("tcp 127.0.0.1 8082"), "10.1.0.1 80");
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 8082"), "none");
        assert_eq!(world.ask("tcp 2001:db8::1 8083"), "2001:db8::2 80");
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 8083"), "none", "[::] is of IPv6 alone");
    });
}

/// This kernel has no sockets of SCTP: the first packet of an association, made by hand.
#[test]
fn a_port_of_sctp_is_published() {
    const INIT: &str = r#"
import socket, struct, sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
if sys.argv[1] == "send":
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 7, 65536, 1, 1, 1)
    head = struct.pack("!HHI", 4711, 3868, 0)
    packet = head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk
    s.sendto(packet, ("192.0.2.1", 0))
else:
    s.settimeout(5)
    print("ready", flush=True)
    packet, peer = s.recvfrom(2048)
    print(peer[0], struct.unpack("!HH", packet[20:24]))
"#;
    on_a_host(|host| {
        let world = host.world();
        let zone = host.zone(1);
        let (inside, endpoint) = host.container(&zone, 5);
        host.attach(&zone, &publishing(&endpoint, &["3868:3869/sctp"]));
        let file = std::env::temp_dir().join(format!("nfrun-sctp-{}.py", std::process::id()));
        std::fs::write(&file, INIT).unwrap();
        let seen = inside.beside(&format!("/usr/bin/python3 {} receive", file.display()), || {
            world.run(&format!("/usr/bin/python3 {} send", file.display()));
        });
        std::fs::remove_file(&file).unwrap();
        assert_eq!(seen.trim(), "192.0.2.2 (4711, 3869)");
    });
}

#[test]
fn a_taken_port_is_refused_by_the_name_of_who_has_it() {
    on_a_host(|host| {
        let zone = host.zone(1);
        let (_one, first) = host.container(&zone, 5);
        let (_two, second) = host.container(&zone, 6);
        host.attach(&zone, &publishing(&first, &["8080:80", "9000-9099:9000-9099", "127.0.0.1:53:53/udp"]));
        let before = ruleset();
        for bad in ["8080:81", "192.0.2.1:8080:80", "8000-8100:8000-8100", "9050:80", "53:53/udp", "8070-8080:1-11"] {
            let error = host.try_attach(&zone, &publishing(&second, &[bad])).unwrap_err().to_string();
            assert!(error.contains("container c1-5 (eth0)") && error.contains("choose another port"), "{error}");
            host.seen = None;
            let error = host.try_attach(&zone, &publishing(&second, &[bad])).unwrap_err().to_string();
            assert!(error.contains("container c1-5 (eth0)"), "when nothing was seen: {error}");
            assert_eq!(ruleset(), before, "nothing is changed");
        }
        for twice in [["80:80", "80:81"], ["80:80", "127.0.0.1:80:80"], ["80:80", "70-90:70-90"]] {
            let error = host.try_attach(&zone, &publishing(&second, &twice)).unwrap_err().to_string();
            assert!(error.contains("the same port"), "{error}");
        }
        let error = host.try_attach(&zone, &publishing(&second, &["[::1]:80:80"])).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1"), "{error}");
        host.attach(&zone, &publishing(&second, &["8080:80/udp", "127.0.0.2:53:53/udp", "[2001:db8::9]:53:53/udp"]));
    });
}

#[test]
fn what_a_zone_sends_to_127_0_0_0_is_dropped() {
    on_a_host(|host| {
        let zone = host.zone(1);
        let (inside, endpoint) = host.container(&zone, 5);
        host.serve(None, "tcp 5353-5353");
        inside.run("ip route add 127.0.0.9 via 10.1.0.1");
        inside.run(
            "sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo; \
                    ip route flush table local 127.0.0.0/8; true'",
        );
        assert_eq!(inside.ask("tcp 127.0.0.9 5353 10.1.0.5"), "10.1.0.5 5353", "route_localnet's hole, as it is open");
        host.attach(&zone, &endpoint);
        assert_eq!(inside.ask_in_vain("tcp 127.0.0.9 5353 10.1.0.5"), "none");
    });
}
