//! The whole chain against the bare chain: messages per second, and latency at a fixed rate; and what a
//! message costs PostgreSQL at saturation.

use swarm::options::Options;
use tokio::runtime::Runtime;

use super::chain::{self, Measured, measure, middle};
use crate::cluster::{Cluster, Places};
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::chain as bare;
use crate::process::Watched;

const PASSES: usize = 3;
const SECONDS: u64 = 8;
const RATE_PER_S: f64 = 6_000.0;
const BYTES: usize = 150;

/// A pass of the bare chain, and µs of PostgreSQL's processor per message.
struct Bare {
    ran: bare::Ran,
    postgres_us: f64,
}

/// The rows. Blocks.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = runtime.block_on(Cluster::start(places, "bench-limit", true))?;
    let mut programs = cluster.watched();
    programs.extend(places.watched()?);
    let postgres = programs.iter().find(|program| program.name == "postgres").cloned();
    let ours = |rate| {
        let options =
            Options { rate, seconds: Some(SECONDS), bytes: BYTES, ..chain::options(places, &cluster) };
        measure(&options, &programs)
    };
    let bare = |rate| {
        let load = bare::Load { seconds: SECONDS, rate, bytes: BYTES, gather: bare::GATHER_MAX };
        let used = || postgres.as_ref().map_or(0.0, Watched::cpu_s);
        let before = used();
        let ran = runtime.block_on(bare::run(places, load))?;
        anyhow::Ok(Bare { ran, postgres_us: (used() - before) * 1e6 / ran.messages as f64 })
    };
    let (mut flat, mut at_rate) = ((vec![], vec![]), (vec![], vec![]));
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        let found = (ours(None)?, bare(None)?, ours(Some(RATE_PER_S))?, bare(Some(RATE_PER_S))?);
        // The first pass warms up.
        if pass > 0 {
            flat.0.push(found.0);
            flat.1.push(found.1);
            at_rate.0.push(found.2);
            at_rate.1.push(found.3);
        }
    }
    tell_flat_out(&flat.0, &flat.1, outcome);
    tell_at_rate(&at_rate.0, &at_rate.1, outcome);
    outcome.notes.push(format!(
        "The bare chain: one program that publishes (persistent, confirmed), consumes, inserts the batch into the same \
         tables and moves the heads in one transaction, publishes (transient, confirmed) and consumes; up to {} messages \
         in one AMQP message, classic queues, {} conversations. It has no sockets, no Redis, no JSON, and checks \
         nothing: the product's share of the same two cores also carries the sockets and its generator. Latency counts from \
         the time at which a message was due, on both sides.",
        bare::GATHER_MAX,
        bare::CONVERSATIONS
    ));
    Ok(())
}

fn of(passes: &[Bare], what: impl Fn(&Bare) -> f64) -> f64 {
    median(passes.iter().map(what).collect())
}

fn tell_flat_out(ours: &[Measured], bare: &[Bare], outcome: &mut Outcome) {
    let (rate, limit) = (middle(ours, Measured::persisted_per_s), of(bare, |pass| pass.ran.per_s));
    outcome.found(
        "limit",
        "messages persisted, routed and delivered per second, held against the bare chain",
        rate / limit,
        Target::Least(0.6, "×"),
        format!("{}/s ÷ {}/s", number(rate), number(limit)),
    );
    let postgres = |measured: &Measured| measured.cpu_us_of(|name| name == "postgres");
    outcome.found(
        "limit",
        "PostgreSQL's processor per message at saturation",
        middle(ours, postgres),
        Target::Most(12.0, "µs"),
        format!("the bare chain: {} µs", number(of(bare, |pass| pass.postgres_us))),
    );
    let last = ours.last().map(Measured::by_program).unwrap_or_default();
    outcome.profile.push(format!("CPU per message flat out, µs: {last}"));
}

fn tell_at_rate(ours: &[Measured], bare: &[Bare], outcome: &mut Outcome) {
    let came = middle(ours, Measured::persisted_per_s);
    if came < RATE_PER_S * 0.95 {
        outcome.notes.push(format!("{}/s were due and {}/s came.", number(RATE_PER_S), number(came)));
    }
    let shown = |of: fn(&swarm::report::Latency) -> f64| middle(ours, |pass| of(&pass.report.delivered));
    for (name, ours, limit) in [
        ("p50", shown(|shown| shown.p50), of(bare, |pass| pass.ran.p50)),
        ("p99", shown(|shown| shown.p99), of(bare, |pass| pass.ran.p99)),
    ] {
        outcome.found(
            "limit",
            format!(
                "{name} of a message at {} per second, due → shown, held against the bare chain's",
                number(RATE_PER_S)
            ),
            ours / limit,
            Target::Most(3.0, "×"),
            format!("{} ms ÷ {} ms", number(ours), number(limit)),
        );
    }
    let last = ours.last().map(Measured::by_program).unwrap_or_default();
    outcome.profile.push(format!("CPU per message at {}/s, µs: {last}", number(RATE_PER_S)));
}
