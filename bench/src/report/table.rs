//! Numbers for people.

use super::Summary;
use std::fmt::Write;

/// A line of a table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What was found.
    pub(crate) summary: Summary,
}

/// How wide the first column is.
const WIDTH: usize = 48;

/// Lays lines out in columns.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "\n{:WIDTH$}{:>10}{:>10}{:>10}{:>12}{:>12}{:>10}{:>10}\n",
        "", "a second", "p50 ms", "p99 ms", "service µs", "database µs", "load µs", "WAL bytes"
    );
    for Row { what, summary } in rows {
        let Summary { per_second, p50_ms, p99_ms, .. } = summary;
        let [service, database, load, wal] = [
            summary.service_cpu_us,
            summary.database_cpu_us,
            summary.load_cpu_us,
            summary.wal_bytes,
        ]
        .map(|number| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.0}")));
        // Writing to a text can't fail.
        let _ = writeln!(
            text,
            "{what:WIDTH$}{per_second:>10.0}{p50_ms:>10.2}{p99_ms:>10.2}{service:>12}{database:>12}{load:>10}{wal:>10}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_line() {
        let row = |what: &str| Row { what: what.to_owned(), summary: Summary::default() };
        let text = table(&[row("one"), row("other")]);
        assert_eq!(text.trim().lines().count(), 3);
        assert!(text.contains("WAL bytes") && text.contains("other"), "{text}");
    }
}
