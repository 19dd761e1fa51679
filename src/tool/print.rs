//! To standard output: tables for people, JSON for programs.

use std::io::{self, Write as _};

use protocol::Timestamp;
use serde_json::Value;

/// The output of answers.
pub struct Out {
    /// One JSON object instead of words.
    pub json: bool,
}

impl Out {
    /// The JSON, or the text.
    pub fn say(&self, json: &Value, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{json}")?;
        } else {
            writeln!(out, "{}", text.trim_end())?;
        }
        out.flush()
    }
}

/// Columns, aligned; the first row is the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A row of a table.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// `3 sockets`, `1 socket`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// `850ms`, `12s`, `3m07s`, `5h02m`, `2d03h`.
pub fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// The time since then.
pub fn age(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.0.saturating_sub(since.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [row(["NODE", "UP"]), row(["a", "12s"]), row(["bcdef", ""])];
        assert_eq!(table(&rows), "NODE   UP\na      12s\nbcdef");
    }

    #[test]
    fn spans_are_short() {
        let check = |ms, expect: &str| assert_eq!(span(ms), expect);
        check(850, "850ms");
        check(12_999, "12s");
        check(187_000, "3m07s");
        check(18_120_000, "5h02m");
        check(183_600_000, "2d03h");
        assert_eq!(age(Timestamp(5), Timestamp(3)), 0, "clocks of two machines");
    }
}
