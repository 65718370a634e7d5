//! Connecting a container that runs to a network, and taking it off: from outside, with packets.

#[macro_use]
mod common;

use common::lab::Host;
use common::*;

/// `state` of a container.
#[track_caller]
fn state(host: &Host, id: &str) -> Value {
    serde_json::from_str(host.nfrun(&["state", id]).ok()).expect("JSON")
}

fn has_ping(host: &Host, id: &str, address: &str) -> bool {
    host.exec(id, &format!("ping -c 1 -W 2 {address}")).code == 0
}

#[test]
fn a_container_that_runs_is_connected_and_disconnected() {
    needs_veth!();
    let host = Host::new();
    let before = host.traces();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.make(&["nf1", "--subnet", "10.89.0.0/24"]);
    host.run("a", &["--network", "none"]);
    host.run("b", &["--network", "nf0"]);
    host.network(&["connect", "nf0,ip=10.88.0.77,alias=web", "a"]).ok();
    assert!(has_ping(&host, "a", "10.88.0.1") && has_ping(&host, "b", "10.88.0.77"));
    assert!(has_ping(&host, "b", "a") && has_ping(&host, "b", "web") && has_ping(&host, "a", "b"), "by name");
    assert!(has_ping(&host, "a", "127.0.0.1"), "loopback is up");
    assert!(host.exec("a", "ip route").ok().contains("default via 10.88.0.1 dev eth0"));
    let interfaces = &state(&host, "a")["interfaces"];
    assert_eq!(interfaces[0]["name"], "eth0");
    assert_eq!(interfaces[0]["network"], "nf0");
    assert_eq!(interfaces[0]["addresses"], json!(["10.88.0.77/24"]));

    host.network(&["connect", "nf0", "a"]).fails(1, &["container a is on network nf0 already", "eth0"]);
    host.network(&["connect", "nf1,rate-out=8mbit,tx-checksum=off,sysctl.ipv4.rp_filter=2", "a"]).ok();
    assert!(has_ping(&host, "a", "10.89.0.1"));
    let routes = host.exec("a", "ip route");
    assert_eq!(routes.ok().matches("default").count(), 1, "the default route stays the first's: {routes:?}");
    let pid = host.pid("a");
    assert_eq!(host.sh(&format!("nsenter -t {pid} -n cat /proc/sys/net/ipv4/conf/eth1/rp_filter")).trim(), "2");
    assert!(host.sh(&format!("nsenter -t {pid} -n tc qdisc show dev eth1")).contains("tbf"));

    host.network(&["disconnect", "nf0", "a"]).ok();
    assert!(!host.exec("a", "ip -o link").ok().contains("eth0"));
    assert!(has_ping(&host, "a", "10.89.0.1"), "the other network stays");
    assert!(!host.exec("b", "cat /etc/hosts").ok().contains("10.88.0.77"));
    assert!(!host.exec("a", "cat /etc/hosts").ok().contains("10.88.0."), "nor are the others in its own");
    host.network(&["disconnect", "nf0", "a"]).fails(1, &["container a is not on network nf0"]);
    host.run("c", &["--network", "nf0,ip=10.88.0.77"]);
    host.network(&["connect", "nf0", "a"]).ok();
    assert!(has_ping(&host, "a", "10.88.0.77"), "once more, with the name that is free again");
    for id in ["a", "b", "c"] {
        host.delete(id);
    }
    for name in ["nf0", "nf1"] {
        host.network(&["rm", name]).ok();
    }
    host.is_as_before(&before);
}

#[test]
fn published_ports_go_with_the_network() {
    needs_veth!();
    let host = Host::new();
    host.outside();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0", "--publish", "8080:80"]);
    host.serve("a", "tcp", 80);
    assert!(host.ask("outside", "tcp", "192.0.2.1", 8080).is_some());
    host.network(&["disconnect", "nf0", "a"]).ok();
    assert_eq!(host.ask("outside", "tcp", "192.0.2.1", 8080), None);
    host.run("b", &["--network", "nf0", "--publish", "8080:80"]);
    host.serve("b", "tcp", 80);
    assert!(host.ask("outside", "tcp", "192.0.2.1", 8080).is_some(), "another's now");
}

