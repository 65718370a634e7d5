//! Rows into aligned columns, as runc's tables are: at least 12 wide, 3 blanks apart, nothing behind the last.

use std::fmt::Write;

const MIN_WIDTH: usize = 12;
const GAP: usize = 3;

/// The rows as text, one a line.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [MIN_WIDTH; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + GAP);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let width = if at + 1 == N { 0 } else { width };
            // Writing to a String cannot fail.
            let _ = write!(text, "{cell:width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_runcs() {
        let rows =
            [["ID", "PID", "OWNER"], ["bbbbbbbbbbbbbbbbbbbbbb", "10447", "root"]].map(|row| row.map(str::to_owned));
        assert_eq!(
            table(&rows),
            "ID                       PID         OWNER\nbbbbbbbbbbbbbbbbbbbbbb   10447       root\n"
        );
    }
}
