//! Huge pages, network class and priority, RDMA, `unified`, device rules.

use std::fs;
use std::path::Path;

use super::common::outside::is_v2;
use super::common::*;
use super::host::{MIB, by_host, has_v1, host, with_host_programs};
use super::row::{Row, update, with_resources};

/// On a hybrid host cgroup2 may have the controller, which is then enabled for the whole machine.
macro_rules! hugetlb_or_skip {
    () => {
        let passed = fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers").unwrap_or_default();
        if passed.contains("hugetlb") && !outside::is_own_machine() {
            skip!("cgroup2 has hugetlb here, and to enable it for the whole machine is not a test's to do");
        }
    };
}

/// What is used, and what is reserved (Linux 5.7).
fn hugepages() -> Row {
    let pages = |n: u64| json!({"hugepageLimits": [{"pageSize": "2MB", "limit": n * 2 * MIB}]});
    Row::new("linux.resources.hugepageLimits", pages(4), pages(2))
        .v1("hugetlb", "hugetlb.2MB.limit_in_bytes", 8 * MIB, 4 * MIB)
        .v1("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", 8 * MIB, 4 * MIB)
        .v2("hugetlb.2MB.max", 8 * MIB, 4 * MIB)
        .v2("hugetlb.2MB.rsvd.max", 8 * MIB, 4 * MIB)
}

#[test]
fn hugepages_is_set() {
    hugetlb_or_skip!();
    hugepages().is_set();
}

#[test]
fn hugepages_is_updated() {
    hugetlb_or_skip!();
    hugepages().is_updated();
}

#[test]
fn hugepages_is_felt() {
    const POOL: &str = "/proc/sys/vm/nr_hugepages";
    if !outside::is_own_machine() {
        skip!("huge pages are the whole machine's, and this one is not the test's own");
    }
    fs::write(POOL, "8").expect("make huge pages");
    if fs::read_to_string(POOL).expect("a number").trim().parse::<u32>().unwrap_or(0) < 6 {
        skip!("this machine has no memory for huge pages");
    }
    let c = with_host_programs(Container::idle()).with(|config| {
        bundle::push(
            &mut config["mounts"],
            json!({"destination": "/mnt", "type": "hugetlbfs", "source": "huge", "options": ["pagesize=2M"]}),
        );
    });
    let Some(c) = hugepages().create(c) else { return };
    c.start();
    let takes = |pages: u64| {
        // The pages of a file that goes when its program does.
        let script =
            format!("exec 3<> /mnt/f && rm /mnt/f && exec busybox fallocate -l {} /proc/self/fd/3", pages * 2 * MIB);
        c.exec(&["sh", "-c", &script]).code
    };
    assert_eq!(takes(4), 0);
    update(&c, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})).ok();
    assert_eq!(takes(2), 0);
    assert_ne!(takes(4), 0, "beyond the limit");
}

fn network_class() -> Row {
    let class = |n: u32| json!({"network": {"classID": n}});
    Row::new("linux.resources.network.classID", class(0x10_0001), class(0x10_0002)).v1(
        "net_cls",
        "net_cls.classid",
        0x10_0001,
        0x10_0002,
    )
}

#[test]
fn network_class_is_set() {
    network_class().is_set();
}

#[test]
fn network_class_is_updated() {
    network_class().is_updated();
}

/// How many packets of the container's own match an expression of nft's at a hook, of those that an exec sends.
#[track_caller]
fn packets(c: &Container, hook: &str, expression: &str) -> Option<u64> {
    let pid = c.pid().to_string();
    let nft = |words: &[&str]| host(&[&["nsenter", "-t", &pid, "-n", "nft"], words].concat());
    nft(&["add table inet t"])?;
    nft(&[&format!("add chain inet t o {{ type filter hook {hook} priority 0; }}")])?;
    nft(&[&format!("add rule inet t o {expression} counter")])?;
    by_host(c, &["ping", "-c", "2", "-i", "0.2", "127.0.0.1"]).ok();
    let text = nft(&["list chain inet t o"]);
    nft(&["delete table inet t"]);
    text?.split("packets ").nth(1)?.split(' ').next()?.parse().ok()
}

