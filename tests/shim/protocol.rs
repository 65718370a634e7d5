//! The protocol by itself: how a shim is found, what it says of itself, and what it bears.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nfrun::shim::messages::bootstrap::{BootstrapParams, BootstrapResult, Extension, RuntimeInfo};
use nfrun::shim::messages::options::RuncOptions;
use nfrun::shim::messages::task::{
    ConnectResponse, CreateRequest, DeleteResponse, ExecRequest, StateResponse, UpdateRequest,
};
use nfrun::shim::messages::{Any, Empty};
use nfrun::shim::wire::{Kind, frame};
use prost::Message;

use crate::client::{Place, Said, container, process};
use crate::common::outside::mountinfo;
use crate::common::*;

macro_rules! place {
    () => {{
        needs_shim!();
        Place::new()
    }};
}

#[test]
fn a_containerd_of_2_3_gives_parameters_and_gets_a_result() {
    let place = place!();
    let options = RuncOptions { root: "/run/elsewhere".into(), ..RuncOptions::default() };
    let params = BootstrapParams {
        instance_id: place.c.id.clone(),
        namespace: "test".into(),
        log_level: -4,
        containerd_ttrpc_address: place.containerd(),
        extensions: vec![Extension { value: Some(Any::of("containerd.runc.v1.Options", &options)) }],
        ..BootstrapParams::default()
    };
    let said = place.call(&place.c.bundle, &place.c.id, "start", &params.encode_to_vec());
    let result = BootstrapResult::decode(said.as_slice()).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    assert!(result.address.starts_with("unix:///run/containerd/s/"), "{result:?}");
    // Older ones give options alone, which parse as parameters too.
    let said = place.call(
        &place.c.bundle,
        &place.c.id,
        "start",
        &Any::of("containerd.runc.v1.Options", &options).encode_to_vec(),
    );
    assert_eq!(String::from_utf8(said).unwrap(), result.address);
    let socket = place.aside.command(&["stat", "-c", "%a %F", &result.address["unix://".len()..]]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&socket.stdout), "600 socket\n", "CVE-2020-15257");
    let address = std::fs::read_to_string(place.c.bundle.join("address")).unwrap();
    assert_eq!(address, result.address);
}

#[test]
fn it_tells_what_it_is() {
    let place = place!();
    let said = place.call(&place.c.bundle, "x", "-version", b"");
    assert!(String::from_utf8(said).unwrap().contains(env!("CARGO_PKG_VERSION")));
    let options = Any::of("containerd.runc.v1.Options", &RuncOptions::default());
    let info =
        RuntimeInfo::decode(place.call(&place.c.bundle, "x", "-info", &options.encode_to_vec()).as_slice()).unwrap();
    assert_eq!(info.name, "io.containerd.nfrun.v2");
    assert_eq!(info.options, Some(options));
    let features: Value = serde_json::from_slice(&info.features.unwrap().value).unwrap();
    let own: Value = serde_json::from_str(place.c.runtime(&["features"]).ok()).unwrap();
    assert_eq!(features, own, "as `nfrun features`");
}

#[test]
fn both_versions_of_the_service_are_answered_and_no_other() {
    let place = place!();
    let shim = place.shim();
    let mut client = shim.connect();
    let pid = client.create(&place.c.bundle, &place.c.id, Vec::new());
    for version in [2, 3] {
        client.send(version, "Connect", &container(&place.c.id));
        let answer = ConnectResponse::decode(client.receive().1.unwrap().as_slice()).unwrap();
        assert_eq!((answer.shim_pid as i32, answer.task_pid as i32), (shim.pid, pid));
    }
    client.send(4, "Connect", &container(&place.c.id));
    let code = |answer: Result<Vec<u8>, _>| answer.map_err(|status: nfrun::shim::messages::ttrpc::Status| status.code);
    assert_eq!(code(client.receive().1), Err(12), "unimplemented");
    assert_eq!(code(client.call("Checkpoint", &container(&place.c.id))), Err(12), "unimplemented");
    assert_eq!(code(client.call("State", &process("nosuch"))), Err(5), "not found");
    assert_eq!(code(client.call("Delete", &process("nosuch"))), Err(5), "not found");
    client.ask("Start", &place.c.id);
    assert_eq!(code(client.call("Start", &process(&place.c.id))), Err(9), "not in this state");
    assert_eq!(code(client.call("Delete", &process(&place.c.id))), Err(9), "not in this state");
    client.kill(&place.c.id);
    assert_eq!(client.wait(&place.c.id), 137);
    assert_eq!(code(client.call("Kill", &process(&place.c.id))), Err(5), "as of a process that has ended");
}

