//! `make alerts`: a real fault makes every alert fire, and Prometheus tells how long
//! it took. The rules, their windows and their patience are those of production.
//!
//! `ALERTS=NoWorker,StoreAway` runs only the faults of these, and writes only their rows into the
//! runbook's table.
//!
//! Exit code 1: an alert did not fire in time, an unexpected one fired, a metric
//! never changed, or a dashboard's query found nothing.

/// What can be done to the cluster.
mod acts;

/// Which fault is to fire which alert.
mod cases;

/// Is everything measured, before anything breaks?
mod measured;

/// People with traffic that the load does not have.
mod people;

/// Prometheus' API.
mod prometheus;

/// Which alert belongs to which faults.
mod seen;

/// The table of results.
mod table;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use self::acts::Stage;
use self::cases::{Case, GROUPS, NOT_HERE, Wanted};
use self::prometheus::Prometheus;
use self::seen::Seen;
use self::table::{Row, Table};
use crate::cluster::Cluster;
use crate::{pause, say};

/// Between two looks at what fires.
const LOOK: Duration = Duration::from_secs(1);

/// How long all parts may take to be well again.
const WELL: Duration = Duration::from_secs(120);

/// How long an alert that is on its way may take to think better of it.
const SETTLE: Duration = Duration::from_secs(90);

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
    let mut is_whole = names.is_empty();
    for group in GROUPS {
        let cases: Vec<&Case> =
            group.iter().filter(|case| case.fires.iter().any(|wanted| is_wanted(wanted.alert))).collect();
        if cases.is_empty() {
            continue;
        }
        if let Err(err) = run.group(&cases) {
            // What was seen so far is told all the same.
            run.problems.push(format!("broken off: {err:#}"));
            is_whole = false;
            break;
        }
    }
    run.tail();
    run.judge();
    run.table.not_here(NOT_HERE.iter().filter(|(name, _)| is_wanted(name)));
    let missing: Vec<&String> = rules.iter().filter(|name| is_wanted(name) && !run.table.has(name)).collect();
    run.problems.extend(missing.iter().map(|name| format!("{name} has no fault that makes it fire")));
    if is_whole {
        run.problems.extend(measured::never_moved(&run.prometheus)?);
    }
    let path = run.table.write_into_runbook(is_whole)?;
    say(&format!("written into {}", path.display()));
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
    seen: Seen,
    /// To be seen later.
    later: Vec<Waited>,
    /// The faults of each group, and what else fired of them. The first are none.
    groups: Vec<(Vec<&'static Case>, BTreeSet<String>)>,
    /// Only these are wanted; none: all.
    named: Vec<String>,
}

