//! Help texts, drawn by clap from the commands' own tables. Only `help` and `completion` pay for this.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ValueHint};

use super::failure::Failure;
use super::flag::{Flag, Value};
use super::{COMMANDS, Command, GROUPS, Group, Named, globals, output};

/// Prints the help of a command, of a group of them, or of nfrun.
pub(super) fn print(program: &str, of: Option<&Named>) -> Result<u8, Failure> {
    let mut page = match of {
        None => whole(program),
        Some(Named::Command(command)) => describe(program, command),
        Some(Named::Group(group)) => describe_group(program, group),
    };
    output::print(page.render_long_help().to_string())?;
    Ok(0)
}

/// nfrun and all its commands.
pub(super) fn whole(program: &str) -> clap::Command {
    clap::Command::new("nfrun")
        .bin_name(program.to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .about("An OCI container runtime for network functions, with runc's command line.")
        .long_about(
            "An OCI container runtime for network functions, with runc's command line.\n\nA container is made from a \
             bundle: a directory with a config.json and a root file system.\nFlags of nfrun itself stand before the \
             command; a command's flags stand before or behind the container's id.",
        )
        .subcommand_value_name("COMMAND")
        .override_usage(format!("{program} [FLAGS] COMMAND [FLAGS] [ID] ..."))
        .args(globals::FLAGS.iter().map(|flag| argument(flag)))
        .arg(help_flag())
        .subcommands(all_commands(program))
        .subcommand(clap::Command::new("help").about("Print the help of nfrun, or of a command."))
}

/// Commands and groups, in the order of their names.
fn all_commands(program: &str) -> Vec<clap::Command> {
    let mut all: Vec<_> = COMMANDS.iter().map(|command| describe(program, command)).collect();
    all.extend(GROUPS.iter().map(|group| describe_group(program, group)));
    all.sort_by(|one, other| one.get_name().cmp(other.get_name()));
    all
}

fn describe_group(program: &str, group: &Group) -> clap::Command {
    clap::Command::new(group.name)
        .about(group.about)
        .long_about(format!("{}\n\n{}", group.about, group.details))
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .override_usage(format!("{program} {} COMMAND [FLAGS] ...", group.name))
        .arg(help_flag())
        .subcommands(group.commands.iter().map(|command| describe(program, command)))
}

fn describe(program: &str, command: &Command) -> clap::Command {
    let about = match command.details {
        "" => command.about.to_owned(),
        details => format!("{}\n\n{details}", command.about),
    };
    // One of a group is called by the word behind the group's name.
    let name = command.name.rsplit(' ').next().unwrap_or(command.name);
    let page = clap::Command::new(name)
        .about(command.about)
        .long_about(about)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .args(command.flags.iter().map(|flag| argument(flag)))
        .arg(help_flag());
    let page = page.override_usage(format!("{program} {}", usage(command)));
    // The words are in the usage line; the completion scripts need to know that there are some.
    let words = Arg::new("words").value_name("WORD").num_args(0..).hide(true);
    if command.words.1 == 0 { page } else { page.arg(words) }
}

/// A command and what may stand behind it.
fn usage(command: &Command) -> String {
    let flags = if command.flags.is_empty() { "" } else { " [FLAGS]" };
    format!("{}{flags} {}", command.name, command.usage).trim_end().to_owned()
}

/// The parser knows it everywhere without a table.
fn help_flag() -> Arg {
    Arg::new("help").long("help").short('h').action(ArgAction::Help).help("Print this help.")
}

fn argument(flag: &'static Flag) -> Arg {
    let argument = Arg::new(flag.long).long(flag.long).help(flag.help).hide(flag.hidden);
    let argument = match flag.short {
        Some(letter) => argument.short(letter),
        None => argument,
    };
    match flag.value {
        Value::Switch => argument.action(ArgAction::SetTrue),
        Value::Text(name) => argument.value_name(name),
        Value::File(name) => argument.value_name(name).value_hint(ValueHint::FilePath),
        Value::Dir(name) => argument.value_name(name).value_hint(ValueHint::DirPath),
        Value::SwitchOr(name, choices) => {
            let argument = argument.value_name(name).num_args(0..=1).require_equals(true);
            argument.value_parser(PossibleValuesParser::new(choices))
        }
        Value::OneOf(name, choices) => {
            let help = format!("{} [default: {}]", flag.help, choices[0]);
            argument.value_name(name).value_parser(PossibleValuesParser::new(choices)).help(help)
        }
    }
}
