//! The task service, versions 2 and 3: a method a function. What the shim knows is answered at once; what the library has to
//! do is done in a thread, and answered then.

use prost::Message;

use super::failure::{Code, Failure};
use super::jobs::Finish;
use super::making::{Made, Making};
use super::messages::events::{TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskIo, TaskNotice, TaskStart};
use super::messages::task::{
    CloseIoRequest, ConnectResponse, ContainerRequest, CreateRequest, DeleteResponse, ExecRequest, KillRequest,
    PidResponse, PidsResponse, ProcessDetails, ProcessInfo, ProcessRequest, ResizeRequest, StateResponse,
    StatsResponse, UpdateRequest,
};
use super::messages::ttrpc::Request;
use super::messages::{Any, Empty, Timestamp};
use super::options::Options;
use super::server::Server;
use super::stdio::Streams;
use super::tasks::{Call, Phase, Process, Task};
use super::{metrics, rootfs};
use crate::container::{self, Changes, ContainerId};
use crate::sys::spawn::Spawned;
use crate::{Error, Kind};

/// An answer now, or, None, once the work is done.
type Answer = Result<Option<Vec<u8>>, Failure>;

/// How long a reader may take over what a terminal has printed, once its process is deleted.
const LAST_READS: std::time::Duration = std::time::Duration::from_secs(10);

impl Server {
    /// Answers a request, or sees to it that it is answered.
    pub fn serve(&mut self, call: Call, request: &Request) {
        if !matches!(request.service.as_str(), "containerd.task.v2.Task" | "containerd.task.v3.Task") {
            let words = format!("service {}", request.service);
            return self.answer(call, Err(Failure::new(Code::Unimplemented, words)));
        }
        match self.call(call, &request.method, &request.payload) {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer(call, Ok(answer)),
            Err(failure) => self.answer(call, Err(failure)),
        }
    }

    fn call(&mut self, call: Call, method: &str, payload: &[u8]) -> Answer {
        match method {
            "Create" => self.create(call, decode(payload)?),
            "Start" => self.start(call, &decode(payload)?),
            "Delete" => self.delete(call, &decode(payload)?),
            "Exec" => self.exec(decode(payload)?),
            "Kill" => self.kill(call, &decode(payload)?),
            "Pause" => self.pause(call, &decode(payload)?, true),
            "Resume" => self.pause(call, &decode(payload)?, false),
            "Update" => self.update(call, decode(payload)?),
            "Pids" => self.pids(call, &decode(payload)?),
            "Stats" => self.stats(call, &decode(payload)?),
            "State" => self.state(&decode(payload)?),
            "Wait" => self.wait_for(call, &decode(payload)?),
            "ResizePty" => self.resize(&decode(payload)?),
            "CloseIO" => self.close_io(&decode(payload)?),
            "Connect" => self.connect(&decode(payload)?),
            "Shutdown" => self.shutdown(),
            "Checkpoint" => Err(Failure::new(Code::Unimplemented, "nfrun makes no checkpoints")),
            _ => Err(Failure::new(Code::Unimplemented, format!("method {method}"))),
        }
    }

