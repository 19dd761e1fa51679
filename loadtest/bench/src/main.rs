//! `make bench`: what ours costs and gives, as ratios against peer programs in the same run.
//! Prints as it goes and writes `loadtest/RESULTS.md`. And `make hold`: `hold/mod.rs`.

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

/// Very many sockets, held.
mod hold;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use common::ids::NodeId;
use common::plumbing::{Bus, BusConfig, QueueKind};
use tokio::runtime::Runtime;

use crate::cluster::Places;
use crate::outcome::Outcome;
use crate::rows::{accepted, chain, fanout, scale, sockets};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("accept-loop") => peers::accept::serve(std::env::var("PORT")?.parse()?)?,
        Some(hold::KEEPER) => hold::keep(arguments.get(1).context("what to keep")?)?,
        Some("hold") => {
            let wanted = hold::Wanted::parse(&arguments[1..])?;
            if !hold::run(&Places::find()?, &runtime()?, &wanted)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Some("trace") => {
            let pairs = arguments.get(1).map(|pairs| pairs.parse()).transpose()?;
            let outcome = rows::trace::run(&Places::find()?, &runtime()?, pairs)?;
            say(&outcome.markdown("What `chatchit trace` costs", "Ratios of one run, in pairs."));
        }
        _ => measure(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One thread for everything; whatever was started ends with this program.
fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.spawn(process::end_on_signal());
    Ok(runtime)
}

/// `bench chain fanout` runs these rows only, and writes no file.
fn measure(rows: &[String]) -> anyhow::Result<()> {
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|one| one == row);
    let places = Places::find()?;
    let runtime = runtime()?;
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
    if wanted("scale") {
        say("scale-out ...");
        scale::run(&places, &runtime, &mut outcome)?;
    }
    if wanted("profile") {
        say("profile ...");
        profile::run(&places, &runtime, &mut outcome)?;
    }
    let document = outcome.markdown(
        "Results of `make bench`",
        "Written by the command; ratios of one run, programs and generator on the same cores. Read them as ratios.",
    );
    say(&document);
    if rows.is_empty() {
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
