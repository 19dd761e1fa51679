//! `make chaos`: a whole cluster behind nginx, a load through nginx, and one fault after the other.
//! Each row of the table is a run of swarm, judged. Anything acknowledged that was lost, doubled or
//! reordered ends in exit code 1.
//!
//! `chaos alerts` (`make alerts`) makes every alert fire instead: `alerts/mod.rs`.

/// Which fault fires which alert, and how fast.
mod alerts;

/// What this program is told on its command line.
mod arguments;

/// The cluster under test, through `deploy/cluster`.
mod cluster;

/// A line that can be cut.
mod line;

/// What can go wrong: the table of faults.
mod faults;

/// What people do meanwhile.
mod load;

/// What can be done to the cluster.
mod steps;

/// What came of it: the table for people.
mod table;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use swarm::report::Report;
use swarm::run::{Moment, run_watched};

use crate::arguments::{Arguments, Mode};
use crate::cluster::Cluster;
use crate::faults::{FAULTS, Fault};
use crate::table::{Row, Table};

/// Load before the fault begins, and after its last step.
const BEFORE_S: u64 = 5;
const AFTER_S: u64 = 20;

fn main() -> anyhow::Result<ExitCode> {
    let words = match Arguments::read() {
        Ok(Arguments { mode: Some(Mode::Alerts { only }), .. }) => return alerts::run(&only),
        Ok(Arguments { words, .. }) => words,
        Err(code) => return Ok(code),
    };
    let wanted = |fault: &&Fault| words.is_empty() || words.iter().any(|word| fault.is_named(word));
    let cluster = Cluster::up(["3", "2", "3"])?;
    let mut table = Table::default();
    for fault in FAULTS.iter().filter(wanted) {
        say(&format!("{} ...", fault.name));
        let row = run(&cluster, fault).with_context(|| fault.name)?;
        say(&row.line());
        row.says().iter().for_each(|line| say(line));
        table.rows.push(row);
    }
    drop(cluster);
    say(&table.markdown());
    if words.is_empty() {
        let path = table.write_into_runbook()?;
        say(&format!("written into {}", path.display()));
    }
    let is_clean = !table.rows.is_empty() && table.rows.iter().all(Row::is_good);
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Load, the fault in its midst, and the verdict.
fn run(cluster: &Cluster, fault: &Fault) -> anyhow::Result<Row> {
    fault.prepare(cluster)?;
    let seconds = BEFORE_S + fault.seconds() + AFTER_S;
    let options = fault.load.options(cluster, seconds)?;
    let (opened, wait) = mpsc::channel();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            run_watched(&options, move |moment, _| {
                if moment == Moment::Opened {
                    let _ = opened.send(());
                }
            })
        });
        // A load that did not open ends by itself, and says why.
        let broken = match wait.recv() {
            Ok(()) => {
                pause(Duration::from_secs(BEFORE_S));
                fault.happen(cluster)
            }
            Err(_) => Ok(Duration::ZERO),
        };
        let report: anyhow::Result<Report> =
            load.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the load panicked")));
        fault.clear_up(cluster)?;
        Ok(Row { name: fault.name, bar: fault.bar, lasted: broken?, report: report? })
    })
}

/// A fault lasts as long as it says.
#[expect(clippy::disallowed_methods, reason = "an outage of ten seconds takes ten seconds")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn say(text: &str) {
    // A closed pipe does not change what happened.
    let _ = writeln!(std::io::stdout(), "{text}");
}