#[test]
fn events_are_passed_on_by_a_program_where_no_socket_is_known() {
    let place = place!();
    let (program, log) = (place.c.dir.join("publish"), place.c.dir.join("published"));
    let script = format!("#!/bin/sh\necho \"$*\" >> {}; cat > /dev/null\n", log.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let flags = ["-publish-binary", program.to_str().unwrap()];
    let shim = place.start_with(&place.c.bundle, &place.c.id, &Said { flags: &flags, ..Said::default() });
    let mut client = shim.connect();
    client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    client.kill(&place.c.id);
    client.wait(&place.c.id);
    client.ask("Delete", &place.c.id);
    let lines = || std::fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    eventually("four events are passed on", || lines().len() == 4);
    for (line, topic) in lines().iter().zip(["create", "start", "exit", "delete"]) {
        let address = place.containerd();
        assert_eq!(*line, format!("--address {address} publish --topic /tasks/{topic} --namespace test"));
    }
}

#[test]
fn options_of_runc_are_honoured() {
    let place = place!();
    let cgroup = format!("{}/of-the-shim", place.c.cgroup_parent);
    let hierarchy = if outside::is_v2() { "" } else { "pids" };
    std::fs::create_dir_all(outside::cgroup_dir(hierarchy, &cgroup)).unwrap();
    let options = RuncOptions {
        shim_cgroup: cgroup.clone(),
        io_uid: 1234,
        io_gid: 1235,
        binary_name: "/x".into(),
        ..Default::default()
    };
    let options = Any::of("containerd.runc.v1.Options", &options);
    let stdin = options.encode_to_vec();
    let shim = place.start_with(&place.c.bundle, &place.c.id, &Said { stdin: &stdin, ..Said::default() });
    let cgroups = || std::fs::read_to_string(format!("/proc/{}/cgroup", shim.pid)).unwrap();
    eventually("the shim is in its cgroup", || cgroups().contains(&cgroup));
    let mut client = shim.connect();
    let path = |name: &str| place.c.dir.join(name).to_str().unwrap().to_owned();
    nix::unistd::mkfifo(path("out").as_str(), nix::sys::stat::Mode::from_bits_truncate(0o700)).unwrap();
    let _reader = std::fs::File::options().read(true).write(true).open(path("out")).unwrap();
    let request = CreateRequest {
        id: place.c.id.clone(),
        bundle: place.c.bundle.to_str().unwrap().into(),
        stdout: path("out"),
        options: Some(options),
        ..Default::default()
    };
    client.call("Create", &request).unwrap();
    let owner = std::fs::metadata(path("out")).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (1234, 1235));
    client.ask("Delete", &place.c.id);
}

#[test]
fn a_shim_that_is_asked_to_end_leaves_its_containers_and_no_socket() {
    let place = place!();
    let shim = place.shim();
    let mut client = shim.connect();
    let pid = client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    let (process, container) = (pidfd(shim.pid).unwrap(), pidfd(pid).unwrap());
    events::signal(&process, libc::SIGTERM);
    assert!(ends_within(&process, LIMIT));
    assert!(!readable_within(&container, std::time::Duration::ZERO), "the container runs on");
    let there = place.aside.command(&["test", "-e", shim.address.to_str().unwrap()]).status().unwrap();
    assert!(!there.success(), "its socket is gone");
    let said = place.call(&place.c.bundle, &place.c.id, "delete", b"");
    let said = DeleteResponse::decode(said.as_slice()).unwrap();
    assert_eq!((said.pid as i32, said.exit_status), (pid, 137));
    assert!(ends_within(&container, LIMIT), "as containerd removes what a shim has left");
}

