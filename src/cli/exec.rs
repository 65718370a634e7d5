//! `exec`: one more process in a running container. Errors of nfrun itself exit with 255, so that a driver tells them
//! from the process's own.

use super::arguments::Arguments;
use super::create::{CONSOLE_SOCKET, PID_FILE, PIDFD_SOCKET, PRESERVE_FDS};
use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::run::DETACH;
use super::{Call, Command, MANY};
use crate::container::{self, Console, Document, ExecOptions};
use crate::{Error, Result};

pub(super) static COMMAND: Command = Command {
    name: "exec",
    about: "Run one more process in a running container.",
    details: "The first word behind the id that is not a flag of exec begins the command; everything from there on \
              belongs to it. The exit code is the process's own, 128+N when signal N ended it, and 255 when nfrun \
              could not run it.",
    usage: "ID COMMAND [ARGUMENT]...",
    flags: &[
        &CONSOLE_SOCKET,
        &CWD,
        &ENV,
        &TTY,
        &USER,
        &ADDITIONAL_GIDS,
        &PROCESS,
        &DETACH,
        &PID_FILE,
        &PIDFD_SOCKET,
        &PROCESS_LABEL,
        &APPARMOR,
        &NO_NEW_PRIVS,
        &CAP,
        &PRESERVE_FDS,
        &CGROUP,
        &IGNORE_PAUSED,
        &EXEC_CPUS,
    ],
    words: (1, MANY),
    order: Order::ThenCommand,
    run,
};

static CWD: Flag = Flag::new(
    "cwd",
    Value::Text("DIR"),
    "The directory in the container in which the process starts. The default is that of config.json.",
);
static ENV: Flag =
    Flag::new("env", Value::Text("NAME=VALUE"), "Set a variable, besides those of config.json. Can be repeated.")
        .letter('e');
static TTY: Flag = Flag::switch("tty", "Give the process a terminal.").letter('t');
static USER: Flag = Flag::new(
    "user",
    Value::Text("UID[:GID]"),
    "The user and group, as numbers in the container. The default is those of config.json.",
)
.letter('u');
static ADDITIONAL_GIDS: Flag =
    Flag::new("additional-gids", Value::Text("GID"), "Add a group, as a number. Can be repeated.").letter('g');
static PROCESS: Flag = Flag::new(
    "process",
    Value::File("FILE"),
    "Take the process, with its command, from a JSON file that looks like config.json's process.",
)
.letter('p');
static PROCESS_LABEL: Flag = Flag::new("process-label", Value::Text("LABEL"), "The process's SELinux label.");
static APPARMOR: Flag = Flag::new("apparmor", Value::Text("PROFILE"), "The process's AppArmor profile.");
static NO_NEW_PRIVS: Flag = Flag::switch("no-new-privs", "Keep the process from gaining privileges by exec.");
static CAP: Flag =
    Flag::new("cap", Value::Text("CAP_NAME"), "Add a capability to those of config.json. Can be repeated.").letter('c');
static CGROUP: Flag = Flag::new(
    "cgroup",
    Value::Text("[CONTROLLER[,CONTROLLER]...:]PATH"),
    "Run the process in the cgroup PATH, which exists below the container's own. Can be repeated, for several \
     controllers of cgroup v1.",
);
static IGNORE_PAUSED: Flag =
    Flag::switch("ignore-paused", "Enter a paused container too; the process waits there until it is resumed.");
static EXEC_CPUS: Flag = Flag::new(
    "exec-cpus",
    Value::Text("LIST"),
    "The CPUs to run on, such as 0-3,7. The default is config.json's execCPUAffinity, else the container's annotation \
     io.nfrun.exec-cpus, else every CPU that its cgroup allows.",
);

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    exec(call).map_err(|failure| failure.during("exec failed").exit(255))
}

fn exec(call: &Call<'_>) -> Result<u8, Failure> {
    let options = options(call.arguments)?;
    Ok(container::exec(call.globals, &call.arguments.id()?, &options)?)
}

fn options(arguments: &Arguments) -> Result<ExecOptions, Failure> {
    let process = arguments.path(&PROCESS)?.map(Document::File);
    let args = arguments.rest()?;
    if process.is_none() && args.is_empty() {
        return Err(Error::invalid("process args cannot be empty: name a command behind the id").into());
    }
    Ok(ExecOptions {
        process,
        args,
        console: arguments.path(&CONSOLE_SOCKET)?.map(Console::Path),
        stdio: None,
        pid_file: arguments.path(&PID_FILE)?,
        pidfd_socket: arguments.path(&PIDFD_SOCKET)?,
        tty: arguments.on(&TTY),
        user: arguments.text(&USER)?.map(|text| user(&text)).transpose()?,
        additional_gids: arguments.numbers(&ADDITIONAL_GIDS)?,
        cwd: arguments.text(&CWD)?,
        env: arguments.texts(&ENV)?,
        detach: arguments.on(&DETACH),
        caps: arguments.texts(&CAP)?,
        process_label: arguments.text(&PROCESS_LABEL)?,
        apparmor: arguments.text(&APPARMOR)?,
        no_new_privs: arguments.on(&NO_NEW_PRIVS),
        preserve_fds: arguments.number(&PRESERVE_FDS)?,
        cgroup: arguments.texts(&CGROUP)?,
        ignore_paused: arguments.on(&IGNORE_PAUSED),
        exec_cpus: arguments.text(&EXEC_CPUS)?,
    })
}

/// `UID[:GID]`, numbers only: names would have to be looked up inside, and runc does not.
pub(super) fn user(text: &str) -> Result<(u32, Option<u32>)> {
    let number = |part: &str, what| {
        let words = || Error::invalid(format!("parsing {part} as int for {what} failed: --user takes UID[:GID]"));
        part.parse::<u32>().map_err(|_| words())
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid, "uid")?, Some(number(gid, "gid")?))),
        None => Ok((number(text, "uid")?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_numbers() {
        assert_eq!(user("7").unwrap(), (7, None));
        assert_eq!(user("7:8").unwrap(), (7, Some(8)));
        assert!(user("root").unwrap_err().to_string().starts_with("parsing root as int for uid failed"));
        assert!(user("0:x").unwrap_err().to_string().starts_with("parsing x as int for gid failed"));
        for text in ["1:2:3", "99999999999", "-1", "1:", ":1"] {
            assert!(user(text).is_err(), "{text}");
        }
    }
}
