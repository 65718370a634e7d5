//! Named networks as a user makes, sees and removes them. The host is played by a network namespace of the test's own with a
//! /run of its own; what stands on disk is looked at from outside.

#[macro_use]
mod common;

use std::process::Stdio;

use common::lab::Host;
use common::*;

trait Definitions {
    fn files(&self) -> Vec<String>;
    fn attach(&self, network: &str, container: &str, publish: &[&str]);
}

impl Definitions for Host {
    /// The files of definitions.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.config()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Puts a container's interface on a network, as attaching it does.
    fn attach(&self, network: &str, container: &str, publish: &[&str]) {
        let attachment = json!({"network": network, "container": container, "root": self.c.root, "interface": "eth0",
            "hostEnd": "veth1", "mac": "02:00:00:00:00:07", "addresses": ["10.1.0.2/24"], "names": [container],
            "publish": publish});
        let lease = json!({"container": container, "root": self.c.root, "interface": "eth0"});
        let dir = format!("/run/nfrun-networks/{network}");
        self.sh(&format!(
            "mkdir -p {dir}/attached {dir}/leases
             echo '{attachment}' > '{dir}/attached/{container}:eth0'
             echo '{lease}' > {dir}/leases/10.1.0.2"
        ));
    }
}

#[test]
fn a_network_is_made_shown_and_removed() {
    let host = Host::new();
    assert_eq!(host.make(&["web", "--subnet", "10.1.0.0/24", "--label", "tier=front"]), "web");
    let path = host.config().join("web.json");
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode(&path), mode(&host.config())), (0o644, 0o755));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(file["subnets"], json!([{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}]));
    assert_eq!((&file["driver"], &file["network_interface"]), (&json!("bridge"), &json!("nf-web")));
    assert_eq!(file["id"].as_str().unwrap().len(), 64);

    let mut shown = host.inspect("web");
    assert_eq!(shown["containers"], json!([]));
    shown.as_object_mut().unwrap().remove("containers");
    assert_eq!(shown, file);
    let listed: Value = serde_json::from_str(host.network(&["ls", "--format", "json"]).ok()).unwrap();
    assert_eq!(listed, json!([file]));
    let table = host.network(&["ls"]);
    let row: Vec<_> = table.ok().lines().nth(1).unwrap().split_whitespace().map(str::to_owned).collect();
    assert_eq!(row, ["web", "bridge", "nf-web", "0", "10.1.0.0/24"]);
    assert_eq!(host.network(&["ls", "-q"]).ok(), "web");

    assert_eq!(host.network(&["rm", "web"]).ok(), "web");
    assert_eq!(host.files(), [""; 0]);
    assert_eq!(host.sh("ls /run/nfrun-networks"), "", "nothing of it is left");
    assert_eq!(host.network(&["ls", "--format", "json"]).ok(), "[]");
    host.network(&["inspect", "web"]).fails(1, &["network web does not exist"]);
    host.network(&["rm", "web"]).fails(1, &["network web does not exist"]);
    assert_eq!(host.network(&["rm", "--force", "web"]).ok(), "");
    assert_eq!(host.sh("ip -j link | grep -c nf- || true"), "0", "a bridge comes with the first container");
}

