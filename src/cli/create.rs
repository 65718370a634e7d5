//! `create`, and the flags that it shares with `run` and `exec`.

use std::path::PathBuf;

use super::arguments::Arguments;
use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::{Call, Command};
use crate::bundle::network::Flags;
use crate::container::{self, Console, CreateOptions};
use crate::{Context, Result};

pub(super) static COMMAND: Command = Command {
    name: "create",
    about: "Create a container from a bundle and leave it waiting for start.",
    details: "Everything is set up when create returns; the process that config.json names runs at start.",
    usage: "ID",
    flags: &[
        &BUNDLE,
        &CONSOLE_SOCKET,
        &PID_FILE,
        &PIDFD_SOCKET,
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

pub(super) static BUNDLE: Flag = Flag::new(
    "bundle",
    Value::Dir("DIR"),
    "The bundle, a directory that holds config.json. The default is the current directory.",
)
.letter('b');
pub(super) static CONSOLE_SOCKET: Flag = Flag::new(
    "console-socket",
    Value::File("SOCKET"),
    "Send the terminal's master end to the unix socket SOCKET. This needs a process with a terminal.",
);
pub(super) static PID_FILE: Flag =
    Flag::new("pid-file", Value::File("FILE"), "Write the process's pid, as this host sees it, to FILE.");
pub(super) static PIDFD_SOCKET: Flag =
    Flag::new("pidfd-socket", Value::File("SOCKET"), "Send a pidfd of the process to the unix socket SOCKET.");
pub(super) static NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "Change the root without pivot_root, which a root file system on a ramdisk does not allow. This is less safe.",
);
pub(super) static NO_NEW_KEYRING: Flag =
    Flag::switch("no-new-keyring", "Leave the caller's session keyring to the container.");
pub(super) static PRESERVE_FDS: Flag = Flag::new(
    "preserve-fds",
    Value::Text("N"),
    "Pass the N descriptors after stderr on to the process, besides those of $LISTEN_FDS. The default is 0.",
);

pub(super) static NETWORK: Flag = Flag::new(
    "network",
    Value::Text("NETWORK"),
    "Give the container an interface: [KIND:]TARGET[,KEY=VALUE]..., as bridge:nf0,ip=10.88.0.5 or macvlan:eth0. A name \
     alone is a network's (`nfrun network`). Or none, host, container:ID. Can be repeated, for another interface.",
);
pub(super) static PUBLISH: Flag = Flag::new(
    "publish",
    Value::Text("PORTS"),
    "Lead ports of the host to the container: [ADDRESS:]PORT[-LAST]:PORT[-LAST][/tcp|udp|sctp]. Can be repeated.",
)
.letter('p');
pub(super) static DNS: Flag = Flag::new(
    "dns",
    Value::Text("ADDRESS"),
    "Let the container ask this name server, in place of the network's or the host's. Can be repeated.",
);
pub(super) static DNS_SEARCH: Flag =
    Flag::new("dns-search", Value::Text("DOMAIN"), "Look for short names in this domain. Can be repeated.");
pub(super) static ADD_HOST: Flag = Flag::new(
    "add-host",
    Value::Text("NAME:ADDRESS"),
    "Write a line into the container's /etc/hosts. host-gateway is the host's address there. Can be repeated.",
);

/// What the flags ask of the network.
pub(super) fn network(arguments: &Arguments) -> Result<Flags> {
    Ok(Flags {
        networks: arguments.texts(&NETWORK)?,
        publish: arguments.texts(&PUBLISH)?,
        dns: arguments.texts(&DNS)?,
        dns_search: arguments.texts(&DNS_SEARCH)?,
        hosts: arguments.texts(&ADD_HOST)?,
    })
}

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let Call { globals, arguments, program } = call;
    let created = container::create(globals, &arguments.id()?, &options(arguments)?);
    created.map_err(|error| Failure::from(error).during(&format!("{program} create failed")))?;
    Ok(0)
}

/// The options of `create`, from the flags.
pub(super) fn options(arguments: &Arguments) -> Result<CreateOptions, Failure> {
    Ok(CreateOptions {
        bundle: bundle(arguments)?,
        console: arguments.path(&CONSOLE_SOCKET)?.map(Console::Path),
        stdio: None,
        pid_file: arguments.path(&PID_FILE)?,
        pidfd_socket: arguments.path(&PIDFD_SOCKET)?,
        no_pivot: arguments.on(&NO_PIVOT),
        no_new_keyring: arguments.on(&NO_NEW_KEYRING),
        preserve_fds: arguments.number(&PRESERVE_FDS)?,
        network: network(arguments)?,
    })
}

/// The bundle's directory: that of the flag, or the current one.
pub(super) fn bundle(arguments: &Arguments) -> Result<PathBuf> {
    match arguments.path(&BUNDLE)? {
        Some(bundle) => Ok(bundle),
        None => std::env::current_dir().context(|| "find the current directory, the default bundle"),
    }
}
