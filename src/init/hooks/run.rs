//! Running hooks: each as a child, whose end is waited for. The same code serves the hooks of the container, run by its
//! init, and those of the runtime's namespaces, run by an init that the runtime starts for nothing else.

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use linux_raw_sys::errno::{ECONNRESET, ETIMEDOUT};
use linux_raw_sys::general::{AT_FDCWD, SIGKILL};
use linux_raw_sys::prctl::PR_SET_PDEATHSIG;

use super::step::Step;
use crate::context::Context;
use crate::exec::run::lay_out;
use crate::failure::{Act, During, Failure};
use crate::step::{FAILED, Progress, READY};
use crate::sys::{self, Ended, Fd, Poll};
use crate::wire::{List, Text};

/// linux/close_range.h; Linux 5.11.
const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// What hooks are told, and the environment of those that give none.
#[derive(Clone, Copy)]
pub struct State {
    before: &'static CStr,
    after: &'static CStr,
    pid: i32,
    environment: *const *const u8,
}

/// A hook that runs.
struct Hook {
    pid: i32,
    pidfd: Fd,
    /// What it and its children write to stdout and stderr.
    output: Fd,
    /// Where it tells why it could not be executed.
    report: Fd,
}

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    if context.is_hook {
        // A hook on its way through the steps of the command starts no hooks.
        return Ok(());
    }
    match step {
        Step::Describe { before, after, pid, env } => {
            let environment = lay_out(env.len() + 1, env.iter().map(Some).chain([None]))?;
            context.state = Some(State { before: before.0, after: after.0, pid, environment });
            Ok(())
        }
        Step::Done {} => Ok(sys::send(context.channel, &[READY]).map(drop)?),
        Step::Run { status, path, args, env, timeout, cwd, confined, .. } => {
            let document = document(status.0.to_bytes(), context).during(Act::Describe)?;
            let Some(hook) = fork(document, context).during(Act::StartHook)? else {
                let command = Command { path: path.0, args, env, cwd: cwd.map(|cwd| cwd.0) };
                return become_hook(command, confined, context);
            };
            let outcome = watch(&hook, timeout, context);
            context.progress.hook.store(0, Ordering::Release);
            [hook.pidfd, hook.output, hook.report].into_iter().for_each(sys::close);
            outcome
        }
    }
}

/// The state document as a file to read from: it is whole before the hook begins, so that one that does not read it, or
/// reads slowly, holds nobody up.
fn document(status: &[u8], context: &Context) -> Result<Fd, i32> {
    let file = sys::memfd(c"state")?;
    let Some(state) = context.state else { return Ok(file) };
    let mut digits = [0; 10];
    let pid = if state.pid == 0 { sys::getpid() } else { state.pid };
    let (key, pid): (&[u8], &[u8]) = if pid < 0 { (b"\"", b"") } else { (b"\",\"pid\":", decimal(pid, &mut digits)) };
    for mut part in [state.before.to_bytes(), status, key, pid, state.after.to_bytes()] {
        while !part.is_empty() {
            part = &part[sys::write(file, part)?..];
        }
    }
    sys::rewind(file)?;
    Ok(file)
}

fn decimal(number: i32, digits: &mut [u8; 10]) -> &[u8] {
    let mut rest = number as u32;
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[start..];
        }
    }
}

/// Forks. In the child, None: its stdio is set, and its failures go to whoever waits for it.
fn fork(document: Fd, context: &mut Context) -> Result<Option<Hook>, i32> {
    let [output, output_end] = sys::pipe()?;
    let [report, report_end] = sys::socket_pair()?;
    let parent = sys::getpid();
    let mut pidfd = -1;
    let pid = sys::fork(&mut pidfd)?;
    if pid != 0 {
        context.progress.hook.store(pid, Ordering::Release);
        [document, output_end, report_end].into_iter().for_each(sys::close);
        return Ok(Some(Hook { pid, pidfd, output, report }));
    }
    context.channel = report_end;
    context.is_hook = true;
    // Where this process is in the steps is not where init is.
    static ASIDE: Progress =
        Progress { step: AtomicU32::new(0), forked: AtomicI32::new(0), hook: AtomicI32::new(0) };
    context.progress = &ASIDE;
    context.head.fault = u32::MAX;
    // A group of its own, so that a hook that must end ends with what it has started; and it ends with its parent.
    sys::setpgid()?;
    sys::prctl(PR_SET_PDEATHSIG, SIGKILL as usize, 0)?;
    if sys::getppid() != parent {
        sys::exit(1);
    }
    for (fd, place) in [(document, 0), (output_end, 1), (output_end, 2)] {
        sys::dup3(fd, place, 0)?;
    }
    Ok(None)
}

