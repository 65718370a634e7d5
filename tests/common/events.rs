//! Waiting for things to happen, never for time to pass, and never without a bound.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long anything may take: only a failing test waits so long, and a machine may be ten times slower than another.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How many times longer everything takes on this machine: `NFRUN_TEST_SLOW`, which tests/vm/run sets for one that is emulated.
pub fn slow() -> u32 {
    std::env::var("NFRUN_TEST_SLOW").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A process that cannot become another one, or none when it is gone.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: a plain system call; a non-negative answer is a descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Whether there is something to read, an end included, within a bound for a machine that is not slow.
pub fn readable_within(fd: &impl AsFd, bound: Duration) -> bool {
    let until = Instant::now() + bound * slow();
    loop {
        let left = PollTimeout::try_from(until.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], left) {
            Err(nix::errno::Errno::EINTR) => {}
            answer => return answer.expect("poll") > 0,
        }
    }
}

/// Whether the process of a pidfd ends within a bound.
pub fn ends_within(pidfd: &OwnedFd, bound: Duration) -> bool {
    readable_within(pidfd, bound)
}

/// Waits for what no event tells of: asks again after a yield that grows to 10 ms.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = LIMIT * slow();
    let until = Instant::now() + limit;
    let mut pause = Duration::from_micros(200);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within {limit:?}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// The reading end of a pipe, line by line.
pub struct Lines {
    reader: std::fs::File,
    rest: Vec<u8>,
}

impl Lines {
    /// A pipe: this end, and the one to give to a command.
    pub fn pipe() -> (Self, OwnedFd) {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
        (Self { reader: reader.into(), rest: Vec::new() }, writer)
    }

    /// Reads from any descriptor.
    pub fn of(fd: OwnedFd) -> Self {
        Self { reader: fd.into(), rest: Vec::new() }
    }

    /// The next line without its end; the last bytes before the end of the stream count as one.
    #[track_caller]
    pub fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).trim_end_matches('\r').to_owned());
            }
            if !self.fill() {
                let line = std::mem::take(&mut self.rest);
                return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
            }
        }
    }

    /// The next line, which has to come.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.next().expect("one more line before the end")
    }

    /// Reads until the stream contains these words, and takes all of it up to their end.
    #[track_caller]
    pub fn until(&mut self, words: &str) -> String {
        loop {
            if let Some(at) = self.rest.windows(words.len()).position(|window| window == words.as_bytes()) {
                let taken: Vec<u8> = self.rest.drain(..at + words.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let so_far = String::from_utf8_lossy(&self.rest).into_owned();
            assert!(self.fill(), "the stream ended before {words:?}: {so_far:?}");
        }
    }

    /// The descriptor itself.
    pub fn reader(&mut self) -> &mut std::fs::File {
        &mut self.reader
    }

    #[track_caller]
    fn fill(&mut self) -> bool {
        let so_far = String::from_utf8_lossy(&self.rest).into_owned();
        assert!(readable_within(&self.reader, LIMIT), "nothing more to read within {LIMIT:?} after {so_far:?}");
        let mut buffer = [0; 4096];
        // A terminal whose other side is gone says EIO where a pipe says end.
        let read = self.reader.read(&mut buffer).unwrap_or(0);
        self.rest.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

/// Sends a signal to a process that cannot have become another one.
pub fn signal(pidfd: &OwnedFd, signal: i32) {
    // SAFETY: a plain system call on a descriptor that we hold.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) };
}
