//! G3: authenticated upgrades per core-second, held against what the kernel alone costs.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places};
use crate::dialect::Dialect;
use crate::herd::Herd;
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::{Peer, Running, accept};
use crate::process::{Started, Watched};
use crate::rows::tokens;

/// Sockets opened per pass.
const UPGRADES: usize = 6_000;
/// Of peers that are slower by far: they give as good a figure with fewer.
const UPGRADES_SLOW: usize = 2_000;
const PASSES: usize = 3;

/// G3.
///
/// # Errors
/// A program of ours does not do its part.
pub async fn run(places: &Places, peers: &[Peer], outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = Cluster::start(places, "bench-upgrades", false).await?;
    let bare = accept::start(places).await?;
    let mut theirs = vec![];
    // mosquitto hashes a password for each: that is not the same thing.
    for peer in peers.iter().filter(|peer| **peer != Peer::Mosquitto) {
        theirs.push((peer.start(places).await?, vec![]));
    }
    let (mut ours_found, mut bare_found) = (vec![], vec![]);
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        let gateway = cluster.gateway();
        let ours = per_core_second(gateway, &gateway.watched(), Dialect::Native, None, UPGRADES).await?;
        let kernel = per_core_second(&bare, &bare.watched(), Dialect::Plain, None, UPGRADES).await?;
        accept::release(&bare.address)?;
        // The first pass warms up.
        if pass > 0 {
            ours_found.push(ours);
            bare_found.push(kernel);
        }
        for (running, found) in &mut theirs {
            match of_peer(running).await {
                Ok(rate) if pass > 0 => found.push(rate),
                Ok(_) => {}
                Err(err) => outcome.notes.push(format!("G3, {}: {err:#}", running.peer.name())),
            }
        }
    }
    tell(median(ours_found), median(bare_found), theirs, outcome);
    Ok(())
}

fn tell(ours: f64, bare: f64, theirs: Vec<(Running, Vec<f64>)>, outcome: &mut Outcome) {
    let figure = |rate: f64| format!("{} per core-second", number(rate));
    outcome.found(
        "G3",
        "authenticated upgrades per gateway core-second, held against a kernel-only accept and handshake loop",
        ours / bare,
        Target::Least(0.35, "×"),
        format!("{} ÷ {}", figure(ours), figure(bare)),
    );
    for (running, found) in theirs.into_iter().filter(|(_, found)| !found.is_empty()) {
        let target = match running.peer {
            Peer::SocketIo => Target::Least(15.0, "×"),
            _ => Target::None("×"),
        };
        let rate = median(found);
        let what = format!("… held against {}'s", running.peer.name());
        outcome.found("G3", what, ours / rate, target, format!("{} ÷ {}", figure(ours), figure(rate)));
    }
    outcome.notes.push(
        "G3: a socket is open when the program says that it is authenticated and subscribed (Socket.IO: two round \
         trips more; nchan: with the 101). The kernel-only loop takes, reads and answers with blocking calls in one \
         thread. mosquitto is left out: it hashes a password for each."
            .into(),
    );
}

async fn of_peer(running: &Running) -> anyhow::Result<f64> {
    let is_slow = matches!(running.peer, Peer::SocketIo | Peer::Ws | Peer::Centrifugo);
    let count = if is_slow { UPGRADES_SLOW } else { UPGRADES };
    let (peer, watched) = (running.peer, running.watched());
    per_core_second(&running.server, &watched, peer.dialect(), peer.token(), count).await
}

async fn per_core_second(
    server: &Started,
    program: &Watched,
    dialect: Dialect,
    token: Option<String>,
    count: usize,
) -> anyhow::Result<f64> {
    let tokens = token.map_or_else(|| tokens(0, count), |token| vec![token; count]);
    let mut herd = Herd::new(&server.address, dialect);
    let before = program.cpu_s();
    herd.open(&tokens).await?;
    let used = program.cpu_s() - before;
    herd.close().await;
    settle(program).await;
    Ok(count as f64 / used)
}

/// Waits until a program is idle.
async fn settle(program: &Watched) {
    let end = Instant::now() + Duration::from_secs(15);
    let mut before = program.cpu_s();
    loop {
        sleep(Duration::from_millis(500)).await;
        let now = program.cpu_s();
        if now - before < 0.02 || Instant::now() > end {
            return;
        }
        before = now;
    }
}
