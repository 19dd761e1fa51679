//! G5, G6 and G7: the whole chain, a message persisted, routed and shown to every member.

use std::time::Duration;

use anyhow::{Context, ensure};
use swarm::options::{Forms, Options};
use swarm::report::Report;
use swarm::run::{Moment, run_watched};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::cluster::{Cluster, Places, SECRET};
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::lapin::{self, Hop};
use crate::process::Watched;

/// The prefix of this cluster, and of others that use the same accounts.
pub const PREFIX: &str = "bench-chain";
const PASSES: usize = 3;
const SECONDS: u64 = 8;
/// Seconds of one pass at a rate.
const SECONDS_AT_RATE: u64 = 8;
const SLOW_PER_S: f64 = 500.0;
const BYTES: usize = 150;
/// As many bytes as an envelope.
const BYTES_BARE: usize = BYTES + 100;
const MEMBERS: u32 = 2;

/// Fifty people in two hundred conversations of two, flat out.
pub fn options(places: &Places, cluster: &Cluster) -> Options {
    Options {
        urls: cluster.addresses(),
        senders: 50,
        conversations: 200,
        members: MEMBERS,
        seconds: Some(SECONDS),
        window: 40,
        pipeline: 40,
        bytes: BYTES,
        form: Forms::Native,
        cache: places.binaries.join("bench-users"),
        jwt_secret: Some(SECRET.into()),
        ..Options::default()
    }
}

/// G5, G6 and G7. Blocks.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = runtime.block_on(Cluster::start(places, PREFIX, true))?;
    let mut programs = cluster.watched();
    programs.extend(places.watched()?);
    let mut options = options(places, &cluster);
    let idle_per_s = runtime.block_on(idle(&programs));
    let bare = |rate, seconds| {
        let time = Duration::from_secs(seconds);
        runtime.block_on(lapin::one_hop(&places.amqp_url, BYTES_BARE, time, rate))
    };

    let (mut rates, mut hops) = (vec![], vec![]);
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        let measured = measure(&options, &programs)?;
        let hop = bare(None, SECONDS)?;
        // The first pass warms up.
        if pass > 0 {
            rates.push(measured.persisted_per_s());
            hops.push(hop.per_s);
        }
    }
    let (saturation, hop) = (median(rates), median(hops));
    outcome.found(
        "G5b",
        "messages persisted, routed and delivered per second, held against bare lapin over one hop",
        saturation / hop,
        Target::Least(1.15, "×"),
        format!(
            "{}/s (to {MEMBERS} members each: {} deliveries/s) ÷ {}/s",
            number(saturation),
            number(saturation * f64::from(MEMBERS)),
            number(hop)
        ),
    );

    let mut found = AtRates::default();
    options.seconds = Some(SECONDS_AT_RATE);
    for pass in 1..=PASSES {
        crate::say(&format!("  at rates, pass {pass} of {PASSES} ..."));
        let mut at = |rate: f64| {
            options.rate = Some(rate);
            measure(&options, &programs)
        };
        found.slow.push(at(SLOW_PER_S)?);
        found.fast.push(at(saturation * 0.8)?);
        found.half.push(at(saturation * 0.5)?);
        found.hops.push(bare(Some(hop * 0.5), SECONDS_AT_RATE)?);
    }
    found.tell(saturation, hop, idle_per_s, outcome);
    outcome.notes.push(format!(
        "G5b, G6, G7: one gateway, one worker, 50 senders, 200 conversations of {MEMBERS}; CPU is that of gateway, \
         worker, RabbitMQ, PostgreSQL and the six Redis nodes, without the generator; every run is judged, and one \
         that is not clean ends the bench. Bare lapin: publish, confirm, consume, acknowledge; persistent, one message \
         each, one hop, no database. Latency counts from the time at which a message was due, on both sides."
    ));
    outcome.notes.push(
        "G5a, the original NestJS server: not run. Its source cannot be had where this is measured, so there is no \
         figure for it."
            .into(),
    );
    Ok(())
}

/// The results of the passes at rates.
#[derive(Default)]
struct AtRates {
    slow: Vec<Measured>,
    fast: Vec<Measured>,
    half: Vec<Measured>,
    hops: Vec<Hop>,
}

impl AtRates {
    fn tell(&self, saturation: f64, hop: f64, idle_per_s: f64, outcome: &mut Outcome) {
        let came = middle(&self.fast, Measured::persisted_per_s);
        for (name, asked, passes) in [("80 %", 0.8, &self.fast), ("half", 0.5, &self.half)] {
            let (asked, got) = (saturation * asked, middle(passes, Measured::persisted_per_s));
            if got < asked * 0.95 {
                outcome.notes.push(format!(
                    "At {name} of saturation {}/s were due and {}/s came through: something else used the machine, or \
                     saturation at a rate is lower than flat out.",
                    number(asked),
                    number(got)
                ));
            }
        }
        let cpu = |passes: &[Measured], idle| middle(passes, |measured| measured.cpu_us(idle));
        let (slow, fast) = (cpu(&self.slow, idle_per_s), cpu(&self.fast, idle_per_s));
        let gross = cpu(&self.fast, 0.0) / cpu(&self.slow, 0.0);
        outcome.found(
            "G6",
            "CPU per delivered message at 80 % of saturation, held against that at 500/s",
            fast / slow,
            Target::Most(0.3, "×"),
            format!(
                "{} µs at {}/s ÷ {} µs at {}/s, what the programs use when idle ({} ms per second) subtracted \
                 (with it: {})",
                number(fast),
                number(came),
                number(slow),
                number(SLOW_PER_S),
                number(idle_per_s * 1e3),
                number(gross)
            ),
        );
        self.tell_latency(saturation, hop, outcome);
        for (name, passes) in [("500/s", &self.slow), ("80 %", &self.fast)] {
            let last = passes.last().map(Measured::by_program).unwrap_or_default();
            outcome.profile.push(format!("CPU per message at {name}, µs: {last}"));
        }
    }