#[test]
fn network_class_is_felt() {
    let Some(c) = network_class().create(with_host_programs(Container::idle())) else { return };
    c.start();
    let Some(sent) = packets(&c, "output", "meta cgroup 0x100001") else { skip!("no nft, nsenter or ping") };
    assert!(sent >= 2, "{sent} packets of the class");
    update(&c, &json!({"network": {"classID": 0x10_0002}})).ok();
    assert_eq!(packets(&c, "output", "meta cgroup 0x100001"), Some(0), "its packets have another class now");
}

fn network_priority() -> Row {
    let priority = |n: u32| json!({"network": {"priorities": [{"name": "lo", "priority": n}]}});
    Row::new("linux.resources.network.priorities", priority(5), priority(7)).v1(
        "net_prio",
        "net_prio.ifpriomap",
        "lo 5",
        "lo 7",
    )
}

#[test]
fn network_priority_is_set() {
    network_priority().is_set();
}

#[test]
fn network_priority_is_updated() {
    network_priority().is_updated();
}

#[test]
fn network_priority_is_felt() {
    // The map is by interfaces of the host's network namespace, whose rules are not a test's to add to.
    if !outside::is_own_machine() && has_v1("net_prio") {
        skip!("it holds in the host's network namespace, whose rules are not a test's to change");
    }
    let c = with_host_programs(Container::idle()).with(|config| bundle::drop_namespace(config, "network"));
    let Some(c) = network_priority().create(c) else { return };
    c.start();
    // The kernel gives a packet its priority after the output hook, on the way to the device.
    let Some(sent) = packets(&c, "input", "meta priority 0:5") else { skip!("no nft, nsenter or ping") };
    assert!(sent >= 2, "{sent} packets of the priority");
}

fn rdma() -> Row {
    let device = rdma_device().unwrap_or_else(|| "mlx5_0".to_owned());
    let limit = |n: u32| json!({"rdma": {&device: {"hcaHandles": n, "hcaObjects": 1000}}});
    let line = |n: u32| format!("{device} hca_handle={n} hca_object=1000");
    Row::new("linux.resources.rdma", limit(2), limit(3)).v1("rdma", "rdma.max", line(2), line(3)).v2(
        "rdma.max",
        line(2),
        line(3),
    )
}

fn rdma_device() -> Option<String> {
    fs::read_dir("/sys/class/infiniband").ok()?.flatten().next()?.file_name().into_string().ok()
}

#[test]
fn rdma_is_set() {
    if rdma_device().is_none() {
        let c = with_resources(Container::idle(), &json!({"rdma": {"mlx5_0": {"hcaHandles": 2}}}));
        let before = c.leftovers();
        c.try_create().fails(1, &["linux.resources.rdma", "rdma"]);
        before.assert_nothing_new();
        skip!("this machine has no RDMA device: a limit of one is refused by its name");
    }
    rdma().is_set();
}

#[test]
fn rdma_is_updated() {
    if rdma_device().is_none() {
        let c = Container::idle().up();
        update(&c, &json!({"pids": {"limit": 50}})).ok();
        update(&c, &json!({"pids": {"limit": 60}, "rdma": {"mlx5_0": {"hcaHandles": 2}}}))
            .fails(1, &["linux.resources.rdma"]);
        assert_eq!(c.limit("pids", "pids.max"), "50");
        skip!("this machine has no RDMA device: a limit of one is refused by its name");
    }
    rdma().is_updated();
}

#[test]
fn rdma_is_felt() {
    skip!("it takes a program of the device's, and a device");
}

/// A file of a controller where cgroup2 has one, else one of cgroup2's own.
fn unified() -> Row {
    let field = "linux.resources.unified";
    let set = |file: &str, text: &str| json!({"unified": {file: text}});
    if is_v2() {
        let (high, higher) = ((16 * MIB).to_string(), (24 * MIB).to_string());
        return Row::new(field, set("memory.high", &high), set("memory.high", &higher)).v2("memory.high", high, higher);
    }
    let row = Row::new(field, set("cgroup.max.descendants", "7"), set("cgroup.max.descendants", "8"));
    match Path::new("/sys/fs/cgroup/unified").exists() {
        true => row.v1("unified", "cgroup.max.descendants", 7, 8),
        false => row,
    }
}

