//! linux.netDevices: interfaces of the host move into the container, and come back when it was not created. The host is
//! played by a network namespace of the test's own; what is where, `ip -j` says from outside.

#[macro_use]
mod common;

use common::aside::Aside;
use common::bundle::{drop_namespace, push};
use common::*;

/// A host with interfaces eth1 and eth2, whose other ends are peer1 and peer2, and a container to be.
struct Host {
    aside: Aside,
    c: Container,
}

const MAC: &str = "02:00:00:00:00:01";

impl Host {
    fn new() -> Self {
        Self::with(Container::idle())
    }

    fn with(c: Container) -> Self {
        let host = Self { aside: Aside::new(), c };
        host.make_eth1();
        host.sh("ip link add eth2 type veth peer name peer2; ip address add 198.51.100.2/24 dev eth2");
        host
    }

    /// eth1 with addresses of every sort: two that travel, and three that were made for the place where they are.
    fn make_eth1(&self) {
        self.sh(&format!(
            "ip link add eth1 address {MAC} mtu 1400 type veth peer name peer1
             ip address add 192.0.2.1/24 broadcast 192.0.2.255 label eth1:web dev eth1
             ip address add 2001:db8::1/64 nodad dev eth1
             ip address add 10.0.0.1/8 dev eth1 valid_lft 3000 preferred_lft 2000
             ip address add 169.254.1.1/16 scope link dev eth1
             ip link set eth1 up
             ip link set peer1 up"
        ));
    }

    #[track_caller]
    fn command(&self, words: &[&str]) -> Output {
        let mut command = self.aside.command(words);
        self.c.finish(command.current_dir(&self.c.dir))
    }

    /// A script on the host.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.command(&["sh", "-ec", script]).ok().to_owned()
    }

    /// The runtime on the host, with a fault in it or none.
    #[track_caller]
    fn faulty(&self, fault: &str, words: &[&str]) -> Output {
        let (runtime, root) = (binary(), &self.c.root);
        let mut command = self.aside.command(&[runtime.to_str().unwrap(), "--root", root.to_str().unwrap()]);
        self.c.finish(command.args(words).env("NFRUN_FAULT", fault).current_dir(&self.c.dir))
    }

    #[track_caller]
    fn runtime(&self, words: &[&str]) -> Output {
        self.faulty("", words)
    }

    #[track_caller]
    fn try_create(&self) -> Output {
        self.runtime(&self.c.words("create", &[]))
    }

    /// Creates it with these devices.
    #[track_caller]
    fn create(&mut self, devices: Value) -> Output {
        self.c.config["linux"]["netDevices"] = devices;
        self.c.save();
        self.try_create()
    }

    /// What `ip -j address` says of the interfaces of the host, or of a process's network namespace.
    #[track_caller]
    fn links(&self, pid: Option<i32>) -> Vec<Value> {
        let output = match pid {
            None => self.command(&["ip", "-j", "address"]),
            Some(pid) => self.command(&["nsenter", "--target", &pid.to_string(), "--net", "ip", "-j", "address"]),
        };
        serde_json::from_str(output.ok()).expect("JSON")
    }

    #[track_caller]
    fn link(&self, pid: Option<i32>, name: &str) -> Option<Value> {
        self.links(pid).into_iter().find(|link| link["ifname"] == name)
    }

    /// Everything about eth1 and eth2 that has to be as it was: names, state, addresses and what they are.
    #[track_caller]
    fn picture(&self) -> Vec<String> {
        let links = self.links(None);
        let picture = links.iter().filter(|link| link["ifname"] != "lo").map(|link| {
            let mut addresses: Vec<_> = link["addr_info"]
                .as_array()
                .unwrap()
                .iter()
                // The kernel gives an address of the link by itself, some time after the interface is up.
                .filter(|a| !a["local"].as_str().is_some_and(|address| address.starts_with("fe80:")))
                // Whose life goes by while we look is told by its sort alone.
                .map(|a| {
                    let lives =
                        if a["valid_life_time"].as_u64() == Some(u64::from(u32::MAX)) { "ever" } else { "a while" };
                    let text =
                        ["local", "prefixlen", "scope", "label", "broadcast", "nodad"].map(|key| a[key].to_string());
                    format!("{} for {lives}", text.join(" "))
                })
                .collect();
            addresses.sort();
            let up = link["flags"].as_array().unwrap().contains(&json!("UP"));
            format!("{} {} {} up={up} {addresses:?}", link["ifname"], link["address"], link["mtu"])
        });
        let mut picture: Vec<_> = picture.collect();
        picture.sort();
        picture
    }

    /// The namespaces that are held in the state root.
    fn held(&self) -> Vec<String> {
        let root = self.c.root.to_str().unwrap();
        let mounts = self.sh("cat /proc/self/mountinfo");
        mounts.lines().filter(|line| line.contains(root)).map(str::to_owned).collect()
    }

    /// Checks that the interfaces are as they were, and that nothing holds a namespace.
    #[track_caller]
    fn assert_as_before(&self, before: &[String], what: &str) {
        eventually(&format!("the interfaces are as before after {what}: {before:#?}\n{:#?}", self.picture()), || {
            self.picture() == before
        });
        assert_eq!(self.held(), Vec::<String>::new(), "{what}");
    }
}