#[test]
fn limits_are_updated() {
    let place = place!();
    let shim = place.shim();
    let mut client = shim.connect();
    let pid = client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    let mut update = |text: &str| {
        let resources = Any { type_url: "x".into(), value: text.as_bytes().to_vec() };
        client.call("Update", &UpdateRequest { id: place.c.id.clone(), resources: Some(resources) })
    };
    update(r#"{"pids": {"limit": 77}}"#).unwrap();
    assert_eq!(outside::limit_of(pid, "pids", "pids.max", "pids.max"), "77");
    assert!(update(r#"{"pids": {"limit": "many"}}"#).unwrap_err().message.contains("pids"));
    client.kill(&place.c.id);
}

#[test]
fn a_hundred_waits_need_no_thread() {
    let place = place!();
    let shim = place.shim();
    let mut client = shim.connect();
    client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    let streams: Vec<_> = (0..100).map(|_| client.send(2, "Wait", &process(&place.c.id))).collect();
    // An answer to something later says that all of them were read.
    let state = client.send(2, "State", &process(&place.c.id));
    assert_eq!(client.receive().0, state);
    eventually("one thread is left", || shim.holdings().1 == 1);
    let mut other = shim.connect();
    other.kill(&place.c.id);
    let mut answered: Vec<_> = streams.iter().map(|_| client.receive().0).collect();
    answered.sort_unstable();
    assert_eq!(answered, streams);
    let deleted = DeleteResponse::decode(client.ask("Delete", &place.c.id).as_slice()).unwrap();
    assert_eq!(deleted.exit_status, 137);
}

#[test]
fn what_systemd_has_said_to_containerd_is_not_for_containers() {
    let place = place!();
    let socket = place.c.dir.join("notify.sock");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_nonblocking(true).unwrap();
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap())];
    let said = Said { variables: &variables, ..Said::default() };
    let shim = place.start_with(&place.c.bundle, &place.c.id, &said);
    let mut client = shim.connect();
    let pid = client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    assert!(!mountinfo(pid).iter().any(|mount| mount.target.contains("notify")), "no socket in the container");
    assert!(manager.recv(&mut [0; 100]).is_err(), "nobody has said anything");
    client.kill(&place.c.id);
}

#[test]
fn stdin_that_is_closed_before_the_start_ends() {
    let place = place!();
    let shim = place.shim();
    let mut client = shim.connect();
    client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    let path = |name: &str| place.c.dir.join(name).to_str().unwrap().to_owned();
    let fifo =
        |name: &str| nix::unistd::mkfifo(path(name).as_str(), nix::sys::stat::Mode::from_bits_truncate(0o700)).unwrap();
    fifo("in");
    fifo("out");
    let both = |name: &str| std::fs::File::options().read(true).write(true).open(path(name)).unwrap();
    let (mut stdin, stdout) = (both("in"), both("out"));
    let mut output = std::io::BufReader::new(std::fs::File::open(path("out")).unwrap());
    stdin.write_all(b"said before\n").unwrap();
    let spec = Any { type_url: "x".into(), value: br#"{"cwd": "/", "args": ["/bin/cat"]}"#.to_vec() };
    let exec = nfrun::shim::messages::task::ProcessRequest { id: place.c.id.clone(), exec_id: "e".into() };
    let request = ExecRequest {
        id: exec.id.clone(),
        exec_id: "e".into(),
        stdin: path("in"),
        stdout: path("out"),
        spec: Some(spec),
        ..ExecRequest::default()
    };
    client.call("Exec", &request).unwrap();
    let close = nfrun::shim::messages::task::CloseIoRequest { id: exec.id.clone(), exec_id: "e".into(), stdin: true };
    client.call("CloseIO", &close).unwrap();
    client.call("Start", &exec).unwrap();
    drop((stdin, stdout));
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert_eq!(said, "said before\n");
    client.call("Wait", &exec).unwrap();
    client.kill(&place.c.id);
}

#[test]
fn an_exec_that_was_never_started_can_be_deleted() {
    let place = place!();
    let shim = place.shim();
    let mut client = shim.connect();
    client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    let spec = Any { type_url: "x".into(), value: br#"{"cwd": "/", "args": ["/nosuch"]}"#.to_vec() };
    let request =
        ExecRequest { id: place.c.id.clone(), exec_id: "e".into(), spec: Some(spec), ..ExecRequest::default() };
    client.call("Exec", &request).unwrap();
    assert!(client.call("Exec", &request).is_err(), "its id is taken");
    let exec = nfrun::shim::messages::task::ProcessRequest { id: place.c.id.clone(), exec_id: "e".into() };
    let state = StateResponse::decode(client.call("State", &exec).unwrap().as_slice()).unwrap();
    assert_eq!((state.status, state.pid, state.exec_id.as_str()), (1, 0, "e"));
    client.call("Delete", &exec).unwrap();
    client.call("Exec", &request).unwrap();
    assert!(client.call("Start", &exec).unwrap_err().message.contains("/nosuch"));
    client.call("Delete", &exec).unwrap();
    assert!(client.call("State", &exec).is_err());
}

/// Numbers that are the same in each run: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

#[test]
fn ten_thousand_bad_requests_leave_it_as_it_was() {
    let place = place!();
    let shim = place.shim();
    let mut client = shim.connect();
    client.create(&place.c.bundle, &place.c.id, Vec::new());
    client.ask("Start", &place.c.id);
    // The thread of the start may still be ending.
    eventually("one thread is left", || shim.holdings().1 == 1);
    let before = shim.holdings();
    let methods = [
        "Create",
        "Start",
        "Delete",
        "Exec",
        "Kill",
        "Pause",
        "Resume",
        "Update",
        "Pids",
        "Stats",
        "State",
        "ResizePty",
        "CloseIO",
        "Connect",
        "Checkpoint",
        "Nosuch",
        "",
    ];
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut good = shim.connect();
    for round in 0..200 {
        let mut bad = shim.connect();
        for _ in 0..50 {
            let mut payload: Vec<u8> = (0..chance.below(40)).map(|_| chance.below(256) as u8).collect();
            // Some are nearly right: about what is there, or is not, out of order.
            if chance.below(3) == 0 {
                let id = if chance.below(2) == 0 { "nosuch" } else { "" };
                payload = process(id).encode_to_vec();
            }
            let request = nfrun::shim::messages::ttrpc::Request {
                service: if chance.below(8) == 0 {
                    "x".into()
                } else {
                    format!("containerd.task.v{}.Task", 2 + chance.below(2))
                },
                method: methods[chance.below(methods.len() as u64) as usize].into(),
                payload,
                timeout_nano: 0,
            };
            let mut bytes = frame(chance.below(1 << 32) as u32, Kind::Request, &request.encode_to_vec());
            match chance.below(6) {
                // A bit that is another, in the header too.
                0 => {
                    let at = chance.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << chance.below(8);
                }
                1 => bytes.truncate(chance.below(bytes.len() as u64) as usize),
                _ => {}
            }
            // It may have closed the connection.
            let _ = bad.socket.write_all(&bytes);
        }
        if round % 2 == 0 {
            let _ = bad.socket.set_nonblocking(true);
            let _ = bad.socket.read(&mut [0; 65536]);
        }
        drop(bad);
        if round % 20 == 0 {
            let state = StateResponse::decode(good.ask("State", &place.c.id).as_slice()).unwrap();
            assert_eq!(state.status, 2, "still running");
        }
    }
    eventually("descriptors and threads are as before", || {
        let (fds, threads) = shim.holdings();
        // The good connection is one more.
        (fds, threads) == (before.0 + 1, before.1)
    });
    let _ = Empty {};
    good.kill(&place.c.id);
    assert_eq!(good.wait(&place.c.id), 137);
}
