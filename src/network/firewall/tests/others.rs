//! What others do to the tables, and filters of others.

use super::super::{Firewall, Memory, Seen, Wanted, Zone};
use super::*;

fn generation(seen: &Option<Seen>) -> u32 {
    seen.as_ref().unwrap().generation
}

/// What others may be in our tables is not what is compared.
fn ours() -> String {
    run("nft list table inet nfrun")
}

#[test]
fn a_change_is_one_transaction_and_looks_at_nothing() {
    on_a_host(|host| {
        let (zone, two) = (host.zone(1), host.zone(2));
        let (_one, first) = host.container(&zone, 5);
        let (_two, second) = host.container(&zone, 6);
        let (_three, third) = host.container(&two, 5);
        host.attach(&zone, &publishing(&first, &["8080:80"]));
        assert_eq!(host.looks, 1, "nothing was known");
        let (before, began) = (ours(), generation(&host.seen));
        let second = publishing(&second, &["8081:80", "100-200:100-200", "[2001:db8::9]:300-301:400-401/udp"]);
        host.attach(&zone, &second);
        host.attach(&two, &filtering(&third, &[], &[]));
        host.detach(&third);
        host.detach(&second);
        assert_eq!(generation(&host.seen), began + 4);
        assert_eq!(host.looks, 1);
        assert_eq!(ours(), before, "what is detached leaves nothing");
        host.attach(&zone, &third);
        assert_eq!(generation(&host.seen), began + 4, "with nothing to add there is no transaction");
        assert!(Firewall::open().unwrap().is_as_seen(host.seen.as_ref().unwrap()).unwrap());
    });
}

#[test]
fn a_flushed_ruleset_is_put_back_by_the_next_change() {
    on_a_host(|host| {
        let zone = host.zone(1);
        let (_one, first) = host.container(&zone, 5);
        let (_two, second) = host.container(&zone, 6);
        let (_three, third) = host.container(&zone, 7);
        host.attach(&zone, &publishing(&first, &["8080:80"]));
        host.attach(&zone, &publishing(&second, &["8081:80"]));
        let whole = ours();
        run("nft flush ruleset");
        host.attach(&zone, &third);
        assert_eq!(ours(), whole, "also by one that adds nothing");
        run("nft delete table inet nfrun");
        host.detach(&publishing(&second, &["8081:80"]));
        assert!(ours().contains("8080") && !ours().contains("8081"));
        run("nft flush table inet nfrun; nft add table ip another");
        let all = host.wanted();
        let firewall = Firewall::open().unwrap();
        assert!(!firewall.is_as_seen(host.seen.as_ref().unwrap()).unwrap());
        let seen = firewall.rebuild(&all).unwrap();
        assert!(firewall.is_as_seen(&seen).unwrap());
        assert!(ours().contains("masquerade"));
        firewall.remove().unwrap();
        assert_eq!(ruleset().trim(), "table ip another {\n}");
        firewall.remove().unwrap();
    });
}

#[test]
fn the_table_goes_with_the_last_zone() {
    on_a_host(|host| {
        let (zone, two) = (host.zone(1), host.zone(2));
        let (_one, first) = host.container(&zone, 5);
        let (_two, second) = host.container(&two, 5);
        host.attach(&zone, &filtering(&first, &["tcp:80"], &[]));
        host.attach(&two, &second);
        host.detach(&filtering(&first, &["tcp:80"], &[]));
        assert!(!ours().contains("br1"), "{}", ours());
        host.detach(&second);
        assert_eq!(ruleset().trim(), "");
        assert_eq!(host.seen, None);
        host.detach(&publishing(&second, &["8080:80"]));
        assert_eq!(ruleset().trim(), "", "detaching what is gone is no error");
    });
}

