//! Isolation, internal networks, and the rules of endpoints.

use super::super::{Isolation, Zone};
use super::*;

#[test]
fn isolated_zones_are_kept_from_each_other_and_strict_ones_from_all() {
    on_a_host(|host| {
        let world = host.world();
        let mut zones: Vec<Zone> = (1..=4).map(|number| host.zone(number)).collect();
        zones[1].isolation = Isolation::Isolated;
        zones[2].isolation = Isolation::Isolated;
        zones[3].isolation = Isolation::Strict;
        let places: Vec<_> = zones.iter().map(|zone| host.container(zone, 5)).collect();
        for (zone, (place, endpoint)) in zones.iter().zip(&places) {
            let number = zone.name.trim_start_matches("net");
            host.attach(zone, &publishing(endpoint, &[&format!("808{number}:80")]));
            host.serve(Some(place), "tcp 80-80");
        }
        for (from, (place, _)) in places.iter().enumerate() {
            for to in (0..4).filter(|to| *to != from) {
                let open = matches!(
                    (zones[from].isolation, zones[to].isolation),
                    (Isolation::None, Isolation::None | Isolation::Isolated) | (Isolation::Isolated, Isolation::None)
                );
                for address in [format!("10.{}.0.5", to + 1), format!("fd00:{}::5", to + 1)] {
                    let what = format!("tcp {address} 80");
                    let answer = if open { place.ask(&what) } else { place.ask_in_vain(&what) };
                    assert_eq!(answer != "none", open, "from {} to {}: {answer}", zones[from].name, zones[to].name);
                }
            }
            let number = from + 1;
            assert_eq!(world.ask(&format!("tcp 192.0.2.1 808{number}")), "192.0.2.2 80", "published all the same");
        }
    });
}

#[test]
fn an_internal_zone_leads_nowhere_but_to_itself() {
    on_a_host(|host| {
        let world = host.world();
        let zone = Zone { internal: true, ..host.zone(1) };
        let other = host.zone(2);
        let (inside, endpoint) = host.container(&zone, 5);
        let (neighbour, beside) = host.container(&zone, 6);
        let (far, elsewhere) = host.container(&other, 5);
        host.attach(&zone, &publishing(&endpoint, &["8080:80"]));
        host.attach(&zone, &beside);
        host.attach(&other, &elsewhere);
        for place in [&inside, &world, &far] {
            host.serve(Some(place), "tcp 80-80");
        }
        world.run("ip route add 10.1.0.0/24 via 192.0.2.1");
        for (place, to) in [(&inside, "192.0.2.2"), (&inside, "2001:db8::2"), (&inside, "10.2.0.5"), (&far, "10.1.0.5")]
        {
            assert_eq!(place.ask_in_vain(&format!("tcp {to} 80")), "none", "to {to}");
        }
        assert_eq!(world.ask_in_vain("tcp 10.1.0.5 80"), "none");
        assert_eq!(world.ask_in_vain("tcp 192.0.2.1 8080"), "none");
        assert_eq!(neighbour.ask("tcp 10.1.0.5 80"), "10.1.0.6 80");
        route_alone();
        assert_eq!(neighbour.ask("tcp 10.1.0.1 8080"), "10.1.0.1 80", "a published port, within");
        assert_eq!(host.ask("tcp 10.1.0.5 80"), "10.1.0.1 80", "from the host");
    });
}

/// Has each place, and the host where there is a letter for it, ask for ports 80 and 81 by TCP and 82 by UDP: `+` is an
/// answer, `-` none.
fn expect(host: &lab::Host, places: &[&lab::Place], address: &str, letters: &[&str], said: &str) {
    let whats = ["tcp {} 80", "tcp {} 81", "udp {} 82"].map(|what| what.replace("{}", address));
    for (at, letters) in letters.iter().enumerate() {
        for (what, letter) in whats.iter().zip(letters.chars()) {
            let answer = match (places.get(at), letter) {
                (Some(place), '+') => place.ask(what),
                (Some(place), _) => place.ask_in_vain(what),
                (None, '+') => host.ask(what),
                (None, _) => host.ask_in_vain(what),
            };
            assert_eq!(answer != "none", letter == '+', "{said}: {what} of number {at}: {answer}");
        }
    }
}

