//! What a row found: figures, their arithmetic, the bar, reached or not.

use std::fmt::Write as _;

/// One bar of the bench.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The goal that it belongs to; empty: none.
    pub goal: &'static str,
    /// The measured quantity.
    pub what: String,
    /// The calculation of the ratio, with figures.
    pub arithmetic: String,
    /// The measured value; None: it could not be measured.
    pub found: Option<f64>,
    /// The value to reach.
    pub target: Target,
}

/// The condition of a bar.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At most this much, in this unit.
    Most(f64, &'static str),
    /// At least this much, in this unit.
    Least(f64, &'static str),
    /// Exactly this count.
    Exactly(usize),
    /// No condition: a figure for the reader, in this unit.
    None(&'static str),
}

impl Bar {
    /// Whether it is reached; None: not run, or there is no bar.
    pub fn is_reached(&self) -> Option<bool> {
        match self.target {
            Target::Most(most, _) => Some(self.found? <= most),
            Target::Least(least, _) => Some(self.found? >= least),
            Target::Exactly(count) => Some(self.found? == count as f64),
            Target::None(_) => None,
        }
    }

    fn cells(&self) -> [String; 6] {
        let (bar, unit) = match self.target {
            Target::Most(most, unit) => (format!("≤ {}", number(most)), unit),
            Target::Least(least, unit) => (format!("≥ {}", number(least)), unit),
            Target::Exactly(exactly) => (count(exactly as f64), ""),
            Target::None(unit) => ("–".to_owned(), unit),
        };
        let figure = |found| match self.target {
            Target::Exactly(_) => count(found),
            _ => format!("{} {unit}", number(found)),
        };
        let found = self.found.map_or("not run".to_owned(), figure);
        let reached = match self.is_reached() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        [self.goal.into(), self.what.clone(), found, bar, reached.to_owned(), self.arithmetic.clone()]
    }
}

/// The results of a run of the bench.
#[derive(Default)]
pub struct Outcome {
    /// The machine and the versions.
    pub machine: Vec<(&'static str, String)>,
    /// The bars, in the order of running.
    pub bars: Vec<Bar>,
    /// Notes for the reader on how the figures were measured.
    pub notes: Vec<String>,
    /// The lines of the CPU profiles.
    pub profile: Vec<String>,
}

impl Outcome {
    /// Adds a bar with its figure.
    pub fn found(
        &mut self,
        goal: &'static str,
        what: impl Into<String>,
        found: f64,
        target: Target,
        arithmetic: String,
    ) {
        let bar = Bar { goal, what: what.into(), arithmetic, found: Some(found), target };
        crate::say(&format!("  | {} |", bar.cells().join(" | ")));
        self.bars.push(bar);
    }

    /// The results as a Markdown document.
    pub fn markdown(&self, title: &str, about: &str) -> String {
        let mut out = format!("# {title}\n\n{about}\n\n");
        for (name, what) in &self.machine {
            line(&mut out, &format!("* {name}: {what}"));
        }
        // A table without goals has no column for them.
        let first = usize::from(self.bars.iter().all(|bar| bar.goal.is_empty()));
        let titles = ["Goal", "What", "Found", "Bar", "Reached", "Arithmetic"];
        line(&mut out, &format!("\n| {} |", titles[first..].join(" | ")));
        line(&mut out, &format!("{}|", "|---".repeat(titles.len() - first)));
        for bar in &self.bars {
            line(&mut out, &format!("| {} |", bar.cells()[first..].join(" | ")));
        }
        out.push_str("\n## How\n\n");
        for note in &self.notes {
            line(&mut out, &format!("* {note}"));
        }
        if !self.profile.is_empty() {
            out.push_str("\n## Where the time goes\n\n```\n");
            for text in &self.profile {
                line(&mut out, text);
            }
            out.push_str("```\n");
        }
        out
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// Formats a number with three significant digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        10_000.0.. => format!("{:.1} k", value / 1_000.0),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Formats a whole number with all digits, in groups of three.
pub fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// The median of the values of several passes.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_can_be_missed() {
        let bar =
            |found, target| Bar { goal: "", what: String::new(), arithmetic: String::new(), found, target };
        assert_eq!(bar(Some(1.0), Target::Most(2.0, "")).is_reached(), Some(true));
        assert_eq!(bar(Some(3.0), Target::Most(2.0, "")).is_reached(), Some(false));
        assert_eq!(bar(Some(3.0), Target::Least(4.0, "")).is_reached(), Some(false));
        assert_eq!(bar(None, Target::Least(4.0, "")).is_reached(), None);
        assert_eq!(bar(Some(3.0), Target::Exactly(3)).is_reached(), Some(true));
        assert_eq!(bar(Some(4.0), Target::Exactly(3)).is_reached(), Some(false), "more is wrong too");
        // A bar that was not measured has no figure.
        assert_eq!(bar(Some(f64::NAN), Target::Most(2.0, "")).is_reached(), Some(false));
    }

    #[test]
    fn medians_and_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!([count(0.0), count(999.0), count(200_000.0)], ["0", "999", "200,000"]);
        assert_eq!([number(12_345.0), number(0.1234), number(123.4)], ["12.3 k", "0.123", "123"]);
    }
}
