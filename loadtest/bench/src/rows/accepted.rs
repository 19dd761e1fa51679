//! G4: frames accepted and durably confirmed (`messageQueued`), flat out, held against bare
//! lapin with one message per publish.

use std::time::Duration;

use anyhow::Context;
use swarm::options::{Forms, Options};
use swarm::run::play;
use swarm::setup::{Conversation, User, token};

use crate::cluster::{Cluster, Places, SECRET};
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::{broker, lapin, lapin::WINDOW as WINDOW_BARE};

const PASSES: usize = 3;
const SECONDS: u64 = 6;
const SENDERS: u32 = 16;
const CONVERSATIONS: u32 = 64;
/// Unacknowledged per sender: together at most 768. More is more throughput and more latency.
const WINDOW: usize = 48;
const BYTES: usize = 150;

/// G4. Blocks.
///
/// # Errors
/// A program does not do its part.
pub fn run(places: &Places, runtime: &tokio::runtime::Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let (mut rates, mut p99s, mut bare) = (vec![], vec![], vec![]);
    for pass in 0..PASSES {
        let prefix = format!("bench-accepted-{pass}");
        let cluster = runtime.block_on(Cluster::start(places, &prefix, false))?;
        let report = flat_out(&cluster)?;
        drop(cluster);
        runtime.block_on(broker::delete_queues(places, &prefix))?;
        rates.push(report.acknowledged_per_s);
        p99s.push(report.queued.p99);
        // As many bytes as an envelope has.
        let time = Duration::from_secs(SECONDS);
        bare.push(runtime.block_on(lapin::publish_confirm(&places.amqp_url, BYTES + 100, time))?);
    }
    let (ours, p99, bare) = (median(rates), median(p99s), median(bare));
    outcome.found(
        "G4",
        "frames accepted and durably confirmed per second, held against bare lapin publish+confirm",
        ours / bare,
        Target::Least(6.0, "×"),
        format!("{}/s ÷ {}/s", number(ours), number(bare)),
    );
    outcome.found(
        "G4",
        "p99 of the same, frame sent → `messageQueued`",
        p99,
        Target::Most(20.0, "ms"),
        format!("{SENDERS} senders × {WINDOW} unacknowledged"),
    );
    outcome.notes.push(format!(
        "G4: flat out for {SECONDS} s through one gateway over {CONVERSATIONS} conversations, no worker \
         running (the lanes fill); bare lapin: {WINDOW_BARE} publishes unconfirmed, persistent, one classic queue, no consumer."
    ));
    Ok(())
}

/// Sends as fast as acknowledgements come; users and conversations are made up, for nobody
/// looks them up before the broker has the message.
fn flat_out(cluster: &Cluster) -> anyhow::Result<swarm::report::Report> {
    let user = |at: u32| {
        let id = 1_000_000 + i64::from(at);
        User { id, token: token(SECRET, id) }
    };
    let users: Vec<_> = (0..SENDERS).map(user).collect();
    let conversation =
        |at: u32| Conversation { id: i64::from(at) + 1, members: vec![at % SENDERS, (at + 1) % SENDERS] };
    let conversations: Vec<_> = (0..CONVERSATIONS).map(conversation).collect();
    let options = Options {
        urls: vec![cluster.gateway().address.clone()],
        senders: SENDERS,
        conversations: CONVERSATIONS,
        members: 2,
        seconds: Some(SECONDS),
        window: WINDOW,
        pipeline: WINDOW,
        bytes: BYTES,
        form: Forms::Native,
        settle_s: 0,
        sync_s: 0,
        ..Options::default()
    };
    play(&options, &users, &conversations, |_, _| {}).context("flat out")
}
