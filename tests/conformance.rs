//! docs/conformance.md is held to the tests: what it names exists and runs, every row has a result, and its sums are true.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A row of a table that has the columns `tests` and `here`.
struct Row {
    line: usize,
    /// The heading of the part that it stands in.
    part: String,
    clause: String,
    tests: String,
    here: String,
    /// What came of them on each host of `HOSTS`, as tests/vm/matrix writes it.
    hosts: Vec<String>,
}

/// The columns that `make test-hosts` fills.
const HOSTS: [&str; 7] =
    ["bullseye", "bookworm", "bookworm-v1", "bookworm-hybrid", "bookworm-systemd", "trixie", "sid"];

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md")).expect("docs/conformance.md")
}

/// A table's line without its border, as cells. A bar in code would be escaped, and none is.
fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut columns, mut part) = (Vec::new(), Vec::new(), String::new());
    for (n, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            part = heading.to_owned();
        }
        if !line.starts_with('|') {
            columns = Vec::new();
            continue;
        }
        let cells = cells(line);
        if columns.is_empty() {
            columns = cells;
            continue;
        }
        let cell = |name: &str| columns.iter().position(|column| column == name).and_then(|at| cells.get(at).cloned());
        let (Some(tests), Some(here)) = (cell("tests"), cell("here")) else { continue };
        if here.starts_with("---") {
            continue;
        }
        assert_eq!(cells.len(), columns.len(), "line {}: tests/vm/matrix docs adds the hosts' cells: {line}", n + 1);
        let hosts = HOSTS.iter().filter_map(|host| cell(host)).collect();
        rows.push(Row { line: n + 1, part: part.clone(), clause: cells[0].clone(), tests, here, hosts });
    }
    rows
}

/// What stands between backticks and names a test: `FILE.rs::NAME`.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::"))
}

/// The attributes and the rest of a test function of a file; None where there is no such test.
fn test_function<'a>(source: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let at = source.find(&format!("fn {name}()"))?;
    let attributes = source[..at].rfind("#[test]").map(|start| &source[start..at])?;
    // Nothing but attributes stands between the mark of a test and its function.
    let only_attributes = attributes.lines().all(|line| line.trim().is_empty() || line.trim().starts_with("#["));
    only_attributes.then_some((attributes, &source[at..]))
}

#[test]
fn every_test_that_is_named_exists_and_is_not_ignored() {
    let text = document();
    let mut wrong = Vec::new();
    for row in rows(&text) {
        for (file, name) in named(&row.tests) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            let source = fs::read_to_string(&path).unwrap_or_default();
            match test_function(&source, name) {
                None => wrong.push(format!("line {}: no test {name} in {file}", row.line)),
                Some((attributes, _)) if attributes.contains("#[ignore") => {
                    wrong.push(format!("line {}: {file}::{name} is ignored", row.line));
                }
                Some(_) => {}
            }
        }
        let words = row.tests.split('`').step_by(2).any(|between| !between.trim_matches([',', ' ']).is_empty());
        if words {
            wrong.push(format!("line {}: {:?} is no list of tests", row.line, row.tests));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_row_has_a_result_that_says_why_it_is_not_pass() {
    let mut wrong = Vec::new();
    for row in rows(&document()) {
        let (result, why) = row.here.split_once(": ").unwrap_or((&row.here, ""));
        let tested = named(&row.tests).next().is_some();
        let unfinished = ["not yet", "TODO", "until it is there", "later"].iter().any(|word| why.contains(word));
        let right = !unfinished
            && match result {
                "pass" => tested && why.is_empty(),
                "VM" | "differs" => tested && why.len() > 3,
                "n/a" => why.len() > 3,
                _ => false,
            };
        if !right {
            wrong.push(format!("line {}: {}: {:?} by {:?}", row.line, row.clause, row.here, row.tests));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_row_tells_what_came_of_its_tests_on_each_host() {
    let mut wrong = Vec::new();
    for row in rows(&document()) {
        // What is pure is the same everywhere, and so is what reads documents.
        let same = named(&row.tests).all(|(file, _)| file.starts_with("src/"));
        let right = row.hosts.len() == HOSTS.len()
            && row.hosts.iter().all(|result| match result.as_str() {
                "" => true,
                "=" => named(&row.tests).next().is_some(),
                "+" | "skip" | "FAIL" => !same,
                _ => false,
            });
        if !right {
            wrong.push(format!("line {}: {}: {:?}", row.line, row.clause, row.hosts));
        }
    }
    assert!(wrong.is_empty(), "tests/vm/matrix docs writes them: {wrong:#?}");
}

/// The sums stand in a table whose first column is the part.
#[test]
fn the_sums_are_true() {
    let text = document();
    let mut sums: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for row in rows(&text) {
        let result = row.here.split(':').next().unwrap_or_default();
        let at = ["pass", "VM", "differs", "n/a"].iter().position(|word| *word == result);
        sums.entry(row.part).or_default()[at.expect("a result")] += 1;
    }
    for (part, [pass, vm, differs, not]) in sums {
        let line = format!("| {part} | {} | {pass} | {vm} | {differs} | {not} |", pass + vm + differs + not);
        assert!(text.lines().any(|written| written == line), "the sums should have the line\n{line}");
    }
}

/// The checks above would be content with a document that they cannot read.
#[test]
fn the_document_is_read_whole() {
    let rows = rows(&document());
    assert!(rows.len() > 300, "{} rows", rows.len());
    for part in ["config.md", "config-linux.md", "runtime.md", "runtime-linux.md", "What drop-in users rely on"] {
        assert!(rows.iter().any(|row| row.part == part), "nothing in {part}");
    }
    assert!(test_function("#[test]\nfn a() {}\n", "a").is_some());
    assert!(test_function("#[test]\n#[ignore]\nfn a() {}\n", "a").is_some_and(|(marks, _)| marks.contains("#[ignore")));
    assert!(test_function("#[test]\nfn b() {}\nfn a() {}\n", "a").is_none(), "a helper is no test");
}

/// The repository's documents.
fn documents(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !["target", ".git", "built", "src", "node_modules"].iter().any(|left_out| name == *left_out) {
                documents(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    let mut files = Vec::new();
    documents(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    assert!(files.len() > 10, "{files:?}");
    let mut broken = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            if !file.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