/// The packets that a filter of others would drop go where our table lets them.
fn others_drop(setup: &str, listed: &str) {
    let (setup, listed) = (setup.to_owned(), listed.to_owned());
    on_a_host(move |host| {
        route_alone();
        run(&setup);
        let before = run(&listed);
        let world = host.world();
        let (zone, two) = (host.zone(1), Zone { masquerade: false, ..host.zone(2) });
        let (web, endpoint) = host.container(&zone, 5);
        let (far, elsewhere) = host.container(&two, 5);
        let bridge_of_others = host.zone(9);
        let (foreign, _) = host.container(&bridge_of_others, 5);
        for place in [&web, &world, &far, &foreign] {
            host.serve(Some(place), "tcp 80-80");
        }
        for net in ["10.1.0.0/24", "10.2.0.0/24"] {
            world.run(&format!("ip route add {net} via 192.0.2.1"));
        }
        let published = publishing(&endpoint, &["8080:80"]);
        host.attach(&zone, &published);
        host.attach(&two, &elsewhere);
        assert_eq!(web.ask("tcp 192.0.2.2 80"), "192.0.2.1 80");
        assert_eq!(world.ask("tcp 192.0.2.1 8080"), "192.0.2.2 80");
        assert_eq!(web.ask("tcp 10.2.0.5 80"), "10.1.0.5 80", "from zone to zone");
        assert_eq!(world.ask_in_vain("tcp 10.1.0.5 80"), "none", "what nobody published stays closed");
        assert_eq!(world.ask("tcp 10.2.0.5 80"), "192.0.2.2 80", "a network that is routed to, not masqueraded");
        assert_eq!(web.ask_in_vain("tcp 10.9.0.5 80"), "none", "bridges of others stay closed");
        let met = run(&listed);
        assert_eq!(met.matches("br1").count(), 2, "{met}");
        host.seen = None;
        host.attach(&two, &elsewhere);
        assert_eq!(run(&listed).matches("br1").count(), 2, "never twice");
        assert_eq!(run(&listed).matches("br2").count(), 2);
        host.endpoints.pop();
        host.detach(&elsewhere);
        assert!(!run(&listed).contains("br2") && run(&listed).contains("br1"));
        host.detach(&published);
        assert_eq!(run(&listed), before);
    });
}

#[test]
fn a_forward_policy_drop_of_iptables_is_met() {
    let setup = "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i foo -j ACCEPT";
    // Listing fails where there is an expression that iptables does not know.
    others_drop(setup, "iptables-nft -S FORWARD");
}

#[test]
fn a_final_reject_as_firewalld_has_is_met() {
    let setup = "nft -f - <<'END'
table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
ct state established,related accept; ct status dnat accept; iifname \"lo\" accept; ct state invalid drop;
reject with icmpx admin-prohibited; }; }
END";
    others_drop(setup, "nft -s list chain inet firewalld filter_FORWARD");
}

#[test]
fn a_filter_that_comes_or_goes_later_is_met_or_left() {
    on_a_host(|host| {
        let zone = host.zone(1);
        let (_one, first) = host.container(&zone, 5);
        let (_two, second) = host.container(&zone, 6);
        host.attach(&zone, &first);
        assert!(!ours().contains("guarded_in {\n\t\ttype ifname\n\t\telements"));
        run(
            "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'",
        );
        host.attach(&zone, &second);
        assert_eq!(ruleset().matches("comment \"nfrun\"").count(), 2, "{}", ruleset());
        run("nft 'chain ip filter FORWARD { policy accept; }'");
        host.detach(&publishing(&second, &["1:1"]));
        assert_eq!(ruleset().matches("comment \"nfrun\"").count(), 0, "{}", ruleset());
    });
}

#[test]
fn what_others_made_is_left_alone() {
    on_a_host(|host| {
        run(
            "nft 'add table inet mine; add chain inet mine f { type filter hook forward priority 0; policy accept; }; \
             add rule inet mine f tcp dport 99 drop'",
        );
        let before = ruleset();
        let zone = host.zone(1);
        let (_one, first) = host.container(&zone, 5);
        host.attach(&zone, &publishing(&first, &["8080:80"]));
        assert!(ruleset().contains(before.trim()));
        host.detach(&publishing(&first, &["8080:80"]));
        assert_eq!(ruleset(), before);
    });
}