#[test]
fn unified_is_set() {
    unified().is_set();
}

#[test]
fn unified_is_updated() {
    unified().is_updated();
}

#[test]
fn unified_is_felt() {
    let Some(c) = unified().create(Container::idle()) else { return };
    c.start();
    if is_v2() {
        // The kernel slows whoever is above it, and counts how often it did.
        let mut greedy = c.command(&["exec", &c.id, "tail", "/dev/zero"]).spawn().expect("start the runtime");
        let events = || c.limit("", "memory.events");
        eventually("it is above", || events().lines().any(|line| line.starts_with("high ") && line != "high 0"));
        c.on_id(&["delete", "--force"]).ok();
        wait(&mut greedy, "the greedy process");
        return;
    }
    let below = c.cgroup("unified");
    let made = (0..9).take_while(|n| fs::create_dir(below.join(n.to_string())).is_ok()).count();
    assert_eq!(made, 7);
    update(&c, &json!({"unified": {"cgroup.max.descendants": "8"}})).ok();
    assert!(fs::create_dir(below.join("8")).is_ok());
}

const KMSG: (u32, u32) = (1, 11);

fn kmsg_rule(access: &str) -> Value {
    let (major, minor) = KMSG;
    json!({"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": major, "minor": minor, "access": access}]})
}

/// A container that has /dev/kmsg, with this access to it.
fn with_kmsg(access: &str) -> Container {
    let (major, minor) = KMSG;
    let c = Container::idle().with(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/kmsg", "type": "c", "major": major, "minor": minor, "fileMode": 438}]);
        bundle::set_capabilities(&mut config["process"], &["CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_MKNOD"]);
    });
    with_resources(c, &kmsg_rule(access))
}

/// What of it can be opened, as `rw`.
#[track_caller]
fn opens(c: &Container) -> String {
    let script = "(: < /dev/kmsg) 2>/dev/null && printf r; (: > /dev/kmsg) 2>/dev/null && printf w; true";
    c.exec(&["sh", "-c", script]).ok().to_owned()
}

/// How many device programs the kernel has on the container's cgroup2, where something here can tell.
fn programs(c: &Container) -> Option<usize> {
    let list = host(&["bpftool", "-j", "cgroup", "show", c.cgroup("").to_str()?])?;
    serde_json::from_str::<Vec<Value>>(&list).ok().map(|list| list.len())
}

#[test]
fn devices_is_set() {
    let c = with_kmsg("r");
    c.create();
    match is_v2() {
        true => assert!(programs(&c).is_none_or(|count| count == 1)),
        false => assert!(c.limit("devices", "devices.list").lines().any(|rule| rule == "c 1:11 r")),
    }
    c.start();
    assert_eq!(opens(&c), "r");
}

#[test]
fn devices_is_updated() {
    let c = with_kmsg("r").up();
    for access in ["rw", "w", "r"] {
        update(&c, &kmsg_rule(access)).ok();
        match is_v2() {
            true => assert!(programs(&c).is_none_or(|count| count == 1), "the new program takes the old one's place"),
            false => {
                let rule = format!("c 1:11 {access}");
                assert!(c.limit("devices", "devices.list").lines().any(|line| line == rule), "{rule}");
            }
        }
        assert_eq!(opens(&c), access);
    }
}

#[test]
fn devices_is_felt() {
    for access in ["r", "w", "rw", "m"] {
        let c = with_kmsg(access).up();
        assert_eq!(opens(&c), access.replace('m', ""));
        // What can be made cannot be opened for that.
        let output = c.exec(&["sh", "-c", "mknod /dev/disk b 8 0 && echo made; : < /dev/disk"]);
        assert!(output.code != 0 && output.stdout == "made\n", "{output:?}");
        assert!(output.stderr.contains("Operation not permitted"), "{output:?}");
    }
}
