//! A client of ours, which speaks ttrpc by itself: for what `ctr` does not ask.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nfrun::shim::messages::task::{
    ContainerRequest, CreateRequest, KillRequest, Mount, PidResponse, ProcessRequest, WaitResponse,
};
use nfrun::shim::messages::ttrpc::{Request, Response, Status};
use nfrun::shim::wire::{Frame, Kind, Parser, frame};
use prost::Message;

use crate::common::aside::Aside;
use crate::common::containerd::shim;
use crate::common::*;

/// A place for shims without a containerd: namespaces of its own, and a bundle that is ready.
pub struct Place {
    pub c: Container,
    pub aside: Aside,
}

/// What containerd says to `start` beside the container and its own address.
#[derive(Default)]
pub struct Said<'a> {
    pub stdin: &'a [u8],
    pub variables: &'a [(&'a str, &'a str)],
    pub flags: &'a [&'a str],
}

/// A shim that listens.
pub struct Shim {
    pub address: PathBuf,
    pub pid: i32,
}

impl Place {
    pub fn new() -> Self {
        let c = Container::idle();
        c.save();
        Self { c, aside: Aside::new() }
    }

    /// `start` for a container that is the first of its group.
    pub fn start(&self, dir: &Path, id: &str) -> Shim {
        self.start_with(dir, id, &Said::default())
    }

    /// The same with what containerd says beside it.
    pub fn start_with(&self, dir: &Path, id: &str, said: &Said) -> Shim {
        let before = self.all();
        let address = address(self.call_with(dir, id, "start", said));
        let new: Vec<_> = self.all().into_iter().filter(|pid| !before.contains(pid)).collect();
        let [pid] = new[..] else { panic!("one more shim: {new:?}") };
        Shim { address, pid }
    }

    /// That of the place's own bundle.
    pub fn shim(&self) -> Shim {
        self.start(&self.c.bundle, &self.c.id)
    }

    /// Calls the shim as containerd does, with this on stdin; what it prints.
    pub fn call(&self, dir: &Path, id: &str, action: &str, stdin: &[u8]) -> Vec<u8> {
        self.call_with(dir, id, action, &Said { stdin, ..Said::default() })
    }

    fn call_with(&self, dir: &Path, id: &str, action: &str, said: &Said) -> Vec<u8> {
        let address = self.containerd();
        let words = [&["-namespace", "test", "-address", &address, "-id", id][..], said.flags, &[action]].concat();
        // Who enters a mount namespace stands at its root.
        let (shim, enter) = (shim(), format!("cd {} && exec \"$0\" \"$@\"", dir.display()));
        let mut command = self.aside.command(&["sh", "-c", &enter, shim.to_str().unwrap()]);
        command
            .args(words)
            .envs(said.variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the shim");
        child.stdin.take().unwrap().write_all(said.stdin).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            output.stderr.is_empty(),
            "containerd reads both as one: {:?}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// The address of a containerd that is not there: it makes this test's shims known from others'.
    pub fn containerd(&self) -> String {
        format!("{}/no-containerd.sock", self.c.dir.display())
    }

    pub fn call_start(&self, dir: &Path, id: &str) -> PathBuf {
        address(self.call(dir, id, "start", b""))
    }

    /// All shims of this test.
    pub fn all(&self) -> Vec<i32> {
        let address = self.containerd();
        let is_ours = |pid: &i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains("containerd-shim-nfrun-v2") && line.contains(&address)
        };
        outside::all_pids().into_iter().filter(is_ours).collect()
    }
}

impl Shim {
    pub fn connect(&self) -> Client {
        // The socket is in the namespaces' /run.
        let path = format!("/proc/{}/root{}", self.pid, self.address.display());
        let socket = UnixStream::connect(path).expect("connect to the shim");
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Client { socket, parser: Parser::default(), last: 0 }
    }