    fn create(&mut self, call: Call, request: CreateRequest) -> Answer {
        let failed = |failure: Failure| failure.during("OCI runtime create failed");
        if !request.checkpoint.is_empty() {
            return Err(failed(Failure::new(Code::Unimplemented, "nfrun restores no checkpoints")));
        }
        let id: ContainerId = request.id.parse().map_err(|error: Error| failed(error.into()))?;
        if self.tasks.0.contains_key(&request.id) {
            return Err(failed(Failure::new(Code::AlreadyExists, format!("container {id} exists"))));
        }
        let options = Options::of(request.options.as_ref()).map_err(|error| failed(error.into()))?;
        options.note();
        let globals = options.globals(&self.namespace);
        let io = TaskIo {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let key = self.new_key();
        let task = Task {
            id: id.clone(),
            bundle: request.bundle.clone().into(),
            options: options.clone(),
            globals: globals.clone(),
            ends_with_init: true,
            paused: false,
            is_being_deleted: false,
            oom: None,
            init: Process::new(key, Phase::Making, io.clone(), String::new()),
            execs: Default::default(),
        };
        self.tasks.0.insert(request.id.clone(), task);
        let namespace = self.namespace.clone();
        self.jobs.run(move || {
            let made = Making { id: &id, globals: &globals, options: &options, namespace: &namespace, io: &io }
                .create(&request);
            Box::new(move |server| {
                let answer = server.created(&request, io, made).map_err(failed);
                server.answer(call, answer);
            })
        });
        Ok(None)
    }

    fn created(&mut self, request: &CreateRequest, io: TaskIo, made: crate::Result<Made>) -> Result<Vec<u8>, Failure> {
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                if let Some(task) = self.tasks.0.remove(&request.id) {
                    self.deleted(task.init);
                }
                return Err(error.into());
            }
        };
        let task = self.tasks.get(&request.id)?;
        task.ends_with_init = made.ends_with_init;
        task.oom = made.oom;
        let key = task.init.key;
        let pid = task.init.begin(made.process, made.streams, Phase::Created);
        self.relays.extend(made.relay.map(|relay| (key, relay)));
        let event = TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: Some(io),
            pid,
        };
        self.publisher.publish("/tasks/create", Any::of("containerd.events.TaskCreate", &event));
        Ok(PidResponse { pid }.encode_to_vec())
    }

    fn start(&mut self, call: Call, request: &ProcessRequest) -> Answer {
        if request.exec_id.is_empty() { self.start_init(call, request) } else { self.start_exec(call, request) }
    }

    fn start_init(&mut self, call: Call, request: &ProcessRequest) -> Answer {
        let task = self.tasks.get(&request.id)?;
        task.init.phase = match task.init.phase {
            Phase::Created => Phase::Starting,
            Phase::Stopped => return Err(wrong_state("the container has ended")),
            _ => return Err(wrong_state("the container is being made, or runs already")),
        };
        let (globals, id) = (task.globals.clone(), task.id.clone());
        self.jobs.run(move || {
            let started = container::start(&globals, &id);
            Box::new(move |server| {
                let answer = server.started(id.as_str(), started);
                server.answer(call, answer);
            })
        });
        Ok(None)
    }

    fn started(&mut self, id: &str, started: crate::Result<()>) -> Result<Vec<u8>, Failure> {
        let init = &mut self.tasks.get(id)?.init;
        // What ended meanwhile, or because the start failed, is seen from here on.
        init.phase = if started.is_ok() { Phase::Running } else { Phase::Created };
        let pid = init.pid as u32;
        started.map_err(|error| Failure::from(error).during("OCI runtime start failed"))?;
        let event = TaskStart { container_id: id.to_owned(), pid };
        self.publisher.publish("/tasks/start", Any::of("containerd.events.TaskStart", &event));
        Ok(PidResponse { pid }.encode_to_vec())
    }

    fn exec(&mut self, request: ExecRequest) -> Answer {
        let key = self.new_key();
        let task = self.tasks.get(&request.id)?;
        if request.exec_id.is_empty() {
            return Err(Failure::new(Code::InvalidArgument, "exec_id is empty"));
        }
        if task.init.phase == Phase::Stopped {
            return Err(wrong_state("cannot exec in a stopped container"));
        }
        if request.exec_id == request.id || task.execs.contains_key(&request.exec_id) {
            return Err(Failure::new(Code::AlreadyExists, format!("id {}", request.exec_id)));
        }
        let document = document(request.spec, request.terminal)?;
        let io =
            TaskIo { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
        task.execs.insert(request.exec_id.clone(), Process::new(key, Phase::Added, io, document));
        let event = TaskExecAdded { container_id: request.id, exec_id: request.exec_id };
        self.publisher.publish("/tasks/exec-added", Any::of("containerd.events.TaskExecAdded", &event));
        done()
    }

    fn start_exec(&mut self, call: Call, request: &ProcessRequest) -> Answer {
        let namespace = self.namespace.clone();
        let task = self.tasks.get(&request.id)?;
        let (id, globals, options) = (task.id.clone(), task.globals.clone(), task.options.clone());
        let process = task.process(&request.exec_id)?;
        if process.phase != Phase::Added {
            return Err(wrong_state("the process has been started"));
        }
        process.phase = Phase::Starting;
        let (io, document) = (process.io.clone(), process.document.clone());
        let exec_id = request.exec_id.clone();
        self.jobs.run(move || {
            let made =
                Making { id: &id, globals: &globals, options: &options, namespace: &namespace, io: &io }.exec(document);
            Box::new(move |server| {
                let answer = server.exec_started(id.as_str(), exec_id, made);
                server.answer(call, answer);
            })
        });
        Ok(None)
    }

    fn exec_started(&mut self, id: &str, exec_id: String, made: crate::Result<Made>) -> Result<Vec<u8>, Failure> {
        let process = self.tasks.get(id)?.process(&exec_id)?;
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                // As one that could not be found: runc's shim gives it this status.
                process.phase = Phase::Stopped;
                process.exit = Some(super::tasks::Exit { status: 255, at: Timestamp::now(), is_told: true });
                let waiters = std::mem::take(&mut process.waiters);
                let response = process.wait_response().map(|response| response.encode_to_vec()).unwrap_or_default();
                for waiter in waiters {
                    self.answer(waiter, Ok(response.clone()));
                }
                return Err(Failure::from(error).during("OCI runtime exec failed: exec failed"));
            }
        };
        let key = process.key;
        let pid = process.begin(made.process, made.streams, Phase::Running);
        self.relays.extend(made.relay.map(|relay| (key, relay)));
        let event = TaskExecStarted { container_id: id.to_owned(), exec_id, pid };
        self.publisher.publish("/tasks/exec-started", Any::of("containerd.events.TaskExecStarted", &event));
        Ok(PidResponse { pid }.encode_to_vec())
    }

    fn delete(&mut self, call: Call, request: &ProcessRequest) -> Answer {
        let task = self.tasks.get(&request.id)?;
        let process = task.process(&request.exec_id)?;
        if matches!(process.phase, Phase::Making | Phase::Starting | Phase::Running) {
            return Err(wrong_state("cannot delete a running process"));
        }
        let key = process.key;
        if process.unread.is_some() {
            self.give_up_output(key);
        }
        let task = self.tasks.get(&request.id)?;
        if !request.exec_id.is_empty() {
            let process = task.execs.remove(&request.exec_id);
            return Ok(process.map(|process| self.deleted(process).encode_to_vec()));
        }
        if task.is_being_deleted {
            return Err(wrong_state("the container is being deleted"));
        }
        task.is_being_deleted = true;
        let (globals, id, bundle) = (task.globals.clone(), task.id.clone(), task.bundle.clone());
        self.jobs.run(move || {
            let deleted = container::delete(&globals, &id, true);
            rootfs::unmount(&bundle);
            Box::new(move |server| {
                let answer = server.task_deleted(id.as_str(), deleted);
                server.answer(call, answer);
            })
        });
        Ok(None)
    }

    fn task_deleted(&mut self, id: &str, deleted: crate::Result<()>) -> Result<Vec<u8>, Failure> {
        let task = self.tasks.get(id)?;
        if let Err(error) = deleted {
            task.is_being_deleted = false;
            return Err(Failure::from(error).during("OCI runtime delete failed"));
        }
        // One that was never started was ended by the delete.
        let key = task.init.key;
        self.ended(key);
        self.give_up_output(key);
        let Some(task) = self.tasks.0.remove(id) else { return Err(Failure::not_found(id)) };
        for process in task.execs.into_values() {
            self.deleted(process);
        }
        let response = self.deleted(task.init);
        let event = TaskDelete {
            container_id: id.to_owned(),
            pid: response.pid,
            exit_status: response.exit_status,
            exited_at: response.exited_at,
        };
        self.publisher.publish("/tasks/delete", Any::of("containerd.events.TaskDelete", &event));
        Ok(response.encode_to_vec())
    }

    /// What is to be said of a process that is forgotten.
    fn deleted(&mut self, process: Process) -> DeleteResponse {
        if let Some(relay) = self.relays.get_mut(&process.key) {
            relay.deadline = Some(std::time::Instant::now() + LAST_READS);
        }
        for waiter in &process.waiters {
            self.answer(*waiter, Err(Failure::not_found("process")));
        }
        DeleteResponse {
            pid: process.pid as u32,
            exit_status: process.exit.map_or(0, |exit| exit.status),
            exited_at: process.exit.map(|exit| exit.at),
        }
    }

    fn kill(&mut self, call: Call, request: &KillRequest) -> Answer {
        let signal = request.signal as i32;
        let task = self.tasks.get(&request.id)?;
        let (globals, id) = (task.globals.clone(), task.id.clone());
        let process = task.process(&request.exec_id)?;
        match process.phase {
            Phase::Stopped => return Err(Failure::not_found("process already finished")),
            Phase::Added | Phase::Making => return Err(wrong_state("the process has not been started")),
            _ => {}
        }
        if !request.exec_id.is_empty() {
            use std::os::fd::AsFd;
            // One that is being started is not known yet.
            let Some(pidfd) = &process.pidfd else { return Err(wrong_state("the process is being started")) };
            return match crate::sys::pidfd::signal(pidfd.as_fd(), signal) {
                Ok(()) => done(),
                Err(nix::errno::Errno::ESRCH) => Err(Failure::not_found("process already finished")),
                Err(errno) => Err(Error::from(errno).context(format!("send signal {signal}")).into()),
            };
        }
        let all = request.all;
        self.jobs.run_at_once(move || {
            let killed = container::kill(&globals, &id, signal, all);
            answer_with(
                call,
                killed.map(|()| Vec::new()).map_err(|error| match error.kind() {
                    // Clients hold a process that is not to be found for ended.
                    Kind::WrongState => Failure::from(error).under(Code::NotFound),
                    _ => error.into(),
                }),
            )
        });
        Ok(None)
    }

    fn pause(&mut self, call: Call, request: &ContainerRequest, freeze: bool) -> Answer {
        let task = self.tasks.get(&request.id)?;
        let (globals, id) = (task.globals.clone(), task.id.clone());
        self.jobs.run(move || {
            let done = if freeze { container::pause(&globals, &id) } else { container::resume(&globals, &id) };
            Box::new(move |server| {
                let answer = server.paused(id.as_str(), freeze, done);
                server.answer(call, answer);
            })
        });
        Ok(None)
    }

    fn paused(&mut self, id: &str, freeze: bool, done: crate::Result<()>) -> Result<Vec<u8>, Failure> {
        let words = if freeze { "OCI runtime pause failed" } else { "OCI runtime resume failed" };
        done.map_err(|error| Failure::from(error).during(words))?;
        self.tasks.get(id)?.paused = freeze;
        let (topic, name) = match freeze {
            true => ("/tasks/paused", "containerd.events.TaskPaused"),
            false => ("/tasks/resumed", "containerd.events.TaskResumed"),
        };
        self.publisher.publish(topic, Any::of(name, &TaskNotice { container_id: id.to_owned() }));
        Ok(Vec::new())
    }

    fn update(&mut self, call: Call, request: UpdateRequest) -> Answer {
        let task = self.tasks.get(&request.id)?;
        let (globals, id) = (task.globals.clone(), task.id.clone());
        let resources = request.resources.map(|any| String::from_utf8_lossy(&any.value).into_owned());
        let resources = resources.ok_or_else(|| Failure::new(Code::InvalidArgument, "resources are missing"))?;
        self.jobs.run(move || {
            let updated = container::update(&globals, &id, &Changes { resources, ..Changes::default() });
            answer_with(call, updated.map(|()| Vec::new()).map_err(Failure::from))
        });
        Ok(None)
    }

    fn pids(&mut self, call: Call, request: &ContainerRequest) -> Answer {
        let task = self.tasks.get(&request.id)?;
        let (globals, id) = (task.globals.clone(), task.id.clone());
        let execs: Vec<_> = task.execs.iter().map(|(id, process)| (process.pid, id.clone())).collect();
        let init = task.init.pid;
        self.jobs.run(move || {
            let answer = container::pids(&globals, &id).map(|mut pids| {
                // A containerd 2 that was started anew takes a task without any for one that was never made, and removes it
                // with its end (core/runtime/v2/shim_load.go): until it is deleted it has the process that has ended.
                if pids.is_empty() {
                    pids.push(init);
                }
                let info = |pid: i32| {
                    let exec_id = execs.iter().find(|(its, _)| *its == pid).map(|(_, id)| id.clone())?;
                    Some(Any::of("containerd.runc.v1.ProcessDetails", &ProcessDetails { exec_id }))
                };
                let processes = pids.into_iter().map(|pid| ProcessInfo { pid: pid as u32, info: info(pid) }).collect();
                PidsResponse { processes }.encode_to_vec()
            });
            answer_with(call, answer.map_err(Failure::from))
        });
        Ok(None)
    }

    fn stats(&mut self, call: Call, request: &ContainerRequest) -> Answer {
        let task = self.tasks.get(&request.id)?;
        let (globals, id) = (task.globals.clone(), task.id.clone());
        self.jobs.run(move || {
            let stats = metrics::of(&globals, &id).map(|stats| StatsResponse { stats: Some(stats) }.encode_to_vec());
            answer_with(call, stats.map_err(Failure::from))
        });
        Ok(None)
    }

    fn state(&mut self, request: &ProcessRequest) -> Answer {
        let task = self.tasks.get(&request.id)?;
        let (bundle, paused) = (task.bundle.display().to_string(), task.paused);
        let process = task.process(&request.exec_id)?;
        let response = StateResponse {
            id: request.id.clone(),
            bundle,
            pid: process.pid as u32,
            status: process.status(paused) as i32,
            stdin: process.io.stdin.clone(),
            stdout: process.io.stdout.clone(),
            stderr: process.io.stderr.clone(),
            terminal: process.io.terminal,
            exit_status: process.exit.map_or(0, |exit| exit.status),
            exited_at: process.exit.map(|exit| exit.at),
            exec_id: request.exec_id.clone(),
        };
        Ok(Some(response.encode_to_vec()))
    }

    fn wait_for(&mut self, call: Call, request: &ProcessRequest) -> Answer {
        let process = self.tasks.get(&request.id)?.process(&request.exec_id)?;
        if process.exit.is_some_and(|exit| exit.is_told) {
            return Ok(process.wait_response().map(|response| response.encode_to_vec()));
        }
        process.waiters.push(call);
        Ok(None)
    }

    fn resize(&mut self, request: &ResizeRequest) -> Answer {
        let key = self.tasks.get(&request.id)?.process(&request.exec_id)?.key;
        if let Some(relay) = self.relays.get(&key) {
            let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
            relay
                .resize(size(request.height), size(request.width))
                .map_err(|errno| Failure::from(Error::from(errno)))?;
        }
        done()
    }

    fn close_io(&mut self, request: &CloseIoRequest) -> Answer {
        let process = self.tasks.get(&request.id)?.process(&request.exec_id)?;
        if request.stdin {
            process.close_stdin();
        }
        done()
    }

    fn connect(&mut self, request: &ContainerRequest) -> Answer {
        let task_pid = self.tasks.get(&request.id)?.init.pid as u32;
        let version = env!("CARGO_PKG_VERSION").into();
        Ok(Some(ConnectResponse { shim_pid: std::process::id(), task_pid, version }.encode_to_vec()))
    }

    /// Others of the pod may still need the shim.
    fn shutdown(&mut self) -> Answer {
        if self.tasks.0.is_empty() {
            self.end();
        }
        done()
    }
}

