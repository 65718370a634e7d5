//! The command line: one file a command, each with its flags, one library call and its output. Nothing here knows how
//! a container is made. Words come in from argv; the library's answers go to stdout, errors to stderr and the log.
//!
//! A command is one static [`Command`]: what parses it, what explains it and what runs it stand together. Commands on one
//! kind of thing are a [`Group`], such as `network`, behind whose name theirs stand.

mod arguments;
mod capture;
mod checkpoint;
mod completion;
mod create;
mod delete;
mod events;
mod exec;
mod failure;
mod features;
mod flag;
mod gc;
mod globals;
mod held_signals;
mod help;
mod kill;
mod list;
mod network;
mod output;
mod parse;
mod pause;
mod plan;
mod port;
mod ps;
mod resume;
mod run;
mod signal;
mod snapshot;
mod spec;
mod start;
mod state;
mod table;
mod top;
mod update;
mod version;

use std::ffi::OsString;
use std::path::Path;

use arguments::Arguments;
use failure::Failure;
use flag::Flag;
use parse::{Line, Order, Stop};

use crate::container::Globals;

/// A command of nfrun.
struct Command {
    name: &'static str,
    /// One sentence for the list of commands.
    about: &'static str,
    /// What a user would want to know beyond the flags, or nothing.
    details: &'static str,
    /// The words behind the flags, as the usage line shows them.
    usage: &'static str,
    flags: &'static [&'static Flag],
    /// The least and the most words.
    words: (usize, usize),
    order: Order,
    run: fn(&Call<'_>) -> Result<u8, Failure>,
}

/// Commands on one kind of thing.
struct Group {
    name: &'static str,
    /// One sentence for the list of commands.
    about: &'static str,
    details: &'static str,
    /// What they are called here is `GROUP COMMAND`.
    commands: &'static [&'static Command],
}

