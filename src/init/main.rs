//! The init program: what runs inside a container before the user's command. It reads the plan, does each step, and
//! becomes the command. There is no libc, no allocation and no formatting here; the runtime has the words for errors.

// tests/fuzz runs the same program, with bytes by chance as its plan and as the kernel's answers.
#![cfg_attr(not(fuzzing), no_std)]
#![no_main]
#![expect(dead_code, reason = "the shared files also hold what nfrun's side alone uses, such as the writing of a plan")]

// The shared files name modules as nfrun does.
use crate as init;

mod context;
mod failure;
mod guard;
#[cfg(fuzzing)]
#[path = "../../tests/fuzz/targets/kernel.rs"]
mod kernel;
#[cfg(not(fuzzing))]
mod start;
mod step;
mod sys;
mod wire;

macro_rules! families {
    ($($family:ident),*) => {$(
        mod $family {
            pub mod run;
            pub mod step;
        }
    )*};
}
families!(
    attributes,
    capabilities,
    cgroups,
    control,
    devices,
    exec,
    hooks,
    lsm,
    mounts,
    namespaces,
    network,
    paths,
    rootfs,
    seccomp,
    sysctls,
    terminal,
    user
);

use core::sync::atomic::Ordering;

use context::Context;
use failure::{Act, Failure};
use step::{Head, Progress, Step};
use wire::{Reader, Wire};

/// The whole program: map the plan, do its steps, report the one that fails.
fn run(plan_fd: sys::Fd, length: usize) -> Result<(), i32> {
    let address = sys::map(plan_fd, length, false)?;
    // SAFETY: a private mapping of a sealed file, `length` bytes long, that is never unmapped or written.
    let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(address, length) };
    sys::set_close_on_exec(plan_fd);
    let mut reader = Reader(bytes);
    let head = Head::read(&mut reader).ok_or(linux_raw_sys::errno::EBADMSG as i32)?;
    let page = sys::map(head.control, 4096, true)?;
    // SAFETY: a shared page that is never unmapped; both sides use atomics only.
    let progress: &'static Progress = unsafe { &*page.cast::<Progress>() };
    #[cfg(feature = "fault")]
    guard::LEFT_OUT.store(head.left_out, Ordering::Relaxed);
    let mut context = Context::new(head, progress);
    // What this process is called until it is the command: execve gives it another name, and a dead one keeps its last.
    sys::prctl(linux_raw_sys::prctl::PR_SET_NAME, step::NAME.as_ptr() as usize, 0)?;
    // The caller's umask must not change the modes of what steps make; a step sets the process's own.
    sys::umask(0);
    #[cfg(feature = "fault")]
    let mut done = 0;
    while !reader.0.is_empty() {
        let number = u32::read(&mut reader);
        let before = reader;
        let step = number.and_then(|_| Step::read(&mut reader));
        let number = number.unwrap_or(u32::MAX);
        context.progress.step.store(number, Ordering::Release);
        #[cfg(feature = "fault")]
        {
            if done == context.head.fault {
                sys::kill_self();
            }
            done += 1;
        }
        let outcome = match step {
            Some(step) => perform(step, &mut context),
            None => Err(Failure { act: Act::Decode, errno: linux_raw_sys::errno::EBADMSG as i32 }),
        };
        if let Err(failure) = outcome {
            let used = before.0.len() - reader.0.len();
            context.report(failure, &before.0[..used]);
            return Err(failure.errno);
        }
    }
    Ok(())
}

/// Each family's steps are beside their data.
fn perform(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::Control(step) => control::run::run(step, context),
        Step::Cgroups(step) => cgroups::run::run(step, context),
        Step::Namespaces(step) => namespaces::run::run(step, context),
        Step::Network(step) => network::run::run(step, context),
        Step::Rootfs(step) => rootfs::run::run(step, context),
        Step::Lsm(step) => lsm::run::run(step, context),
        Step::Mounts(step) => mounts::run::run(step, context),
        Step::Devices(step) => devices::run::run(step, context),
        Step::Paths(step) => paths::run::run(step, context),
        Step::Sysctls(step) => sysctls::run::run(step),
        Step::Terminal(step) => terminal::run::run(step, context),
        Step::User(step) => user::run::run(step, context),
        Step::Capabilities(step) => capabilities::run::run(step),
        Step::Seccomp(step) => seccomp::run::run(step, context),
        Step::Exec(step) => exec::run::run(step, context),
        Step::Attributes(step) => attributes::run::run(step),
        Step::Hooks(step) => hooks::run::run(step, context),
    }
}
