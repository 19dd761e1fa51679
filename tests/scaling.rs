//! Many programs: the shards of the lanes even out between workers, and many sockets are held
//! without the broker's notice. `make hold` and `make bench` do it at full size.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::broker::ask_broker;
use support::program::Program;
use support::{Cluster, Peers, until};

/// After a worker came or went, as the broker sees it: it tells about itself each second.
const EVEN: Duration = Duration::from_secs(5);
/// The lanes that keep order.
const ORDERED: [&str; 2] = ["high", "medium"];
const SHARDS: usize = 8;

/// How many shards of a lane each worker works on, fewest first: who is the active consumer.
fn worked_on(prefix: &str, lane: &str) -> Vec<usize> {
    let queues = format!("{prefix}.lane.{lane}.");
    let mut shards = BTreeMap::new();
    for consumer in ask_broker("consumers").as_array().unwrap() {
        if consumer["queue"]["name"].as_str().unwrap().starts_with(&queues) && consumer["active"] == true {
            // A worker consumes over one connection.
            *shards.entry(consumer["channel_details"]["peer_port"].as_u64().unwrap()).or_default() += 1;
        }
    }
    let mut shards: Vec<usize> = shards.into_values().collect();
    shards.sort_unstable();
    shards
}

/// How many shards a worker says that it holds.
fn says(worker: &Program, lane: &str) -> usize {
    worker.metric(&format!("worker_shards{{lane=\"{lane}\"}}")) as usize
}

/// Each of these workers holds its part of every ordered lane: what they say, and the broker too.
fn is_even(cluster: &Cluster) -> bool {
    let workers = cluster.workers.len();
    let part = SHARDS / workers;
    ORDERED.into_iter().all(|lane| {
        let worked_on = worked_on(&cluster.prefix(), lane);
        let fair =
            |shards: usize| workers == 1 && shards == SHARDS || workers > 1 && part.abs_diff(shards) <= 1;
        cluster.workers.iter().all(|worker| fair(says(worker, lane)))
            && worked_on.len() == workers
            && worked_on.iter().all(|shards| fair(*shards))
            && worked_on.iter().sum::<usize>() == SHARDS
    })
}

#[test]
fn the_shards_even_out_when_a_worker_comes_or_goes() {
    let Some(_peers) = Peers::of_this_run() else { return };
    let mut cluster = Cluster::start("shares", 0, 1);
    until(EVEN, "the only worker has all shards", || is_even(&cluster));
    let ends: [fn(&mut Program); 2] = [Program::kill, |worker| worker.begin_drain()];
    for end in ends {
        let mut newcomer = cluster.worker();
        newcomer.wait_until_ready();
        cluster.workers.push(newcomer);
        let joined = until(EVEN, "two share", || is_even(&cluster));
        // The older one, so that the shards it had from the beginning move as well.
        end(&mut cluster.workers[0]);
        let gone = cluster.workers.remove(0);
        let left = until(EVEN, "one has all again", || is_even(&cluster));
        drop(gone);
        eprintln!("even {joined:.1?} after one came, {left:.1?} after one went");
    }
}

#[test]
fn the_broker_does_not_notice_sockets() {
    let Some(_peers) = Peers::of_this_run() else { return };
    let bench = PathBuf::from(env!("CARGO_BIN_EXE_chatchit")).with_file_name("bench");
    assert!(bench.exists(), "{} is not built: `make test` does it", bench.display());
    let output = Command::new(bench).args(["hold", "300", "3"]).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    // Its exit code says that none was lost, every message arrived, and nothing was declared.
    assert!(output.status.success(), "{table}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("declares; with all sockets: the same"), "{table}");
}
