//! Many programs: the shards of the lanes even out between workers. `make hold` and `make bench` do it at full size.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::broker::ask_broker;
use crate::support::program::Program;
use crate::support::{Cluster, WholePeers, until};

/// After a worker came or went: it tells about itself each second, and three are missed.
const EVEN: Duration = Duration::from_secs(5);
/// So much later the broker's statistics show it: it samples consumers every five seconds.
const SEEN: Duration = Duration::from_secs(6);
/// The lanes that keep order.
const ORDERED: [&str; 2] = ["high", "medium"];
const SHARDS: usize = 8;

/// Its part of the shards, one more or one less.
fn is_fair(shards: usize, workers: usize) -> bool {
    match workers {
        1 => shards == SHARDS,
        _ => (SHARDS / workers).abs_diff(shards) <= 1,
    }
}

/// Each worker says that it takes its part of every ordered lane, together all of it.
fn all_say_so(workers: &[Program]) -> bool {
    ORDERED.into_iter().all(|lane| {
        let metric = format!("lanes_shards{{lane=\"{lane}\"}}");
        let said: Option<Vec<f64>> = workers.iter().map(|worker| worker.metric(&metric)).collect();
        let Some(shards) =
            said.map(|said| said.into_iter().map(|shards| shards as usize).collect::<Vec<_>>())
        else {
            return false;
        };
        shards.iter().all(|shards| is_fair(*shards, workers.len())) && shards.iter().sum::<usize>() == SHARDS
    })
}

/// The broker gives each of so many workers its part: who is the active consumer of each shard.
fn broker_does_so(prefix: &str, workers: usize) -> bool {
    let consumers = ask_broker("consumers");
    ORDERED.into_iter().all(|lane| {
        let queues = format!("{prefix}.lane.{lane}.");
        let mut shards = BTreeMap::new();
        for consumer in consumers.as_array().unwrap() {
            if consumer["queue"]["name"].as_str().unwrap().starts_with(&queues) && consumer["active"] == true
            {
                // A worker consumes over one connection.
                *shards.entry(consumer["channel_details"]["peer_port"].as_u64()).or_default() += 1;
            }
        }
        let is_fair = |shards: &usize| is_fair(*shards, workers);
        shards.len() == workers && shards.values().all(is_fair) && shards.values().sum::<usize>() == SHARDS
    })
}

/// Waits until the shards are spread evenly; what came of it, in words.
fn evens_out(cluster: &Cluster, what: &str) {
    let said = until(EVEN, what, || all_say_so(&cluster.workers));
    let seen = until(SEEN, what, || broker_does_so(&cluster.prefix(), cluster.workers.len()));
    eprintln!("{what}: even after {said:.1?}, seen at the broker {seen:.1?} later");
}

#[test]
fn the_shards_even_out_when_a_worker_comes_or_goes() {
    let Some(_peers) = WholePeers::of_this_run() else { return };
    let mut cluster = Cluster::start("shares", 0, 1);
    evens_out(&cluster, "one is alone");
    for (what, is_killed) in [("one was killed", true), ("one drains", false)] {
        let mut newcomer = cluster.worker();
        newcomer.wait_until_ready();
        cluster.workers.push(newcomer);
        evens_out(&cluster, "one came");
        // The older one, so that the shards it had from the beginning move as well.
        let mut gone = cluster.workers.remove(0);
        if is_killed {
            gone.kill()
        } else {
            gone.begin_drain()
        }
        evens_out(&cluster, what);
    }
}