#[test]
fn a_network_on_one_of_the_hosts_interfaces_is_joined_and_left() {
    needs_veth!();
    let host = Host::new();
    host.sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up && ip addr add 10.70.0.1/24 dev up1");
    if host.try_sh("ip link add try0 link up0 type macvlan && ip link del try0").code != 0 {
        skip!("this kernel has no macvlan");
    }
    host.make(&["mac0", "--driver", "macvlan", "--interface-name", "up0", "--subnet", "10.70.0.0/24"]);
    host.run("a", &["--network", "none"]);
    host.network(&["connect", "mac0,ip=10.70.0.9", "a"]).ok();
    assert!(has_ping(&host, "a", "10.70.0.1"));
    host.network(&["disconnect", "mac0", "a"]).ok();
    assert!(!host.exec("a", "ip -o link").ok().contains("eth0"));
    host.run("b", &["--network", "mac0,ip=10.70.0.9"]);
    assert!(has_ping(&host, "b", "10.70.0.1"));
}

#[test]
fn links_and_ptps_are_left_by_the_name_of_their_kind() {
    needs_veth!();
    let host = Host::new();
    let before = host.traces();
    host.run("a", &["--network", "link:b:l0,name=l0,ip=10.7.0.1/24", "--network", "ptp,name=p0,ip=10.99.0.2"]);
    host.run("b", &["--network", "link:a:l0,name=l0,ip=10.7.0.2/24"]);
    assert!(has_ping(&host, "a", "10.7.0.2"));
    host.network(&["disconnect", "link", "a"]).ok();
    host.network(&["disconnect", "ptp", "a"]).ok();
    let links = host.exec("a", "ip -o link");
    assert!(!links.ok().contains("l0") && !links.stdout.contains("p0"), "{links:?}");
    assert_eq!(state(&host, "a")["interfaces"], Value::Null);
    host.delete("a");
    host.delete("b");
    host.is_as_before(&before);
}

#[test]
fn what_cannot_be_connected_is_refused_and_stays_as_it_was() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0,ip=10.88.0.5"]);
    host.run("n", &["--network", "none"]);
    host.run("h", &["--network", "host"]);
    host.run("s", &["--network", "container:a"]);
    host.run("gone", &["--network", "none"]);
    host.nfrun(&["kill", "gone", "KILL"]).ok();
    eventually("the container has stopped", || state(&host, "gone")["status"] == "stopped");
    let before = host.traces();
    for (network, id, words) in [
        ("nf0", "h", "shares the host's network"),
        ("nf0", "s", "shares the network of container a: connect that one"),
        ("nf0", "gone", "container not running"),
        ("nf0", "nobody", "container does not exist"),
        ("nf9", "n", "nf9"),
        ("dummy", "n", "named networks"),
        ("host", "n", "named networks"),
        ("nf0,ip=10.88.0.5", "n", "10.88.0.5"),
        ("nf0,ip=10.99.0.5", "n", "10.99.0.5"),
        ("nf0,name=lo", "n", "lo"),
        ("nf0,mtu=9", "n", "mtu"),
        // The kernel refuses it inside, when all else is done.
        ("nf0,route=10.1.0.0/16@10.77.0.1", "n", "add route 10.1.0.0/16"),
    ] {
        let output = host.network(&["connect", network, id]);
        assert!(output.code == 1 && output.stderr.contains(words), "{network} {id}: {output:?}");
        host.is_as_before(&before);
    }
    assert!(!host.exec("n", "ip -o link").ok().contains("eth0"));
    host.network(&["disconnect", "nf0", "n"]).fails(1, &["container n is not on network nf0"]);
}

#[test]
fn a_connect_or_disconnect_killed_at_any_step_is_finished_by_whoever_comes_next() {
    needs_veth!();
    let host = Host::new();
    host.make(&["nf0", "--subnet", "10.88.0.0/30"]);
    host.run("a", &["--network", "none"]);
    let before = host.traces();
    for verb in ["connect", "disconnect"] {
        let mut steps = 0;
        loop {
            if verb == "disconnect" {
                host.network(&["connect", "nf0", "a"]).ok();
            }
            let words = host.words(&["network", verb, "nf0", "a"]);
            let mut command = host.aside.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let output = host.c.finish(command.env("NFRUN_FAULT", format!("kill:runtime:{steps}")));
            assert!(output.code == 0 || output.code == 128 + 9, "{verb}, step {steps}: {output:?}");
            // Whatever of it there is: the one address of the network is free again after it.
            let again = host.network(&["disconnect", "nf0", "a"]);
            assert!(again.code == 0 || again.stderr.contains("is not on network"), "{verb}, step {steps}: {again:?}");
            host.nfrun(&["gc"]).ok();
            host.is_as_before(&before);
            assert!(!host.exec("a", "ip -o link").ok().contains("eth0"), "{verb}, step {steps}");
            if output.code == 0 {
                break;
            }
            steps += 1;
        }
        eprintln!("{verb}: {steps} steps");
        assert!(steps > 1, "{verb}: is the feature `fault` built in?");
    }
}