/// local/prefixlen of an interface's addresses but those that the kernel made for its link.
fn addresses(link: &Value) -> Vec<String> {
    let all = link["addr_info"].as_array().unwrap().iter();
    let given = all.filter(|a| !a["local"].as_str().unwrap().starts_with("fe80"));
    given.map(|a| format!("{}/{}", a["local"].as_str().unwrap(), a["prefixlen"])).collect()
}

#[test]
fn an_interface_moves_under_its_new_name_with_its_global_addresses_and_is_up() {
    needs_veth!();
    let mut host = Host::new();
    host.create(json!({"eth1": {"name": "net0"}, "eth2": {}})).ok();
    let pid = host.c.pid();
    assert!(host.link(None, "eth1").is_none() && host.link(None, "eth2").is_none(), "they are gone from the host");
    let link = host.link(Some(pid), "net0").expect("net0");
    assert_eq!((&link["address"], &link["mtu"]), (&json!(MAC), &json!(1400)), "it is the same one");
    assert!(link["flags"].as_array().unwrap().contains(&json!("UP")), "{link}");
    assert_eq!(addresses(&link), ["192.0.2.1/24", "2001:db8::1/64"], "no dynamic one, none of the link alone");
    let first = &link["addr_info"][0];
    assert_eq!((&first["label"], &first["broadcast"]), (&json!("net0:web"), &json!("192.0.2.255")));
    let other = host.link(Some(pid), "eth2").expect("eth2, which keeps its name");
    assert_eq!(addresses(&other), ["198.51.100.2/24"]);
    assert!(other["flags"].as_array().unwrap().contains(&json!("UP")), "although it was down: {other}");
    // The other end is on the host still, and packets pass.
    host.sh("ip address add 192.0.2.9/24 dev peer1; ping -c 1 -W 20 192.0.2.1");
    host.runtime(&["start", &host.c.id]).ok();
    let list = host.runtime(&["exec", &host.c.id, "ls", "/sys/class/net"]);
    assert_eq!(list.ok().split_whitespace().collect::<Vec<_>>(), ["eth2", "lo", "net0"], "as the container sees it");
}

#[test]
fn with_the_annotation_false_the_interfaces_are_the_containers_and_end_with_it() {
    needs_veth!();
    let mut host = Host::new();
    host.c.config["annotations"] = json!({"io.nfrun.net-devices.return": "false"});
    host.create(json!({"eth1": {}})).ok();
    assert_eq!(host.held(), Vec::<String>::new(), "nothing but the container holds its namespace");
    host.runtime(&["delete", "--force", &host.c.id]).ok();
    eventually("the kernel has destroyed eth1 and with it its other end", || host.link(None, "peer1").is_none());
    assert!(host.link(None, "eth1").is_none());
    assert!(host.link(None, "eth2").is_some());
}

#[test]
fn names_are_swapped() {
    needs_veth!();
    let mut host = Host::new();
    host.create(json!({"eth1": {"name": "eth2"}, "eth2": {"name": "eth1"}})).ok();
    let pid = host.c.pid();
    assert_eq!(host.link(Some(pid), "eth2").unwrap()["address"], json!(MAC));
    assert_eq!(addresses(&host.link(Some(pid), "eth1").unwrap()), ["198.51.100.2/24"]);
}

