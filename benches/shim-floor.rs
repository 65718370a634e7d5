//! A shim that does nothing: it answers every call and starts no container. What containerd, its client and the protocol
//! cost is what it costs; `benches/shim` measures it beside real ones. A task whose command is `/bin/true` ends when it is
//! started, as does every exec; others end when they are killed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use nfrun::shim::messages::Timestamp;
use nfrun::shim::messages::task::{DeleteResponse, PidResponse, ProcessRequest, StateResponse, WaitResponse};
use nfrun::shim::messages::ttrpc::{Request, Response};
use nfrun::shim::wire::{Frame, Kind, Parser, frame};
use prost::Message;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let after = |flag: &str| words.iter().position(|word| word == flag).map(|at| words[at + 1].clone());
    let id = after("-id").expect("-id");
    let path = format!("/run/containerd/s/floor-{id}");
    match words.last().map(String::as_str) {
        Some("delete") => {
            let _ = std::fs::remove_file(&path);
            print(&DeleteResponse { pid: 0, exit_status: 137, exited_at: Some(Timestamp::now()) }.encode_to_vec());
        }
        Some("start") => start(&path),
        other => panic!("{other:?}"),
    }
}

fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).expect("stdout");
}

fn start(path: &str) {
    std::fs::create_dir_all("/run/containerd/s").expect("the directory of sockets");
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).expect("listen");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("stdin");
    let is_short = std::fs::read_to_string("config.json").expect("config.json").contains("\"/bin/true\"");
    std::fs::write("address", format!("unix://{path}")).expect("write address");
    if !nfrun::sys::fork().expect("fork") {
        return print(format!("unix://{path}").as_bytes());
    }
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    nix::unistd::dup2_stdin(&null).expect("dup2");
    nix::unistd::dup2_stdout(&null).expect("dup2");
    nix::unistd::dup2_stderr(&null).expect("dup2");
    for socket in listener.incoming().flatten() {
        serve(socket, is_short);
    }
}

#[derive(Default)]
struct Process {
    started: bool,
    ended: bool,
    waiters: Vec<u32>,
}

fn serve(mut socket: UnixStream, is_short: bool) {
    let mut parser = Parser::default();
    let mut processes: BTreeMap<String, Process> = BTreeMap::new();
    let mut buffer = [0; 16384];
    let pid = std::process::id();
    loop {
        let length = socket.read(&mut buffer).unwrap_or(0);
        if length == 0 {
            return;
        }
        parser.feed(&buffer[..length]);
        while let Some(Frame::Whole { stream, message, .. }) = parser.next() {
            let request = Request::decode(message.as_slice()).expect("a request");
            // Those that are no such request have their id under the same number.
            let whose = ProcessRequest::decode(request.payload.as_slice()).unwrap_or_default();
            let is_exec = request.method == "Exec" || !whose.exec_id.is_empty() && request.method != "Create";
            let key = if is_exec { whose.exec_id.clone() } else { String::new() };
            let process = processes.entry(key).or_default();
            let answer = |stream: u32, payload: Vec<u8>, socket: &mut UnixStream| {
                let response = Response { status: None, payload }.encode_to_vec();
                let _ = socket.write_all(&frame(stream, Kind::Response, &response));
            };
            let exit = WaitResponse { exit_status: 0, exited_at: Some(Timestamp::now()) }.encode_to_vec();
            let payload = match request.method.as_str() {
                "Create" => PidResponse { pid }.encode_to_vec(),
                "Start" => {
                    process.started = true;
                    process.ended = is_exec || is_short;
                    PidResponse { pid }.encode_to_vec()
                }
                "Kill" => {
                    process.ended = true;
                    Vec::new()
                }
                "Wait" if !process.ended => {
                    process.waiters.push(stream);
                    continue;
                }
                "Wait" => exit.clone(),
                "State" => {
                    let status = if process.ended { 3 } else { 1 + i32::from(process.started) };
                    StateResponse {
                        id: whose.id.clone(),
                        pid,
                        status,
                        exec_id: whose.exec_id.clone(),
                        ..Default::default()
                    }
                    .encode_to_vec()
                }
                "Delete" => DeleteResponse { pid, exit_status: 0, exited_at: Some(Timestamp::now()) }.encode_to_vec(),
                _ => Vec::new(),
            };
            answer(stream, payload, &mut socket);
            if process.ended {
                for waiter in std::mem::take(&mut process.waiters) {
                    answer(waiter, exit.clone(), &mut socket);
                }
            }
            if request.method == "Shutdown" {
                std::process::exit(0);
            }
        }
    }
}
