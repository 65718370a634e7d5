//! Containers that nfrun connects: interfaces of every kind, networks, names, published ports. Packets are sent, and the
//! host is looked at from outside. Kinds that a kernel lacks are skipped there and run in the virtual machines.

#[macro_use]
mod common;

use common::lab::Host;
use common::*;

/// Whether this kernel makes interfaces of a kind.
fn makes(host: &Host, kind: &str, more: &str) -> bool {
    let made = host.try_sh(&format!("ip link add try0 type veth peer name try1; ip link add kx0 {more} type {kind}"));
    host.try_sh("ip link del kx0; ip link del try0");
    made.code == 0
}

#[test]
fn two_containers_of_a_network_reach_each_other_and_the_host_by_address_and_name() {
    needs_veth!();
    let host = Host::new();
    let before = host.traces();
    host.make(&["nf0", "--subnet", "10.88.0.0/24", "--subnet", "fd00:88::/64", "--ipv6"]);
    host.run("a", &["--network", "nf0,alias=web"]);
    host.run("b", &["--network", "bridge:nf0,ip=10.88.0.9,mac=02:00:00:00:00:09,mtu=1400"]);
    host.exec("b", "ping -c 1 -W 5 web && ping -c 1 -W 5 a && ping -6 -c 1 -W 5 a").ok();
    host.exec("a", "ping -c 1 -W 5 10.88.0.9 && ping -c 1 -W 5 10.88.0.1 && ping -6 -c 1 -W 5 fd00:88::1").ok();
    host.sh("ping -c 1 -W 5 10.88.0.2 && ping -c 1 -W 5 fd00:88::2");
    assert_eq!(
        host.exec("b", "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu").ok(),
        "02:00:00:00:00:09\n1400"
    );
    assert!(host.exec("a", "ip route").ok().contains("default via 10.88.0.1 dev eth0"));
    let shown = host.inspect("nf0");
    let addresses = shown["containers"].to_string();
    assert!(addresses.contains("10.88.0.9/24") && addresses.contains("10.88.0.2/24"), "{shown:#}");
    host.delete("a");
    assert!(!host.exec("b", "cat /etc/hosts").ok().contains("web"), "who has gone is not named any more");
    host.delete("b");
    host.network(&["rm", "nf0"]).ok();
    host.is_as_before(&before);
}

#[test]
fn packets_leave_by_the_hosts_address_and_published_ports_lead_in_with_the_clients_own() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    host.make(&["nf0", "--subnet", "10.88.0.0/24", "--subnet", "fd00:88::/64", "--ipv6"]);
    let ports = ["--publish", "8080:80", "--publish", "8053:53/udp", "--publish", "9000-9999:9000-9999"];
    host.run("a", &[&["--network", "nf0"], &ports[..]].concat());
    host.run("b", &["--network", "nf0"]);
    host.serve("a", "tcp", 80);
    host.serve("a", "udp", 53);
    host.serve("a", "tcp", 9500);
    host.serve("outside", "tcp", 7000);
    assert_eq!(host.ask("a", "tcp", "192.0.2.2", 7000).as_deref(), Some("192.0.2.1"), "masqueraded");
    assert_eq!(host.ask("a", "tcp", "2001:db8::2", 7000).as_deref(), Some("2001:db8::1"), "masqueraded");
    assert_eq!(host.ask("outside", "tcp", "192.0.2.1", 8080).as_deref(), Some("192.0.2.2"));
    assert_eq!(host.ask("outside", "tcp", "2001:db8::1", 8080).as_deref(), Some("2001:db8::2"));
    assert_eq!(host.ask("outside", "udp", "192.0.2.1", 8053).as_deref(), Some("192.0.2.2"));
    assert_eq!(host.ask("outside", "tcp", "192.0.2.1", 9500).as_deref(), Some("192.0.2.2"), "one of a thousand");
    assert_eq!(host.ask("outside", "tcp", "192.0.2.1", 8081), None, "not published");
    assert!(host.ask("host", "tcp", "127.0.0.1", 8080).is_some(), "on the host itself");
    assert!(host.ask("b", "tcp", "192.0.2.1", 8080).is_some(), "a neighbour, by the host's address");
    assert!(host.ask("a", "tcp", "192.0.2.1", 8080).is_some(), "itself, by the host's address");
    assert!(host.nfrun(&["port", "a"]).ok().contains("80/tcp -> "), "as `port` says");
    let taken = host.try_run("c", &["--network", "nf0", "--publish", "8080:80"]);
    taken.fails(1, &["8080", "container a"]);
    host.delete("a");
    assert_eq!(host.ask("outside", "tcp", "192.0.2.1", 8080), None, "gone with the container");
    host.run("c", &["--network", "nf0", "--publish", "8080:80"]);
    host.serve("c", "tcp", 80);
    assert_eq!(
        host.ask("outside", "tcp", "192.0.2.1", 8080).as_deref(),
        Some("192.0.2.2"),
        "it can be taken again at once"
    );
}