#[test]
fn rules_hold_for_what_is_routed_for_neighbours_and_for_the_host() {
    on_a_host(|host| {
        route_alone();
        let (zone, two) = (host.zone(1), host.zone(2));
        let (web, endpoint) = host.container(&zone, 5);
        let (neighbour, beside) = host.container(&zone, 6);
        let (far, elsewhere) = host.container(&two, 5);
        host.attach(&zone, &beside);
        host.attach(&two, &elsewhere);
        host.attach(&zone, &endpoint);
        for what in ["tcp 80-81", "udp 82-82"] {
            host.serve(Some(&web), what);
        }
        host.serve(Some(&neighbour), "udp 99-99");
        let places = [&neighbour, &far];
        expect(host, &places, "10.1.0.5", &["+++", "+++", "+++"], "rules");
        type Case<'a> = (&'a [&'a str], &'a [&'a str], [&'a str; 3], bool);
        let cases: [Case; 5] = [
            (&["tcp:80"], &[], ["+--", "+--", "+--"], false),
            (&[], &["tcp:81", "udp"], ["+--", "+--", "+--"], true),
            (&["tcp:80-81"], &["tcp:81 from 10.2.0.0/16", "tcp:80 from 10.1.0.0/24"], ["-+-", "+--", "-+-"], false),
            (&["udp from 10.1.0.6", "tcp from 10.2.0.0/24"], &[], ["--+", "++-", "---"], false),
            (&["icmp"], &[], ["---", "---", "---"], true),
        ];
        for (allow, deny, expected, echo) in cases {
            host.detach(&endpoint);
            let ruled = filtering(&endpoint, allow, deny);
            host.attach(&zone, &ruled);
            expect(host, &places, "10.1.0.5", &expected, &format!("allow {allow:?}, deny {deny:?}"));
            assert_eq!(web.ask("udp 10.1.0.6 99"), "10.1.0.5 99", "answers come in");
            let pinged = neighbour.run("sh -c 'ping -c 1 -W 1 10.1.0.5 || true'").contains("1 received");
            assert_eq!(pinged, echo, "allow {allow:?}, deny {deny:?}");
            host.detach(&ruled);
            host.attach(&zone, &endpoint);
        }
        let ruled = filtering(&endpoint, &["tcp:80 from fd00:1::/64", "tcp:81"], &[]);
        host.detach(&endpoint);
        host.attach(&zone, &ruled);
        expect(host, &places, "fd00:1::5", &["++-", "-+-", "++-"], "IPv6, whose neighbours are still found");
        expect(host, &places, "10.1.0.5", &["-+-", "-+-", "-+-"], "rules");
        host.detach(&ruled);
        assert!(!ruleset().contains("gate_"), "{}", ruleset());
    });
}

/// This kernel may not know connections of bridges; all else of the table is as where it does.
#[test]
fn the_bridges_table_filters_neighbours() {
    use super::super::transaction::{About, Batch};
    use super::super::{contents, layout, wire};
    on_a_host(|host| {
        route_alone();
        let zone = host.zone(1);
        let (web, endpoint) = host.container(&zone, 5);
        let (neighbour, _) = host.container(&zone, 6);
        for what in ["tcp 80-81", "udp 82-82"] {
            host.serve(Some(&web), what);
        }
        let ruled =
            filtering(&endpoint, &["tcp:80 from 10.1.0.6", "udp from fd00:1::6", "icmp"], &["tcp:80 from fd00:1::/64"]);
        let socket = crate::network::Socket::open_protocol(nix::sys::socket::SockProtocol::NetlinkNetFilter).unwrap();
        let mut table = layout::make_bridge().unwrap();
        let of_connections = table.remove(3);
        let port = contents::bridged_port(&ruled, std::slice::from_ref(&zone)).unwrap();
        let mut batch = Batch::default();
        batch.put(About::Bridge, table);
        batch.put(About::Bridge, contents::of_bridged(&ruled, port).unwrap().add(wire::BRIDGE).unwrap());
        let generation = batch.commit(&socket, super::super::Firewall::open().unwrap().generation().unwrap()).unwrap();
        expect(host, &[&neighbour], "10.1.0.5", &["+--"], "bridged");
        expect(host, &[&neighbour], "fd00:1::5", &["--+"], "bridged");
        assert!(neighbour.run("ping -c 1 -W 1 10.1.0.5").contains("1 received"));
        let mut batch = Batch::default();
        batch.put(About::Bridge, contents::of_bridged(&ruled, port).unwrap().take(wire::BRIDGE).unwrap());
        let generation = batch.commit(&socket, generation).unwrap();
        expect(host, &[&neighbour], "10.1.0.5", &["+++"], "bridged");
        let mut batch = Batch::default();
        batch.put(About::Bridge, vec![of_connections]);
        match batch.commit(&socket, generation) {
            Ok(_) => assert!(ruleset().contains("ct state established,related accept")),
            Err(refused) => assert!(refused.bridged, "{refused:?}"),
        }
    });
}
