//! Row f: one event to 1,000 sockets of one gateway.

use std::path::Path;

use common::plumbing::Bus;
use swarm::form::Form;

use crate::cluster::{Cluster, Places};
use crate::herd::{Herd, Kind};
use crate::outcome::{Bar, Outcome, Target, median, number};
use crate::peers::node;
use crate::process::Started;
use crate::rows::sockets::{deliver, users};
use crate::rows::tokens;

const SOCKETS: usize = 1_000;
const BURST: usize = 10;
/// Events per pass, alone or in bursts.
const EVENTS: usize = 1_000;
const PASSES: usize = 3;
const BYTES: usize = 150;

/// Row f.
///
/// # Errors
/// A program does not do its part.
pub async fn run(
    places: &Places,
    bus: &Bus,
    peers: Option<&Path>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let cluster = Cluster::start(places, "bench-fanout", false).await?;
    let mut ours = Herd::new(&cluster.gateway().address, Kind::Speaks(Form::Native));
    ours.open(&tokens(0, SOCKETS)).await?;
    let theirs = match peers {
        Some(folder) => {
            let server = node::start(places, folder, "ws.mjs").await?;
            let mut herd = Herd::new(&server.address, Kind::Speaks(Form::Native));
            herd.open(&tokens(0, SOCKETS)).await?;
            Some((server, herd))
        }
        None => None,
    };
    let users = users(0, SOCKETS);
    let node = ours.node().unwrap_or_default().to_owned();
    let mut found = [vec![], vec![], vec![], vec![]];
    for pass in 0..=PASSES {
        for (row, times) in [(0, 1), (1, BURST)] {
            let send = async || deliver(bus, &node, &users, BYTES, times).await;
            let cost = per_delivery(cluster.gateway(), &ours, times, send).await?;
            let mut costs = vec![(row, cost)];
            if let Some((server, herd)) = &theirs {
                let send = async || node::fan_out(server, times, BYTES).await;
                costs.push((row + 2, per_delivery(server, herd, times, send).await?));
            }
            // The first pass warms up.
            for (row, cost) in costs.into_iter().filter(|_| pass > 0) {
                found[row].push(cost);
            }
        }
    }
    let [single, burst, their_single, their_burst] = found.map(median);
    let rows = [("in bursts of 10", burst, their_burst, 0.2), ("one at a time", single, their_single, 0.7)];
    for (how, ours, their, most) in rows {
        outcome.bars.push(Bar {
            what: format!("CPU per delivery to {SOCKETS} local sockets, {how}, held against ws's"),
            arithmetic: format!("{} µs ÷ {} µs", number(ours), number(their)),
            found: theirs.as_ref().map(|_| ours / their),
            target: Target::Most(most, "of ws's"),
        });
    }
    outcome.notes.push(
        "Fan-out: ours takes each event off RabbitMQ (the gateway's CPU for that is counted), ws is told over HTTP. \
         The next event or burst goes out when all sockets have the last one."
            .into(),
    );
    ours.close().await;
    Ok(())
}

/// µs of the server's CPU per delivery.
async fn per_delivery(
    server: &Started,
    herd: &Herd,
    times: usize,
    send: impl AsyncFn() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let program = server.watched();
    let before = program.cpu_s();
    let heard = herd.heard();
    for _ in 0..EVENTS / times {
        let heard = herd.heard();
        send().await?;
        herd.hear(heard, (SOCKETS * times) as u64).await?;
    }
    Ok((program.cpu_s() - before) * 1e6 / (herd.heard() - heard) as f64)
}