#[test]
fn what_a_restarted_firewall_took_is_put_back() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0", "--publish", "8080:80"]);
    host.serve("a", "tcp", 80);
    let reached = || host.ask("outside", "tcp", "192.0.2.1", 8080).is_some();
    assert!(reached());
    host.sh("nft flush ruleset; nft add table inet others");
    assert!(!reached());
    host.network(&["reload"]).ok();
    assert!(reached(), "by the command");
    host.sh("nft flush ruleset; nft add table inet others");
    host.run("b", &["--network", "nf0", "--publish", "8081:80"]);
    assert!(reached(), "by another container's connection");
    assert!(host.sh("nft list tables").contains("others"), "what is another's stays");
}

#[test]
fn isolated_and_internal_networks_are_kept_apart() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    for words in [
        &["open", "--subnet", "10.1.0.0/24"][..],
        &["apart", "--subnet", "10.2.0.0/24", "--isolate"],
        &["alone", "--subnet", "10.3.0.0/24", "--isolate=strict"],
        &["in", "--subnet", "10.4.0.0/24", "--internal"],
    ] {
        host.make(words);
    }
    for (id, network) in [("o", "open"), ("p", "apart"), ("s", "alone"), ("i", "in"), ("j", "in")] {
        host.run(id, &["--network", network]);
        host.serve(id, "tcp", 80);
    }
    host.serve("outside", "tcp", 7000);
    let reaches = |from: &str, to: &str, port| host.ask(from, "tcp", to, port).is_some();
    assert!(reaches("o", "10.2.0.2", 80), "an open network's reach what is not strict");
    assert!(!reaches("o", "10.3.0.2", 80) && !reaches("p", "10.3.0.2", 80), "nobody reaches a strict one");
    assert!(!reaches("s", "10.1.0.2", 80), "nor does it reach others");
    assert!(reaches("s", "192.0.2.2", 7000) && reaches("p", "192.0.2.2", 7000), "but what is outside");
    assert!(reaches("i", "10.4.0.2", 80), "those of an internal one reach each other");
    assert!(!reaches("i", "192.0.2.2", 7000) && !reaches("o", "10.4.0.2", 80), "and nobody else");
}

#[test]
fn what_is_allowed_comes_in_and_nothing_else() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0,allow=tcp:80,allow=tcp:81+from+10.88.0.1"]);
    host.run("b", &["--network", "nf0,deny=tcp:80"]);
    for (id, port) in [("a", 80), ("a", 81), ("a", 82), ("b", 80), ("b", 81)] {
        host.serve(id, "tcp", port);
    }
    let reaches = |from: &str, to: &str, port| host.ask(from, "tcp", to, port).is_some();
    assert!(reaches("b", "10.88.0.2", 80) && !reaches("b", "10.88.0.2", 81) && !reaches("b", "10.88.0.2", 82));
    assert!(reaches("host", "10.88.0.2", 81) && !reaches("host", "10.88.0.2", 82));
    assert!(!reaches("a", "10.88.0.3", 80) && reaches("a", "10.88.0.3", 81), "answers to what it asks come in");
}

#[test]
fn a_ptp_leads_to_the_host_and_beyond() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    let before = host.traces();
    host.run("a", &["--network", "ptp,ip=10.99.0.2,ip=fd00:99::2", "--publish", "8080:80"]);
    host.serve("a", "tcp", 80);
    host.serve("outside", "tcp", 7000);
    host.sh("ping -c 1 -W 5 10.99.0.2 && ping -c 1 -W 5 fd00:99::2");
    assert_eq!(host.ask("a", "tcp", "192.0.2.2", 7000).as_deref(), Some("192.0.2.1"));
    assert_eq!(host.ask("outside", "tcp", "192.0.2.1", 8080).as_deref(), Some("192.0.2.2"));
    host.try_run("b", &["--network", "ptp,ip=10.99.0.2"]).fails(1, &["10.99.0.2", "already"]);
    host.stop_servers();
    host.delete("a");
    host.is_as_before(&before);
}