#[test]
fn every_flag_of_create_stands_in_the_definition() {
    needs_veth!();
    let host = Host::new();
    host.make(&[
        "n",
        "--subnet",
        "10.1.0.0/24",
        "--subnet=fd00:1::/64",
        "--gateway=10.1.0.254",
        "--ip-range=10.1.0.128/26",
        "--ip-range",
        "fd00:1::10-fd00:1::ff",
        "--mtu",
        "1400",
        "--isolate=strict",
        "--interface-name",
        "br7",
        "--dns=192.0.2.53",
        "--route",
        "10.9.0.0/16,10.1.0.7,50",
        "--option",
        "metric=20",
        "--label",
        "a=b=c",
    ]);
    let made = host.inspect("n");
    assert_eq!(
        made["subnets"],
        json!([
            {"subnet": "10.1.0.0/24", "gateway": "10.1.0.254",
             "lease_range": {"start_ip": "10.1.0.128", "end_ip": "10.1.0.191"}},
            {"subnet": "fd00:1::/64", "gateway": "fd00:1::1",
             "lease_range": {"start_ip": "fd00:1::10", "end_ip": "fd00:1::ff"}},
        ])
    );
    assert_eq!(made["options"], json!({"mtu": "1400", "isolate": "strict", "metric": "20"}));
    assert_eq!(made["routes"], json!([{"destination": "10.9.0.0/16", "gateway": "10.1.0.7", "metric": 50}]));
    assert_eq!(made["network_dns_servers"], json!(["192.0.2.53"]));
    assert_eq!((&made["network_interface"], &made["ipv6_enabled"]), (&json!("br7"), &json!(true)));
    assert_eq!(made["labels"], json!({"a": "b=c"}));

    host.make(&["inside", "--subnet=10.2.0.0/24", "--internal", "--isolate"]);
    let made = host.inspect("inside");
    assert_eq!((&made["internal"], &made["options"]), (&json!(true), &json!({"isolate": "true"})));
    assert_eq!(made["subnets"], json!([{"subnet": "10.2.0.0/24"}]), "there is no way out, so no gateway");

    host.sh("ip link add eth7 type veth peer name peer7");
    host.make(&["lan", "-d", "macvlan", "--interface-name=eth7", "--vlan", "5", "--subnet=10.1.0.0/24"]);
    let made = host.inspect("lan");
    assert_eq!((&made["network_interface"], &made["options"]), (&json!("eth7"), &json!({"vlan": "5"})));
    host.make(&["routed", "-d", "ipvlan", "-o", "parent=eth7", "-o", "mode=l3", "--subnet=10.3.0.0/24"]);
    assert_eq!(host.inspect("routed")["subnets"], json!([{"subnet": "10.3.0.0/24"}]));
    host.make(&["far", "-d", "vxlan", "-o", "vni=7", "-o", "remote=192.0.2.7"]);
    assert_eq!(host.inspect("far")["network_interface"], "nf-far");
}

