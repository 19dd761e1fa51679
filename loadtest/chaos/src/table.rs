//! The table for people: on the terminal, and between two marks in the runbook.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use swarm::report::Report;

use crate::faults::Bar;

const BEGIN: &str = "<!-- written by `make chaos` -->\n";
const END: &str = "<!-- end of what `make chaos` writes -->";

/// What came of one fault.
pub struct Row {
    /// The fault.
    pub name: &'static str,
    /// The limits of a row.
    pub bar: Bar,
    /// From its first step to the end of its last.
    pub lasted: Duration,
    /// The verdict of the load.
    pub report: Report,
}

/// All rows.
#[derive(Default)]
pub struct Table {
    /// In the order in which they were run.
    pub rows: Vec<Row>,
}

impl Row {
    /// Nothing is wrong with it.
    pub fn is_good(&self) -> bool {
        self.report.is_clean && self.missed().is_none()
    }

    /// Why it cost too much.
    fn missed(&self) -> Option<String> {
        let counts = &self.report.counts;
        self.bar.missed(self.unanswered().max(self.unshown()), self.lasted, counts.closes.values().sum())
    }

    /// The longest that one sender waited for an answer.
    fn unanswered(&self) -> Duration {
        Duration::from_micros(self.report.counts.ack_gap_us_max)
    }

    /// The longest from when a message was due until a member saw it.
    fn unshown(&self) -> Duration {
        Duration::from_secs_f64(self.report.delivered.max / 1e3)
    }

    /// What is wrong, in words.
    pub fn says(&self) -> Vec<String> {
        let counts = &self.report.counts;
        let closes = (!counts.closes.is_empty()).then(|| format!("  sockets closed: {:?}", counts.closes));
        let filled = self.report.verdict.filled;
        let filled = (filled > 0).then(|| format!("  told again before a first synced: {filled} (allowed)"));
        let missed = self.missed().map(|why| format!("  NOT WELL: {why}"));
        let examples = self.report.verdict.examples.iter().map(|one| format!("  {one}"));
        closes.into_iter().chain(filled).chain(missed).chain(examples).collect()
    }

    /// One line of the table.
    pub fn line(&self) -> String {
        let (verdict, counts) = (&self.report.verdict, &self.report.counts);
        let lost = verdict.lost + verdict.undelivered;
        format!(
            "| {} | {:.0} s | {} | {} | {} | {lost} | {} | {} | {} | {:.1} s | {:.1} s | {} |",
            self.name,
            self.lasted.as_secs_f64(),
            verdict.acknowledged,
            counts.reconnects,
            counts.busy,
            verdict.doubled,
            verdict.reordered,
            verdict.gaps,
            self.unanswered().as_secs_f64(),
            self.unshown().as_secs_f64(),
            match self.missed() {
                _ if !self.report.is_clean => "**not clean**",
                Some(_) => "**too late, or cut**",
                None => "clean",
            },
        )
    }
}

impl Table {
    /// With its head.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| Fault | lasted | acknowledged | sockets cut | heard busy | lost | doubled | reordered | gaps | longest \
             without an answer | longest until shown | verdict |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}", row.line());
        }
        out
    }

    /// Replaces the table in the runbook.
    ///
    /// # Errors
    /// The runbook, or its marks, are not there.
    pub fn write_into_runbook(&self) -> anyhow::Result<PathBuf> {
        replace_in_runbook(BEGIN, END, |_| self.markdown())
    }
}

/// Writes between two marks of the runbook what `of` makes of what is there.
///
/// # Errors
/// The runbook, or its marks, are not there.
pub fn replace_in_runbook(
    begin: &str,
    end: &str,
    of: impl FnOnce(&str) -> String,
) -> anyhow::Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/RUNBOOK.md");
    let whole = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (before, rest) = whole.split_once(begin).context("the runbook has lost its mark")?;
    let (there, after) = rest.split_once(end).context("the runbook has lost its second mark")?;
    std::fs::write(&path, format!("{before}{begin}{}{end}{after}", of(there)))?;
    Ok(path)
}