#[test]
fn a_link_is_there_whichever_container_comes_first() {
    needs_veth!();
    let host = Host::new();
    let before = host.traces();
    for (first, second) in [("a", "b"), ("b", "a")] {
        let address =
            |id: &str| format!("ip=10.77.0.{}/24,ip=fd00:77::{}/64", u8::from(id == "b") + 1, u8::from(id == "b") + 1);
        let flags = |id: &str, other: &str| format!("link:{other}:l0,name=l0,mtu=1400,{}", address(id));
        host.run(first, &["--network", &flags(first, second)]);
        assert!(host.exec(first, "ip -o addr show l0").ok().contains("10.77.0."), "it is there before the other");
        host.run(second, &["--network", &flags(second, first)]);
        host.exec("a", "ping -c 1 -W 5 10.77.0.2 && ping -6 -c 1 -W 5 fd00:77::2").ok();
        host.exec("b", "ping -c 1 -W 5 10.77.0.1").ok();
        host.delete(first);
        host.try_run(first, &["--network", &flags(first, second)]).fails(1, &["went down with it"]);
        host.delete(second);
        host.is_as_before(&before);
    }
    host.try_run("a", &["--network", "link:a:eth0,ip=10.77.0.1/24"]).fails(1, &["is this interface itself"]);
}

#[test]
fn interfaces_on_one_of_the_hosts_reach_what_that_reaches() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    for (kind, probe) in [("macvlan", "link try0"), ("ipvlan", "link try0"), ("vlan id 5", "link try0")] {
        if !makes(&host, kind, probe) {
            println!("not here: {kind}");
            continue;
        }
        let word = kind.split(' ').next().unwrap();
        let more = if word == "vlan" { ",id=5" } else { "" };
        if word == "vlan" {
            host.sh("ip -n outside link add link eth0 name v5 type vlan id 5 && ip -n outside addr add 198.51.100.2/24 dev v5 && ip -n outside link set v5 up");
        }
        let net = if word == "vlan" { "198.51.100" } else { "192.0.2" };
        host.run("a", &["--network", &format!("{word}:up0,ip={net}.7/24{more}")]);
        host.exec("a", &format!("ping -c 1 -W 5 {net}.2")).ok();
        host.delete("a");
    }
    if makes(&host, "macvlan", "link try0") {
        host.make(&[
            "lan",
            "--driver",
            "macvlan",
            "--interface-name",
            "up0",
            "--subnet",
            "192.0.2.0/24",
            "--ip-range",
            "192.0.2.100-192.0.2.110",
        ]);
        host.run("m", &["--network", "lan"]);
        host.exec("m", "ping -c 1 -W 5 192.0.2.2").ok();
        assert!(host.exec("m", "ip -o addr show eth0").ok().contains("192.0.2.100/24"));
    }
    host.try_run("x", &["--network", "macvlan:nowhere0,ip=192.0.2.8/24"]).fails(1, &["parent", "nowhere0"]);
}