    /// How many descriptors and threads it has.
    pub fn holdings(&self) -> (usize, usize) {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", self.pid)).map_or(0, Iterator::count);
        (count("fd"), count("task"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.all() {
            if let Some(fd) = pidfd(pid) {
                events::signal(&fd, libc::SIGKILL);
                ends_within(&fd, LIMIT);
            }
        }
        let (binary, root) = (binary(), "/run/containerd/nfrun/test");
        for id in
            self.aside.command(&["ls", root]).output().map(|ls| ls.stdout).unwrap_or_default().split(|b| *b == b'\n')
        {
            if !id.is_empty() {
                let id = String::from_utf8_lossy(id).into_owned();
                let words = [binary.to_str().unwrap(), "--root", root, "delete", "--force", &id];
                let _ = self.aside.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status();
            }
        }
    }
}

/// A connection.
pub struct Client {
    pub socket: UnixStream,
    parser: Parser,
    last: u32,
}

impl Client {
    /// Sends a request; its stream.
    pub fn send(&mut self, version: u8, method: &str, message: &impl Message) -> u32 {
        let stream = self.last * 2 + 1;
        self.last += 1;
        let request = Request {
            service: format!("containerd.task.v{version}.Task"),
            method: method.into(),
            payload: message.encode_to_vec(),
            timeout_nano: 0,
        };
        self.socket.write_all(&frame(stream, Kind::Request, &request.encode_to_vec())).unwrap();
        stream
    }

    /// The next answer, and its stream.
    pub fn receive(&mut self) -> (u32, Result<Vec<u8>, Status>) {
        let mut buffer = [0; 4096];
        loop {
            if let Some(Frame::Whole { stream, kind, message }) = self.parser.next() {
                assert_eq!(kind, Kind::Response as u8);
                let response = Response::decode(message.as_slice()).unwrap();
                return (stream, response.status.filter(|status| status.code != 0).map_or(Ok(response.payload), Err));
            }
            let length = self.socket.read(&mut buffer).expect("an answer");
            assert!(length > 0, "the shim has closed the connection");
            self.parser.feed(&buffer[..length]);
        }
    }

    /// A request and its answer.
    pub fn call(&mut self, method: &str, message: &impl Message) -> Result<Vec<u8>, Status> {
        let stream = self.send(3, method, message);
        let (its, answer) = self.receive();
        assert_eq!(its, stream);
        answer
    }

    #[track_caller]
    pub fn create(&mut self, bundle: &Path, id: &str, rootfs: Vec<Mount>) -> i32 {
        let bundle = bundle.to_str().unwrap().to_owned();
        let request = CreateRequest { id: id.into(), bundle, rootfs, ..CreateRequest::default() };
        let answer = self.call("Create", &request).unwrap();
        PidResponse::decode(answer.as_slice()).unwrap().pid as i32
    }

    #[track_caller]
    pub fn ask(&mut self, method: &str, id: &str) -> Vec<u8> {
        self.call(method, &process(id)).unwrap_or_else(|status| panic!("{method} {id}: {status:?}"))
    }

    #[track_caller]
    pub fn kill(&mut self, id: &str) {
        let request = KillRequest { id: id.into(), signal: libc::SIGKILL as u32, ..KillRequest::default() };
        self.call("Kill", &request).unwrap();
    }

    #[track_caller]
    pub fn wait(&mut self, id: &str) -> u32 {
        WaitResponse::decode(self.ask("Wait", id).as_slice()).unwrap().exit_status
    }
}

/// What `start` has printed.
fn address(said: Vec<u8>) -> PathBuf {
    let said = String::from_utf8(said).unwrap();
    said.strip_prefix("unix://").unwrap_or_else(|| panic!("an address: {said:?}")).into()
}

/// A request about a container's first process.
pub fn process(id: &str) -> ProcessRequest {
    ProcessRequest { id: id.into(), exec_id: String::new() }
}

/// A request about a container.
pub fn container(id: &str) -> ContainerRequest {
    ContainerRequest { id: id.into() }
}
