//! `bench against REV`: is this build worse than another commit's? Both are built, and their own benches
//! take the same rows in turn, on the same peers: each speaks to its programs as they understand it.
//! Other peer programs are left out (nothing is on the PATH of these runs): they do not change the
//! answer, and take most of the time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::cluster::commit;
use crate::outcome::{Bar, Outcome, Target, median, number};

/// Percent by which a median may be worse.
const WORSE_MAX: f64 = 3.0;

/// The arguments of `bench against`.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// The commit to compare with
    #[arg(value_name = "REV")]
    rev: String,
    /// Rows to take
    #[arg(value_name = "ROW", default_values_t = ["g2", "g3", "g8", "g4"].map(str::to_owned))]
    rows: Vec<String>,
    /// How often each build takes each row
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..100))]
    passes: u32,
}

/// A build, and the figures of its bars.
struct Side {
    bench: PathBuf,
    found: BTreeMap<String, Vec<Figure>>,
}

/// One bar of a row, as the other bench printed it.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    /// The goal, and which of its bars, in the order of the table: sentences change between commits.
    name: String,
    what: String,
    found: f64,
    is_less_better: bool,
}

/// Builds, measures, prints. Blocks. True: no bar is worse by more than [`WORSE_MAX`].
///
/// # Errors
/// The other commit cannot be built, or a bench fails.
pub fn run(wanted: &Wanted) -> anyhow::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let that = build(&root, &wanted.rev)?;
    let side = |bench: PathBuf| Side { bench, found: BTreeMap::new() };
    let mut sides = [side(std::env::current_exe()?), side(that)];
    for pass in 0..wanted.passes {
        for row in &wanted.rows {
            // The second build finds warm caches, so the builds take turns in being first.
            let order = if pass % 2 == 0 { [0, 1] } else { [1, 0] };
            for at in order {
                let names = ["this build", &wanted.rev];
                crate::say(&format!("pass {} of {}, {row} of {} ...", pass + 1, wanted.passes, names[at]));
                for figure in sides[at].take(row)? {
                    sides[at].found.entry(figure.name.clone()).or_default().push(figure);
                }
            }
        }
    }
    let machine = vec![("this build", commit(&root)), ("held against", wanted.rev.clone())];
    let mut outcome = Outcome { machine, ..Outcome::default() };
    tell(&sides, &mut outcome);
    crate::say(&outcome.markdown(
        "This build against another commit's",
        "Both built, their benches run in turn. Above 1: this build is worse.",
    ));
    Ok(outcome.bars.iter().all(|bar| bar.is_reached() != Some(false)))
}

/// A worktree of that commit below `target`, built in a target folder of its own; its bench.
fn build(root: &Path, rev: &str) -> anyhow::Result<PathBuf> {
    let folder = root.join("target/against");
    let (source, target) = (folder.join("source"), folder.join("target"));
    let git = |arguments: &[&str], at: &Path| {
        let status = Command::new("git").arg("-C").arg(at).args(arguments).status()?;
        ensure!(status.success(), "git {} ended with {status}", arguments.join(" "));
        Ok(())
    };
    if source.join(".git").exists() {
        git(&["checkout", "--quiet", "--detach", rev], &source)?;
    } else {
        std::fs::create_dir_all(&folder)?;
        let path = source.to_str().context("a path that is text")?;
        git(&["worktree", "add", "--force", "--quiet", "--detach", path, rev], root)?;
    }
    crate::say(&format!("building {rev} in {} ...", source.display()));
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--workspace", "--bins"])
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .context("cargo")?;
    ensure!(status.success(), "{rev} does not build");
    Ok(target.join("release/bench"))
}

