//! Where `top` is shown and what it waits for: a terminal that is drawn anew, with keys, or whatever reads tables.

use std::io::{IsTerminal, Stdin, Stdout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::super::held_signals::HeldSignals;
use super::super::output;
use super::rows::Sort;
use crate::{Context, Result, sys};

/// The other screen, without a cursor, and back: ECMA-48 as xterm, and all since, have it.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the first place; what is right of here away; what is below here away.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What has happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The time is over.
    Time,
    /// Somebody wants another order.
    Sort(Sort),
    /// The window is another.
    Redraw,
    /// Somebody wants to end it, or nobody reads it any more.
    End,
}

/// What is shown on. A terminal is as it was when this is dropped.
pub(super) struct Screen {
    stdin: Stdin,
    stdout: Stdout,
    is_drawn: bool,
    /// Of the terminal that keys come from, how it was.
    before: Option<Termios>,
    signals: HeldSignals,
}

impl Screen {
    /// Takes the terminal over, if stdout is one and `may_draw`.
    pub fn open(may_draw: bool) -> Result<Self> {
        let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
        let is_drawn = may_draw && stdout.is_terminal();
        let of_terminals = [Signal::SIGTSTP, Signal::SIGWINCH];
        let more = if is_drawn { &of_terminals[..] } else { &[] };
        let signals = HeldSignals::hold(&[&HeldSignals::OF_AN_END[..], more].concat())?;
        let mut screen = Self { stdin, stdout, is_drawn, before: None, signals };
        screen.enter()?;
        Ok(screen)
    }

    /// Whether it is drawn on, in place of printing one table after the other.
    pub fn is_drawn(&self) -> bool {
        self.is_drawn
    }

    fn enter(&mut self) -> Result<()> {
        if !self.is_drawn {
            return Ok(());
        }
        if self.stdin.is_terminal() {
            let before = tcgetattr(&self.stdin).context(|| "ask the terminal for its mode")?;
            let mut keys = before.clone();
            // Keys come one by one, unseen; ctrl-C still is a signal.
            keys.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            tcsetattr(&self.stdin, SetArg::TCSANOW, &keys).context(|| "set the terminal's mode")?;
            self.before = Some(before);
        }
        output::print(ENTER)
    }

    fn leave(&mut self) {
        if !self.is_drawn {
            return;
        }
        if let Some(before) = self.before.take() {
            let _ = tcsetattr(&self.stdin, SetArg::TCSANOW, &before);
        }
        let _ = output::print(LEAVE);
    }

    /// Puts lines, which have their ends, in the place of what was there; as much of them as there is room for.
    pub fn draw(&self, lines: &[String]) -> Result<()> {
        let (rows, columns) = match sys::window_size(self.stdout.as_fd()) {
            // A terminal that does not know its size is as large as the first ones.
            Ok((0, _) | (_, 0)) | Err(_) => (24, 80),
            Ok((rows, columns)) => (rows as usize, columns as usize),
        };
        let mut text = HOME.to_owned();
        for (at, line) in lines.iter().take(rows).enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            text.extend(line.trim_end_matches('\n').chars().take(columns));
            text.push_str(CLEAR_LINE);
        }
        text.push_str(CLEAR_BELOW);
        output::print(text)
    }

    /// Waits for what comes first.
    pub fn wait(&mut self, until: Instant) -> Result<Event> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Event::Time);
            }
            let limit = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            let mut fds = vec![
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                // Nothing to wait for there but its end, which is always told.
                PollFd::new(self.stdout.as_fd(), PollFlags::empty()),
            ];
            if self.before.is_some() {
                fds.push(PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context(|| "wait for the next look"),
            }
            let happened: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            drop(fds);
            if happened[1] {
                return Ok(Event::End);
            }
            let event = if happened[0] { self.signal()? } else { None };
            if let Some(event) = event.or_else(|| happened.get(2).is_some_and(|key| *key).then(|| self.key()).flatten())
            {
                return Ok(event);
            }
        }
    }

    fn signal(&mut self) -> Result<Option<Event>> {
        Ok(match self.signals.next() {
            None => None,
            Some(Signal::SIGWINCH) => Some(Event::Redraw),
            Some(Signal::SIGTSTP) => {
                // Stopped, the terminal is the shell's.
                self.leave();
                let _ = raise(Signal::SIGSTOP);
                self.enter()?;
                Some(Event::Redraw)
            }
            Some(_) => Some(Event::End),
        })
    }

    fn key(&mut self) -> Option<Event> {
        let mut keys = [0; 64];
        match nix::unistd::read(self.stdin.as_fd(), &mut keys) {
            // The terminal has gone.
            Ok(0) => Some(Event::End),
            Ok(count) => keys[..count].iter().rev().find_map(|key| match key {
                b'q' => Some(Event::End),
                key => Sort::of_key(*key).map(Event::Sort),
            }),
            Err(Errno::EINTR | Errno::EAGAIN) => None,
            Err(_) => Some(Event::End),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}
