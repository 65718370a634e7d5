//! Connections that the kernel remembers.

use super::super::Firewall;
use super::*;

/// The connections of the host's that have this in their line.
fn known(what: &str) -> usize {
    run("cat /proc/self/net/nf_conntrack").lines().filter(|line| line.contains(what)).count()
}

#[test]
fn exactly_the_stale_connections_are_forgotten() {
    on_a_host(|host| {
        let world = host.world();
        let zone = host.zone(1);
        let (inside, endpoint) = host.container(&zone, 5);
        let (neighbour, beside) = host.container(&zone, 6);
        host.attach(&zone, &endpoint);
        host.attach(&zone, &beside);
        for place in [&inside, &world] {
            host.serve(Some(place), "udp 80-80");
            host.serve(Some(place), "udp 8080-8080");
        }
        let firewall = Firewall::open().unwrap();
        let published = publishing(&endpoint, &["8080:80/udp"]);
        assert_eq!(firewall.forget_connections(&published.publish, &[]).unwrap(), 0);
        // A client that sends before the port is published, and one that goes to the same port of another's.
        let clients =
            [(&world, "udp 192.0.2.1 8080 192.0.2.2 5000"), (&world, "udp 2001:db8::1 8080 2001:db8::2 5000")];
        for (place, what) in clients {
            assert_eq!(place.ask_in_vain(what), "none");
        }
        assert_eq!(neighbour.ask("udp 192.0.2.2 8080 10.1.0.6 5000"), "192.0.2.1 8080");
        assert_eq!(world.ask_in_vain("udp 192.0.2.1 9999 192.0.2.2 5000"), "none");
        host.detach(&endpoint);
        host.attach(&zone, &published);
        assert_eq!(clients[0].0.ask_in_vain(clients[0].1), "none", "stale");
        assert_eq!(firewall.forget_connections(&published.publish, &[]).unwrap(), 2);
        assert_eq!(clients[0].0.ask(clients[0].1), "192.0.2.2 80");
        assert_eq!(clients[1].0.ask(clients[1].1), "2001:db8::2 80");
        assert_eq!((known("dport=9999"), known("src=10.1.0.6 dst=192.0.2.2")), (1, 1), "others are kept");
        // The container goes: so do those that it answered, and no others.
        host.detach(&published);
        assert_eq!(firewall.forget_connections(&[], &endpoint.addresses).unwrap(), 2);
        assert_eq!((known("src=10.1.0.5"), known("src=10.1.0.6 dst=192.0.2.2")), (0, 1));
        assert_eq!(clients[0].0.ask_in_vain(clients[0].1), "none");
    });
}

#[test]
fn a_range_and_an_address_are_matched() {
    on_a_host(|host| {
        let world = host.world();
        run("ip addr add 192.0.2.9/24 dev up0");
        let zone = host.zone(1);
        let (_inside, endpoint) = host.container(&zone, 5);
        host.attach(&zone, &endpoint);
        for what in ["192.0.2.1 1000", "192.0.2.1 1500", "192.0.2.9 1500", "192.0.2.1 2000"] {
            world.ask(&format!("udp {what} 192.0.2.2 5000"));
        }
        let firewall = Firewall::open().unwrap();
        let forget = |publish: &str| firewall.forget_connections(&[publish.parse().unwrap()], &[]).unwrap();
        let udp = known("udp");
        assert_eq!(udp, 4);
        assert_eq!(forget("1000-1999:1000-1999/sctp"), 0);
        assert_eq!(forget("192.0.2.9:1000-1999:1000-1999/udp"), 1);
        assert_eq!(forget("1000-1999:1000-1999/udp"), 2);
        assert_eq!((known("udp"), known("dport=2000")), (1, 1));
        assert_eq!(forget("192.0.2.1:2000:1/udp"), 1, "the kernel passes over others");
        assert_eq!(known("udp"), 0);
    });
}
