//! `make alerts`: every alert is made to fire by a real fault, and how long it took is measured as
//! Prometheus tells it. The rules, their windows and their patience are those of production.
//!
//! `ALERTS=NoWorker,StoreAway` runs only the faults of these, and leaves the runbook alone.
//!
//! Exit code 1: an alert did not fire in time, one fired that nobody expects of the fault, a metric
//! never moved, or a dashboard asked in vain.

/// What can be done to the cluster.
mod acts;

/// Which fault is to fire which alert.
mod cases;

/// Is everything measured, before anything breaks?
mod measured;

/// People who do what the load does not.
mod people;

/// Prometheus' API.
mod prometheus;

/// What came of it.
mod table;

/// The tests' people: a client of theirs is as good here.
#[path = "../../../../tests/support/person.rs"]
#[allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    reason = "it panics where a test would; whoever plays a person here catches that"
)]
mod person;

/// What is empty as long as all is well.
#[path = "../../../../tests/support/faults.rs"]
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use self::acts::Stage;
use self::cases::{Case, GROUPS, NOT_HERE, Wanted};
use self::prometheus::Prometheus;
use self::table::{Row, Table};
use crate::cluster::Cluster;
use crate::{pause, say};

/// Between two looks at what fires.
const LOOK: Duration = Duration::from_secs(1);

/// How long everybody may take to be well again.
const WELL: Duration = Duration::from_secs(120);

/// How long what wants a quarter of an hour may take at the end.
const TAIL: Duration = Duration::from_secs(20 * 60);

/// A load before anything breaks: long enough for a heartbeat of each socket, and for rates.
const BEFORE: Duration = Duration::from_secs(60);

/// Everything, or the faults of these alerts.
pub fn run(names: &[String]) -> anyhow::Result<ExitCode> {
    let rules = alert_names()?;
    if let Some(unknown) = names.iter().find(|name| !rules.contains(*name)) {
        bail!("'{unknown}' is no alert of deploy/prometheus/rules/alerts.yml");
    }
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
    let mut run = Run::begin(names)?;
    for group in GROUPS {
        let cases: Vec<&Case> =
            group.iter().filter(|case| case.fires.iter().any(|wanted| is_wanted(wanted.alert))).collect();
        if !cases.is_empty() {
            run.group(&cases)?;
        }
    }
    run.tail();
    run.table.not_here(NOT_HERE.iter().filter(|(name, _)| is_wanted(name)));
    let missing: Vec<&String> = rules.iter().filter(|name| is_wanted(name) && !run.table.has(name)).collect();
    run.problems.extend(missing.iter().map(|name| format!("{name} has no fault that makes it fire")));
    if names.is_empty() {
        run.problems.extend(measured::never_moved(&run.prometheus, faults::ONLY_A_FAULT)?);
        let path = run.table.write_into_runbook()?;
        say(&format!("written into {}", path.display()));
    }
    say(&run.table.markdown());
    run.problems.iter().for_each(|problem| say(&format!("NOT WELL: {problem}")));
    Ok(ExitCode::from(u8::from(!run.problems.is_empty() || !run.table.is_good())))
}

/// The alerts of the rules, in their order.
fn alert_names() -> anyhow::Result<BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus/rules/alerts.yml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect())
}

/// A cluster under load, and what was seen of it.
struct Run {
    // The order matters: what acts on the cluster goes before it.
    stage: Stage,
    prometheus: Prometheus,
    table: Table,
    problems: Vec<String>,
    /// Since when each alert fires that fires now.
    firing: BTreeMap<String, Instant>,
    /// To be seen later.
    later: Vec<Waited>,
    /// What fired without being asked for: the faults, and after how long.
    earlier: BTreeMap<String, (String, Duration)>,
    /// The faults of the moment, and since when.
    current: (String, Instant),
    /// Only these are wanted; none: all.
    named: Vec<String>,
}

/// An alert that has not fired yet.
struct Waited {
    wanted: &'static Wanted,
    /// The fault.
    since: Instant,
    /// Of the table.
    row: usize,
}

impl Run {
    fn begin(names: &[String]) -> anyhow::Result<Self> {
        let cluster = Cluster::up(["2", "2", "1"])?;
        let stage = Stage::new(cluster)?;
        let prometheus = Prometheus::at(&stage.env("PROMETHEUS_URL")?)?;
        let mut run = Self {
            stage,
            prometheus,
            table: Table::default(),
            problems: Vec::new(),
            firing: BTreeMap::new(),
            later: Vec::new(),
            earlier: BTreeMap::new(),
            current: ("none".to_owned(), now()),
            named: names.to_vec(),
        };
        run.stage.load_begins()?;
        say(&format!("load for {BEFORE:?}: is everything measured?"));
        let end = now() + BEFORE;
        while now() < end {
            run.look();
            pause(LOOK);
        }
        run.problems.extend(measured::before_any_fault(&run.prometheus, faults::ONLY_A_FAULT)?);
        for alert in run.firing.keys() {
            run.problems.push(format!("{alert} fires while all is well"));
        }
        Ok(run)
    }

