//! Work that may take its time, in threads: the server goes on meanwhile, and comes back to it when it is done. A thread lives
//! as long as its job.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::server::Server;
use crate::{Context, Result};

/// What to do in the server when the work is done.
pub type Finish = Box<dyn FnOnce(&mut Server) + Send>;
type Work = Box<dyn FnOnce() -> Finish + Send>;

/// How many threads may work at once; the next ones wait.
const MOST: usize = 48;
/// A deep plan is made on it; what is not touched costs nothing.
const STACK: usize = 1 << 20;

/// The jobs that are under way, and those that wait.
pub struct Jobs {
    running: usize,
    waiting: VecDeque<Work>,
    done: Receiver<Finish>,
    tell: Sender<Finish>,
    event: Arc<EventFd>,
}

/// One that is done by a thread, or by the server itself where no thread can be had.
struct Job {
    work: Mutex<Option<Work>>,
    tell: Sender<Finish>,
    event: Arc<EventFd>,
}

impl Job {
    fn perform(&self) {
        let work = self.work.lock().ok().and_then(|mut work| work.take());
        // The server lives as long as the process, and its counter does not overflow.
        let _ = work.map(|work| self.tell.send(work()));
        let _ = self.event.write(1);
    }
}

impl Jobs {
    pub fn new() -> Result<Self> {
        let (tell, done) = channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).context(|| "make an eventfd")?;
        Ok(Self { running: 0, waiting: VecDeque::new(), done, tell, event: Arc::new(event) })
    }

    /// Does the work in a thread.
    pub fn run(&mut self, work: impl FnOnce() -> Finish + Send + 'static) {
        self.waiting.push_back(Box::new(work));
        self.start_some(MOST);
    }

    /// The same, however many others hang: what ends those that hang must not wait for them.
    pub fn run_at_once(&mut self, work: impl FnOnce() -> Finish + Send + 'static) {
        self.waiting.push_front(Box::new(work));
        self.start_some(MOST * 4);
    }

    fn start_some(&mut self, most: usize) {
        while self.running < most {
            let Some(work) = self.waiting.pop_front() else { return };
            let job =
                Arc::new(Job { work: Mutex::new(Some(work)), tell: self.tell.clone(), event: self.event.clone() });
            let its = job.clone();
            self.running += 1;
            let started = std::thread::Builder::new().stack_size(STACK).spawn(move || its.perform());
            if let Err(error) = started {
                log::warn!("start a thread: {error}; everything else waits for this one job");
                job.perform();
            }
        }
    }

    /// Those that are done.
    pub fn take(&mut self) -> Vec<Finish> {
        let _ = self.event.read();
        let done: Vec<_> = self.done.try_iter().collect();
        self.running -= done.len();
        self.start_some(MOST);
        done
    }

    /// Whether none is under way.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

impl AsFd for Jobs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
