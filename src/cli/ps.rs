//! `ps`: the host's ps, and of its rows those of the container.

use std::process::Command as Process;

use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::{Call, Command, MANY, output};
use crate::{Context, Error, Result, container};

pub(super) static COMMAND: Command = Command {
    name: "ps",
    about: "Show the processes of a container.",
    details: "Everything behind the id goes to the host's ps, which needs to print a PID column. The default is -ef.",
    usage: "ID [PS OPTION]...",
    flags: &[&FORMAT],
    words: (1, MANY),
    order: Order::ThenVerbatim,
    run,
};

static FORMAT: Flag =
    Flag::new("format", Value::OneOf("FORMAT", &["table", "json"]), "Print ps's table, or a JSON array of pids.")
        .letter('f');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let format = call.arguments.choice(&FORMAT)?;
    let pids = container::pids(call.globals, &call.arguments.id()?)?;
    let text = match format {
        "json" => format!("{}\n", serde_json::Value::from(pids)),
        _ => rows_of(&host_ps(&call.arguments.words[1..])?, &pids)?,
    };
    output::print(text)?;
    Ok(0)
}

fn host_ps(options: &[std::ffi::OsString]) -> Result<String> {
    let mut ps = Process::new("ps");
    if options.is_empty() {
        ps.arg("-ef")
    } else {
        ps.args(options)
    };
    let output = ps.output().context(|| "run the host's ps")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(Error::new(format!("{}: {}", output.status, String::from_utf8_lossy(&said))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The head of the table and the rows whose PID is one of `pids`.
fn rows_of(table: &str, pids: &[i32]) -> Result<String> {
    let head = table.lines().next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::new("couldn't find PID field in ps output: ask ps for a PID column"))?;
    let mut text = format!("{head}\n");
    for row in table.lines().skip(1) {
        let Some(field) = row.split_whitespace().nth(column) else { continue };
        // ps prints a dash in place of a pid in a thread's row.
        if field == "-" {
            continue;
        }
        let pid: i32 = field.parse().map_err(|_| Error::new(format!("unexpected pid {field:?} in ps output")))?;
        if pids.contains(&pid) {
            text.push_str(row);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_processes_are_left_out() {
        let table = "UID        PID  PPID CMD\nroot         1     0 init\nroot        42     1 sleep 1\n\n";
        assert_eq!(rows_of(table, &[42, 7]).unwrap(), "UID        PID  PPID CMD\nroot        42     1 sleep 1\n");
    }

    #[test]
    fn a_table_without_pids_is_refused() {
        assert!(rows_of("COMMAND\nsh\n", &[1]).unwrap_err().to_string().starts_with("couldn't find PID field"));
        assert!(rows_of("", &[1]).is_err());
    }
}