    fn tell_latency(&self, saturation: f64, hop: f64, outcome: &mut Outcome) {
        let ours = |of: fn(&Measured) -> f64| middle(&self.half, of);
        let bare = |of: fn(&Hop) -> f64| median(self.hops.iter().map(of).collect());
        let (p50, p99) = (ours(|m| m.report.delivered.p50), ours(|m| m.report.delivered.p99));
        let (hop_p50, hop_p99) = (bare(|hop| hop.p50), bare(|hop| hop.p99));
        for (name, ours, bare) in [("p99", p99, hop_p99), ("p50", p50, hop_p50)] {
            outcome.found(
                "G7",
                format!(
                    "{name} of a message at half of saturation, due → shown, held against that of one bare AMQP hop at \
                     half of its own"
                ),
                ours / bare,
                Target::Most(6.0, "×"),
                format!(
                    "{} ms at {}/s ÷ {} ms at {}/s",
                    number(ours),
                    number(saturation * 0.5),
                    number(bare),
                    number(hop * 0.5)
                ),
            );
        }
        let slow = |of: fn(&Measured) -> f64| middle(&self.slow, of);
        outcome.found(
            "G7",
            "p99 of a message at half of saturation, due → shown to a member",
            p99,
            Target::Most(25.0, "ms"),
            format!(
                "at {}/s: p50 {} ms, p99.9 {} ms; at 500/s: p50 {} ms, p99 {} ms",
                number(saturation * 0.5),
                number(p50),
                number(ours(|m| m.report.delivered.p999)),
                number(slow(|m| m.report.delivered.p50)),
                number(slow(|m| m.report.delivered.p99))
            ),
        );
    }
}

/// The median of the passes.
pub fn middle(passes: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    median(passes.iter().map(of).collect())
}

/// One load, with the CPU that it took.
pub struct Measured {
    /// The report of swarm.
    pub report: Report,
    seconds: f64,
    cpu_s: Vec<(String, f64)>,
}

impl Measured {
    /// Messages persisted per second.
    pub fn persisted_per_s(&self) -> f64 {
        self.report.verdict.persisted as f64 / self.report.delivered_s
    }

    /// µs of CPU per message, all programs, less what they use when idle.
    pub fn cpu_us(&self, idle_per_s: f64) -> f64 {
        self.cpu_us_of(|_| true) - idle_per_s * self.seconds * 1e6 / self.report.verdict.persisted as f64
    }

    /// µs of CPU per message of the programs that `is_counted` selects.
    pub fn cpu_us_of(&self, is_counted: impl Fn(&str) -> bool) -> f64 {
        let used: f64 = self.cpu_s.iter().filter(|(name, _)| is_counted(name)).map(|(_, used)| used).sum();
        used * 1e6 / self.report.verdict.persisted as f64
    }

    /// µs of CPU per message, by kind of program.
    pub fn by_program(&self) -> String {
        let persisted = self.report.verdict.persisted as f64;
        let mut parts: Vec<(&str, f64)> = vec![];
        for (name, used) in &self.cpu_s {
            let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
            match parts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += used,
                None => parts.push((name, *used)),
            }
        }
        let parts = parts.iter().map(|(name, used)| format!("{name} {}", number(used * 1e6 / persisted)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// Runs, judges, and takes the programs' CPU from the first message to the last delivery.
///
/// # Errors
/// It does not run, or the judge convicts.
pub fn measure(options: &Options, programs: &[Watched]) -> anyhow::Result<Measured> {
    let cpu = || programs.iter().map(Watched::cpu_s).collect::<Vec<_>>();
    let (mut before, mut after) = ((Instant::now(), vec![]), (Instant::now(), vec![]));
    let report = run_watched(options, |moment, _| match moment {
        Moment::Opened => before = (Instant::now(), cpu()),
        Moment::Sent => {}
        Moment::Settled => after = (Instant::now(), cpu()),
    })
    .context("the whole chain")?;
    ensure!(report.is_clean, "the judge convicted:\n{report}");
    let used = after.1.iter().zip(&before.1).map(|(after, before)| after - before);
    let cpu_s = programs.iter().map(|program| program.name.clone()).zip(used).collect();
    Ok(Measured { report, seconds: (after.0 - before.0).as_secs_f64(), cpu_s })
}

/// CPU seconds per second that all programs together use while idle.
async fn idle(programs: &[Watched]) -> f64 {
    const TIME: Duration = Duration::from_secs(5);
    // What starting left behind.
    tokio::time::sleep(TIME).await;
    let cpu = || programs.iter().map(Watched::cpu_s).sum::<f64>();
    let before = cpu();
    tokio::time::sleep(TIME).await;
    (cpu() - before) / TIME.as_secs_f64()
}