#[test]
fn a_vxlan_connects_networks_of_two_hosts() {
    needs_veth!();
    let (one, two) = (Host::new(), Host::new());
    if !makes(&one, "vxlan id 7 dstport 4789", "") {
        skip!("this kernel makes no vxlan");
    }
    // A cable between the hosts.
    let pid = |host: &Host| host.sh("readlink /proc/self/ns/net; cat /proc/self/stat | cut -d ' ' -f 4");
    let _ = pid;
    one.sh("mkdir -p /run/netns; ip netns add two; ip link add wire0 type veth peer name wire1 netns two; ip addr add 203.0.113.1/24 dev wire0; ip link set wire0 up
            ip -n two addr add 203.0.113.2/24 dev wire1; ip -n two link set wire1 up
            ip -n two link add br0 type bridge; ip -n two addr add 10.66.0.200/24 dev br0; ip -n two link set br0 up
            ip -n two link add vx0 type vxlan id 42 local 203.0.113.2 remote 203.0.113.1 dstport 4789; ip -n two link set vx0 master br0 up");
    one.make(&[
        "over",
        "--driver",
        "vxlan",
        "--subnet",
        "10.66.0.0/24",
        "--option",
        "vni=42",
        "--option",
        "local=203.0.113.1",
        "--option",
        "remote=203.0.113.2",
    ]);
    one.run("a", &["--network", "over"]);
    one.exec("a", "ping -c 1 -W 5 10.66.0.200").ok();
    assert_eq!(one.exec("a", "cat /sys/class/net/eth0/mtu").ok(), "1450", "what the tunnel takes is left out");
    one.delete("a");
    let alone = "vxlan,id=43,remote=203.0.113.2,local=203.0.113.1,ip=10.67.0.1/24";
    one.run("b", &["--network", alone]);
    assert!(one.exec("b", "ip -o addr show eth0").ok().contains("10.67.0.1/24"));
    drop(two);
}

#[test]
fn taps_and_dummies_are_made_inside() {
    needs_veth!();
    let host = Host::new();
    if host.try_sh("[ -e /dev/net/tun ] && ip tuntap add dev kx0 mode tap && ip link del kx0").code == 0 {
        host.run("t", &["--network", "tap,name=tap7,ip=10.5.0.1/24,owner=54321,mtu=1400"]);
        let shown = host.sh(&format!("nsenter -t {} -n ip -d -o link show tap7", host.pid("t")));
        assert!(
            shown.contains("tun type tap") && shown.contains("user 54321") && shown.contains("mtu 1400"),
            "{shown}"
        );
    }
    if makes(&host, "dummy", "") {
        host.run("d", &["--network", "dummy,ip=10.6.0.1/24"]);
        assert!(host.exec("d", "ip -o addr show eth0").ok().contains("10.6.0.1/24"));
    } else {
        host.try_run("d", &["--network", "dummy,ip=10.6.0.1/24"]).fails(1, &["dummy"]);
    }
}

#[test]
fn an_interface_of_the_hosts_moves_in_and_comes_back() {
    needs_veth!();
    let host = Host::new();
    host.sh("ip link add dev0 type veth peer name dev1 && ip addr add 10.9.0.1/24 dev dev0 && ip link set dev0 up && ip link set dev1 up");
    host.run("a", &["--network", "host-device:dev0,name=data0,ip=10.8.0.1/24,route=10.100.0.0/16@10.8.0.9"]);
    let inside = host.exec("a", "ip -o addr show data0; ip route");
    assert!(inside.ok().contains("10.8.0.1/24") && inside.stdout.contains("10.9.0.1/24"), "{inside:?}");
    assert!(inside.stdout.contains("10.100.0.0/16 via 10.8.0.9 dev data0"), "{inside:?}");
    host.try_sh("ip link show dev0").fails(1, &[]);
    host.delete("a");
    assert!(host.sh("ip -o addr show dev0").contains("10.9.0.1/24"), "it is back with its name and address");
}

#[test]
fn what_an_interface_is_given_it_has() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0,txqlen=77,queues=3,tx-checksum=off,sysctl.ipv4.rp_filter=2,route=10.50.0.0/16@10.88.0.9@7,rate-in=8mbit,rate-out=16mbit"]);
    let pid = host.pid("a");
    let inside = |command: &str| host.sh(&format!("nsenter -t {pid} -n {command}"));
    let link = inside("ip -d -o link show eth0");
    assert!(link.contains("qlen 77") && link.contains("numtxqueues 3") && link.contains("numrxqueues 3"), "{link}");
    assert!(inside("ip route").contains("10.50.0.0/16 via 10.88.0.9 dev eth0 proto static metric 7"));
    assert_eq!(host.exec("a", "cat /proc/sys/net/ipv4/conf/eth0/rp_filter").ok(), "2");
    assert!(inside("tc qdisc show dev eth0").contains("tbf") && inside("tc qdisc show dev eth0").contains("16Mbit"));
    let outer = host.sh("tc qdisc show | grep tbf");
    assert!(outer.contains("8Mbit"), "{outer}");
    let request = json!({"interfaces": [{"kind": "bridge", "network": "nf0", "rules": [{"from": "10.7.0.0/16", "table": 123, "priority": 50}],
        "routes": [{"to": "default", "via": "10.88.0.1", "table": 123}]}]});
    let bundle =
        host.bundle("sleep 1000", |config| config["annotations"] = json!({"io.nfrun.network": request.to_string()}));
    host.try_run_bundle(&bundle, "b", &[]).ok();
    let pid = host.pid("b");
    let rules = host.sh(&format!("nsenter -t {pid} -n ip rule; nsenter -t {pid} -n ip route show table 123"));
    assert!(rules.contains("50:\tfrom 10.7.0.0/16 lookup 123") && rules.contains("default via 10.88.0.1"), "{rules}");
}

