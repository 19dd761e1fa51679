//! A peer stands still: its connections stay, and nothing comes over them.

use std::time::Duration;

use crate::support::load::Load;
use crate::support::program::Program;
use crate::support::{Cluster, Peers, is_proof, pause, until};

/// The sessions of PostgreSQL are processes of their own: all of them stand still, not only the one that takes new ones.
#[test]
fn a_database_that_stands_still_is_said_and_nothing_is_lost() {
    let Some(peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("pg-frozen", 1, 2);
    let (messages, rate) = if is_proof() { (20_000, 800.0) } else { (2_000, 200.0) };
    let load = Load::begin(&cluster, messages, rate);

    load.until_part(&cluster, 0.2);
    peers.part("freeze", "postgres");
    for worker in &cluster.workers {
        let is_said = || worker.readiness() == "503: store";
        until(Duration::from_secs(15), "a worker says that its store is away", is_said);
    }
    pause(Duration::from_secs(2));
    peers.part("thaw", "postgres");
    cluster.workers.iter_mut().for_each(Program::wait_until_ready);

    let report = load.ends_clean();
    assert_eq!(report.counts.reconnects, 0, "no socket was closed");
}