impl Side {
    /// Runs a row of this build's bench.
    fn take(&self, row: &str) -> anyhow::Result<Vec<Figure>> {
        let out = Command::new(&self.bench)
            .arg(row)
            .env("PATH", "")
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| self.bench.display().to_string())?;
        let text = String::from_utf8_lossy(&out.stdout);
        ensure!(out.status.success(), "{} {row} ended with {}:\n{text}", self.bench.display(), out.status);
        let figures = figures(&text);
        ensure!(!figures.is_empty(), "{} {row} printed no bar:\n{text}", self.bench.display());
        Ok(figures)
    }

    fn median(&self, name: &str) -> f64 {
        let found = self.found.get(name).into_iter().flatten();
        median(found.map(|figure| figure.found).collect())
    }

    fn all(&self, name: &str) -> String {
        let found = self.found.get(name).into_iter().flatten();
        found.map(|figure| number(figure.found)).collect::<Vec<_>>().join(", ")
    }
}

fn tell([this, that]: &[Side; 2], outcome: &mut Outcome) {
    for (name, figures) in &this.found {
        let (Some(figure), true) = (figures.first(), that.found.contains_key(name)) else { continue };
        let (ours, theirs) = (this.median(name), that.median(name));
        let worse = if figure.is_less_better { ours / theirs } else { theirs / ours };
        outcome.bars.push(Bar {
            goal: "",
            what: format!("{name}: {}", figure.what),
            arithmetic: format!("{} against {}", this.all(name), that.all(name)),
            found: Some(worse),
            target: Target::Most(1.0 + WORSE_MAX / 100.0, "×"),
        });
    }
    outcome.notes.push(
        "Medians of the passes; the arithmetic shows every pass, so that the noise of the machine is seen beside the \
         difference."
            .into(),
    );
}

/// The bars of a table that have a side that is right.
fn figures(document: &str) -> Vec<Figure> {
    let mut counts = BTreeMap::<String, usize>::new();
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let [goal, what, found, bar, ..] = cells[..] else { return None };
        let is_less_better = match bar.chars().next()? {
            '≤' => true,
            '≥' => false,
            _ => return None,
        };
        let count = counts.entry(goal.to_owned()).or_default();
        *count += 1;
        let name = format!("{goal}.{count}");
        Some(Figure { name, what: what.to_owned(), found: figure(found)?, is_less_better })
    });
    rows.collect()
}

/// Parses a printed figure: `12.3 k/s` is 12,300.
fn figure(cell: &str) -> Option<f64> {
    let mut words = cell.split(' ');
    let value: f64 = words.next()?.parse().ok()?;
    Some(if words.next().is_some_and(|word| word.starts_with('k')) { value * 1_000.0 } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_read_from_a_table_and_nothing_else_is() {
        let table = "  | G1 | said on the way | 1 B | ≤ 2 | yes | x |\n\
                     | Goal | What | Found | Bar | Reached | Arithmetic |\n|---|---|---|---|---|---|\n\
                     | G1 | bytes | 928 B | ≤ 1024 | yes | y |\n\
                     | G1 | no bar | 0.1 × | – | – | y |\n\
                     | G4 | frames | 12.5 k ×  | ≥ 6.00 | **no** | y |\n\
                     | G4 | p99 | not run | ≤ 20.0 | – | y |\n";
        let found: Vec<_> =
            figures(table).into_iter().map(|one| (one.name, one.found, one.is_less_better)).collect();
        assert_eq!(found, [("G1.1".to_owned(), 928.0, true), ("G4.1".to_owned(), 12_500.0, false)]);
    }

    #[test]
    fn worse_is_above_one_whichever_side_is_right() {
        let side = |found: &[(&str, f64, bool)]| Side {
            bench: PathBuf::new(),
            found: found
                .iter()
                .map(|(name, found, is_less_better)| {
                    let figure = Figure {
                        name: (*name).into(),
                        what: String::new(),
                        found: *found,
                        is_less_better: *is_less_better,
                    };
                    ((*name).to_owned(), vec![figure])
                })
                .collect(),
        };
        let this = side(&[("G1.1", 110.0, true), ("G4.1", 5.0, false), ("G9.1", 1.0, true)]);
        let that = side(&[("G1.1", 100.0, true), ("G4.1", 4.9, false)]);
        let mut outcome = Outcome::default();
        tell(&[this, that], &mut outcome);
        let reached: Vec<_> = outcome.bars.iter().map(Bar::is_reached).collect();
        assert_eq!(reached, [Some(false), Some(true)]);
    }
}