struct Command {
    path: &'static CStr,
    args: List<'static, Text<'static>>,
    env: Option<List<'static, Text<'static>>>,
    cwd: Option<&'static CStr>,
}

/// In the child: execve(2), or for a confined hook what is needed for the command's own step to become it.
fn become_hook(command: Command, confined: bool, context: &mut Context) -> Result<(), Failure> {
    // No descriptor but stdio, also none that the container's process is to inherit.
    if sys::close_range(3, u32::MAX, CLOSE_RANGE_CLOEXEC).is_err() {
        // Before Linux 5.11: a loop, as far as a limit of descriptors usually reaches.
        (3..1 << 16).for_each(sys::set_close_on_exec);
    }
    context.arguments = lay_out(command.args.len() + 1, command.args.iter().map(Some).chain([None]))?;
    context.environment = match (command.env, context.state) {
        (Some(env), _) => lay_out(env.len() + 1, env.iter().map(Some).chain([None]))?,
        (None, Some(state)) => state.environment,
        (None, None) => context.environment,
    };
    if confined {
        let path = command.path.to_bytes_with_nul();
        context.command[..path.len()].copy_from_slice(path);
        return Ok(());
    }
    match command.cwd {
        // A bundle that is gone need not keep a hook from running.
        Some(cwd) => sys::chdir(cwd).or_else(|_| sys::chdir(c"/"))?,
        None if context.root != AT_FDCWD => sys::fchdir(context.root)?,
        None => {}
    }
    sys::reset_signals();
    Err(sys::execve(command.path, context.arguments, context.environment).into())
}

/// How long a killed hook is waited for: in a dead filesystem even SIGKILL waits.
const PATIENCE: u64 = 10_000_000_000;

/// Waits for a hook's end, and for nothing else: what it leaves running may hold on to its output.
fn watch(hook: &Hook, timeout: u32, context: &mut Context) -> Result<(), Failure> {
    let end = (timeout > 0).then(|| sys::now() + u64::from(timeout) * 1_000_000_000);
    let mut output = hook.output;
    let mut said = 0;
    let stopped = loop {
        let left = end.map(|end| end.saturating_sub(sys::now()));
        let mut fds = [Poll::readable(hook.pidfd), Poll::readable(output), Poll::hung_up(context.channel)];
        sys::poll(&mut fds, left).during(Act::StartHook)?;
        if fds[1].happened() && !collect(hook.output, &mut context.detail, &mut said) {
            output = -1;
        }
        if fds[0].happened() {
            break None;
        }
        if fds[2].happened() {
            // Whoever waits for this process has died, or gives up.
            break Some(Failure { act: Act::HookAbandoned, errno: ECONNRESET as i32 });
        }
        if left == Some(0) {
            break Some(Failure { act: Act::HookTimedOut, errno: ETIMEDOUT as i32 });
        }
    };
    let outcome = match stopped {
        None => ended(hook),
        Some(failure) => Err(failure),
    };
    if outcome.is_err() {
        // Its leader is not reaped yet, so the group's number is no other's.
        sys::kill(-hook.pid, SIGKILL);
        sys::kill(hook.pid, SIGKILL);
        let _ = sys::poll(&mut [Poll::readable(hook.pidfd)], Some(PATIENCE));
        // What it said last; a bound, since somebody else may still write.
        let _ = (0..256).all(|_| collect(hook.output, &mut context.detail, &mut said));
    } else {
        context.detail.fill(0);
    }
    sys::reap(hook.pid);
    outcome
}

/// How a hook ended. It stays a zombie.
fn ended(hook: &Hook) -> Result<(), Failure> {
    let mut message = [0; 9];
    if sys::receive(hook.report, &mut message) == Ok(message.len()) && message[0] == FAILED {
        let errno = i32::from_le_bytes([message[5], message[6], message[7], message[8]]);
        return Err(Failure { act: Act::StartHook, errno });
    }
    match sys::wait_keeping(hook.pid).during(Act::StartHook)? {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(status) => Err(Failure { act: Act::HookExited, errno: status }),
        Ended::Killed(signal) => Err(Failure { act: Act::HookKilled, errno: signal }),
    }
}

/// Keeps the last of what there is to read now; false where there is nothing.
fn collect(output: Fd, kept: &mut [u8], length: &mut usize) -> bool {
    let mut news = [0; 512];
    let Ok(read @ 1..) = sys::read(output, &mut news) else { return false };
    // It ends in NUL, and holds none before.
    let most = kept.len() - 1;
    let over = (*length + read).saturating_sub(most);
    kept.copy_within(over..*length, 0);
    *length -= over;
    for (to, byte) in kept[*length..].iter_mut().zip(&news[..read]) {
        *to = if *byte == 0 { b' ' } else { *byte };
    }
    *length += read;
    true
}
