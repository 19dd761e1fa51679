//! `make soak`: half of saturation for a long time. Does the memory of a program grow, does a queue
//! grow, does a program log an error? And everything is judged, as always.

/// Decides whether a series of samples grows.
mod trend;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use swarm::options::{Forms, Options};
use swarm::report::Report;
use swarm::run::{Moment, run_watched};
use tokio::runtime::Runtime;
use tokio::time::{Instant, interval};

use self::trend::Trend;
use crate::cluster::{Cluster, Layout, Places};
use crate::machine;
use crate::outcome::{Bar, Outcome, Target, median, number};
use crate::peers::broker;
use crate::process::Watched;
use crate::rows::chain;

/// The prefix of queues and keys.
const PREFIX: &str = "bench-soak";
const GATEWAYS: usize = 2;
const WORKERS: usize = 2;
/// Measured passes to find saturation, after one to warm up.
const PASSES: usize = 3;
const PASS_SECONDS: u64 = 8;
/// The load, as a fraction of saturation.
const SHARE: f64 = 0.5;
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// The part of the time in which caches, pools and allocators may fill.
const WARMING: f64 = 0.25;
/// Growth of memory that is none even if nothing spreads: one allocation of an allocator's, KiB. A
/// byte lost with each message would be ten times that.
const GROWTH_KIB: f64 = 1_024.0;
/// AMQP messages that may be in progress at any moment.
const WAITING: f64 = 64.0;
/// Seconds to read the histories and judge them.
const JUDGING_SECONDS_MAX: u64 = 3_600;

/// The arguments of `bench soak`.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Seconds of load, from 60 to a day
    #[arg(value_parser = clap::value_parser!(u64).range(60..=86_400))]
    seconds: u64,
    /// Write the table here too
    #[arg(value_name = "FILE")]
    write_to: Option<PathBuf>,
}

/// Soaks, prints the table. Blocks. True: nothing grew, nothing was logged.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &Runtime, wanted: &Wanted) -> anyhow::Result<bool> {
    let cluster = runtime.block_on(Cluster::lay_out(places, PREFIX, &Layout::of(GATEWAYS, WORKERS)))?;
    let mut options = Options {
        seconds: Some(PASS_SECONDS),
        form: Forms::Both,
        deadline_s: wanted.seconds + JUDGING_SECONDS_MAX,
        ..chain::options(places, &cluster)
    };
    let mut rates = vec![];
    for pass in 0..=PASSES {
        crate::say(&format!("how much is saturation? pass {pass} of {PASSES} ..."));
        let report = judged(&options, |_| {})?;
        // The first pass warms up.
        if pass > 0 {
            rates.push(report.verdict.persisted as f64 / report.delivered_s);
        }
    }
    let saturation = median(rates);
    (options.rate, options.seconds) = (Some(saturation * SHARE), Some(wanted.seconds));
    crate::say(&format!(
        "{}/s; now {}/s for {} s ...",
        number(saturation),
        number(saturation * SHARE),
        wanted.seconds
    ));
    let logged_before = Logs::read(places)?;
    let looks = Looks::start(runtime, places, &cluster)?;
    let report = judged(&options, |moment| looks.mark(moment))?;
    let found =
        Found { looks: looks.end()?, logged: Logs::read(places)?.since(&logged_before), saturation, report };
    drop(cluster);
    runtime.block_on(broker::delete_queues(places, PREFIX))?;

    let mut outcome = Outcome { machine: runtime.block_on(machine::describe(places)), ..Outcome::default() };
    found.tell(wanted, &mut outcome);
    let document = outcome.markdown(
        "Results of `make soak`",
        "Written by the command. The generator, two gateways, two workers and all peers on one machine.",
    );
    crate::say(&document);
    if let Some(path) = &wanted.write_to {
        std::fs::write(path, document).with_context(|| path.display().to_string())?;
    }
    Ok(outcome.bars.iter().all(|bar| bar.is_reached() != Some(false)))
}

