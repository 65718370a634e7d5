//! A host of its own for each test: a network namespace with an uplink to a namespace that plays the world, bridges of
//! zones, and namespaces that play containers. Everything in it is made by `ip` and looked at by `nft` and packets.

use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::{Endpoint, Firewall, Isolation, Seen, Wanted, Zone};

const PYTHON: &str = include_str!("lab.py");

/// Else packets of IPv6 that are forwarded wait for a second until the bridge's own address is known to be nobody else's.
const NO_DAD: &str = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad";

/// Runs a test on a host of its own; passes over it where nobody may make one.
pub fn on_a_host(test: impl FnOnce(&mut Host) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let mut host = Host::new();
        test(&mut host);
    };
    let done = std::thread::spawn(run).join();
    if let Err(panic) = done {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command and returns what it prints.
pub fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{command}: {}", text(output.stderr));
    text(output.stdout)
}

/// Something that runs until the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace beside the host's, held by a process.
pub struct Place {
    holder: Running,
}

impl Place {
    fn new() -> Self {
        let mut child = Command::new("unshare").args(["-n", "sleep", "300"]).spawn().unwrap();
        let netns = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net")).ok();
        let (ours, began) = (netns("thread-self"), Instant::now());
        while netns(&child.id().to_string()) == ours {
            assert!(began.elapsed() < Duration::from_secs(10) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        let place = Self { holder: Running(child) };
        place.run(&format!("sh -c '{NO_DAD}; ip link set lo up'"));
        place
    }

    fn pid(&self) -> u32 {
        self.holder.0.id()
    }

    fn enter(&self) -> String {
        format!("nsenter -n -t {} ", self.pid())
    }

    /// Runs a command there.
    pub fn run(&self, command: &str) -> String {
        run(&format!("{}{command}", self.enter()))
    }

    /// Runs a command there that says ready, then something else, and returns what the command prints after that.
    pub fn beside(&self, command: &str, then: impl FnOnce()) -> String {
        let command = format!("exec {}{command}", self.enter());
        let child = Command::new("sh").args(["-c", &command]).stdout(Stdio::piped()).spawn().unwrap();
        let mut child = Running(child);
        let mut output = BufReader::new(child.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        then();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        rest
    }

    /// What a server answers to this place: the client's address and the port as it sees them, or `none`.
    pub fn ask(&self, what: &str) -> String {
        ask(&self.enter(), LONG, what)
    }

    /// The same where no answer is expected, and not waited for long.
    pub fn ask_in_vain(&self, what: &str) -> String {
        ask(&self.enter(), SHORT, what)
    }
}

/// How many seconds an answer is waited for: a machine that is busy may take its time, neighbours of IPv6 a second.
const LONG: &str = "10";
const SHORT: &str = "0.5";

fn ask(prefix: &str, patience: &str, what: &str) -> String {
    let command = format!("{prefix}/usr/bin/python3 - ask {patience} {what} <<'END'\n{PYTHON}\nEND");
    run(&command).trim().to_owned()
}

/// The host that a test has for itself.
#[derive(Default)]
pub struct Host {
    pub zones: Vec<Zone>,
    pub endpoints: Vec<Endpoint>,
    pub seen: Option<Seen>,
    /// How often the whole was asked for.
    pub looks: u32,
    running: Vec<Running>,
}

impl Host {
    fn new() -> Self {
        run(
            "ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        run(NO_DAD);
        Self::default()
    }

    /// The world: 192.0.2.2 and 2001:db8::2, behind the host's uplink 192.0.2.1 and 2001:db8::1.
    pub fn world(&self) -> Place {
        let world = Place::new();
        run(&format!(
            "ip link add up0 type veth peer name eth0 netns {}; ip addr add 192.0.2.1/24 dev up0; \
             ip addr add 2001:db8::1/64 dev up0 nodad; ip link set up0 up; ip route add default via 192.0.2.2",
            world.pid()
        ));
        world.run("ip addr add 192.0.2.2/24 dev eth0");
        world.run("ip addr add 2001:db8::2/64 dev eth0 nodad");
        world.run("ip link set eth0 up");
        world
    }

    /// A bridge with 10.N.0.1 and fd00:N::1, and the zone that it is.
    pub fn zone(&mut self, number: u8) -> Zone {
        let name = format!("br{number}");
        run(&format!(
            "ip link add {name} type bridge; ip addr add 10.{number}.0.1/24 dev {name}; \
             ip addr add fd00:{number}::1/64 dev {name} nodad; ip link set {name} up; \
             echo 1 > /proc/sys/net/ipv4/conf/{name}/route_localnet"
        ));
        Zone {
            name: format!("net{number}"),
            interface: name.parse().unwrap(),
            subnets: vec![
                format!("10.{number}.0.0/24").parse().unwrap(),
                format!("fd00:{number}::/64").parse().unwrap(),
            ],
            masquerade: true,
            internal: false,
            isolation: Isolation::None,
        }
    }

    /// A container in a zone with 10.N.0.LAST and fd00:N::LAST, and the endpoint that it is.
    pub fn container(&self, zone: &Zone, last: u8) -> (Place, Endpoint) {
        let place = Place::new();
        let number = zone.interface.as_ref().trim_start_matches("br");
        let end = format!("v{number}x{last}");
        run(&format!(
            "ip link add {end} type veth peer name eth0 netns {}; ip link set {end} master {} up",
            place.pid(),
            zone.interface
        ));
        place.run(&format!("ip addr add 10.{number}.0.{last}/24 dev eth0"));
        place.run(&format!("ip addr add fd00:{number}::{last}/64 dev eth0 nodad"));
        place.run("ip link set eth0 up");
        place.run(&format!("ip route add default via 10.{number}.0.1"));
        place.run(&format!("ip route add default via fd00:{number}::1"));
        let addresses: [IpAddr; 2] =
            [format!("10.{number}.0.{last}").parse().unwrap(), format!("fd00:{number}::{last}").parse().unwrap()];
        let endpoint = Endpoint {
            key: format!("c{number}-{last}:eth0"),
            zone: zone.name.clone(),
            host_end: Some(end.parse().unwrap()),
            addresses: addresses.into(),
            publish: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
        };
        (place, endpoint)
    }

    /// Starts a server: `tcp 80-80`. In a place, or on the host.
    pub fn serve(&mut self, place: Option<&Place>, what: &str) {
        let enter = place.map(|place| format!("nsenter -n -t {} ", place.pid())).unwrap_or_default();
        let words = format!("{enter}/usr/bin/python3 -c SCRIPT serve {what}");
        let mut words = words.split(' ').map(|word| if word == "SCRIPT" { PYTHON } else { word });
        let mut command = Command::new(words.next().unwrap());
        let mut child = command.args(words).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.running.push(Running(child));
        assert_eq!(line, "ready\n");
    }

    /// What a server answers to the host itself.
    pub fn ask(&self, what: &str) -> String {
        ask("", LONG, what)
    }

    /// The same where no answer is expected.
    pub fn ask_in_vain(&self, what: &str) -> String {
        ask("", SHORT, what)
    }

    pub fn wanted(&self) -> Wanted {
        Wanted { zones: self.zones.clone(), endpoints: self.endpoints.clone() }
    }

    /// Attaches as whoever keeps attachments would.
    pub fn try_attach(&mut self, zone: &Zone, endpoint: &Endpoint) -> crate::Result<()> {
        let new = !self.zones.iter().any(|other| other.name == zone.name);
        let (wanted, looks) = (self.wanted(), &mut self.looks);
        let all = || {
            *looks += 1;
            Ok(wanted)
        };
        self.seen = Firewall::open()?.attach(zone, new, endpoint, self.seen.clone(), all)?;
        if new {
            self.zones.push(zone.clone());
        }
        self.endpoints.push(endpoint.clone());
        Ok(())
    }

    pub fn attach(&mut self, zone: &Zone, endpoint: &Endpoint) {
        self.try_attach(zone, endpoint).unwrap();
    }

    pub fn detach(&mut self, endpoint: &Endpoint) {
        self.endpoints.retain(|other| other.key != endpoint.key);
        let last = !self.endpoints.iter().any(|other| other.zone == endpoint.zone);
        let zone = self.zones.iter().find(|zone| last && zone.name == endpoint.zone).cloned();
        let (wanted, looks) = (self.wanted(), &mut self.looks);
        let all = || {
            *looks += 1;
            Ok(wanted)
        };
        self.seen = Firewall::open().unwrap().detach(endpoint, zone.as_ref(), self.seen.clone(), all).unwrap();
        self.zones.retain(|other| zone.as_ref().is_none_or(|zone| zone.name != other.name));
    }
}

/// The whole ruleset as the `nft` program prints it.
pub fn ruleset() -> String {
    run("nft list ruleset")
}
