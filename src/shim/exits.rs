//! Ends of processes, and memory that has run out. An end is told after the start, and that of the first process after those
//! of the others.

use super::messages::Any;
use super::messages::Timestamp;
use super::messages::events::{TaskExit, TaskNotice};
use super::server::Server;
use super::tasks::{Exit, Phase};
use crate::container;

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
        process.streams.close();
        if exec_id.is_empty() {
            self.end_others(key);
        }
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
            untold |= process.pidfd.is_some();
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
        let exit = self.exit.as_mut().filter(|exit| !exit.is_told)?;
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
