//! Ends of processes, and memory that has run out. An end is told after the start, and that of the first process after those
//! of the others. While what a process wrote has not been read, its end is kept back for a moment: clients that hear of the
//! end give up what they have not read yet (`ctr` loses the output of one short container in a hundred so when it is busy).

use std::time::{Duration, Instant};

use super::messages::Any;
use super::messages::Timestamp;
use super::messages::events::{TaskExit, TaskNotice};
use super::relay::Relay;
use super::server::Server;
use super::tasks::{Exit, Phase};
use crate::container;

/// How long an end is kept back at most, and how often is looked meanwhile: the kernel tells nobody that a pipe is empty.
const PATIENCE: Duration = Duration::from_secs(2);
pub const LOOK: Duration = Duration::from_millis(1);

impl Server {
    /// A process has ended.
    pub fn ended(&mut self, key: u64) {
        let Some((task, exec_id)) = self.tasks.of_process(key) else { return };
        let Ok(process) = task.process(&exec_id) else { return };
        if process.pidfd.is_none() {
            return;
        }
        // One that is gone already was killed by a delete, which reaps it.
        let status = crate::sys::reap(process.pid).map_or(128 + libc::SIGKILL as u32, exit_code);
        process.exit = Some(Exit { status, at: Timestamp::now(), is_told: false });
        process.phase = Phase::Stopped;
        process.pidfd = None;
        process.unread = Some(Instant::now() + PATIENCE);
        if exec_id.is_empty() {
            self.end_others(key);
        }
        self.look_whether_read(key);
    }

    /// Whether ends are kept back.
    pub fn keeps_ends_back(&self) -> bool {
        self.tasks.0.values().flat_map(|task| task.processes()).any(|process| process.unread.is_some())
    }

    /// Tells the ends of processes whose output has been read by now.
    pub fn look_at_output(&mut self) {
        let processes = self.tasks.0.values().flat_map(|task| task.processes());
        let keys: Vec<_> = processes.filter(|process| process.unread.is_some()).map(|process| process.key).collect();
        for key in keys {
            self.look_whether_read(key);
        }
    }

    fn look_whether_read(&mut self, key: u64) {
        let terminal = self.relays.get(&key).is_some_and(Relay::is_unread);
        let Some((task, exec_id)) = self.tasks.of_process(key) else { return };
        let Ok(process) = task.process(&exec_id) else { return };
        let waits = process.unread.is_some_and(|until| Instant::now() < until);
        if waits && (terminal || process.streams.are_unread()) {
            return;
        }
        self.give_up_output(key);
    }

    /// Tells a process's end, whether its output was read or not.
    pub fn give_up_output(&mut self, key: u64) {
        let Some((task, exec_id)) = self.tasks.of_process(key) else { return };
        let Ok(process) = task.process(&exec_id) else { return };
        process.unread = None;
        process.streams.close();
        self.tell_ends(key);
    }

    /// Where the kernel does not end the others with the first process, the shim does: containerd, and runc's shim, hold a
    /// container to be over with its first process.
    fn end_others(&mut self, key: u64) {
        let Some((task, _)) = self.tasks.of_process(key) else { return };
        if task.ends_with_init {
            return;
        }
        let (globals, id) = (task.globals.clone(), task.id.clone());
        self.jobs.run_at_once(move || {
            if let Err(error) = container::kill(&globals, &id, libc::SIGKILL, true) {
                log::warn!("{id}: end what its first process has left: {error}");
            }
            Box::new(|_| {})
        });
    }

    /// Tells what ends of a container can be told by now, and whoever waits for them.
    fn tell_ends(&mut self, key: u64) {
        let Some((task, _)) = self.tasks.of_process(key) else { return };
        let container = task.id.to_string();
        let mut ends = Vec::new();
        let mut untold = false;
        for (id, process) in &mut task.execs {
            untold |= process.pidfd.is_some() || process.unread.is_some();
            ends.extend(process.take_end().map(|end| (id.clone(), process.pid, end)));
        }
        if !untold {
            ends.extend(task.init.take_end().map(|end| (container.clone(), task.init.pid, end)));
        }
        for (id, pid, end) in ends {
            let event = TaskExit {
                container_id: container.clone(),
                id,
                pid: pid as u32,
                exit_status: end.exit.status,
                exited_at: Some(end.exit.at),
            };
            self.publisher.publish("/tasks/exit", Any::of("containerd.events.TaskExit", &event));
            for waiter in end.waiters {
                self.answer(waiter, Ok(end.response.clone()));
            }
        }
    }

    /// A container's memory may have run out.
    pub fn ran_out_of_memory(&mut self, key: u64) {
        let Some((task, _)) = self.tasks.of_process(key) else { return };
        let Some(notice) = &task.oom else { return };
        let event = TaskNotice { container_id: task.id.to_string() };
        let ran_out = notice.has_run_out();
        if notice.is_over() {
            task.oom = None;
        }
        if ran_out {
            self.publisher.publish("/tasks/oom", Any::of("containerd.events.TaskOOM", &event));
        }
    }
}

/// A process's end that is to be told.
struct End {
    exit: Exit,
    waiters: Vec<super::tasks::Call>,
    response: Vec<u8>,
}

impl super::tasks::Process {
    fn take_end(&mut self) -> Option<End> {
        let exit = self.exit.as_mut().filter(|exit| !exit.is_told && self.unread.is_none())?;
        exit.is_told = true;
        let exit = *exit;
        let response = prost::Message::encode_to_vec(&self.wait_response()?);
        Some(End { exit, waiters: std::mem::take(&mut self.waiters), response })
    }
}

/// Of a status as wait(2) gives it: the exit code, or 128 and the signal.
fn exit_code(status: i32) -> u32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) as u32 } else { libc::WEXITSTATUS(status) as u32 }
}
