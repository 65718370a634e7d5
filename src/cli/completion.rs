//! `completion`: a script that completes nfrun's command line in a shell.

use clap_complete::Shell;

use super::failure::Failure;
use super::parse::Order;
use super::{Call, Command, help, output};
use crate::Error;

pub(super) static COMMAND: Command = Command {
    name: "completion",
    about: "Print a script that completes nfrun's command line.",
    details: "SHELL is bash, zsh, fish, elvish or powershell. For bash: source <(nfrun completion bash)",
    usage: "SHELL",
    flags: &[],
    words: (1, 1),
    order: Order::Anywhere,
    run,
};

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let name = call.arguments.words[0].to_string_lossy();
    let unknown = |_| Error::invalid(format!("unknown shell {name:?}: bash, zsh, fish, elvish or powershell"));
    let shell: Shell = name.parse().map_err(unknown)?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::whole(call.program), call.program, &mut script);
    output::print(script)?;
    Ok(0)
}