impl Process {
    /// The process is there; its pid.
    fn begin(&mut self, spawned: Spawned, streams: Streams, phase: Phase) -> u32 {
        self.pid = spawned.pid;
        self.pidfd = Some(spawned.process);
        self.streams = streams;
        if self.is_stdin_closed {
            self.streams.close_stdin();
        }
        self.phase = phase;
        spawned.pid as u32
    }

    /// The client has nothing more to say, be it before there is a process to say it to.
    fn close_stdin(&mut self) {
        self.is_stdin_closed = true;
        self.streams.close_stdin();
    }
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Failure> {
    Ok(super::messages::decode("the request", payload)?)
}

fn wrong_state(words: &str) -> Failure {
    Failure::new(Code::FailedPrecondition, words)
}

fn done() -> Answer {
    Ok(Some(Empty {}.encode_to_vec()))
}

/// A finish that only answers.
fn answer_with(call: Call, answer: Result<Vec<u8>, Failure>) -> Finish {
    Box::new(move |server| server.answer(call, answer))
}

/// An added process's document, which has a terminal if the request says so.
fn document(spec: Option<Any>, terminal: bool) -> Result<String, Failure> {
    let invalid = |words: String| Failure::new(Code::InvalidArgument, words);
    let spec = spec.ok_or_else(|| invalid("the process's document is missing".into()))?;
    let mut document: serde_json::Value =
        serde_json::from_slice(&spec.value).map_err(|error| invalid(format!("the process's document: {error}")))?;
    let Some(fields) = document.as_object_mut() else {
        return Err(invalid("the process's document is no object".into()));
    };
    fields.insert("terminal".into(), terminal.into());
    Ok(document.to_string())
}
