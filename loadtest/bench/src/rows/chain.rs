//! Rows d, e and g: the whole chain, a message persisted, routed and shown to every member.

use std::time::Duration;

use anyhow::{Context, ensure};
use swarm::options::{Forms, Options};
use swarm::report::Report;
use swarm::run::{Moment, run_watched};
use tokio::time::Instant;

use crate::cluster::{Cluster, Places, SECRET};
use crate::outcome::{Bar, Outcome, Target, median, number};
use crate::peers::lapin;
use crate::process::Watched;

const PASSES: usize = 3;
const SECONDS: u64 = 8;
/// For the rows at a rate.
const SECONDS_AT_RATE: u64 = 15;
const SLOW_PER_S: f64 = 500.0;
const BYTES: usize = 150;
const MEMBERS: u32 = 2;

/// Rows d, e and g. Blocks.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &tokio::runtime::Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = runtime.block_on(Cluster::start(places, "bench-chain", true))?;
    let mut programs = cluster.watched();
    programs.extend(places.watched()?);
    let mut options = Options {
        urls: vec![cluster.gateway().address.clone()],
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
    };
    let idle_per_s = runtime.block_on(idle(&programs));

    let (mut rates, mut bare) = (vec![], vec![]);
    for pass in 0..=PASSES {
        let measured = measure(&options, &programs)?;
        let hop = lapin::one_hop(&places.amqp_url, BYTES + 100, Duration::from_secs(SECONDS));
        let hop = runtime.block_on(hop)?;
        // The first pass warms up.
        if pass > 0 {
            rates.push(measured.persisted_per_s());
            bare.push(hop);
        }
    }
    let (saturation, bare) = (median(rates), median(bare));
    outcome.bars.push(Bar {
        what: "messages persisted, routed and delivered per second, held against bare lapin over one hop"
            .into(),
        arithmetic: format!(
            "{}/s (to {MEMBERS} members each: {} deliveries/s) ÷ {}/s",
            number(saturation),
            number(saturation * f64::from(MEMBERS)),
            number(bare)
        ),
        found: Some(saturation / bare),
        target: Target::Least(0.5, "×"),
    });

    options.seconds = Some(SECONDS_AT_RATE);
    let mut at = |rate: f64| {
        options.rate = Some(rate);
        measure(&options, &programs)
    };
    let (slow, fast, half) = (at(SLOW_PER_S)?, at(saturation * 0.8)?, at(saturation * 0.5)?);
    for (name, asked, measured) in [("80 %", 0.8, &fast), ("half", 0.5, &half)] {
        let (asked, got) = (saturation * asked, measured.persisted_per_s());
        if got < asked * 0.95 {
            outcome.notes.push(format!(
                "At {name} of saturation {}/s were due and {}/s came through: something else used the machine, or \
                 saturation at a rate is lower than flat out.",
                number(asked),
                number(got)
            ));
        }
    }
    let gross = fast.cpu_us(0.0) / slow.cpu_us(0.0);
    outcome.bars.push(Bar {
        what: "CPU per delivered message at 80 % of saturation, held against that at 500/s".into(),
        arithmetic: format!(
            "{} µs at {}/s ÷ {} µs at {}/s, what the programs use when idle ({} ms per second) subtracted \
             (with it: {})",
            number(fast.cpu_us(idle_per_s)),
            number(fast.persisted_per_s()),
            number(slow.cpu_us(idle_per_s)),
            number(slow.persisted_per_s()),
            number(idle_per_s * 1e3),
            number(gross)
        ),
        found: Some(fast.cpu_us(idle_per_s) / slow.cpu_us(idle_per_s)),
        target: Target::Most(0.5, "×"),
    });
    outcome.bars.push(Bar {
        what: "p99 of a message at half of saturation, due → shown to a member".into(),
        arithmetic: format!(
            "at {}/s: p50 {} ms, p99 {} ms, p99.9 {} ms; at 500/s: p50 {} ms, p99 {} ms",
            number(saturation * 0.5),
            number(half.report.delivered.p50),
            number(half.report.delivered.p99),
            number(half.report.delivered.p999),
            number(slow.report.delivered.p50),
            number(slow.report.delivered.p99)
        ),
        found: Some(half.report.delivered.p99),
        target: Target::Most(25.0, "ms"),
    });
    for (name, measured) in [("500/s", &slow), ("80 %", &fast)] {
        outcome.profile.push(format!("CPU per message at {name}, µs: {}", measured.by_program()));
    }
    outcome.notes.push(format!(
        "Whole chain: one gateway, one worker, 50 senders, 200 conversations of {MEMBERS}; CPU is that of gateway, \
         worker, RabbitMQ, PostgreSQL and the six Redis nodes, without the generator; every run is judged, and one \
         that is not clean ends the bench. Bare lapin: publish, confirm, consume, acknowledge; persistent."
    ));
    Ok(())
}

/// One load, with the CPU that it took.
pub struct Measured {
    /// What swarm says.
    pub report: Report,
    seconds: f64,
    cpu_s: Vec<(String, f64)>,
}

impl Measured {
    /// Messages per second that came through.
    pub fn persisted_per_s(&self) -> f64 {
        self.report.verdict.persisted as f64 / self.report.delivered_s
    }

    /// µs of CPU per message, all programs, less what they use when idle.
    pub fn cpu_us(&self, idle_per_s: f64) -> f64 {
        self.cpu_us_of(|_| true) - idle_per_s * self.seconds * 1e6 / self.report.verdict.persisted as f64
    }

    /// µs of CPU per message, some of the programs.
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

/// CPU that all programs together use per second while nothing happens.
async fn idle(programs: &[Watched]) -> f64 {
    const TIME: Duration = Duration::from_secs(5);
    // What starting left behind.
    tokio::time::sleep(TIME).await;
    let cpu = || programs.iter().map(Watched::cpu_s).sum::<f64>();
    let before = cpu();
    tokio::time::sleep(TIME).await;
    (cpu() - before) / TIME.as_secs_f64()
}
