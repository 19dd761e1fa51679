//! G13: what it costs to be many programs instead of few, and what it gains.
//!
//! Both layouts run beside each other all the time, on the same RabbitMQ and PostgreSQL, and are
//! loaded in turn: what one does when idle, the other bears too.

use anyhow::Context;
use swarm::options::Options;

use crate::cluster::{Cluster, Layout, Places};
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::redis::Masters;
use crate::process::Watched;
use crate::rows::chain::{self, measure};

const PASSES: usize = 3;
/// Where there is something to batch, and no layout is short of processors.
const RATE_PER_S: f64 = 4_000.0;
const MANY_GATEWAYS: usize = 4;
const MANY_WORKERS: usize = 2;

/// The rows of scaling out. Blocks.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &tokio::runtime::Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    tax(places, runtime, outcome).context("many programs against few")?;
    two_workers(places, runtime, outcome).context("two workers against one")
}

/// CPU per message of a large layout against that of the smallest, at the same rate.
fn tax(places: &Places, runtime: &tokio::runtime::Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let masters = runtime.block_on(Masters::start(places))?;
    let mut few = Layout::of(1, 1);
    few.env.push(("REDIS_NODES", masters.nodes()));
    let few = runtime.block_on(Cluster::lay_out(places, "bench-few", &few))?;
    let many = Layout::of(MANY_GATEWAYS, MANY_WORKERS);
    let many = runtime.block_on(Cluster::lay_out(places, "bench-many", &many))?;
    let (mut of_few, mut of_many) = (few.watched(), many.watched());
    let is_redis = |program: &Watched| program.name.starts_with("redis");
    let (redis, shared): (Vec<_>, Vec<_>) = places.watched()?.into_iter().partition(is_redis);
    of_few.extend(masters.watched().chain(shared.iter().cloned()));
    of_many.extend(redis.into_iter().chain(shared));

    let is_shared = |name: &str| name == "rabbitmq" || name == "postgres";
    let (mut all, mut own) = ([vec![], vec![]], [vec![], vec![]]);
    let mut last = [String::new(), String::new()];
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        for (at, (cluster, programs)) in [(&few, &of_few), (&many, &of_many)].into_iter().enumerate() {
            let measured = measure(&options(places, cluster, Some(RATE_PER_S)), programs)?;
            // The first pass warms up.
            if pass > 0 {
                all[at].push(measured.cpu_us(0.0));
                own[at].push(measured.cpu_us_of(|name| !is_shared(name)));
                last[at] = measured.by_program();
            }
        }
    }
    let ([few, many], [own_few, own_many]) = (all.map(median), own.map(median));
    outcome.found("G13", format!(
            "CPU per message with {MANY_GATEWAYS} gateways, {MANY_WORKERS} workers and six Redis nodes, held against \
             that with one, one and three"
        ), many / few, Target::Most(1.5, "×"), format!("{} µs ÷ {} µs, both at {}/s", number(many), number(few), number(RATE_PER_S)));
    outcome.found(
        "G13",
        "the same of gateways, workers and Redis alone: RabbitMQ and PostgreSQL are the same for both",
        own_many / own_few,
        Target::Most(1.5, "×"),
        format!("{} µs ÷ {} µs", number(own_many), number(own_few)),
    );
    let [last_few, last_many] = last;
    outcome
        .profile
        .push(format!("CPU per message at {}/s, µs, few programs: {last_few}", number(RATE_PER_S)));
    outcome
        .profile
        .push(format!("CPU per message at {}/s, µs, many programs: {last_many}", number(RATE_PER_S)));
    outcome.notes.push(
        "G13: CPU of gateways, workers, Redis, RabbitMQ and PostgreSQL, nothing subtracted. The smallest layout \
         has a Redis Cluster of three masters without replicas; RabbitMQ (one node) and PostgreSQL serve both layouts, \
         which run beside each other and are loaded in turn. Conversations of two, spread over all gateways."
            .into(),
    );
    Ok(())
}

/// Throughput of two workers against one, where the worker is what limits.
fn two_workers(
    places: &Places,
    runtime: &tokio::runtime::Runtime,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let start = |workers: usize| {
        let mut layout = Layout::of(1, workers);
        layout.env = vec![("WORK_SLOTS", "1".into()), ("WORKER_THREADS", "1".into())];
        runtime.block_on(Cluster::lay_out(places, &format!("bench-workers-{workers}"), &layout))
    };
    let clusters = [start(1)?, start(2)?];
    let mut rates = [vec![], vec![]];
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        for (rates, cluster) in rates.iter_mut().zip(&clusters) {
            let rate = measure(&options(places, cluster, None), &[])?.persisted_per_s();
            if pass > 0 {
                rates.push(rate);
            }
        }
    }
    let [one, two] = rates.map(median);
    outcome.found(
        "G13",
        "messages per second of two workers, held against one, each with one slot and one thread",
        two / one,
        Target::Least(1.1, "×"),
        format!("{}/s ÷ {}/s", number(two), number(one)),
    );
    outcome.notes.push(
        "G13, two workers: flat out through one gateway. A worker with its usual four slots and two threads does not limit \
         here, so each has one piece of work at a time (`WORK_SLOTS=1`) on one thread (`WORKER_THREADS=1`). Two \
         cores for everything bound what a second worker can add: twice as much is not to be expected here."
            .into(),
    );
    Ok(())
}

fn options(places: &Places, cluster: &Cluster, rate: Option<f64>) -> Options {
    Options { rate, ..chain::options(places, cluster) }
}
