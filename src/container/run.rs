//! Running a container in the foreground or leaving it behind.

use std::os::fd::AsFd;

use super::create::{Created, Creation, wants_terminal};
use super::store::Directory;
use super::terminal::{self, Foreground, Terminal};
use super::{ContainerId, CreateOptions, Globals, RunOptions, cleanup, hooks};
use crate::bundle::Config;
use crate::{Error, Result};

/// Creates, starts, and unless detached waits for a container and deletes it. The exit code is the process's own,
/// 128+N when signal N ended it.
pub fn run(globals: &Globals, id: &ContainerId, create: &CreateOptions, run: RunOptions) -> Result<u8> {
    let mut config = Config::load(&create.bundle)?;
    let tty = wants_terminal(&config);
    terminal::check(tty, run.detach, create.console.is_some())?;
    if let (true, false, Some(process)) = (tty, run.detach, config.spec.process_mut()) {
        terminal::adopt_size(process);
    }
    let creation = Creation::begin(globals, id, create, &config, false)?;
    let foreground = if run.detach { None } else { Some(Foreground::begin(!run.no_subreaper)?) };
    let (console, terminal) = Terminal::open(tty, create.console.as_ref())?;
    let Created { init, locked, poststart, told, notifier, .. } = creation.carry_out(console)?;
    // Others may work on the container while it runs.
    let directory = locked.directory.path.clone();
    drop(locked);
    if let Some(told) = told
        && let Err(error) =
            hooks::poststart(&poststart, &told, (&config.bundle, &directory), init.pid, Some(init.process.as_fd()))
    {
        if let Err(left) = remove(globals, id) {
            log::warn!("{left}");
        }
        return Err(error);
    }
    let Some(foreground) = foreground else {
        // The container runs, whoever knows of it.
        if let Some(Err(error)) = notifier.map(|notifier| notifier.wait(init.pid, init.process.as_fd())) {
            log::warn!("{error}");
        }
        return Ok(0);
    };
    let code = foreground.wait(&init, terminal, notifier);
    if !run.keep {
        remove(globals, id)?;
    }
    code
}

/// Unless somebody else has deleted it already.
fn remove(globals: &Globals, id: &ContainerId) -> Result<()> {
    let Ok(directory) = Directory::open(&globals.root, id) else { return Ok(()) };
    match directory.lock()? {
        Some(locked) => cleanup::undo(locked).map_err(|error: Error| error.context(format!("delete {id}"))),
        None => Ok(()),
    }
}