fn judged(options: &Options, mut watch: impl FnMut(Moment)) -> anyhow::Result<Report> {
    let report = run_watched(options, |moment, _| watch(moment)).context("the load")?;
    ensure!(report.is_clean, "the judge convicted:\n{report}");
    Ok(report)
}

/// The figures at one moment.
struct Look {
    at: Instant,
    /// Memory of each program, KiB, in the order of the programs.
    memory: Vec<u64>,
    /// AMQP messages in all queues of the system; None: the broker did not say.
    waiting: Option<u64>,
}

/// Reads all figures every few seconds.
struct Looks {
    names: Vec<String>,
    /// The number of programs of ours, which come first.
    ours: usize,
    seen: Arc<Mutex<Vec<Look>>>,
    /// When the load began and ended.
    span: Mutex<(Option<Instant>, Option<Instant>)>,
    task: tokio::task::JoinHandle<()>,
}

impl Looks {
    fn start(runtime: &Runtime, places: &Places, cluster: &Cluster) -> anyhow::Result<Self> {
        let mut programs = cluster.watched();
        let ours = programs.len();
        programs.extend(places.watched()?);
        let names = programs.iter().map(|program| program.name.clone()).collect();
        let seen = Arc::new(Mutex::new(vec![]));
        let task = runtime.spawn(look_on(places.clone(), programs, ours, Arc::clone(&seen)));
        Ok(Self { names, ours, seen, span: Mutex::default(), task })
    }

    fn mark(&self, moment: Moment) {
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        match moment {
            Moment::Opened => span.0 = Some(Instant::now()),
            Moment::Sent => span.1 = Some(Instant::now()),
            Moment::Settled => {}
        }
    }

    /// Ends the task, and returns the figures under load, without the warm-up.
    fn end(self) -> anyhow::Result<Seen> {
        self.task.abort();
        let (from, to) = *self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = from.zip(to).context("a load that began and ended")?;
        let from = from + (to - from).mul_f64(WARMING);
        let mut looks = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        looks.retain(|look| look.at >= from && look.at <= to);
        ensure!(looks.len() >= 6, "{} looks only: please soak for more seconds", looks.len());
        Ok(Seen { names: self.names, ours: self.ours, seconds: (to - from).as_secs_f64(), looks })
    }
}

async fn look_on(places: Places, programs: Vec<Watched>, ours: usize, seen: Arc<Mutex<Vec<Look>>>) {
    let mut ticks = interval(BETWEEN_LOOKS);
    loop {
        ticks.tick().await;
        let waiting = broker::waiting(&places, PREFIX).await.ok();
        // What a peer shares with its children (PostgreSQL's buffers) would be counted for each.
        let memory = |(at, program): (usize, &Watched)| match at < ours {
            true => program.rss_kib(),
            false => program.private_kib(),
        };
        let memory = programs.iter().enumerate().map(memory).collect();
        let look = Look { at: Instant::now(), memory, waiting };
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(look);
    }
}

/// The figures under load.
struct Seen {
    names: Vec<String>,
    ours: usize,
    seconds: f64,
    looks: Vec<Look>,
}

impl Seen {
    fn trend(&self, figure: impl Fn(&Look) -> Option<f64>) -> Option<Trend> {
        let start = self.looks.first()?.at;
        let sample = |look: &Look| Some(((look.at - start).as_secs_f64(), figure(look)?));
        Trend::of(&self.looks.iter().filter_map(sample).collect::<Vec<_>>())
    }
}

/// Lines of the logs that are errors and warnings, ours and the peers'.
#[derive(Clone, Copy)]
struct Logs {
    errors: usize,
    warnings: usize,
    of_peers: usize,
}

