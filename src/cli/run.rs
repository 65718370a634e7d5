//! `run`: create, start, wait, delete.

use super::create::{
    self, ADD_HOST, BUNDLE, CONSOLE_SOCKET, DNS, DNS_SEARCH, NETWORK, NO_NEW_KEYRING, NO_PIVOT, PID_FILE, PIDFD_SOCKET,
    PRESERVE_FDS, PUBLISH,
};
use super::failure::Failure;
use super::flag::Flag;
use super::parse::Order;
use super::{Call, Command};
use crate::container::{self, RunOptions};

pub(super) static COMMAND: Command = Command {
    name: "run",
    about: "Create and start a container, wait for its end, and delete it.",
    details: "Signals are passed on to the container's process. The exit code is the process's own, or 128+N when \
              signal N ended it. With $NOTIFY_SOCKET, --detach returns once the container is ready: sd_notify(3).",
    usage: "ID",
    flags: &[
        &BUNDLE,
        &CONSOLE_SOCKET,
        &DETACH,
        &KEEP,
        &PID_FILE,
        &PIDFD_SOCKET,
        &NO_SUBREAPER,
        &NO_PIVOT,
        &NO_NEW_KEYRING,
        &PRESERVE_FDS,
        &NETWORK,
        &PUBLISH,
        &DNS,
        &DNS_SEARCH,
        &ADD_HOST,
    ],
    words: (1, 1),
    order: Order::Anywhere,
    run,
};

pub(super) static DETACH: Flag = Flag::switch("detach", "Return once the process runs.").letter('d');
static KEEP: Flag = Flag::switch("keep", "Keep the container's state after its end, until delete.");
static NO_SUBREAPER: Flag =
    Flag::switch("no-subreaper", "Leave processes that lose their parent to the host's init, not to nfrun.");

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let Call { globals, arguments, program } = call;
    let options = RunOptions {
        detach: arguments.on(&DETACH),
        keep: arguments.on(&KEEP),
        no_subreaper: arguments.on(&NO_SUBREAPER),
    };
    container::run(globals, &arguments.id()?, &create::options(arguments)?, options)
        .map_err(|error| Failure::from(error).during(&format!("{program} run failed")))
}