#[test]
fn a_range_is_chosen_that_nobody_has() {
    needs_veth!();
    let host = Host::new();
    host.sh("ip link add eth7 type veth peer name peer7; ip address add 10.89.0.9/24 dev eth7; ip link set eth7 up
         ip link set peer7 up; ip route add 10.89.2.0/23 dev eth7; ip route add default dev eth7");
    let range = |name: &str| host.inspect(name)["subnets"][0]["subnet"].as_str().unwrap().to_owned();
    assert_eq!(host.make(&[]), "nf0");
    assert_eq!(host.inspect("nf0")["network_interface"], "nf0");
    assert_eq!(range("nf0"), "10.89.1.0/24", "the first is an interface's");
    assert_eq!(host.make(&["--ipv6"]), "nf1");
    assert_eq!(range("nf1"), "10.89.4.0/24", "there is a route to those between");
    let six = host.inspect("nf1")["subnets"][1].clone();
    let net = six["subnet"].as_str().unwrap();
    assert!(net.starts_with("fd") && net.ends_with("::/64"), "{six}");
    assert_eq!(six["gateway"], net.replace("::/64", "::1"));
    host.network(&["rm", "nf0"]).ok();
    assert_eq!(host.make(&[]), "nf0");
    assert_eq!(range("nf0"), "10.89.1.0/24");
    host.make(&["six", "--subnet", "fd00:7::/64"]);
    assert_eq!(host.inspect("six")["subnets"].as_array().unwrap().len(), 1, "one of IPv6 is enough where it is named");
}

#[test]
fn what_cannot_be_is_refused_by_its_flag_and_leaves_nothing() {
    needs_veth!();
    let host = Host::new();
    host.make(&["old", "--subnet=10.1.0.0/24", "--interface-name=br7"]);
    host.sh("ip link add eth7 type veth peer name peer7; ip address add 192.0.2.9/24 dev eth7; ip link set eth7 up
         ip link set peer7 up; ip route add 10.5.1.0/25 dev eth7; ip route add 10.6.0.0/16 dev eth7");
    for (words, says) in [
        (&["old"][..], "network old already exists"),
        (&["-n"], "flag provided but not defined"),
        (&["a/b"], "network name \"a/b\""),
        (&["a", "b"], "requires a maximum of 1 argument"),
        (&["n", "--subnet=10.1.0.128/25"], "subnet 10.1.0.128/25: overlaps 10.1.0.0/24 of network old"),
        (&["n", "--subnet=10.0.0.0/8"], "overlaps 10.1.0.0/24 of network old"),
        (&["n", "--subnet=192.0.0.0/16"], "overlaps addresses 192.0.2.0/24 on the host's eth7"),
        (&["n", "--subnet=10.5.1.0/24"], "overlaps a route 10.5.1.0/25 on the host's eth7"),
        (
            &["n", "--subnet=10.2.0.9/24"],
            "--subnet: \"10.2.0.9/24\": bits behind the prefix are set; write 10.2.0.0/24",
        ),
        (&["n", "--subnet=ten"], "--subnet: \"ten\""),
        (&["n", "--subnet=10.2.0.0/24", "--gateway=10.3.0.1"], "--gateway 10.3.0.1: outside of 10.2.0.0/24"),
        (&["n", "--subnet=10.2.0.0/24", "--gateway=10.2.0.255"], "gateway 10.2.0.255: it is the broadcast address"),
        (&["n", "--subnet=10.2.0.0/24", "--gateway=10.2.0.1", "--gateway=10.2.0.2"], "--gateway 10.2.0.2"),
        (&["n", "--gateway=x"], "--gateway: \"x\""),
        (
            &["n", "--subnet=10.2.0.0/24", "--ip-range=10.3.0.0/25"],
            "--ip-range 10.3.0.0-10.3.0.127: outside of 10.2.0.0/24",
        ),
        (&["n", "--subnet=10.2.0.0/24", "--ip-range=10.2.0.9-10.2.1.9"], "--ip-range 10.2.0.9-10.2.1.9: its end"),
        (&["n", "--subnet=10.2.0.0/24", "--ip-range=10.2.0.9-10.2.0.8"], "--ip-range: \"10.2.0.9-10.2.0.8\""),
        (&["n", "--mtu=67"], "option mtu: \"67\""),
        (&["n", "--mtu=70000"], "option mtu: \"70000\""),
        (&["n", "--ipv6", "--mtu=1000"], "option mtu: \"1000\": expected a number from 1280"),
        (&["n", "--mtu=1400", "--option=mtu=1500"], "--mtu 1400: --option mtu=1500 says otherwise"),
        (&["n", "--interface-name=sixteen-bytes-xx"], "--interface-name: interface name \"sixteen-bytes-xx\""),
        (&["n", "--interface-name=br7"], "interface name br7: network old has it already"),
        (&["n", "--interface-name=eth7"], "interface name eth7: the host's eth7 is no bridge"),
        (&["n", "--option=mode=unmanaged", "--interface-name=br9"], "interface name br9: the host has no interface"),
        (&["n", "--vlan=5"], "option vlan: needs driver macvlan"),
        (&["n", "--isolate=maybe"], "isolate"),
        (&["n", "--option=vrf=blue"], "option vrf: driver bridge has none of this name"),
        (&["n", "--option==x"], "--option: \"=x\": expected NAME=VALUE"),
        (&["n", "--driver=overlay"], "invalid driver option"),
        (&["n", "--driver=macvlan"], "option parent: missing"),
        (&["n", "--driver=macvlan", "--interface-name=eth8"], "option parent eth8: the host has no interface"),
        (&["n", "--driver=macvlan", "--interface-name=eth7", "--ipv6"], "--ipv6: name a --subnet"),
        (&["n", "--driver=macvlan", "--interface-name=eth7", "--isolate"], "option isolate: driver macvlan has none"),
        (&["n", "--driver=vxlan"], "option vni"),
        (&["n", "--route=10.9.0.0/16"], "--route: \"10.9.0.0/16\""),
        (
            &["n", "--subnet=10.2.0.0/24", "--route=10.9.0.0/16,10.3.0.1"],
            "the gateway is outside of the network's subnets",
        ),
        (&["n", "--dns=0.0.0.0"], "network_dns_servers: 0.0.0.0"),
    ] {
        let output = host.network(&[&["create"], words].concat());
        // A line of the log has its quotes escaped.
        output.fails(1, &[&says.replace('"', "\\\"")]);
        assert_eq!(host.files(), ["old.json"], "{words:?}");
    }
    assert_eq!(host.make(&["old", "--ignore", "--subnet=10.1.0.0/24"]), "old", "with --ignore it is no error");
    host.make(&["narrow", "--subnet=10.6.7.0/24"]);
    assert!(host.files().contains(&"narrow.json".to_owned()), "a route to a larger range is no obstacle");
}

#[test]
fn a_bridge_that_is_somebodys_keeps_its_range() {
    needs_veth!();
    let host = Host::new();
    host.sh("ip link add br0 type bridge; ip address add 192.0.2.1/24 dev br0; ip link set br0 up");
    host.make(&["theirs", "--interface-name=br0", "-o", "mode=unmanaged", "--subnet=192.0.2.0/24"]);
    host.network(&["create", "ours", "--interface-name=br0", "--subnet=192.0.2.0/24"])
        .fails(1, &["interface name br0: network theirs has it already"]);
    host.network(&["rm", "theirs"]).ok();
    host.make(&["ours", "--interface-name=br0", "--subnet=192.0.2.0/24"]);
    host.network(&["rm", "ours"]).ok();
    assert!(host.sh("ip -o link show br0").contains("br0"), "nfrun did not make it, so it stays");
}

#[test]
fn a_network_in_use_is_kept_and_its_containers_named() {
    needs_veth!();
    let host = Host::new();
    host.c.create();
    host.make(&["used", "--subnet=10.1.0.0/24"]);
    host.make(&["free", "--subnet=10.2.0.0/24"]);
    host.attach("used", &host.c.id, &["8080:80", "127.0.0.1:9000-9001:90-91/udp"]);
    host.network(&["rm", "used"]).fails(1, &[&format!("network used: in use by {} (eth0)", host.c.id), "--force"]);
    let inside = &host.inspect("used")["containers"];
    assert_eq!(
        *inside,
        json!([{"id": host.c.id, "root": host.c.root, "interface": "eth0", "host_interface": "veth1",
            "mac": "02:00:00:00:00:07", "addresses": ["10.1.0.2/24"], "names": [host.c.id],
            "ports": ["8080:80/tcp", "127.0.0.1:9000-9001:90-91/udp"]}])
    );
    let port = |words: &[&str]| host.nfrun(&[&["port", &host.c.id], words].concat());
    assert_eq!(port(&[]).ok(), "80/tcp -> 0.0.0.0:8080\n90/udp -> 127.0.0.1:9000\n91/udp -> 127.0.0.1:9001");
    assert_eq!(port(&["80"]).ok(), "0.0.0.0:8080");
    assert_eq!(port(&["91/udp"]).ok(), "127.0.0.1:9001");
    port(&["91"]).fails(1, &["no port of the host's leads to port 91/tcp"]);
    port(&["91/icmp"]).fails(1, &["expected tcp, udp or sctp"]);
    host.nfrun(&["port", "nobody"]).fails(1, &["container does not exist"]);
    assert!(host.network(&["ls"]).ok().lines().any(|row| row.starts_with("used ") && row.contains(" 1 ")));

    assert_eq!(host.network(&["prune"]).ok(), "free");
    assert_eq!(host.files(), ["used.json"]);
    let refused = host.network(&["rm", "nothing", "used"]);
    refused.fails(1, &["network nothing does not exist", "in use by"]);
    assert_eq!(host.network(&["rm", "--force", "used"]).ok(), "used");
    host.c.on_id(&["state"]).fails(1, &["container does not exist"]);
    assert_eq!((host.files(), host.sh("ls /run/nfrun-networks")), (vec![], String::new()));
}

#[test]
fn what_a_container_left_that_is_gone_keeps_no_network() {
    needs_veth!();
    let host = Host::new();
    host.make(&["n", "--subnet=10.1.0.0/24"]);
    host.attach("n", "gone", &["8080:80"]);
    assert_eq!(host.inspect("n")["containers"], json!([]));
    assert_eq!(host.network(&["prune"]).ok(), "n");
    assert_eq!(host.sh("ls /run/nfrun-networks"), "");
}

#[test]
fn what_podman_made_is_used_as_it_is() {
    let host = Host::new();
    std::fs::create_dir(host.config()).unwrap();
    let podmans = json!({"name": "podman1", "id": "53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e",
        "driver": "bridge", "network_interface": "podman1", "created": "2021-07-27T14:35:20.8+02:00",
        "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}], "ipv6_enabled": false, "internal": false,
        "dns_enabled": true, "ipam_options": {"driver": "host-local"}, "of_a_later_podman": [1, 2]});
    std::fs::write(host.config().join("podman1.json"), podmans.to_string()).unwrap();
    std::fs::write(host.config().join("broken.json"), "{").unwrap();
    let renamed = podmans.to_string().replace("\"name\":\"podman1\"", "\"name\":\"podman2\"");
    std::fs::write(host.config().join("podman3.json"), renamed).unwrap();
    assert_eq!(host.inspect("podman1")["subnets"][0]["gateway"], "10.89.0.1");
    let listed = host.network(&["ls", "-q"]);
    assert_eq!(listed.ok(), "podman1");
    assert!(listed.stderr.contains("broken.json: left out"), "{}", listed.stderr);
    assert!(listed.stderr.contains("podman3.json: it defines network podman2"), "{}", listed.stderr);
    host.make(&["n"]);
    assert_eq!(host.inspect("n")["subnets"][0]["subnet"], "10.89.1.0/24");
    host.network(&["inspect", "broken"]).fails(1, &["broken.json", "EOF while parsing"]);
    assert_eq!(host.network(&["rm", "broken"]).ok(), "broken", "what makes no sense can be removed");
    host.network(&["create", "podman3"]).fails(1, &["network podman3 already exists"]);
}

#[test]
fn of_many_that_are_made_at_once_each_has_a_name_and_a_range_of_its_own() {
    let host = Host::new();
    let config = host.config();
    let words = host.words_with(config.to_str().unwrap(), &["network", "create"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let start = || host.aside.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..10).map(|_| start()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let listed: Value = serde_json::from_str(host.network(&["ls", "--format=json"]).ok()).unwrap();
    let of = |field: fn(&Value) -> &Value| {
        let mut all: Vec<_> = listed.as_array().unwrap().iter().map(|one| field(one).to_string()).collect();
        all.sort();
        all.dedup();
        all.len()
    };
    assert_eq!((of(|one| &one["name"]), of(|one| &one["subnets"][0]["subnet"])), (10, 10));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let host = Host::new();
    let words = host.words_with("/proc/networks", &["network", "create", "n"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = host.c.finish(&mut host.aside.command(&words));
    output.fails(1, &["make /proc/networks", "--network-config-dir"]);
}
