//! `top` and `capture`: what is seen of a container's use and packets from outside. The host is played by a network namespace
//! of the test's own, from which real packets come; files are read by tcpdump, or by a few lines of python.

#[macro_use]
mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use common::aside::{Aside, installed};
use common::bundle::{drop_namespace, push};
use common::*;

const SIGINT: i32 = 2;

/// A host whose peer1 and peer2 lead to net0 and net1 of a container that runs.
struct Host {
    aside: Aside,
    c: Container,
}

impl Host {
    fn new(c: Container) -> Self {
        let mut host = Self { aside: Aside::new(), c };
        host.sh("ip link set lo up
             ip link add eth1 type veth peer name peer1; ip link add eth2 type veth peer name peer2
             ip address add 192.0.2.1/24 dev eth1; ip address add 2001:db8::1/64 nodad dev eth1
             ip address add 198.51.100.1/24 dev eth2
             ip address add 192.0.2.9/24 dev peer1; ip address add 2001:db8::9/64 nodad dev peer1
             ip address add 198.51.100.9/24 dev peer2
             ip link set peer1 up; ip link set peer2 up");
        host.c.config["linux"]["netDevices"] = json!({"eth1": {"name": "net0"}, "eth2": {"name": "net1"}});
        host.c.save();
        host.runtime(&host.c.words("create", &[])).ok();
        host.runtime(&["start", &host.c.id]).ok();
        host
    }

    fn idle() -> Self {
        Self::new(Container::idle())
    }

    /// A script on the host.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let mut command = self.aside.command(&["sh", "-ec", script]);
        self.c.finish(command.current_dir(&self.c.dir)).ok().to_owned()
    }

    /// The runtime on the host.
    fn command(&self, words: &[&str]) -> Command {
        let (runtime, root) = (binary(), &self.c.root);
        let mut command = self.aside.command(&[runtime.to_str().unwrap(), "--root", root.to_str().unwrap()]);
        command.args(words).current_dir(&self.c.dir);
        command
    }

    #[track_caller]
    fn runtime(&self, words: &[&str]) -> Output {
        self.c.finish(&mut self.command(words))
    }

    /// Starts a capture with these words behind the id, and returns once it listens.
    #[track_caller]
    fn capture(&self, of: &str, words: &[&str]) -> Capturing {
        let id = format!("{}{of}", self.c.id);
        let mut command = self.command(&[&["capture", &id], words].concat());
        let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut said = Lines::of(child.stderr.take().expect("a pipe").into());
        let first = said.line();
        assert!(first.starts_with(&format!("listening on {}:", self.c.id)), "{first}");
        Capturing { child, said }
    }

    /// The path of a file of the test's.
    fn file(&self, name: &str) -> String {
        self.c.dir.join(name).to_str().expect("a text path").to_owned()
    }

    /// What tcpdump says of a file, a line a packet; None where there is no tcpdump.
    #[track_caller]
    fn tcpdump(&self, file: &str) -> Option<Vec<String>> {
        if !installed("tcpdump") {
            return None;
        }
        let path = self.file(file);
        let read = Command::new("tcpdump").args(["-n", "-r"]).arg(path).stdin(Stdio::null()).output().expect("tcpdump");
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let text = String::from_utf8(read.stdout).expect("text");
        // Without the time.
        Some(text.lines().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect())
    }

    /// Interfaces, times in nanoseconds and bytes of the packets of a file, read by the format's description.
    #[track_caller]
    fn blocks(&self, file: &str) -> Value {
        let script = "import struct, sys, json\n\
            data = open(sys.argv[1], 'rb').read(); at = 0; names = []; packets = []; counts = []\n\
            def options(body):\n\
            \x20found = {}\n\
            \x20while len(body) >= 4:\n\
            \x20 code, size = struct.unpack('=HH', body[:4])\n\
            \x20 if code == 0: break\n\
            \x20 found[code] = body[4:4 + size]; body = body[4 + (size + 3) // 4 * 4:]\n\
            \x20return found\n\
            while at < len(data):\n\
            \x20kind, size = struct.unpack('=II', data[at:at + 8])\n\
            \x20assert data[at + size - 4:at + size] == data[at + 4:at + 8], 'a block is cut'\n\
            \x20body = data[at + 8:at + size - 4]; at += size\n\
            \x20if kind == 1:\n\
            \x20 link, _, snap = struct.unpack('=HHI', body[:8]); has = options(body[8:])\n\
            \x20 assert has[9] == b'\\x09'\n\
            \x20 names.append([has[2].decode(), link, snap, has.get(11, b'')[1:].decode()])\n\
            \x20elif kind == 6:\n\
            \x20 number, high, low, size, whole = struct.unpack('=IIIII', body[:20])\n\
            \x20 flags = options(body[20 + (size + 3) // 4 * 4:])[2]\n\
            \x20 packets.append([number, high << 32 | low, size, whole, flags[0] & 3, body[20:20 + size].hex()])\n\
            \x20elif kind == 5:\n\
            \x20 has = options(body[12:]); counts.append([int.from_bytes(has[n], 'little') for n in (6, 7, 8)])\n\
            print(json.dumps([names, packets, counts]))";
        let mut python = Command::new("python3");
        let output = self.c.finish(python.args(["-c", script]).arg(self.file(file)));
        serde_json::from_str(output.ok()).expect("JSON")
    }
}