#[test]
fn a_template_gets_the_lowest_free_number() {
    needs_veth!();
    let mut host = Host::new();
    host.create(json!({"eth1": {"name": "net0"}, "eth2": {"name": "net%d"}})).ok();
    let pid = host.c.pid();
    assert_eq!(host.link(Some(pid), "net0").unwrap()["address"], json!(MAC));
    assert_eq!(addresses(&host.link(Some(pid), "net1").unwrap()), ["198.51.100.2/24"]);
}

#[test]
fn sysctls_may_name_a_moved_interface() {
    needs_veth!();
    let mut host = Host::with(Container::idle().with(|config| {
        config["linux"]["sysctl"] = json!({"net.ipv4.conf.net0.rp_filter": "2"});
    }));
    host.create(json!({"eth1": {"name": "net0"}})).ok();
    host.runtime(&["start", &host.c.id]).ok();
    let value = host.runtime(&["exec", &host.c.id, "cat", "/proc/sys/net/ipv4/conf/net0/rp_filter"]);
    assert_eq!(value.ok(), "2");
}

#[test]
fn an_interface_moves_into_a_user_namespace() {
    needs_veth!();
    let mut host = Host::with(Container::idle().with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    }));
    host.create(json!({"eth1": {"name": "net0"}})).ok();
    let link = host.link(Some(host.c.pid()), "net0").expect("net0");
    assert_eq!(addresses(&link), ["192.0.2.1/24", "2001:db8::1/64"]);
}

#[test]
fn an_interface_moves_into_a_joined_namespace_unless_its_name_is_taken_there() {
    needs_veth!();
    let mut host = Host::with(Container::idle().with(|config| {
        drop_namespace(config, "network");
        push(&mut config["linux"]["namespaces"], json!({"type": "network", "path": "/run/netns/other"}));
    }));
    host.sh("ip netns add other; ip -n other link add net0 type veth peer name net1");
    let before = host.picture();
    let clash = host.create(json!({"eth1": {"name": "net0"}}));
    clash.fails(1, &["linux.netDevices.eth1.name: there is an interface net0 in /run/netns/other already"]);
    host.assert_as_before(&before, "a clash");
    host.create(json!({"eth1": {"name": "net%d"}})).ok();
    let link = host.link(Some(host.c.pid()), "net2").expect("net2, the first that is free");
    assert_eq!(link["address"], json!(MAC));
}

#[test]
fn what_cannot_be_moved_is_refused_by_name_and_nothing_is_touched() {
    needs_veth!();
    let mut host = Host::new();
    let before = host.picture();
    let long = "a".repeat(70_000);
    for (devices, says) in [
        (json!({"eth9": {}}), "linux.netDevices.eth9: there is no interface eth9"),
        (json!({"eth1": {}, "eth9": {}}), "linux.netDevices.eth9: there is no interface eth9"),
        (json!({"lo": {"name": "lo0"}}), "linux.netDevices.lo: the loopback interface cannot be moved"),
        (json!({"eth1": {"name": "lo"}}), "linux.netDevices.eth1.name: lo is the container's loopback interface"),
        (json!({"eth1": {"name": "n"}, "eth2": {"name": "n"}}), "linux.netDevices.eth2.name: n is what"),
        (json!({"eth1": {"name": "sixteen_bytes_xx"}}), "is 16 bytes long, and the kernel takes at most 15"),
        (json!({"eth1": {"name": "a b"}}), "linux.netDevices.eth1.name"),
        (json!({"eth1": {"name": "a/b"}}), "linux.netDevices.eth1.name"),
        (json!({"eth1": {"name": ".."}}), "linux.netDevices.eth1.name"),
        (json!({"eth1": {"name": "a%s"}}), "a template has one %d"),
        (json!({"": {}}), "linux.netDevices: interface name "),
        // CVE-2021-43784: a length that 16 bits cannot tell lets what follows be read as attributes of its own.
        (json!({"eth1": {"name": long}}), "is 70000 bytes long"),
        (json!({long: {}}), "is 70000 bytes long"),
    ] {
        let output = host.create(devices);
        output.fails(1, &[says]);
        assert!(output.stderr.len() < 1000, "an attack is not repeated: {} bytes", output.stderr.len());
        assert!(!host.c.root.join(&host.c.id).exists(), "{says}");
        host.assert_as_before(&before, says);
    }
}