    /// What fires now; returns what did not a moment ago and is no earlier fault's.
    fn look(&mut self) -> Vec<String> {
        // No answer: nothing is known to have changed.
        let Ok(names) = self.prometheus.firing() else { return Vec::new() };
        self.firing.retain(|name, _| names.contains(name));
        let new: Vec<String> = names.into_iter().filter(|name| !self.firing.contains_key(name)).collect();
        for name in &new {
            self.firing.insert(name.clone(), now());
        }
        let mut others = Vec::new();
        for name in new {
            match self.later.iter().position(|one| one.wanted.alert == name) {
                Some(at) => {
                    let one = self.later.swap_remove(at);
                    self.fires(&one);
                }
                None => {
                    let (faults, begun) = &self.current;
                    let earlier = self.earlier.entry(name.clone());
                    earlier.or_insert_with(|| (faults.clone(), begun.elapsed()));
                    others.push(name);
                }
            }
        }
        others
    }

    /// Some faults at once, until all that they are to fire has fired; then all is mended.
    fn group(&mut self, cases: &[&'static Case]) -> anyhow::Result<()> {
        for case in cases {
            self.stage.begin(case.prepare, &[]).with_context(|| format!("making ready: {}", case.name))?;
        }
        self.look();
        let faults = cases.iter().map(|case| case.name).collect::<Vec<_>>().join("; ");
        let first_row = self.table.rows.len();
        self.current = (faults.clone(), now());
        let mut waited = Vec::new();
        for case in cases {
            waited.extend(self.start(case).with_context(|| case.name)?);
        }
        let mut also = BTreeSet::new();
        while !waited.is_empty() {
            pause(LOOK);
            for name in self.look() {
                match waited.iter().position(|one: &Waited| one.wanted.alert == name) {
                    Some(at) => self.fires(&waited.swap_remove(at)),
                    None => drop(also.insert(name)),
                }
            }
            waited.retain(|one| {
                let is_late = one.since.elapsed() > Duration::from_secs(one.wanted.within);
                if is_late {
                    say(&format!("  {} did NOT fire within {} s", one.wanted.alert, one.wanted.within));
                }
                !is_late
            });
        }
        for case in cases.iter().rev() {
            self.stage.end(case.end).with_context(|| format!("mending: {}", case.name))?;
        }
        self.is_well_again(&mut also)?;
        also.retain(|name| !cases.iter().any(|case| case.fires.iter().any(|one| one.alert == name)));
        let is_allowed = |name: &String| cases.iter().any(|case| case.also.contains(&name.as_str()));
        for name in also.iter().filter(|name| !is_allowed(name)) {
            self.problems.push(format!("{name} fired, and nobody expects it of: {faults}"));
        }
        for row in &mut self.table.rows[first_row..] {
            row.also = also.iter().cloned().collect();
        }
        Ok(())
    }

    /// Begins a fault; what is waited for while it lasts.
    fn start(&mut self, case: &'static Case) -> anyhow::Result<Vec<Waited>> {
        say(&format!("{} ...", case.name));
        let since = now();
        self.stage.begin(case.begin, case.repeats)?;
        let mut waited = Vec::new();
        for wanted in case.fires {
            if !self.named.is_empty() && !self.named.iter().any(|name| name == wanted.alert) {
                continue;
            }
            let fault = case.name.to_owned();
            self.table.rows.push(Row { fault, alert: wanted.alert, seconds: None, note: None, also: vec![] });
            let row = self.table.rows.len() - 1;
            if self.firing.contains_key(wanted.alert) {
                self.fires_already(row);
            } else if wanted.is_later {
                self.later.push(Waited { wanted, since, row });
            } else {
                waited.push(Waited { wanted, since, row });
            }
        }
        Ok(waited)
    }

    /// It fired.
    fn fires(&mut self, one: &Waited) {
        let after = one.since.elapsed();
        self.table.rows[one.row].seconds = Some(after);
        say(&format!("  {} after {:.0} s", one.wanted.alert, after.as_secs_f64()));
    }

    /// It rose with an earlier fault and has not gone: that one is what is known.
    fn fires_already(&mut self, row: usize) {
        let row = &mut self.table.rows[row];
        match self.earlier.get(row.alert) {
            Some((fault, after)) => (row.fault, row.seconds) = (fault.clone(), Some(*after)),
            None => row.note = Some("fires already, of an earlier fault"),
        }
    }

    /// Waits until every part answers well. Alerts with long windows may go on.
    fn is_well_again(&mut self, also: &mut BTreeSet<String>) -> anyhow::Result<()> {
        let begun = now();
        while let Err(why) = self.stage.is_well() {
            also.extend(self.look());
            if begun.elapsed() > WELL {
                bail!("not well again: {why:#}");
            }
            pause(LOOK);
        }
        say(&format!("  well again after {:.0} s", begun.elapsed().as_secs_f64()));
        self.stage.load_goes_on()
    }

    /// What wants a quarter of an hour has had most of it.
    fn tail(&mut self) {
        let end = now() + TAIL;
        if !self.later.is_empty() {
            let names: Vec<&str> = self.later.iter().map(|one| one.wanted.alert).collect();
            say(&format!("waiting for {}", names.join(", ")));
        }
        let is_in_time = |one: &Waited| one.since.elapsed() < Duration::from_secs(one.wanted.within);
        while now() < end && self.later.iter().any(is_in_time) {
            self.look();
            pause(LOOK);
        }
    }
}

/// Processes run in real time.
#[expect(clippy::disallowed_methods, reason = "processes do not share our clock")]
fn now() -> Instant {
    Instant::now()
}