/// A capture that listens.
struct Capturing {
    child: Child,
    said: Lines,
}

impl Capturing {
    /// Waits for its end; what it said of its counts.
    #[track_caller]
    fn end(&mut self) -> [u64; 3] {
        assert_eq!(wait(&mut self.child, "capture"), 0, "a capture that ends has succeeded");
        ["captured", "received by filter", "dropped by kernel"].map(|what| {
            let line = self.said.line();
            let count = line.strip_suffix(&format!(" packets {what}"));
            count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{what}: {line}"))
        })
    }

    #[track_caller]
    fn signal(&self, signal: i32) {
        common::events::signal(&pidfd(self.child.id() as i32).expect("a child"), signal);
    }

    fn lines(&mut self) -> Lines {
        Lines::of(self.child.stdout.take().expect("a pipe").into())
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_has_both_ways_of_a_ping_as_tcpdump_reads_it() {
    needs_veth!();
    let host = Host::idle();
    let mut capture = host.capture(":net0", &["-w", &host.file("ping.pcapng"), "-c", "4", "icmp"]);
    host.sh("ping -c 2 -i 0.2 -W 20 192.0.2.1");
    assert_eq!(capture.end()[0], 4);
    let blocks = host.blocks("ping.pcapng");
    assert_eq!(blocks[0], json!([["net0", 1, 262_144, "icmp"]]));
    let ways: Vec<_> = blocks[1].as_array().unwrap().iter().map(|packet| packet[4].as_u64().unwrap()).collect();
    assert_eq!(ways, [1, 2, 1, 2], "in and out by turns");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let time = blocks[1][0][1].as_u64().unwrap();
    assert!(time < now && now - time < 600_000_000_000, "{time}, and now is {now}");
    assert_eq!(blocks[2], json!([[4, 0, 4]]), "what was counted is in the file");
    let Some(lines) = host.tcpdump("ping.pcapng") else { skip!("tcpdump is not installed") };
    assert_eq!(lines.len(), 4);
    for (line, (ends, what)) in lines
        .iter()
        .zip([("192.0.2.9 > 192.0.2.1", "echo request"), ("192.0.2.1 > 192.0.2.9", "echo reply")].into_iter().cycle())
    {
        assert!(line.starts_with(&format!("IP {ends}: ICMP {what}")), "{line}");
    }
}

#[test]
fn a_filter_lets_only_its_packets_through_and_lines_read_as_tcpdumps() {
    needs_veth!();
    let host = Host::idle();
    let mut capture = host.capture(":net0", &["-c", "2", "udp port 9 and dst 192.0.2.1 or ip6 proto udp"]);
    host.sh("ping -c 1 -W 20 192.0.2.1
         python3 -c '
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((\"192.0.2.9\", 5000)); s.sendto(b\"hello\", (\"192.0.2.1\", 10)); s.sendto(b\"hello\", (\"192.0.2.1\", 9))
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    s.bind((\"2001:db8::9\", 5000)); s.sendto(b\"\", (\"2001:db8::1\", 9))
'");
    let mut lines = capture.lines();
    let counts = capture.end();
    assert_eq!(counts, [2, 2, 0], "the kernel gave no other packet");
    let line = lines.line();
    let (time, rest) = line.split_once(' ').expect("a time");
    assert!(time.len() == 15 && time.as_bytes()[8] == b'.', "{time}");
    assert_eq!(rest, "IP 192.0.2.9.5000 > 192.0.2.1.9: UDP, length 5");
    assert!(lines.line().ends_with(" IP6 2001:db8::9.5000 > 2001:db8::1.9: UDP, length 0"));
    assert_eq!(lines.next(), None);
}

#[test]
fn without_a_name_it_is_all_interfaces_but_lo_in_the_order_of_time() {
    needs_veth!();
    let host = Host::idle();
    let mut capture = host.capture("", &[&format!("--write={}", host.file("all.pcapng")), "icmp", "and", "inbound"]);
    host.sh("for n in 1 2 3; do ping -c 1 -W 20 192.0.2.1; ping -c 1 -W 20 198.51.100.1; done");
    capture.signal(SIGINT);
    assert_eq!(capture.end()[0], 6);
    let blocks = host.blocks("all.pcapng");
    let names: Vec<_> = blocks[0].as_array().unwrap().iter().map(|interface| interface[0].clone()).collect();
    let number = |name: &str| names.iter().position(|known| known == name).expect("an interface") as u64;
    assert_eq!(names.len(), 2, "{names:?}");
    let packets = blocks[1].as_array().unwrap();
    let of: Vec<_> = packets.iter().map(|packet| packet[0].as_u64().unwrap()).collect();
    assert_eq!(of, [number("net0"), number("net1")].repeat(3));
    assert!(packets.is_sorted_by_key(|packet| packet[1].as_u64()));
}

#[test]
fn an_interrupted_file_is_whole_and_the_interface_is_as_before() {
    needs_veth!();
    let host = Host::idle();
    let promiscuity = || {
        let pid = host.c.pid().to_string();
        host.sh(&format!("nsenter --target {pid} --net ip -d link show net0 | grep -o 'promiscuity [0-9]*'"))
    };
    assert_eq!(promiscuity(), "promiscuity 0");
    let mut capture = host.capture(":net0", &["-w", &host.file("cut.pcapng"), "-s", "34"]);
    assert_eq!(promiscuity(), "promiscuity 1");
    host.sh("ping -f -c 2000 -s 1000 -W 20 192.0.2.1 > /dev/null");
    capture.signal(SIGINT);
    let [captured, received, dropped] = capture.end();
    // What comes between the last look and the count is received and not captured.
    assert!((captured + dropped..captured + dropped + 10).contains(&received), "{captured} {dropped} {received}");
    assert!(captured >= 4000, "{captured}");
    let blocks = host.blocks("cut.pcapng");
    let packets = blocks[1].as_array().unwrap();
    assert_eq!(packets.len() as u64, captured);
    assert!(packets.iter().any(|packet| packet[2] == 34 && packet[3] == 1042), "34 of 1042 bytes are there");
    assert!(packets.iter().all(|packet| packet[2].as_u64().unwrap() <= 34));
    assert_eq!(promiscuity(), "promiscuity 0");
    if let Some(lines) = host.tcpdump("cut.pcapng") {
        assert_eq!(lines.len() as u64, captured);
    }
}

#[test]
fn it_ends_with_the_container() {
    needs_veth!();
    let host = Host::idle();
    let mut capture = host.capture("", &["-w", &host.file("end.pcapng"), "icmp"]);
    host.sh("ping -c 1 -W 20 192.0.2.1");
    host.c.kill("KILL");
    assert_eq!(capture.end()[0], 2);
    assert_eq!(host.blocks("end.pcapng")[1].as_array().unwrap().len(), 2);
    let stopped = host.runtime(&["capture", &host.c.id]);
    stopped.fails(1, &["is not running"]);
}

#[test]
fn a_reader_of_a_pipe_sees_packets_at_once_and_its_end_is_the_captures() {
    needs_veth!();
    let host = Host::idle();
    let mut capture = host.capture(":net0", &["-w", "-", "icmp"]);
    let mut reader = capture.lines();
    // The head of the file, before any packet.
    assert!(readable_within(reader.reader(), LIMIT));
    let mut bytes = vec![0; 65536];
    let mut read = || std::io::Read::read(reader.reader(), &mut bytes).expect("read");
    assert!(read() > 28);
    host.sh("ping -c 1 -W 20 192.0.2.1");
    // A block of 32 bytes around a packet of 98, with its flags.
    assert!(read() >= 32 + 98, "the packets are there while it captures");
    drop(reader);
    assert_eq!(wait(&mut capture.child, "capture"), 0, "without another packet");
}

#[test]
fn a_reader_that_reads_nothing_does_not_keep_it_from_ending() {
    needs_veth!();
    let host = Host::idle();
    let mut capture = host.capture(":net0", &["-w", "-"]);
    let _reader = capture.lines();
    host.sh("ping -f -c 500 -s 1000 -W 20 192.0.2.1 > /dev/null");
    capture.signal(SIGINT);
    assert_eq!(wait(&mut capture.child, "capture"), 0);
}

#[test]
fn a_tag_that_the_kernel_takes_off_is_found_and_put_back() {
    needs_veth!();
    let host = Host::idle();
    let mut capture = host.capture(":net0", &["-w", &host.file("vlan.pcapng"), "-c", "1", "vlan 5 and udp"]);
    host.sh("python3 -c '
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((\"peer1\", 0))
def frame(tag):
    ip = bytes.fromhex(\"4500001c00010000401100000a0000010a000002\")
    return bytes.fromhex(\"ffffffffffff0200000000028100\") + tag.to_bytes(2, \"big\") + b\"\\x08\\x00\" + ip + bytes.fromhex(\"0035000900080000\")
s.send(frame(6)); s.send(frame(0x6005))
'");
    assert_eq!(capture.end(), [1, 1, 0]);
    let packet = host.blocks("vlan.pcapng")[1][0].clone();
    let bytes = packet[5].as_str().unwrap();
    assert!(bytes.starts_with("ffffffffffff02000000000281006005080045"), "{bytes}");
    assert_eq!((&packet[2], &packet[3]), (&json!(46), &json!(46)));
}

#[test]
fn an_interface_without_ethernet_is_captured_on_too() {
    needs_veth!();
    let host = Host::idle();
    if !std::path::Path::new("/dev/net/tun").exists() {
        skip!("this machine has no /dev/net/tun");
    }
    let pid = host.c.pid();
    let script = "import fcntl, os, socket, struct, sys\n\
        tun = os.open('/dev/net/tun', os.O_RDWR)\n\
        fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH14x', b'tun0', 0x1001))\n\
        os.system('ip link set tun0 up; ip address add 10.9.0.1/24 dev tun0')\n\
        print('up', flush=True)\n\
        sys.stdin.readline()\n\
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(b'hello', ('10.9.0.2', 9))\n\
        sys.stdin.read()";
    let words = ["nsenter", "--target", &pid.to_string(), "--net", "python3", "-c", script];
    let mut holder = host.aside.command(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut said = Lines::of(holder.stdout.take().expect("a pipe").into());
    assert_eq!(said.line(), "up");
    let mut capture =
        host.capture(":tun0", &["-w", &host.file("tun.pcapng"), "-c", "1", "udp dst port 9 and not ether multicast"]);
    std::io::Write::write_all(holder.stdin.as_mut().expect("a pipe"), b"\n").expect("write");
    assert_eq!(capture.end()[0], 1);
    drop(holder.stdin.take());
    wait(&mut holder, "python3");
    let blocks = host.blocks("tun.pcapng");
    assert_eq!(blocks[0][0][1], 113, "LINKTYPE_LINUX_SLL");
    let bytes = blocks[1][0][5].as_str().unwrap();
    assert!(
        bytes.starts_with("0004fffe") && bytes[28..].starts_with("080045"),
        "outgoing, of ARPHRD_NONE, IPv4: {bytes}"
    );
    if let Some(lines) = host.tcpdump("tun.pcapng") {
        assert!(lines[0].contains("10.9.0.1") && lines[0].contains("UDP, length 5"), "{lines:?}");
    }
}

#[test]
fn what_cannot_be_captured_is_refused_by_name() {
    needs_veth!();
    let host = Host::idle();
    let id = host.c.id.as_str();
    let of = |interface: &str| format!("{id}:{interface}");
    for (words, says) in [
        (&["capture", "nobody"][..], "container does not exist"),
        (&["capture", &of("eth9")], "there is no interface eth9; there are: "),
        (&["capture", &of("")], "interface name \\\"\\\" is empty"),
        (&["capture", id, "tpc", "port", "80"], "is not known; what is: host, net, "),
        (&["capture", id, "-c", "0"], "--count 0: at least one packet"),
        (&["capture", id, "-c", "x"], "a number from 0 on is needed"),
        (&["capture", id, "-s", "262145"], "at most 262144 bytes are taken"),
        (&["capture", id, "-w", "/nowhere/file"], "create /nowhere/file: no such file or directory"),
    ] {
        host.runtime(words).fails(1, &[says]);
    }
    let bare = Container::idle().with(|config| drop_namespace(config, "network")).up();
    bare.on_id(&["capture"]).fails(1, &["has no interface of its own", "capture there"]);
    let alone = Container::idle().up();
    alone.on_id(&["capture"]).fails(1, &["there is no interface but lo"]);
}

/// The rows that `top` prints as JSON.
#[track_caller]
fn rows(output: &Output) -> Vec<Value> {
    serde_json::from_str(output.ok()).expect("a line of JSON")
}

#[test]
fn top_shows_a_busy_loop_and_what_passes_the_interfaces() {
    needs_veth!();
    let host = Host::new(Container::sh("while :; do :; done").with(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    }));
    let mut top = host.command(&["top", "--once", "--interval", "1.5", "--format", "json"]);
    let (mut lines, writer) = Lines::pipe();
    let mut child = start(top.stdout(writer));
    drop(top);
    host.sh("ping -f -c 200 -s 1000 -W 20 192.0.2.1 > /dev/null; ping -f -c 100 -s 1000 198.51.100.1 > /dev/null");
    let line = lines.line();
    assert_eq!(wait(&mut child, "top"), 0);
    let rows: Vec<Value> = serde_json::from_str(&line).expect("JSON");
    let [row] = rows.as_slice() else { panic!("{line}") };
    assert_eq!((&row["id"], &row["pid"]), (&json!(host.c.id), &json!(host.c.pid())));
    // Others use the machine's processors too.
    let cpu = row["cpuPercent"].as_f64().unwrap();
    assert!(cpu > 5.0 && cpu < 110.0, "{cpu}");
    assert_eq!((&row["memoryLimit"], &row["pids"]), (&json!(64 << 20), &json!(1)));
    let memory = row["memory"].as_u64().unwrap();
    assert!(memory > 0 && memory < 64 << 20, "{memory}");
    // What the interfaces have counted in the end, which the rates do not have to contain.
    let totals: Vec<Value> = {
        let top = host.runtime(&["top", "--once", "--interval", "0.1", "-f", "json", &host.c.id]);
        serde_json::from_str(top.ok()).expect("JSON")
    };
    for way in ["rx", "tx"] {
        let packets = totals[0][way]["packets"].as_u64().unwrap();
        let bytes = totals[0][way]["bytes"].as_u64().unwrap();
        assert!((300..400).contains(&packets) && bytes >= 300 * 1042, "{way}: {packets}, {bytes}");
        assert!(row[way]["bytesPerSecond"].as_f64().unwrap() >= 0.0);
    }
}

#[test]
fn top_prints_tables_sorted_and_leaves_out_who_has_ended() {
    needs_veth!();
    let first = Container::idle().up();
    // A second container of the same root.
    let second = format!("{}2", first.id);
    let bundle = first.dir.join("second");
    common::bundle::make_rootfs(&bundle.join("rootfs"));
    let mut config = first.config.clone();
    config["process"]["args"] = json!(["sh", "-c", "while :; do :; done"]);
    config["linux"]["cgroupsPath"] = json!(format!("{}2", first.config["linux"]["cgroupsPath"].as_str().unwrap()));
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let create = first.runtime(&["create", "--bundle", bundle.to_str().unwrap(), &second]);
    create.ok();
    let names = |output: &Output| -> Vec<String> {
        output.ok().lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let once = |more: &[&str]| first.runtime(&[&["top", "--once", "--interval", "0.3"], more].concat());
    assert_eq!(names(&once(&[])), [first.id.as_str()], "one that was not started does not run");
    first.runtime(&["start", &second]).ok();
    assert_eq!(names(&once(&["--sort", "cpu"])), [second.as_str(), &first.id]);
    assert_eq!(names(&once(&["--sort=name"])), [first.id.as_str(), &second]);
    assert_eq!(names(&once(&[&second])), [second.as_str()]);
    let table = once(&[]);
    let head: Vec<&str> = table.ok().lines().next().unwrap().split_whitespace().take(4).collect();
    assert_eq!(head, ["ID", "CPU", "%", "MEMORY"]);

    // Again and again into a pipe, until all that were named have ended.
    let mut command = first.command(&["top", "--interval", "0.05", "--format", "json", &second]);
    let (mut lines, writer) = Lines::pipe();
    let mut child = start(command.stdout(writer));
    drop(command);
    assert!(lines.line().contains(&second));
    assert!(lines.line().contains(&second));
    first.runtime(&["delete", "--force", &second]).ok();
    lines.until("[]\n");
    assert_eq!(wait(&mut child, "top"), 0, "with nobody left it ends");
    assert_eq!(rows(&once(&["-f", "json"])).len(), 1);
    once(&[&second]).fails(1, &["container does not exist"]);
    first.kill("KILL");
    once(&[&first.id]).fails(1, &["is not running"]);
    assert_eq!(rows(&once(&["-f", "json"])), Vec::<Value>::new());
    once(&["--interval", "0"]).fails(1, &["seconds are needed"]);
    once(&["--sort", "size"]).fails(1, &["--sort takes cpu or mem or pids or rx or tx or name"]);
}

#[test]
fn top_shows_a_dash_where_nothing_is_counted() {
    needs_veth!();
    let c = Container::idle().with(|config| drop_namespace(config, "network")).up();
    let [row] = &rows(&c.runtime(&["top", "--once", "--interval", "0.1", "-f", "json"]))[..] else { panic!() };
    assert_eq!((&row["rx"], &row["tx"]), (&Value::Null, &Value::Null), "these interfaces are the host's");
    let table = c.runtime(&["top", "--once", "--interval", "0.1"]);
    let line = table.ok().lines().nth(1).unwrap();
    assert!(line.ends_with('-') && line.split_whitespace().filter(|word| *word == "-").count() == 8, "{line}");
}

#[test]
fn top_ends_when_nobody_reads_it() {
    needs_veth!();
    let c = Container::idle().up();
    let (mut lines, writer) = Lines::pipe();
    let mut command = c.command(&["top", "--interval", "0.05"]);
    let mut child = start(command.stdout(writer));
    drop(command);
    lines.line();
    drop(lines);
    assert_eq!(wait(&mut child, "top"), 0);
}

/// Whether a terminal reads lines, and shows what is typed.
fn mode(slave: &OwnedFd) -> nix::sys::termios::LocalFlags {
    nix::sys::termios::tcgetattr(slave.as_fd()).expect("tcgetattr").local_flags
}

#[test]
fn at_a_terminal_keys_sort_and_end_it_and_the_terminal_is_as_before() {
    needs_veth!();
    use nix::sys::termios::LocalFlags;
    let c = Container::idle().up();
    for how in ["q", "interrupt", "terminate"] {
        let (master, slave) = common::terminal::pty(10, 60);
        let before = mode(&slave);
        let mut command = c.command(&["top", "--interval", "0.1"]);
        common::terminal::control(&mut command, &slave);
        let mut child = start(&mut command);
        drop(command);
        let mut screen = common::terminal::lines_of(&master);
        screen.until("\u{1b}[?1049h");
        let drawn = screen.until("\u{1b}[J");
        assert!(drawn.contains("CPU %"), "{drawn:?}");
        let row = drawn.split("\r\n").nth(1).unwrap_or_default();
        assert!(row.starts_with(&c.id) && row.trim_end_matches("\u{1b}[K\u{1b}[J").chars().count() <= 60, "{row:?}");
        assert!(!mode(&slave).intersects(LocalFlags::ICANON | LocalFlags::ECHO), "keys come one by one");
        match how {
            "q" => {
                nix::unistd::write(&master, b"n").expect("write");
                screen.until("\u{1b}[J");
                nix::unistd::write(&master, b"q").expect("write");
            }
            "interrupt" => drop(nix::unistd::write(&master, b"\x03").expect("write")),
            _ => common::events::signal(&pidfd(child.id() as i32).expect("a child"), 15),
        }
        screen.until("\u{1b}[?25h\u{1b}[?1049l");
        assert_eq!(wait(&mut child, "top"), 0, "{how}");
        assert_eq!(mode(&slave), before, "{how}");
    }
}

#[test]
fn a_container_of_a_user_namespace_is_seen_from_the_host() {
    needs_veth!();
    let host = Host::new(Container::idle().with(|config| {
        push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    }));
    let mut capture = host.capture(":net0", &["-c", "1", "icmp"]);
    host.sh("ping -c 1 -W 20 192.0.2.1");
    assert_eq!(capture.end()[0], 1);
    let rows = rows(&host.runtime(&["top", "--once", "--interval", "0.1", "-f", "json"]));
    assert!(rows[0]["rx"]["packets"].as_u64().unwrap() >= 1, "{rows:?}");
}