#[test]
fn a_rate_is_felt() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0,rate-in=8mbit"]);
    // Two megabytes at eight megabits a second take two seconds, less what is sent at once.
    let script = r#"
import socket, threading, time, sys
s = socket.create_connection(('10.88.0.2', 90)); t = time.time(); s.sendall(b'x' * 2000000); s.shutdown(1); s.recv(1); print(int((time.time() - t) * 1000))"#;
    const SINK: &str = "import socket\ns=socket.socket(); s.setsockopt(1,2,1); s.bind(('',90)); s.listen(1); print('ready',flush=True); c,_=s.accept()\nwhile c.recv(65536): pass\nc.send(b'k')";
    let pid = host.pid("a").to_string();
    let mut sink = host.aside.command(&["nsenter", "-n", "-t", &pid, "python3", "-c", SINK]);
    let mut sink = sink.stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert!(readable_within(sink.stdout.as_ref().unwrap(), LIMIT));
    let took: u64 = host.sh(&format!("python3 -c \"{script}\"")).trim().parse().unwrap();
    assert!((1400..6000).contains(&took), "2 MB at 8 Mbit/s took {took} ms");
    let _ = sink.wait();
}

#[test]
fn a_network_joined_from_another_container_and_the_hosts_are_shared_and_none_has_lo_alone() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0"]);
    host.run("b", &["--network", "container:a"]);
    assert!(host.exec("b", "ip -o addr show eth0").ok().contains("10.88.0.2/24"));
    host.run("n", &["--network", "none"]);
    assert_eq!(host.exec("n", "ls /sys/class/net").ok(), "lo");
    host.run("h", &["--network", "host"]);
    assert!(host.exec("h", "ls /sys/class/net").ok().contains("nf0"));
    host.try_run("x", &["--network", "container:nobody"]).fails(1, &["container does not exist"]);
    host.try_run("x", &["--network", "none", "--network", "nf0"]).fails(1, &["stands alone"]);
}

#[test]
fn interfaces_come_into_a_pods_namespace_and_leave_it_with_their_container() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.sh("mkdir -p /run/netns && ip netns add pod && ip -n pod link set lo up");
    let before = host.traces();
    let bundle = host.bundle("sleep 1000", |config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = json!("/run/netns/pod");
            }
        }
        config["annotations"] =
            json!({"io.nfrun.network": r#"{"interfaces": [{"kind": "bridge", "network": "nf0", "name": "net1"}]}"#});
    });
    host.try_run_bundle(&bundle, "a", &[]).ok();
    assert!(host.sh("ip -n pod -o addr show net1").contains("10.88.0.2/24"));
    let again = host.bundle("sleep 1000", |config| {
        *config = serde_json::from_str(&std::fs::read_to_string(bundle.join("config.json")).unwrap()).unwrap()
    });
    host.try_run_bundle(&again, "b", &[]).fails(1, &["net1", "already"]);
    host.delete("a");
    host.try_sh("ip -n pod link show net1").fails(1, &[]);
    host.is_as_before(&before);
}

#[test]
fn fifty_at_once_get_fifty_addresses_and_all_reach_the_gateway() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    let bundles: Vec<_> = (0..50).map(|_| host.bundle("sleep 1000", |_| {})).collect();
    let start = |n: usize| {
        let (id, bundle) = (format!("c{n}"), bundles[n].to_str().unwrap());
        host.command(&["run", "--detach", "--bundle", bundle, "--network", "nf0", &id])
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(host.c.dir.join(format!("said{n}"))).unwrap())
            .spawn()
            .unwrap()
    };
    let mut all: Vec<_> = (0..50).map(start).collect();
    for (n, child) in all.iter_mut().enumerate() {
        let code = wait(child, "run");
        assert_eq!(code, 0, "{}", std::fs::read_to_string(host.c.dir.join(format!("said{n}"))).unwrap());
    }
    let shown = host.inspect("nf0");
    let mut addresses: Vec<String> =
        shown["containers"].as_array().unwrap().iter().map(|c| c["addresses"][0].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 50, "{shown:#}");
    for n in 0..50 {
        host.exec(&format!("c{n}"), "ping -c 1 -W 5 10.88.0.1").ok();
    }
}

