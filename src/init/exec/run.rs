//! Finding and running the command.

use core::ffi::CStr;

use linux_raw_sys::errno::{EACCES, EISDIR, ENOENT, EPERM};
use linux_raw_sys::general::{AT_EACCESS, AT_FDCWD, O_NOCTTY, O_NONBLOCK, X_OK};

use super::step::Step;
use crate::context::{Context, PathBuffer, text_of};
use crate::failure::{Act, During, Failure};
use crate::guard::{Guard, stands};
use crate::sys;
use crate::wire::{List, Text};

pub fn run(step: Step<'static>, context: &mut Context) -> Result<(), Failure> {
    match step {
        Step::ChangeDirectory { path, last } => change_directory(path.0, last, context),
        Step::Find { command, path } => find(command.0, path.0.to_bytes(), context),
        Step::Prepare { args, env } => prepare(args, env, context),
        Step::Run { .. } => become_command(context),
    }
}

fn change_directory(path: &CStr, last: bool, context: &mut Context) -> Result<(), Failure> {
    if context.in_directory {
        return Ok(());
    }
    match sys::chdir(path) {
        // Root of a user namespace or of NFS may lack access that the user has: the second try is the user's.
        Err(errno) if !last && [EACCES as i32, EPERM as i32].contains(&errno) => return Ok(()),
        other => other?,
    }
    // A directory outside the root, reached through an inherited descriptor, has no path here (CVE-2024-21626).
    let mut buffer: PathBuffer = [0; 4096];
    sys::getcwd(&mut buffer).during(Act::Outside)?;
    if buffer[0] != b'/' && stands(Guard::DirectoryInside) {
        return Err(Failure { act: Act::Outside, errno: ENOENT as i32 });
    }
    context.in_directory = true;
    Ok(())
}

fn find(command: &CStr, path: &[u8], context: &mut Context) -> Result<(), Failure> {
    let name = command.to_bytes();
    if name.contains(&b'/') {
        if name.len() < context.command.len() {
            context.command[..name.len()].copy_from_slice(name);
        }
        return runnable(command).map_err(|(act, errno)| Failure { act, errno });
    }
    let mut refusal = Failure { act: Act::NotInPath, errno: ENOENT as i32 };
    for directory in path.split(|&b| b == b':') {
        // An empty entry would mean the working directory (execvp(3)); runc does not look there.
        if directory.is_empty() {
            continue;
        }
        let end = directory.len() + 1 + name.len();
        if end >= context.command.len() {
            continue;
        }
        context.command[..directory.len()].copy_from_slice(directory);
        context.command[directory.len()] = b'/';
        context.command[directory.len() + 1..end].copy_from_slice(name);
        context.command[end] = 0;
        match runnable(text_of(&context.command)) {
            Ok(()) => return Ok(()),
            // A file that is there and may not be run is worth more words than one that is not there.
            Err((_, errno)) if errno == EACCES as i32 => refusal.errno = errno,
            Err(_) => {}
        }
    }
    Err(refusal)
}

fn runnable(path: &CStr) -> Result<(), (Act, i32)> {
    // With the effective ids and capabilities, as execve will: AT_EACCESS.
    sys::access(path, X_OK, AT_EACCESS).map_err(|errno| (Act::Step, errno))?;
    let mode = stat_followed(path).map_err(|errno| (Act::Step, errno))?;
    if mode & 0o170000 == 0o100000 { Ok(()) } else { Err((Act::NotAFile, if mode & 0o170000 == 0o040000 { EISDIR as i32 } else { EACCES as i32 })) }
}

fn stat_followed(path: &CStr) -> Result<u32, i32> {
    let fd = sys::open(AT_FDCWD, path, linux_raw_sys::general::O_PATH, 0)?;
    let mode = sys::stat(fd, c"").map(|found| found.st_mode);
    sys::close(fd);
    mode
}

/// Texts as execve takes them, in fresh memory: pointers, and NULL for None. There are at most `count`.
pub fn lay_out<'a>(count: usize, texts: impl Iterator<Item = Option<Text<'a>>>) -> Result<*const *const u8, i32> {
    let table = sys::map(-1, count * size_of::<usize>(), false)?.cast::<*const u8>();
    for (i, text) in texts.take(count).enumerate() {
        // SAFETY: the table has room for `count`; fresh pages are aligned.
        unsafe { table.add(i).write(text.map_or(core::ptr::null(), |text| text.0.as_ptr().cast())) };
    }
    Ok(table)
}

fn prepare(args: List<'static, Text>, env: List<'static, Text>, context: &mut Context) -> Result<(), Failure> {
    let texts = args.iter().map(Some).chain([None]).chain(env.iter().map(Some)).chain([None]);
    let table = lay_out(args.len() + env.len() + 2, texts)?;
    context.arguments = table;
    // SAFETY: the environment follows the arguments and their end.
    context.environment = unsafe { table.add(args.len() + 1) };
    sys::reset_signals();
    Ok(())
}

fn become_command(context: &mut Context) -> Result<(), Failure> {
    let path = text_of(&context.command);
    let errno = sys::execve(path, context.arguments, context.environment);
    // A file that is there and still is "not found": its interpreter is not.
    let missing = errno == ENOENT as i32 && sys::access(path, 0, 0).is_ok();
    // Something else may be in its place by now: a FIFO must not hold this process up, a terminal not become its own.
    if missing && let Ok(file) = sys::open(AT_FDCWD, path, O_NONBLOCK | O_NOCTTY, 0) {
        let read = sys::read(file, &mut context.detail[..127]).unwrap_or(0);
        let line = context.detail[..read].iter().position(|&b| b == b'\n').unwrap_or(read);
        let end = if context.detail.starts_with(b"#!") { line } else { 0 };
        context.detail[end..].fill(0);
    }
    Err(Failure { act: if missing { Act::Interpreter } else { Act::Step }, errno })
}