#[test]
fn without_a_network_namespace_of_its_own_it_is_refused() {
    needs_veth!();
    let mut host = Host::with(Container::idle().with(|config| drop_namespace(config, "network")));
    host.create(json!({"eth1": {}})).fails(1, &["linux.netDevices", "a network namespace of the container's own"]);
    host.c.config["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "network", "path": "/proc/self/ns/net"}));
    host.create(json!({"eth1": {}})).fails(1, &["linux.netDevices", "is the network namespace that they are in"]);
    assert!(host.link(None, "eth1").is_some());
}

#[test]
fn an_interface_that_the_kernel_does_not_move_is_an_error_and_the_others_come_back() {
    needs_veth!();
    let mut host = Host::new();
    if host.command(&["ip", "link", "add", "tunnel9", "type", "bridge"]).code != 0 {
        skip!("this kernel has no bridge, the one interface at hand that does not move");
    }
    let before = host.picture();
    let output = host.create(json!({"eth1": {}, "eth2": {"name": "net0"}, "tunnel9": {}}));
    if output.code == 0 {
        skip!("this kernel moves bridges");
    }
    output.fails(1, &["linux.netDevices.tunnel9: move tunnel9", "does not move interfaces of its kind"]);
    host.assert_as_before(&before, "a bridge");
}

#[test]
fn a_create_that_fails_brings_the_interfaces_back() {
    needs_veth!();
    for verb in ["create", "run"] {
        let mut host = Host::new();
        let before = host.picture();
        host.c.config["process"]["args"] = json!(["/bin/nosuch"]);
        host.c.config["linux"]["netDevices"] = json!({"eth1": {"name": "net0"}, "eth2": {"name": "eth1"}});
        host.c.save();
        host.runtime(&host.c.words(verb, &[])).fails(1, &["/bin/nosuch"]);
        host.assert_as_before(&before, verb);
        assert!(!host.c.root.join(&host.c.id).exists());
    }
}

#[test]
fn with_the_annotation_the_interfaces_return_when_the_container_is_deleted() {
    needs_veth!();
    let mut host = Host::new();
    let before = host.picture();
    for round in 0..2 {
        host.create(json!({"eth1": {"name": "net0"}, "eth2": {}})).ok();
        let pid = host.c.pid();
        // Whatever was done to it inside.
        host.sh(&format!(
            "nsenter --target {pid} --net sh -ec 'ip link set net0 down; ip link set net0 name other; ip address add 10.9.9.9/24 dev eth2
               ip link property add dev other altname peer1; ip link set other address 02:00:00:00:00:99 up'"
        ));
        if round == 0 {
            host.runtime(&["start", &host.c.id]).ok();
        }
        host.c.kill("KILL");
        host.runtime(&["delete", &host.c.id]).ok();
        host.assert_as_before(&before, "delete");
    }
    host.c.config["annotations"] = json!({"io.nfrun.net-devices.return": "yes"});
    host.create(json!({"eth1": {}}))
        .fails(1, &["annotations.io.nfrun.net-devices.return", "is neither true nor false"]);
}

#[test]
fn run_to_the_end_returns_them_too() {
    needs_veth!();
    let mut host = Host::with(Container::sh("cat /sys/class/net/net0/address"));
    host.c.config["annotations"] = json!({"io.nfrun.net-devices.return": "true"});
    host.c.config["linux"]["netDevices"] = json!({"eth1": {"name": "net0"}});
    host.c.save();
    let before = host.picture();
    assert_eq!(host.runtime(&host.c.words("run", &[])).ok(), MAC);
    host.assert_as_before(&before, "run");
}

#[test]
fn an_interface_whose_name_was_taken_meanwhile_stays_safe_until_it_is_free_and_keeps_no_other() {
    needs_veth!();
    let mut host = Host::new();
    host.c.config["annotations"] = json!({"io.nfrun.net-devices.return": "true"});
    let before = host.picture();
    host.create(json!({"eth1": {}, "eth2": {"name": "net0"}})).ok();
    host.sh("ip link add eth1 type veth peer name thief");
    host.runtime(&["delete", &host.c.id])
        .fails(1, &["linux.netDevices.eth1: bring eth1 back", "another interface is called eth1 by now"]);
    assert!(host.link(None, "eth2").is_some(), "the other one is back");
    host.sh("ip link delete eth1");
    host.runtime(&["gc"]).ok();
    host.assert_as_before(&before, "gc");
}

/// Goes through every k of a fault until the command meets none any more.
#[track_caller]
fn every_step(what: &str, mut at: impl FnMut(usize) -> bool) {
    let steps = (0..500).find(|k| at(*k)).unwrap_or_else(|| panic!("{what}: 500 steps and no end"));
    assert!(steps > 0, "{what}: no fault was ever met; is the feature `fault` built in?");
}

#[test]
fn whichever_side_of_create_is_killed_before_any_step_the_interfaces_come_back() {
    needs_veth!();
    if !cfg!(feature = "fault") {
        skip!("needs the cargo feature fault");
    }
    for side in ["runtime", "init"] {
        let mut host = Host::new();
        host.c.config["linux"]["netDevices"] = json!({"eth1": {"name": "eth2"}, "eth2": {"name": "net%d"}});
        host.c.save();
        let before = host.picture();
        every_step(side, |k| {
            let output = host.faulty(&format!("kill:{side}:{k}"), &host.c.words("create", &[]));
            if output.code == 0 {
                // The fault was not reached, or init met it after the create.
                return true;
            }
            // From where they are the container's they may end with it, whenever the kernel comes to that.
            let record = std::fs::read_to_string(host.c.root.join(&host.c.id).join("undo")).unwrap_or_default();
            if record.contains("linksLeft") {
                assert_eq!((side, output.code), ("runtime", 137), "{output:?}");
                return true;
            }
            host.runtime(&["gc"]).ok();
            if host.runtime(&["state", &host.c.id]).code == 0 {
                host.runtime(&["delete", "--force", &host.c.id]).ok();
            }
            host.assert_as_before(&before, &format!("{side} killed before step {k}"));
            false
        });
    }
}

#[test]
fn a_delete_that_is_killed_before_any_step_is_finished_with_the_interfaces_returned() {
    needs_veth!();
    if !cfg!(feature = "fault") {
        skip!("needs the cargo feature fault");
    }
    let mut host = Host::new();
    host.c.config["annotations"] = json!({"io.nfrun.net-devices.return": "true"});
    let before = host.picture();
    every_step("delete", |k| {
        host.create(json!({"eth1": {"name": "eth2"}, "eth2": {"name": "eth1"}})).ok();
        let output = host.faulty(&format!("kill:runtime:{k}"), &["delete", &host.c.id]);
        assert!(output.code == 0 || output.code == 137, "{output:?}");
        host.runtime(&["gc"]).ok();
        if host.runtime(&["state", &host.c.id]).code == 0 {
            host.runtime(&["delete", "--force", &host.c.id]).ok();
        }
        host.assert_as_before(&before, &format!("delete killed before step {k}"));
        output.code == 0
    });
}

#[test]
fn the_plan_shows_what_moves() {
    needs_veth!();
    let mut host = Host::new();
    host.c.config["linux"]["netDevices"] = json!({"eth1": {"name": "net0"}});
    host.c.save();
    let before = host.picture();
    let bundle = host.c.bundle.to_str().unwrap();
    let plan = host.runtime(&["plan", "--bundle", bundle, "x"]);
    let line = "move interface eth1 into init's network namespace as net0 with 192.0.2.1/24, 2001:db8::1/64";
    assert!(plan.ok().contains(line), "{plan:?}");
    let plan = host.runtime(&["plan", "--format", "json", "--bundle", bundle, "x"]);
    let plan: Value = serde_json::from_str(plan.ok()).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    let moved = steps.iter().find_map(|step| step["step"].get("moveLink")).expect("a moveLink");
    assert_eq!((&moved["name"], &moved["hardware"]), (&json!("eth1"), &json!(MAC)));
    let without = host.runtime(&["plan", "--no-host", "--bundle", bundle, "x"]);
    assert!(without.ok().contains("left out: linux.netDevices"), "{without:?}");
    host.assert_as_before(&before, "plan");
}
