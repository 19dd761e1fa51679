//! `make bench`: what ours costs and gives, as ratios against peer programs in the same run.
//! Prints as it goes and writes `loadtest/RESULTS.md`.

/// Programs under measurement: CPU and memory.
mod process;

/// Ours: gateway and worker.
mod cluster;

/// What the figures were taken on.
mod machine;

/// Many sockets that only listen.
mod herd;

/// Bars, reached or not.
mod outcome;

/// What ours is held against.
mod peers;

/// The rows of the table.
mod rows;

/// Where the time goes.
mod profile;

use std::io::Write as _;
use std::path::Path;

use common::ids::NodeId;
use common::plumbing::{Bus, BusConfig, QueueKind};

use crate::cluster::Places;
use crate::outcome::Outcome;
use crate::rows::{accepted, chain, fanout, sockets};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "accept-loop") {
        return peers::accept::serve(std::env::var("PORT")?.parse()?);
    }
    // `bench chain fanout` runs these rows only, and writes no file.
    let wanted = |row: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == row);
    let places = Places::find()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let node = peers::node::install(&places)?;
    let node = node.as_deref();
    let mut outcome = Outcome { machine: runtime.block_on(machine::describe(&places)), ..Outcome::default() };
    if wanted("idle") {
        say("idle sockets ...");
        runtime.block_on(async {
            sockets::idle(&places, &bus(&places, "bench-idle").await?, node, &mut outcome).await
        })?;
    }
    if wanted("upgrades") {
        say("upgrades ...");
        runtime.block_on(sockets::upgrades(&places, node, &mut outcome))?;
    }
    if wanted("fanout") {
        say("fan-out ...");
        runtime.block_on(async {
            fanout::run(&places, &bus(&places, "bench-fanout").await?, node, &mut outcome).await
        })?;
    }
    if wanted("accepted") {
        say("frames accepted ...");
        accepted::run(&places, &runtime, &mut outcome)?;
    }
    if wanted("chain") {
        say("the whole chain ...");
        chain::run(&places, &runtime, &mut outcome)?;
    }
    if wanted("profile") {
        say("profile ...");
        profile::run(&places, &runtime, &mut outcome)?;
    }
    let document = outcome.markdown();
    say(&document);
    if arguments.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../RESULTS.md");
        std::fs::write(&path, document)?;
        say(&format!("written to {}", path.display()));
    }
    Ok(())
}

async fn bus(places: &Places, prefix: &str) -> anyhow::Result<Bus> {
    let config =
        BusConfig { url: places.amqp_url.clone(), prefix: prefix.into(), queues: QueueKind::Classic };
    Ok(Bus::connect(config, NodeId::random()).await?)
}

fn say(text: &str) {
    // A closed pipe does not change the figures.
    let _ = writeln!(std::io::stdout(), "{text}");
}