#[test]
fn bad_input_is_refused_by_its_field_and_leaves_nothing() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/29"]);
    let before = host.traces();
    for (flags, words) in [
        (&["--network", "nowhere"][..], &["nowhere"][..]),
        (&["--network", "nf0,ip=10.99.0.5"], &["10.99.0.5", "outside"]),
        (&["--network", "nf0,ip=10.88.0.1"], &["10.88.0.1"]),
        (&["--network", "nf0,name=sixteen_bytes_xx"], &["16 bytes"]),
        (&["--network", "nf0,name=a", "--network", "nf0,name=a"], &["interfaces[1].name"]),
        (&["--network", "nf0,mtu=5"], &["mtu"]),
        (&["--network", "nf0,mtu=65536"], &["mtu"]),
        (&["--network", "host-device:nowhere0"], &["device", "nowhere0"]),
        (&["--network", "nf0", "--publish", "8080"], &["--publish"]),
        (&["--network", "none", "--publish", "80:80"], &["publish"]),
        (&["--network", "link:y,ip=10.77.0.1/24", "--publish", "80:80"], &["publish", "no interface"]),
        (&["--network", "nf0,route=10.5.0.0/16@10.77.0.1"], &["10.5.0.0/16", "eth0"]),
        (&["--network", "nf0,sysctl.ipv4.nosuch=1"], &["nosuch"]),
        (&["--network", "nf0", "--dns", "x"], &["--dns"]),
        (&["--network", "nf0", "--add-host", "x"], &["--add-host"]),
    ] {
        let output = host.try_run("x", flags);
        output.fails(1, words);
        host.is_as_before(&before);
    }
    let mut taken = host.aside.command(&["python3", "-c", "import socket,sys; s=socket.socket(); s.bind(('',8080)); s.listen(); print('ready',flush=True); sys.stdin.read()"]);
    let mut taken = taken.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert!(readable_within(taken.stdout.as_ref().unwrap(), LIMIT));
    host.try_run("x", &["--network", "nf0", "--publish", "8080:80"]).fails(1, &["8080"]);
    drop(taken.stdin.take());
    let _ = taken.wait();
    for n in 0..5 {
        host.run(&format!("c{n}"), &["--network", "nf0"]);
    }
    host.try_run("x", &["--network", "nf0"]).fails(1, &["no address is free"]);
    host.try_run("x", &["--network", "nf0,ip=10.88.0.3"]).fails(1, &["10.88.0.3", "taken by container"]);
}

#[test]
fn a_plan_shows_what_would_be_done_and_does_nothing() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    let before = host.traces();
    let bundle = host.bundle("true", |_| {});
    let plan = host.nfrun(&["plan", "--bundle", bundle.to_str().unwrap(), "--network", "nf0", "--publish", "8080:80"]);
    let text = plan.ok();
    for words in [
        "lease 10.88.0.2/24",
        "make bridge nf0",
        "make veth eth0",
        "publish tcp 8080",
        "add address 10.88.0.2/24 to eth0",
        "add route default via 10.88.0.1",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(host.traces(), before);
}

/// No kernel of a cloud has sockets of SCTP: the first packet of an association is sent and received as it is.
#[test]
fn sctp_is_published_too() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0", "--publish", "9100:3868/sctp"]);
    let receive = "import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
open('/run/ready', 'w').close()
packet, peer = s.recvfrom(200)
print(peer[0], struct.unpack('!HH', packet[20:24])[1])";
    let send = "import socket, struct
def crc(data):
    c = 0xffffffff
    for byte in data:
        c ^= byte
        for _ in range(8): c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
    return struct.pack('<I', c ^ 0xffffffff)
