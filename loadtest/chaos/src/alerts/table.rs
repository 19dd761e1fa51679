//! The table for people: on the terminal, and between two marks in the runbook.

use std::path::PathBuf;
use std::time::Duration;

use crate::table::replace_in_runbook;

const BEGIN: &str = "<!-- written by `make alerts` -->\n";
const END: &str = "<!-- end of what `make alerts` writes -->";
const HEAD: &str = "| Fault | Alert | seconds until it fired | fired as well |\n|---|---|---|---|";

/// An alert, and the fault that is to fire it.
pub struct Row {
    pub fault: String,
    pub alert: &'static str,
    /// From the fault until it fired.
    pub seconds: Option<Duration>,
    /// Why there are no seconds, when that is as it should be.
    pub note: Option<&'static str>,
    /// The other alerts that fired.
    pub also: Vec<String>,
    /// The number of the faults that happened at once; 0: of none.
    pub group: usize,
}

impl Row {
    fn line(&self) -> String {
        let seconds = match (self.seconds, self.note) {
            (Some(seconds), _) => format!("{:.0}", seconds.as_secs_f64()),
            (None, Some(note)) => note.to_owned(),
            (None, None) => "**did not fire in time**".to_owned(),
        };
        format!("| {} | {} | {seconds} | {} |", self.fault, self.alert, self.also.join(", "))
    }
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
            let is_excused = row.group == 0 || (row.note.is_some() && self.rows.iter().any(measured));
            row.seconds.is_some() || is_excused
        })
    }

    /// With its head.
    pub fn markdown(&self) -> String {
        let lines = self.rows.iter().map(Row::line);
        HEAD.lines().map(str::to_owned).chain(lines).map(|line| line + "\n").collect()
    }

    /// Replaces the table in the runbook; or, of some faults only, their rows in it.
    pub fn write_into_runbook(&self, is_whole: bool) -> anyhow::Result<PathBuf> {
        let text = |there: &str| if is_whole { self.markdown() } else { self.over(there) };
        replace_in_runbook(BEGIN, END, text)
    }

    /// The table that is there, with these rows in their places. What has no place there is left out:
    /// the whole has not been run since it is known.
    fn over(&self, there: &str) -> String {
        let new = |line: &str| {
            let alert = line.split('|').nth(2)?.trim();
            self.rows.iter().find(|row| row.alert == alert).map(Row::line)
        };
        there.lines().map(|line| new(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
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
        let there = "| old | A | 9 |  |\n| old | Z | 3 | A |\n";
        assert_eq!(table.over(there), "| a fault | A | 75 | Other |\n| old | Z | 3 | A |\n");
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