/// An alert that has not fired yet.
struct Waited {
    wanted: &'static Wanted,
    /// The fault.
    since: Instant,
    /// Its number, and its row of the table.
    group: usize,
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
            seen: Seen::new(now()),
            later: Vec::new(),
            groups: vec![(Vec::new(), BTreeSet::new())],
            named: names.to_vec(),
        };
        run.stage.load_begins()?;
        say(&format!("load for {BEFORE:?}: is everything measured?"));
        let end = now() + BEFORE;
        while now() < end {
            run.look(&mut Vec::new());
            pause(LOOK);
        }
        run.problems.extend(measured::before_any_fault(&run.prometheus)?);
        for alert in run.seen.all() {
            run.problems.push(format!("{alert} fires while all is well"));
        }
        Ok(run)
    }

    /// Looks what fires; what was waited for has its seconds then.
    fn look(&mut self, waited: &mut Vec<Waited>) {
        // No answer: nothing is known to have changed.
        let Ok((pending, firing)) = self.prometheus.alerts() else { return };
        for (name, group) in self.seen.looks(&pending, firing, now()) {
            let list = if waited.iter().any(|one| one.wanted.alert == name) {
                &mut *waited
            } else {
                &mut self.later
            };
            let Some(at) = list.iter().position(|one| one.wanted.alert == name) else {
                self.groups[group].1.insert(name);
                continue;
            };
            let one = list.swap_remove(at);
            let row = &mut self.table.rows[one.row];
            let after = if group == one.group {
                one.since.elapsed()
            } else {
                // It rose with an earlier fault, and had the patience.
                let (group, after) = self.seen.first(&name).unwrap_or_default();
                (row.fault, row.group) = (expected_of(&self.groups[group].0, &name), group);
                after
            };
            row.seconds = Some(after);
            say(&format!("  {name} after {:.0} s", after.as_secs_f64()));
        }
    }

    /// Some faults at once, until all that they are to fire has fired; then all is mended. What cannot
    /// be done is a problem, and the others go on.
    ///
    /// # Errors
    /// The cluster does not become well again.
    fn group(&mut self, cases: &[&'static Case]) -> anyhow::Result<()> {
        for case in cases {
            let outcome = self.stage.begin(case.prepare, &[]);
            self.note(outcome, "making ready", case);
        }
        self.settle(cases);
        let faults = cases.iter().map(|case| case.name).collect::<Vec<_>>().join("; ");
        let group = self.seen.begins(faults, now());
        self.groups.push((cases.to_vec(), BTreeSet::new()));
        let mut waited = Vec::new();
        for case in cases {
            let outcome = self.start(case, group, &mut waited);
            self.note(outcome, "beginning", case);
        }
        while !waited.is_empty() {
            pause(LOOK);
            self.look(&mut waited);
            waited.retain(|one| {
                let is_late = one.since.elapsed() > Duration::from_secs(one.wanted.within);
                if is_late {
                    say(&format!("  {} did NOT fire within {} s", one.wanted.alert, one.wanted.within));
                }
                !is_late
            });
        }
        for case in cases.iter().rev() {
            let outcome = self.stage.end(case.end);
            self.note(outcome, "mending", case);
        }
        self.is_well_again()
    }

    fn note(&mut self, outcome: anyhow::Result<()>, what: &str, case: &Case) {
        if let Err(err) = outcome {
            self.problems.push(format!("{what}: {}: {err:#}", case.name));
        }
    }

    /// What is to fire is not on its way already, of the fault before; if it goes within a while.
    fn settle(&mut self, cases: &[&'static Case]) {
        let begun = now();
        let is_asked = |name: &String| {
            cases.iter().any(|case| case.fires.iter().any(|one| !one.is_later && one.alert == name))
        };
        while begun.elapsed() < SETTLE {
            self.look(&mut Vec::new());
            let is_on_its_way =
                self.prometheus.alerts().is_ok_and(|(pending, _)| pending.iter().any(is_asked));
            if !is_on_its_way {
                break;
            }
            pause(LOOK);
        }
    }

    /// Begins a fault; what is waited for while it lasts, or later.
    fn start(&mut self, case: &'static Case, group: usize, waited: &mut Vec<Waited>) -> anyhow::Result<()> {
        say(&format!("{} ...", case.name));
        let since = now();
        self.stage.begin(case.begin, case.repeats)?;
        for wanted in case.fires {
            if !self.named.is_empty() && !self.named.iter().any(|name| name == wanted.alert) {
                continue;
            }
            let (fault, alert) = (case.name.to_owned(), wanted.alert);
            let mut row = Row { fault, alert, seconds: None, note: None, also: vec![], group };
            if self.seen.fires(alert) {
                // It fired with an earlier fault and has not gone: that one is what is known.
                match self.seen.first(alert) {
                    Some((group, after)) => {
                        row.fault = expected_of(&self.groups[group].0, alert);
                        (row.group, row.seconds) = (group, Some(after));
                    }
                    None => row.note = Some("fires already, of an earlier fault"),
                }
            } else {
                let list = if wanted.is_later { &mut self.later } else { &mut *waited };
                list.push(Waited { wanted, since, group, row: self.table.rows.len() });
            }
            self.table.rows.push(row);
        }
        Ok(())
    }

    /// The other alerts that fired, and whether each is expected.
    fn judge(&mut self) {
        for (group, (cases, others)) in self.groups.iter().enumerate() {
            let is_to_fire = |name: &str| cases.iter().any(|case| case.fires(name));
            let also: Vec<String> = others.iter().filter(|name| !is_to_fire(name)).cloned().collect();
            for name in also.iter().filter(|name| !cases.iter().any(|case| case.expects(name))) {
                let faults = self.seen.faults(group);
                self.problems.push(format!("{name} fired, and nobody expects it of: {faults}"));
            }
            for row in self.table.rows.iter_mut().filter(|row| row.group == group) {
                row.also = also.iter().filter(|name| *name != row.alert).cloned().collect();
            }
        }
    }

    /// Waits until every part answers well. Alerts with long windows may go on.
    fn is_well_again(&mut self) -> anyhow::Result<()> {
        let begun = now();
        while let Err(why) = self.stage.is_well() {
            self.look(&mut Vec::new());
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
            self.look(&mut Vec::new());
            pause(LOOK);
        }
    }
}

/// The faults that may fire this alert; none: all of them.
fn expected_of(cases: &[&Case], alert: &str) -> String {
    let expected = cases.iter().filter(|case| case.expects(alert));
    let mut names: Vec<&str> = expected.map(|case| case.name).collect();
    if names.is_empty() {
        names = cases.iter().map(|case| case.name).collect();
    }
    names.join("; ")
}

/// Processes run in real time.
#[expect(clippy::disallowed_methods, reason = "processes do not share our clock")]
fn now() -> Instant {
    Instant::now()
}
