//! The table for people: on the terminal, and between two marks in the runbook.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::table::replace_in_runbook;

const BEGIN: &str = "<!-- written by `make alerts` -->\n";
const END: &str = "<!-- end of what `make alerts` writes -->";

/// An alert, and the fault that is to fire it.
pub struct Row {
    pub fault: String,
    pub alert: &'static str,
    /// From the fault until it fired.
    pub seconds: Option<Duration>,
    /// Why there are no seconds, when that is as it should be.
    pub note: Option<&'static str>,
    /// What else fired.
    pub also: Vec<String>,
    /// The number of the faults that happened at once; 0: of none.
    pub group: usize,
}

/// All rows.
#[derive(Default)]
pub struct Table {
    /// In the order in which they were run.
    pub rows: Vec<Row>,
}

impl Table {
    /// Alerts that cannot fire here, and why.
    pub fn not_here<'a>(&mut self, all: impl Iterator<Item = &'a (&'static str, &'static str)>) {
        let row = |(alert, why): &(&'static str, &'static str)| Row {
            fault: "none".to_owned(),
            alert,
            seconds: None,
            note: Some(why),
            also: Vec::new(),
            group: 0,
        };
        self.rows.extend(all.map(row));
    }

    /// Whether this alert has a row.
    pub fn has(&self, alert: &str) -> bool {
        self.rows.iter().any(|row| row.alert == alert)
    }

    /// Whether all that was to fire fired: an alert that two faults fire has to be measured once.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| {
            let measured = |other: &Row| other.alert == row.alert && other.seconds.is_some();
            let is_excused = row.fault == "none" || (row.note.is_some() && self.rows.iter().any(measured));
            row.seconds.is_some() || is_excused
        })
    }

    /// With its head.
    pub fn markdown(&self) -> String {
        let mut out =
            String::from("| Fault | Alert | seconds until it fired | fired as well |\n|---|---|---|---|\n");
        for row in &self.rows {
            let seconds = match (row.seconds, row.note) {
                (Some(seconds), _) => format!("{:.0}", seconds.as_secs_f64()),
                (None, Some(note)) => note.to_owned(),
                (None, None) => "**did not fire in time**".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "| {} | {} | {seconds} | {} |", row.fault, row.alert, row.also.join(", "));
        }
        out
    }

    /// Replaces the table in the runbook.
    pub fn write_into_runbook(&self) -> anyhow::Result<PathBuf> {
        replace_in_runbook(BEGIN, END, &self.markdown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_fire_is_not_good() {
        let row = |alert, seconds: Option<u64>, note| Row {
            fault: "a fault".to_owned(),
            alert,
            seconds: seconds.map(Duration::from_secs),
            note,
            also: vec!["Other".to_owned()],
            group: 1,
        };
        let mut table = Table { rows: vec![row("A", Some(75), None)] };
        table.not_here([("B", "it waits for an hour")].iter());
        assert!(table.is_good() && table.has("A") && table.has("B") && !table.has("C"));
        let text = table.markdown();
        assert!(
            text.contains("| a fault | A | 75 | Other |\n| none | B | it waits for an hour |  |"),
            "{text}"
        );
        // Fired already when its fault began: good only if another fault has it measured.
        table.rows.push(row("A", None, Some("fires already")));
        assert!(table.is_good());
        table.rows.push(row("C", None, Some("fires already")));
        assert!(!table.is_good());
        table.rows.pop();
        table.rows.push(row("C", None, None));
        assert!(!table.is_good() && table.markdown().contains("did not fire in time"));
    }
}