head, init = struct.pack('!HHI', 5000, 9100, 0), struct.pack('!BBHIIHHI', 1, 0, 20, 7, 65536, 1, 1, 1)
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)
s.sendto(head + crc(head + bytes(4) + init) + init, ('192.0.2.1', 0))";
    let pid = host.pid("a");
    let script = format!(
        "mkfifo /run/ready; nsenter -t {pid} -n timeout 20 python3 -c \"{receive}\" > /run/received & read -r _ < /run/ready || true
         ip netns exec outside python3 -c \"{send}\"; wait; cat /run/received"
    );
    assert_eq!(host.sh(&script).trim(), "192.0.2.2 3868");
}

#[test]
fn a_container_of_a_user_namespace_of_its_own_is_connected_as_any() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    host.make(&["nf0", "--subnet", "10.88.0.0/24", "--subnet", "fd00:88::/64", "--ipv6"]);
    let bundle = host.bundle("sleep 1000", |config| {
        let namespaces = &mut config["linux"]["namespaces"];
        common::bundle::push(namespaces, common::json!({"type": "user"}));
        for list in ["uidMappings", "gidMappings"] {
            config["linux"][list] = common::json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        }
    });
    // Its root may make no mount points in a rootfs of the host's root.
    for name in ["hosts", "hostname", "resolv.conf"] {
        std::fs::write(bundle.join("rootfs/etc").join(name), "").unwrap();
    }
    host.try_run_bundle(
        &bundle,
        "a",
        &["--network", "nf0,tx-checksum=off,sysctl.ipv4.rp_filter=2", "--publish", "8080:80"],
    )
    .ok();
    host.run("b", &["--network", "nf0"]);
    host.serve("a", "tcp", 80);
    host.serve("outside", "tcp", 7000);
    assert!(host.ask("outside", "tcp", "192.0.2.1", 8080).is_some());
    assert_eq!(host.ask("a", "tcp", "192.0.2.2", 7000).as_deref(), Some("192.0.2.1"));
    assert_eq!(host.exec("b", "ping -c 1 -W 5 a").code, 0, "by name");
    assert_eq!(host.exec("a", "ping -c 1 -W 5 b").code, 0, "by name");
    host.make(&["nf1", "--subnet", "10.89.0.0/24"]);
    host.network(&["connect", "nf1", "a"]).ok();
    assert_eq!(host.exec("a", "ping -c 1 -W 5 10.89.0.1").code, 0, "connected later");
}

#[test]
fn the_longest_packet_is_that_of_the_uplinks_route() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    host.sh("ip link set up0 mtu 1450 && ip -n outside link set eth0 mtu 1400 && ip route change default via 192.0.2.2 mtu 1400");
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.make(&["nf1", "--subnet", "10.89.0.0/24", "--mtu", "1300"]);
    host.run("a", &["--network", "nf0", "--network", "nf1", "--network", "ptp,ip=10.99.0.2"]);
    let mtu = |name: &str| host.exec("a", &format!("cat /sys/class/net/{name}/mtu")).ok().trim().to_owned();
    assert_eq!((mtu("eth0"), mtu("eth1"), mtu("eth2")), ("1400".into(), "1300".into(), "1400".into()));
    let pid = host.pid("a");
    let ping = |size: u32| {
        let script = format!("nsenter -t {pid} -n ping -M do -c 1 -W 5 -s {size} 192.0.2.2");
        host.try_sh(&script).code == 0
    };
    // 20 bytes of IP and 8 of ICMP come before what is said.
    assert!(ping(1400 - 28), "what the uplink takes leaves in one piece");
    assert!(!ping(1400 - 27), "and nothing longer");
}

/// The runtime connects it meanwhile, in a namespace that may be gone by then.
#[test]
fn what_init_fails_at_is_told_whatever_the_network_has_come_to() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("bystander", &["--network", "nf0"]);
    let before = host.traces();
    let bundle = host.bundle("true", |config| {
        let mount = json!({"destination": "/mnt", "type": "tmpfs", "source": "x", "options": ["size=bogus"]});
        config["mounts"].as_array_mut().unwrap().insert(0, mount);
    });
    for _ in 0..20 {
        host.try_run_bundle(&bundle, "a", &["--network", "nf0", "--network", "ptp,ip=10.99.0.2"]).fails(1, &["/mnt"]);
        host.is_as_before(&before);
    }
}