#[test]
fn what_two_have_alike_the_first_keeps() {
    on_a_host(|host| {
        let (_place, endpoint) = {
            let zone = host.zone(1);
            host.container(&zone, 5)
        };
        let other = super::super::Endpoint { key: "other:eth0".into(), ..endpoint.clone() };
        let ruled = |endpoint| publishing(&filtering(endpoint, &["tcp:80"], &[]), &["8080:80"]);
        let ptp = Zone {
            name: "ptp".into(),
            interface: "ptp0".parse().unwrap(),
            subnets: vec!["10.1.0.77/32".parse().unwrap()],
            ..zone_only(1)
        };
        let all = Wanted {
            zones: vec![zone_only(1), ptp.clone(), Zone { name: "again".into(), ..zone_only(1) }],
            endpoints: vec![ruled(&endpoint), ruled(&other)],
        };
        let firewall = Firewall::open().unwrap();
        let seen = firewall.rebuild(&all).unwrap();
        assert!(run("nft list map inet nfrun ports4").contains("c1-5:eth0") && ours().contains("ptp0"));
        assert!(!run("nft list map inet nfrun ports4").contains("other:eth0"));
        // A change to what is not as it was taken to be is made on the whole.
        let rest = || Ok(Wanted { zones: vec![zone_only(1)], endpoints: vec![ruled(&endpoint)] });
        firewall.detach(&ruled(&other), Some(&ptp), Some(seen), rest).unwrap();
        assert!(!ours().contains("ptp0") && ours().contains("c1-5:eth0"));
    });
}

#[test]
fn thousands_of_endpoints_are_one_transaction() {
    on_a_host(|host| {
        let mut all = Wanted { zones: (1..=50).map(zone_only).collect(), endpoints: Vec::new() };
        for number in 0..3000u16 {
            let [high, low] = number.to_be_bytes();
            all.endpoints.push(super::super::Endpoint {
                key: format!("c{number}:eth0"),
                zone: "net1".into(),
                host_end: None,
                addresses: vec![[10, 1, high, low].into()],
                publish: vec![format!("{}:80", 10_000 + number).parse().unwrap()],
                allow: if number < 500 { vec!["tcp:80".parse().unwrap()] } else { Vec::new() },
                deny: Vec::new(),
            });
        }
        let firewall = Firewall::open().unwrap();
        let began = std::time::Instant::now();
        host.seen = Some(firewall.rebuild(&all).unwrap());
        println!("written in {:?}", began.elapsed());
        let listed = run("nft list map inet nfrun ports4");
        assert_eq!(listed.matches("comment").count(), 3000);
        assert_eq!(run("nft list map inet nfrun gates4").matches("comment").count(), 500);
        firewall.remove().unwrap();
        assert_eq!(ruleset(), "");
    });
}

fn zone_only(number: u8) -> Zone {
    Zone {
        name: format!("net{number}"),
        interface: format!("br{number}").parse().unwrap(),
        subnets: vec![format!("10.{number}.0.0/16").parse().unwrap()],
        masquerade: true,
        internal: false,
        isolation: Default::default(),
    }
}

#[test]
fn memory_says_what_was_written_and_nothing_when_it_is_broken() {
    let directory = std::env::temp_dir().join(format!("nfrun-memory-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("firewall");
    let claim = super::super::seen::Claim {
        key: "web:eth0".into(),
        publish: "8080:80".parse().unwrap(),
        families: (true, false),
    };
    let seen = Seen {
        netns: 7,
        generation: 9,
        zones: vec!["nf0".into()],
        taken: vec![claim],
        guarded: true,
        bridge_table: false,
    };
    let mut memory = Memory::open(&path).unwrap();
    assert_eq!(memory.read().unwrap(), None);
    memory.write(Some(&seen)).unwrap();
    assert_eq!(memory.read().unwrap().as_ref(), Some(&seen));
    drop(memory);
    let mut memory = Memory::open(&path).unwrap();
    assert_eq!(memory.read().unwrap(), Some(seen));
    for broken in [&b"{\"netns\":"[..], b"\xff\xfe", b"[]"] {
        std::fs::write(&path, broken).unwrap();
        assert_eq!(memory.read().unwrap(), None);
    }
    memory.write(None).unwrap();
    assert_eq!(memory.read().unwrap(), None);
    std::fs::remove_dir_all(&directory).unwrap();
}
