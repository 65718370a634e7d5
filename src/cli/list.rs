//! `list`: the containers of the root.

use super::failure::Failure;
use super::flag::{Flag, Value};
use super::parse::Order;
use super::snapshot::Document;
use super::{Call, Command, output, table};
use crate::Result;
use crate::container::{self, Snapshot};

pub(super) static COMMAND: Command = Command {
    name: "list",
    about: "List the containers of the root.",
    details: "The root is that of --root, which stands before the command.",
    usage: "",
    flags: &[&FORMAT, &QUIET],
    words: (0, 0),
    order: Order::Anywhere,
    run,
};

static FORMAT: Flag =
    Flag::new("format", Value::OneOf("FORMAT", &["table", "json"]), "Print a table or a JSON array.").letter('f');
static QUIET: Flag = Flag::switch("quiet", "Print nothing but ids, one a line.").letter('q');

fn run(call: &Call<'_>) -> Result<u8, Failure> {
    let format = call.arguments.choice(&FORMAT)?;
    let snapshots = container::list(call.globals)?;
    let text = match format {
        _ if call.arguments.on(&QUIET) => snapshots.iter().map(|snapshot| format!("{}\n", snapshot.id)).collect(),
        "json" => json(&snapshots)?,
        _ => rows(&snapshots),
    };
    output::print(text)?;
    Ok(0)
}

/// An array, and `null` when it would be empty: what runc prints, and Go reads as an empty array.
fn json(snapshots: &[Snapshot]) -> Result<String> {
    if snapshots.is_empty() {
        return Ok("null\n".to_owned());
    }
    let documents: Vec<_> = snapshots.iter().map(Document::from).collect();
    Ok(format!("{}\n", serde_json::to_string(&documents)?))
}

fn rows(snapshots: &[Snapshot]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let row = |snapshot: &Snapshot| {
        [
            snapshot.id.clone(),
            snapshot.pid.to_string(),
            snapshot.status.as_str().to_owned(),
            snapshot.bundle.to_string_lossy().into_owned(),
            snapshot.created.clone(),
            snapshot.owner.clone(),
        ]
    };
    table::table(&std::iter::once(head).chain(snapshots.iter().map(row)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::running;
    use super::*;

    #[test]
    fn an_empty_list_is_runcs() {
        assert_eq!(rows(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
        assert_eq!(json(&[]).unwrap(), "null\n");
    }

    #[test]
    fn a_container_is_a_row_or_an_object() {
        let row = "b1          10432       running     /b          2026-11-25T04:12:48.540444813Z   root";
        assert_eq!(rows(&[running()]).lines().nth(1), Some(row));
        assert!(json(&[running()]).unwrap().starts_with("[{\"ociVersion\":\"1.3.0\",\"id\":\"b1\",\"pid\":10432,"));
    }
}