/// What a name on the command line stands for.
enum Named {
    Command(&'static Command),
    Group(&'static Group),
}

/// One call of a command.
struct Call<'a> {
    /// The name under which nfrun was called.
    program: &'a str,
    globals: &'a Globals,
    arguments: &'a Arguments,
}

/// Any number of words.
const MANY: usize = usize::MAX;

/// All commands, as the help lists them.
static COMMANDS: &[&Command] = &[
    &capture::COMMAND,
    &checkpoint::CHECKPOINT,
    &completion::COMMAND,
    &create::COMMAND,
    &delete::COMMAND,
    &events::COMMAND,
    &exec::COMMAND,
    &features::COMMAND,
    &gc::COMMAND,
    &kill::COMMAND,
    &list::COMMAND,
    &pause::COMMAND,
    &plan::COMMAND,
    &port::COMMAND,
    &ps::COMMAND,
    &checkpoint::RESTORE,
    &resume::COMMAND,
    &run::COMMAND,
    &spec::COMMAND,
    &start::COMMAND,
    &state::COMMAND,
    &top::COMMAND,
    &update::COMMAND,
];

/// All groups of commands.
static GROUPS: &[&Group] = &[&network::GROUP];

/// Runs the command that the process was called with.
pub fn main() -> u8 {
    let mut words = std::env::args_os();
    let program = program_name(words.next());
    let mut line = words.collect::<Vec<_>>().into_iter();
    run(&program, &mut line).unwrap_or_else(|failure| failure.report())
}

/// nfrun's own flags, then the command.
fn run(program: &str, line: &mut Line) -> Result<u8, Failure> {
    let own = match parse::parse(line, globals::FLAGS, Order::BeforeWord) {
        Ok(own) => own,
        Err(Stop::Help) => return help::print(program, None),
        Err(Stop::Wrong(words)) => return Err(Failure::new(format!("{words} (see {program} --help)"))),
    };
    if own.on(&globals::VERSION) {
        return version::print(program);
    }
    globals::start_log(&own)?;
    match line.next().map(|word| word.to_string_lossy().into_owned()).as_deref() {
        None => help::print(program, None),
        Some("help" | "h") => match line.next() {
            None => help::print(program, None),
            Some(name) => help::print(program, Some(&find(&name.to_string_lossy(), line)?)),
        },
        Some(name) => match find(name, line)? {
            Named::Command(command) => run_command(program, command, line, &own),
            group @ Named::Group(_) => help::print(program, Some(&group)),
        },
    }
}

fn run_command(program: &str, command: &'static Command, line: &mut Line, own: &Arguments) -> Result<u8, Failure> {
    let wrong = |words| Failure::new(format!("{words} (see {program} {} --help)", command.name));
    let arguments = match parse::parse(line, command.flags, command.order) {
        Ok(arguments) => arguments,
        Err(Stop::Help) => return help::print(program, Some(&Named::Command(command))),
        Err(Stop::Wrong(words)) => return Err(wrong(words)),
    };
    check_count(program, command, arguments.words.len()).map_err(wrong)?;
    let globals = globals::read(own)?;
    (command.run)(&Call { program, globals: &globals, arguments: &arguments })
}

/// The command of a name, or of a group's name and the word behind it; the group, where none stands there.
fn find(name: &str, line: &mut Line) -> Result<Named, Failure> {
    if let Some(group) = GROUPS.iter().find(|group| group.name == name) {
        return find_in(group, line);
    }
    let command = COMMANDS.iter().find(|command| command.name == name);
    command.map(|command| Named::Command(command)).ok_or_else(|| unknown(name))
}

fn find_in(group: &'static Group, line: &mut Line) -> Result<Named, Failure> {
    let Some(word) = line.next().map(|word| word.to_string_lossy().into_owned()) else {
        return Ok(Named::Group(group));
    };
    if matches!(word.as_str(), "help" | "h" | "--help" | "-help" | "-h") {
        return Ok(Named::Group(group));
    }
    let name = format!("{} {word}", group.name);
    let command = group.commands.iter().find(|command| command.name == name);
    command.map(|command| Named::Command(command)).ok_or_else(|| unknown(&name))
}

/// runc's words and exit code; drivers that probe for a command look at the code.
fn unknown(name: &str) -> Failure {
    Failure::new(format!("No help topic for '{name}': there is no such command")).exit(3)
}

/// The count of words in runc's words.
fn check_count(program: &str, command: &Command, count: usize) -> Result<(), String> {
    let (least, most) = command.words;
    let name = command.name;
    match count {
        _ if (least..=most).contains(&count) => Ok(()),
        _ if least == most => Err(format!("{program}: \"{name}\" requires exactly {least} argument(s)")),
        _ if count < least => Err(format!("{program}: \"{name}\" requires a minimum of {least} argument(s)")),
        _ => Err(format!("{program}: \"{name}\" requires a maximum of {most} argument(s)")),
    }
}

/// The name under which nfrun was called, such as `runc`.
fn program_name(first: Option<OsString>) -> String {
    let path = first.unwrap_or_default();
    Path::new(&path).file_name().map_or_else(|| "nfrun".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What fuzz targets give words to.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::*;

    /// `exec --user`.
    pub fn user(text: &str) -> crate::Result<(u32, Option<u32>)> {
        exec::user(text)
    }

    /// `kill`'s signal.
    pub fn signal(text: &str) -> crate::Result<i32> {
        signal::parse(text)
    }

    /// Parses a command line as [`super::main`] does, and runs nothing; how many words and values it has, if it has no mistake.
    pub fn read_line(words: Vec<OsString>) -> Option<usize> {
        let mut line = words.into_iter();
        let own = parse::parse(&mut line, globals::FLAGS, Order::BeforeWord).ok()?;
        let name = line.next()?;
        let Named::Command(command) = find(&name.to_string_lossy(), &mut line).ok()? else { return None };
        let arguments = parse::parse(&mut line, command.flags, command.order).ok()?;
        check_count("nfrun", command, arguments.words.len()).ok()?;
        let _ = arguments.id().map_err(|error| error.to_string());
        let _ = arguments.rest().map_err(|error| error.to_string());
        let values = |arguments: &Arguments| {
            arguments.given.iter().filter(|(_, given)| matches!(given, arguments::Given::Value(_))).count()
        };
        // A flag and its value may be one word.
        Some(arguments.words.len().max(values(&own)).max(values(&arguments)))
    }
}