impl Logs {
    fn read(places: &Places) -> anyhow::Result<Self> {
        let count = |folder: &Path, marks: &[&str]| {
            let mut lines = 0;
            for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.extension().is_some_and(|ending| ending == "log") {
                    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
                    lines += text.lines().filter(|line| marks.iter().any(|mark| line.contains(mark))).count();
                }
            }
            anyhow::Ok(lines)
        };
        Ok(Self {
            errors: count(&places.logs, &["\"level\":\"ERROR\"", "panicked at"])?,
            warnings: count(&places.logs, &["\"level\":\"WARN\""])?,
            of_peers: count(&places.peers, &["[error]", "ERROR:", "FATAL:", "PANIC:"])?,
        })
    }

    fn since(self, before: &Self) -> Self {
        Self {
            errors: self.errors - before.errors,
            warnings: self.warnings - before.warnings,
            of_peers: self.of_peers - before.of_peers,
        }
    }
}

/// The result of the whole measurement.
struct Found {
    looks: Seen,
    logged: Logs,
    saturation: f64,
    report: Report,
}

impl Found {
    fn tell(&self, wanted: &Wanted, outcome: &mut Outcome) {
        let (looks, report) = (&self.looks, &self.report);
        let mut row = |what: String, found: Option<f64>, target: Target, arithmetic: String| {
            outcome.bars.push(Bar { goal: "", what, arithmetic, found, target });
        };
        row(
            "messages persisted per second, held against saturation of the same run".into(),
            Some(report.verdict.persisted as f64 / report.delivered_s / self.saturation),
            // What is due comes through: else it would not be half.
            Target::Least(SHARE * 0.98, "×"),
            format!(
                "{} messages in {:.0} s; saturation {}/s; every one judged",
                report.verdict.persisted,
                report.delivered_s,
                number(self.saturation)
            ),
        );
        for (at, name) in looks.names.iter().enumerate() {
            let trend = looks.trend(|look| Some(look.memory[at] as f64));
            let (what, target, how) = match trend {
                Some(trend) if at < looks.ours => {
                    let noise = trend.noise(GROWTH_KIB) / 1_024.0;
                    (format!("growth of {name}'s RSS"), Target::Most(noise, "MiB"), trend_text(&trend, looks))
                }
                Some(trend) => {
                    (format!("growth of {name}'s own memory"), Target::None("MiB"), trend_text(&trend, looks))
                }
                None => (name.clone(), Target::None("MiB"), "too few looks".into()),
            };
            row(what, trend.map(|trend| trend.growth / 1_024.0), target, how);
        }
        let waiting = looks.trend(|look| look.waiting.map(|waiting| waiting as f64));
        row(
            "growth of what waits in all queues, AMQP messages".into(),
            waiting.map(|trend| trend.growth),
            Target::Most(waiting.map_or(0.0, |trend| trend.noise(WAITING)), ""),
            waiting.map_or("the broker did not say".into(), |trend| {
                format!("mean {}, spread {}", number(trend.mean), number(trend.spread))
            }),
        );
        for (name, found) in [("p50", report.delivered.p50), ("p99", report.delivered.p99)] {
            let how = format!("due → shown to a member; at most {} ms", number(report.delivered.max));
            row(format!("{name} of a message"), Some(found), Target::None("ms"), how);
        }
        row(
            "errors logged by gateways and workers".into(),
            Some(self.logged.errors as f64),
            Target::Exactly(0),
            format!("{} warnings; errors of the peers: {}", self.logged.warnings, self.logged.of_peers),
        );
        outcome.notes.push(format!(
            "{} s at {SHARE} of saturation, which was the median of {PASSES} passes flat out; 50 senders, 200 \
             conversations of 2, both wire forms. A look every {} s; the first {:.0} % of the time does not count: caches, \
             pools and allocators fill.",
            wanted.seconds,
            BETWEEN_LOOKS.as_secs(),
            WARMING * 100.0
        ));
        outcome.notes.push(
            "Growth is what a straight line through all looks rises (least squares). It is none when it is not more than \
             three times their spread about that line, or than 1 MiB. A peer's own memory is its anonymous \
             pages with those of its children: no shared buffers."
                .into(),
        );
    }
}

fn trend_text(trend: &Trend, looks: &Seen) -> String {
    format!(
        "in {:.0} s; mean {} MiB, spread {} MiB",
        looks.seconds,
        number(trend.mean / 1_024.0),
        number(trend.spread / 1_024.0)
    )
}
