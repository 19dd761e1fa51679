//! `bench trace`: what it costs that programs remember the way of messages (`TRACE_MESSAGES`), the
//! whole chain with it and without it, pass by pass in turn.

use anyhow::Context;
use swarm::options::Options;
use tokio::runtime::Runtime;

use super::chain::{self, Measured, measure};
use crate::cluster::{Cluster, Layout, Places};
use crate::outcome::{Bar, Outcome, Target, median, number};
use crate::process::Watched;

/// Pairs unless told otherwise; each is begun by the other one. Many and short: the two of a pair
/// differ by a twentieth on a shared machine, and less the closer they are.
const PAIRS: usize = 30;
const SECONDS: u64 = 3;

/// One system of ours, and the results of its passes.
struct Side {
    options: Options,
    programs: Vec<Watched>,
    passes: Vec<Measured>,
    _cluster: Cluster,
}

/// The row, in this many pairs. Blocks.
///
/// # Errors
/// A program does not do its part, or the judge convicts.
pub fn run(places: &Places, runtime: &Runtime, pairs: Option<usize>) -> anyhow::Result<Outcome> {
    let pairs = pairs.unwrap_or(PAIRS);
    let side = |name: &str, messages: usize| -> anyhow::Result<Side> {
        let env = vec![("TRACE_MESSAGES", messages.to_string())];
        let layout = Layout { env, ..Layout::of(1, 1) };
        let prefix = format!("bench-trace-{name}");
        let cluster = runtime.block_on(Cluster::lay_out(places, &prefix, &layout))?;
        let mut programs = cluster.watched();
        programs.extend(places.watched()?);
        let options = Options { seconds: Some(SECONDS), ..chain::options(places, &cluster) };
        Ok(Side { options, programs, passes: vec![], _cluster: cluster })
    };
    let mut sides = [side("off", 0)?, side("on", common::limits::TRACE_MESSAGES)?];
    for pair in 0..=pairs {
        crate::say(&format!("  pair {pair} of {pairs} ..."));
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for at in order {
            let side = &mut sides[at];
            let measured = measure(&side.options, &side.programs)?;
            // The first pair warms up.
            if pair > 0 {
                side.passes.push(measured);
            }
        }
    }
    outcome(places, runtime, &sides)
}

fn outcome(places: &Places, runtime: &Runtime, [off, on]: &[Side; 2]) -> anyhow::Result<Outcome> {
    let machine = runtime.block_on(crate::machine::describe(places));
    let mut outcome = Outcome { machine, ..Outcome::default() };
    let ours = |pass: &Measured| pass.cpu_us_of(|name| name == "gateway" || name == "worker");
    let more = |of: &dyn Fn(&Measured) -> f64| -> Vec<f64> {
        on.passes.iter().zip(&off.passes).map(|(on, off)| (of(on) / of(off) - 1.0) * 100.0).collect()
    };
    let each = |side: &Side, of: &dyn Fn(&Measured) -> f64| median(side.passes.iter().map(of).collect());
    let mut bar = |what: &str, of: &dyn Fn(&Measured) -> f64, target: Target| {
        let mut found = more(of);
        found.sort_by(f64::total_cmp);
        let quarter = |part: usize| found.get(found.len() * part / 4).copied().unwrap_or(f64::NAN);
        outcome.bars.push(Bar {
            goal: "",
            what: what.into(),
            arithmetic: format!(
                "median of {} pairs, half of them {} to {} %; with {}, without {}",
                on.passes.len(),
                number(quarter(1)),
                number(quarter(3)),
                number(each(on, of)),
                number(each(off, of))
            ),
            found: Some(quarter(2)),
            target,
        });
    };
    bar(
        "µs of CPU of gateway and worker per message: more with TRACE_MESSAGES",
        &ours,
        Target::Most(3.0, "%"),
    );
    bar("the same of all programs, peers too", &|pass| pass.cpu_us(0.0), Target::Most(3.0, "%"));
    bar("messages per second, flat out: more with it", &Measured::persisted_per_s, Target::Least(-3.0, "%"));
    outcome.notes.push(format!(
        "One gateway and one worker each, both systems up all the time and loaded in turn, {SECONDS} s flat out per pass, \
         50 senders, 200 conversations of 2."
    ));
    for (name, side) in [("without", off), ("with", on)] {
        let last = side.passes.last().context("passes")?;
        outcome.profile.push(format!("CPU per message {name}, µs: {}", last.by_program()));
    }
    Ok(outcome)
}
