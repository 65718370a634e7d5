//! A host of the test's own: a network namespace and an empty /run, with named networks, and containers that are connected.

use std::cell::RefCell;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::aside::Aside;
use super::{Container, Output, Value, binary};

/// The host. Its containers are deleted with it.
pub struct Host {
    pub aside: Aside,
    /// Whose directory and state root all containers share.
    pub c: Container,
    bundles: RefCell<Vec<Container>>,
    servers: RefCell<Vec<Child>>,
}

impl Host {
    pub fn new() -> Self {
        let host =
            Self { aside: Aside::new(), c: Container::idle(), bundles: Vec::new().into(), servers: Vec::new().into() };
        host.sh("ip link set lo up");
        host
    }

    pub fn config(&self) -> PathBuf {
        self.c.dir.join("networks")
    }

    /// The words of a command of the runtime's.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        self.words_with(self.config().to_str().expect("a text path"), words)
    }

    /// The same with other definitions of networks.
    pub fn words_with(&self, config: &str, words: &[&str]) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().expect("a text path").to_owned();
        let root = text(self.c.root.clone());
        let own = [text(binary()), "--root".into(), root, "--network-config-dir".into(), config.to_owned()];
        own.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    pub fn command(&self, words: &[&str]) -> Command {
        self.aside.command(&self.words(words).iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    pub fn nfrun(&self, words: &[&str]) -> Output {
        self.c.finish(&mut self.command(words))
    }

    #[track_caller]
    pub fn network(&self, words: &[&str]) -> Output {
        self.nfrun(&[&["network"], words].concat())
    }

    /// `network create`, which has to succeed; the name.
    #[track_caller]
    pub fn make(&self, words: &[&str]) -> String {
        self.network(&[&["create"], words].concat()).ok().to_owned()
    }

    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let text = self.network(&["inspect", name]);
        let all: Value = serde_json::from_str(text.ok()).expect("JSON");
        all[0].clone()
    }

    /// A script on the host.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.c.finish(&mut self.aside.command(&["sh", "-ec", script])).ok().to_owned()
    }

    /// The same, where failing is an answer.
    #[track_caller]
    pub fn try_sh(&self, script: &str) -> Output {
        self.c.finish(&mut self.aside.command(&["sh", "-ec", script]))
    }

    /// A bundle that runs a script, with what is edited of it.
    pub fn bundle(&self, script: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
        let c = Container::sh(script).with(|config| {
            for set in ["bounding", "effective", "permitted"] {
                super::bundle::push(&mut config["process"]["capabilities"][set], "CAP_NET_RAW".into());
                super::bundle::push(&mut config["process"]["capabilities"][set], "CAP_NET_ADMIN".into());
            }
            edit(config);
        });
        let path = c.bundle.clone();
        self.bundles.borrow_mut().push(c);
        path
    }

    /// Runs a container that stays, with these flags.
    #[track_caller]
    pub fn try_run(&self, id: &str, flags: &[&str]) -> Output {
        let bundle = self.bundle("sleep 1000", |_| {});
        self.try_run_bundle(&bundle, id, flags)
    }

    #[track_caller]
    pub fn try_run_bundle(&self, bundle: &std::path::Path, id: &str, flags: &[&str]) -> Output {
        let bundle = bundle.to_str().expect("a text path");
        self.nfrun(&[&["run", "--detach", "--bundle", bundle], flags, &[id]].concat())
    }

    #[track_caller]
    pub fn run(&self, id: &str, flags: &[&str]) {
        self.try_run(id, flags).ok();
    }

    /// A script in a container.
    #[track_caller]
    pub fn exec(&self, id: &str, script: &str) -> Output {
        self.nfrun(&["exec", id, "sh", "-c", script])
    }

    #[track_caller]
    pub fn delete(&self, id: &str) {
        self.nfrun(&["delete", "--force", id]).ok();
    }

    /// A namespace beyond the host, which leads to it by 192.0.2.0/24 (the host is .1, it is .2) and 2001:db8::/64.
    pub fn outside(&self) {
        self.sh("mkdir -p /run/netns
             ip netns add outside
             ip link add up0 type veth peer name eth0 netns outside
             ip addr add 192.0.2.1/24 dev up0
             ip addr add 2001:db8::1/64 dev up0 nodad
             ip link set up0 up
             ip -n outside addr add 192.0.2.2/24 dev eth0
             ip -n outside addr add 2001:db8::2/64 dev eth0 nodad
             ip -n outside link set lo up
             ip -n outside link set eth0 up
             ip route add default via 192.0.2.2
             ip -6 route add default via 2001:db8::2");
    }

    /// A server in a container's network namespace, or beyond the host (`outside`), that tells each client the address
    /// that it sees; it is there when this returns.
    pub fn serve(&self, place: &str, protocol: &str, port: u16) {
        const SERVER: &str = r#"
import socket, sys
kind, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(('::', port))
if kind == 'tcp': s.listen(50)
print('ready', flush=True)
while True:
    if kind == 'tcp':
        c, peer = s.accept(); c.sendall(peer[0].replace('::ffff:', '').encode()); c.close()
    else:
        _, peer = s.recvfrom(100); s.sendto(peer[0].replace('::ffff:', '').encode(), peer)
"#;
        let port = port.to_string();
        let mut words = self.inside(place);
        words.extend(["python3", "-c", SERVER, protocol, &port].map(str::to_owned));
        let mut command = self.aside.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start a server");
        let said = super::readable_within(child.stdout.as_ref().expect("a pipe"), super::LIMIT);
        assert!(said, "the server is not ready");
        let mut ready = [0; 6];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("the server's word");
        self.servers.borrow_mut().push(child);
    }

    /// Ends the servers, which hold the namespaces that they are in.
    pub fn stop_servers(&self) {
        for mut server in self.servers.borrow_mut().drain(..) {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// What a server answers to a client somewhere; None where nothing comes.
    #[track_caller]
    pub fn ask(&self, place: &str, protocol: &str, address: &str, port: u16) -> Option<String> {
        const CLIENT: &str = r#"
import socket, sys
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(1.5)
try:
    s.connect((address, port))
    if kind == 'udp': s.send(b'x')
    print(s.recv(100).decode())
except OSError as e: print('none', e)
"#;
        let port = port.to_string();
        let mut words = self.inside(place);
        words.extend(["python3", "-c", CLIENT, protocol, address, &port].map(str::to_owned));
        let output = self.c.finish(&mut self.aside.command(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        let answer = output.ok().to_owned();
        (!answer.starts_with("none")).then_some(answer)
    }

    /// The words that go to a container's network namespace with the host's programs; or beyond the host, or nowhere.
    fn inside(&self, place: &str) -> Vec<String> {
        let words: Vec<&str> = match place {
            "host" => Vec::new(),
            "outside" => vec!["ip", "netns", "exec", "outside"],
            id => return vec!["nsenter".into(), "--net".into(), "--target".into(), self.pid(id).to_string()],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// A container's first process.
    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        let state = self.nfrun(&["state", id]);
        let state: Value = serde_json::from_str(state.ok()).expect("JSON");
        state["pid"].as_i64().expect("a pid") as i32
    }

    /// Waits until networking has left nothing on the host; what a namespace had goes some milliseconds after it.
    #[track_caller]
    pub fn is_as_before(&self, before: &str) {
        let end = std::time::Instant::now() + super::LIMIT;
        loop {
            let now = self.traces();
            if now == before {
                return;
            }
            assert!(std::time::Instant::now() < end, "before:\n{before}\nnow:\n{now}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What networking has on the host: interfaces (but those that are going), the packet filter, and files.
    pub fn traces(&self) -> String {
        self.sh("ip -o link | sed 's/^[0-9]*: //; s/[@:].*//' | sort
                 nft list tables
                 cd /run && find nfrun-networks -mindepth 1 ! -name .filter 2>/dev/null | sort || true")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop_servers();
        let listed = self.command(&["list", "--quiet"]).output();
        for id in listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned()).unwrap_or_default().lines()
        {
            let _ = self.command(&["delete", "--force", id]).output();
        }
    }
}
