//! Networks beside firewalls of others, each met for real: what dockerd and firewalld do to the packet filter when they
//! start, start anew and reload, and what a published port then does.

#[macro_use]
mod common;

use std::process::{Child, Stdio};

use common::aside::installed;
use common::lab::Host;
use common::*;

/// A daemon on the host of a test, ended by the signal that it takes for that.
struct Daemon(Child);

impl Daemon {
    #[track_caller]
    fn start(host: &Host, script: &str, log: &str) -> Self {
        let file = std::fs::File::create(host.c.dir.join(log)).unwrap();
        let mut command = host.aside.command(&["sh", "-c", &format!("exec {script}")]);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self(command.spawn().expect("start a daemon"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SAFETY: a plain system call; the process is a child that is not reaped yet.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        wait(&mut self.0, "the daemon's end");
    }
}

/// A host with a neighbour, and a container of which a port is published.
fn lab() -> Host {
    let host = Host::new();
    host.outside();
    host.make(&["nf0", "--subnet", "10.88.0.0/24"]);
    host.run("a", &["--network", "nf0", "--publish", "8080:80"]);
    host.serve("a", "tcp", 80);
    host.serve("outside", "tcp", 7000);
    assert!(is_reached(&host, 8080));
    host
}

fn is_reached(host: &Host, port: u16) -> bool {
    host.ask("outside", "tcp", "192.0.2.1", port).is_some()
}

/// What goes both ways.
#[track_caller]
fn assert_open(host: &Host, when: &str) {
    assert!(is_reached(host, 8080), "the published port, {when}");
    assert!(host.ask("a", "tcp", "192.0.2.2", 7000).is_some(), "what is outside, {when}");
}

#[test]
fn dockers_policy_drop_is_met_when_it_starts_and_starts_anew() {
    needs_veth!();
    if !installed("dockerd") || !installed("containerd") || !installed("iptables") {
        skip!("dockerd, containerd or iptables is not installed");
    }
    let host = lab();
    let dir = host.c.dir.display();
    let dockerd = format!(
        "dockerd --host unix://{dir}/docker.sock --data-root {dir}/data --exec-root {dir}/exec --pidfile {dir}/docker.pid \
         --storage-driver vfs --shutdown-timeout 1"
    );
    let drops = || host.try_sh("iptables -S FORWARD").stdout.contains("-P FORWARD DROP");
    let start = || {
        let mut daemon = Daemon::start(&host, &dockerd, "dockerd.log");
        // Its socket is there before its rules are, and it answers once all is.
        let ask = format!("docker --host unix://{dir}/docker.sock version > /dev/null 2>&1");
        eventually("dockerd answers, or has ended", || {
            host.try_sh(&ask).code == 0 || daemon.0.try_wait().is_ok_and(|ended| ended.is_some())
        });
        daemon
    };
    // Docker sets the policy where it is who begins to forward packets.
    host.sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
    let docker = start();
    if !drops() {
        let said = std::fs::read_to_string(host.c.dir.join("dockerd.log")).unwrap();
        skip!("dockerd sets no policy here: {}", said.lines().last().unwrap_or_default());
    }
    // A container that is connected meets it, for those that are there as well.
    host.run("b", &["--network", "nf0"]);
    assert_open(&host, "with docker's policy");
    drop(docker);
    // As an administrator, or docker, who begins anew.
    host.sh("iptables -F FORWARD; iptables -P FORWARD DROP");
    assert!(!is_reached(&host, 8080), "its rules are wiped");
    let docker = start();
    host.network(&["reload"]).ok();
    assert_open(&host, "after docker has started anew");
    let rules = host.sh("iptables -S FORWARD");
    assert!(rules.contains("-P FORWARD DROP") && rules.contains("DOCKER"), "docker's own stay: {rules}");
    for id in ["a", "b"] {
        host.delete(id);
    }
    assert!(!host.sh("iptables -S FORWARD").contains("nfrun"), "nothing of ours stays in docker's chain");
    drop(docker);
}

#[test]
fn firewalld_is_met_when_it_starts_and_reloads() {
    needs_veth!();
    if !installed("firewalld") || !installed("dbus-daemon") {
        skip!("firewalld or dbus-daemon is not installed");
    }
    let host = lab();
    host.sh("mkdir -p /run/dbus");
    let bus = Daemon::start(&host, "dbus-daemon --system --nofork --nopidfile", "dbus.log");
    eventually("the bus is there", || host.try_sh("[ -S /run/dbus/system_bus_socket ]").code == 0);
    let firewalld = Daemon::start(&host, "firewalld --nofork --nopid", "firewalld.log");
    eventually("firewalld runs", || host.try_sh("firewall-cmd --state").code == 0);
    // Published ports come in by the uplink's zone; what is forwarded is rejected until somebody says otherwise.
    let meet = |when: &str| {
        let reload = host.network(&["reload"]);
        reload.ok();
        // A table that only its owner may change is told of, with what to do.
        if reload.stderr.contains("firewall-cmd") {
            assert!(reload.stderr.contains("--zone=trusted --add-interface"), "{reload:?}");
            host.sh("firewall-cmd --zone=trusted --add-interface=nf0");
        }
        assert_open(&host, when);
    };
    meet("with firewalld");
    host.sh("firewall-cmd --reload");
    meet("after firewalld has reloaded");
    assert!(host.sh("nft list tables").contains("firewalld"), "its own table stays");
    host.delete("a");
    assert!(!host.sh("nft list ruleset").contains("nfrun"), "nothing of ours stays anywhere");
    drop(firewalld);
    drop(bus);
}
