//! The table, with numbers as people read them.

use super::rows::{Amount, Flow, Row};

const HEAD: [&str; 13] = [
    "ID",
    "CPU %",
    "MEMORY",
    "LIMIT",
    "PIDS",
    "RX B/s",
    "RX P/s",
    "TX B/s",
    "TX P/s",
    "RX BYTES",
    "RX PACKETS",
    "TX BYTES",
    "TX PACKETS",
];
/// Blanks between two columns.
const GAP: usize = 2;

/// The table's lines with their ends: names to the left, numbers to the right.
pub(super) fn lines(rows: &[Row]) -> Vec<String> {
    let table: Vec<[String; HEAD.len()]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: &[String; HEAD.len()]| {
        let mut line = format!("{:width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("{cell:>width$}", width = width + GAP));
        }
        line.push('\n');
        line
    };
    table.iter().map(line).collect()
}

fn cells(row: &Row) -> [String; HEAD.len()] {
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let total = |flow: Option<Flow>, of: fn(&Flow) -> u64| flow.as_ref().map(|flow| of(flow) as f64);
    let rate = |flow: Option<Flow>, of: fn(&Flow) -> Option<f64>| flow.as_ref().and_then(of);
    [
        row.id.clone(),
        known(row.cpu_percent.map(|percent| format!("{percent:.1}"))),
        known(row.memory.map(|bytes| binary(bytes as f64))),
        known(row.memory_limit.map(|limit| match limit {
            Amount::Bytes(bytes) => binary(bytes as f64),
            Amount::Word(word) => word.to_owned(),
        })),
        known(row.pids.map(|count| count.to_string())),
        known(rate(row.rx, |flow| flow.bytes_per_second).map(binary)),
        known(rate(row.rx, |flow| flow.packets_per_second).map(decimal)),
        known(rate(row.tx, |flow| flow.bytes_per_second).map(binary)),
        known(rate(row.tx, |flow| flow.packets_per_second).map(decimal)),
        known(total(row.rx, |flow| flow.bytes).map(binary)),
        known(total(row.rx, |flow| flow.packets).map(decimal)),
        known(total(row.tx, |flow| flow.bytes).map(binary)),
        known(total(row.tx, |flow| flow.packets).map(decimal)),
    ]
}

/// Bytes, in powers of 1024.
fn binary(number: f64) -> String {
    scaled(number, 1024.0, &["", "Ki", "Mi", "Gi", "Ti", "Pi"])
}

/// Packets, in powers of 1000.
fn decimal(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T", "P"])
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next();
    // What would be rounded to a whole step has the next unit.
    while number >= step - 0.05 && units.len() > 0 {
        number /= step;
        unit = units.next();
    }
    match unit {
        Some(unit) if !unit.is_empty() => format!("{number:.1}{unit}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::rows::{rows, tests::used};
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [(0.0, "0"), (999.0, "999"), (1023.0, "1023"), (1024.0, "1.0Ki"), (1.5e9, "1.4Gi")] {
            assert_eq!(binary(number), text);
        }
        for (number, text) in [(0.4, "0"), (999.0, "999"), (999.99, "1.0k"), (12_345.0, "12.3k"), (2e18, "2000.0P")] {
            assert_eq!(decimal(number), text);
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_columns_are_aligned() {
        let start = Instant::now();
        let mut bare = used("a-container", start, 0, 0);
        (bare.traffic, bare.cgroups) = (None, Default::default());
        let now = [used("b", start + Duration::from_secs(1), 250_000_000, 4096), bare];
        let lines = lines(&rows(&[used("b", start, 0, 0)], &now));
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[1]),
            ["b", "25.0", "3.0Mi", "max", "2", "4.0Ki", "40", "0", "0", "4.0Ki", "40", "0", "0"]
        );
        assert_eq!(words(&lines[2])[1..], ["-"; 12]);
        let ends: Vec<usize> = lines.iter().map(String::len).collect();
        assert!(ends.iter().all(|end| *end == ends[0]), "{lines:?}");
    }
}
