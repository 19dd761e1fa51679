//! Who is told to have come and gone, run over both backends like `directory_contract.rs`.
use std::time::Duration;

use common::directory::{Directory, Presence, Reaped};
use common::limits::{NODE_LEASE_MS, PRESENCE_CLAIM_MS, PRESENCE_GRACE_MS, PRESENCE_TICK_MS};
use protocol::ids::{NodeId, UserId};
use tokio::time::{Instant, sleep};

use crate::support::directory::{contract, eventually, users};

const HERE: NodeId = NodeId(1);
const THERE: NodeId = NodeId(2);
const TICK: Duration = Duration::from_millis(PRESENCE_TICK_MS);
const GRACE: Duration = Duration::from_millis(PRESENCE_GRACE_MS);
const LEASE: Duration = Duration::from_millis(NODE_LEASE_MS);

fn came(user: i64) -> Presence {
    Presence { user: UserId(user), is_online: true }
}

fn went(user: i64) -> Presence {
    Presence { user: UserId(user), is_online: false }
}

async fn claimed(directory: &Directory) -> Vec<Presence> {
    let mut claimed = directory.claim_presence(100).await.unwrap();
    claimed.sort_unstable();
    claimed
}

/// Claims and tells, at once.
async fn tells(directory: &Directory) -> Vec<Presence> {
    let claimed = claimed(directory).await;
    directory.told_presence(&claimed).await.unwrap();
    claimed
}

/// Who of the first so many is online.
async fn online(directory: &Directory, users_max: i64) -> Vec<UserId> {
    let mut online = directory.online(&users(1..=users_max)).await.unwrap();
    online.sort_unstable();
    online
}

/// What a worker does, for so long; answers whom it told of, and when.
async fn works(directory: &Directory, node: NodeId, time: Duration) -> Vec<(Duration, Presence)> {
    let start = Instant::now();
    let mut told = Vec::new();
    while start.elapsed() < time {
        directory.keep_node(node).await.unwrap();
        directory.reap(node).await.unwrap();
        told.extend(tells(directory).await.into_iter().map(|told| (start.elapsed(), told)));
        sleep(TICK).await;
    }
    told
}

#[test]
fn who_comes_is_told_once() {
    contract(|source| async move {
        let (gateway, worker) = (source.handle().await, source.handle().await);
        gateway.keep_node(HERE).await.unwrap();
        assert_eq!(tells(&worker).await, []);
        gateway.seat(HERE, &users(1..=2)).await.unwrap();
        assert_eq!(tells(&worker).await, [came(1), came(2)]);
        gateway.seat(HERE, &users(1..=3)).await.unwrap();
        gateway.keep_node(THERE).await.unwrap();
        gateway.seat(THERE, &users(1..=1)).await.unwrap();
        assert_eq!(tells(&worker).await, [came(3)], "another socket is no news");
        let online = online(&worker, 9).await;
        assert_eq!(online, users(1..=3));
    });
}

#[test]
fn who_goes_is_told_after_the_grace_and_not_if_it_came_back() {
    contract(|source| async move {
        let (gateway, worker) = (source.handle().await, source.handle().await);
        gateway.keep_node(HERE).await.unwrap();
        gateway.seat(HERE, &users(1..=3)).await.unwrap();
        assert_eq!(tells(&worker).await.len(), 3);

        gateway.unseat(HERE, &users(1..=2)).await.unwrap();
        let left = Instant::now();
        let told = works(&worker, HERE, GRACE - 2 * TICK).await;
        assert_eq!(told, [], "nobody is offline before the grace is over");
        assert_eq!(online(&worker, 3).await, users(1..=3));
        gateway.seat(HERE, &users(2..=2)).await.unwrap();

        let told = works(&worker, HERE, 6 * TICK).await;
        assert_eq!(told.iter().map(|(_, told)| *told).collect::<Vec<_>>(), [went(1)]);
        assert!(left.elapsed() >= GRACE);
        assert_eq!(online(&worker, 3).await, users(2..=3));
        gateway.seat(HERE, &users(1..=1)).await.unwrap();
        assert_eq!(tells(&worker).await, [came(1)], "the next time is news again");
    });
}

#[test]
fn who_leaves_before_anybody_heard_of_it_is_never_told() {
    contract(|source| async move {
        let directory = source.handle().await;
        directory.keep_node(HERE).await.unwrap();
        directory.seat(HERE, &users(1..=1)).await.unwrap();
        directory.unseat(HERE, &users(1..=1)).await.unwrap();
        assert_eq!(works(&directory, HERE, GRACE + 4 * TICK).await, []);
    });
}

#[test]
fn the_users_of_a_dead_node_are_offline_in_time_unless_they_sit_elsewhere() {
    contract(|source| async move {
        let (gateway, worker) = (source.handle().await, source.handle().await);
        gateway.keep_node(HERE).await.unwrap();
        gateway.keep_node(THERE).await.unwrap();
        gateway.seat(HERE, &users(1..=40)).await.unwrap();
        gateway.seat(THERE, &users(31..=50)).await.unwrap();
        while !tells(&worker).await.is_empty() {}

        // Only the other node goes on renewing.
        let told = works(&worker, THERE, Duration::from_secs(20)).await;
        let mut gone: Vec<_> = told.iter().map(|(_, told)| *told).collect();
        gone.sort_unstable();
        assert_eq!(gone, (1..=30).map(went).collect::<Vec<_>>());
        let first = told.iter().map(|(at, _)| *at).min().unwrap();
        assert!(first >= GRACE - TICK, "{first:?}: the grace runs from its last sign of life");
        assert_eq!(online(&worker, 50).await.len(), 20);
        assert_eq!(worker.reap(THERE).await.unwrap(), Reaped::default(), "nothing is left to be cleared");
        assert_eq!(worker.live_nodes().await.unwrap(), [THERE]);
    });
}

#[test]
fn who_has_no_lease_of_its_own_takes_nobody_for_dead() {
    contract(|source| async move {
        let (gateway, worker) = (source.handle().await, source.handle().await);
        gateway.keep_node(HERE).await.unwrap();
        gateway.seat(HERE, &users(1..=3)).await.unwrap();
        assert_eq!(tells(&worker).await.len(), 3);
        // All leases end at once, as when a clock is set; this one's is new like the others' will be.
        sleep(LEASE + TICK).await;
        assert_eq!(worker.reap(THERE).await.unwrap(), Reaped::default());
        gateway.keep_node(HERE).await.unwrap();
        gateway.seat(HERE, &users(1..=3)).await.unwrap();
        worker.keep_node(THERE).await.unwrap();
        assert_eq!(worker.reap(THERE).await.unwrap(), Reaped::default());
        assert_eq!(tells(&worker).await, [], "nobody was away");
        assert_eq!(worker.online(&users(1..=3)).await.unwrap().len(), 3);
    });
}

#[test]
fn users_of_a_dead_node_who_come_back_elsewhere_are_not_told_of() {
    contract(|source| async move {
        let directory = source.handle().await;
        directory.keep_node(HERE).await.unwrap();
        directory.keep_node(THERE).await.unwrap();
        directory.seat(HERE, &users(1..=9)).await.unwrap();
        while !tells(&directory).await.is_empty() {}
        let told = works(&directory, THERE, LEASE + 2 * TICK).await;
        assert_eq!(told, []);
        directory.seat(THERE, &users(1..=9)).await.unwrap();
        let told = works(&directory, THERE, GRACE).await;
        assert_eq!(told, []);
    });
}

#[test]
fn a_claim_is_one_workers_until_its_time_is_over() {
    contract(|source| async move {
        let (one, other) = (source.handle().await, source.handle().await);
        one.keep_node(HERE).await.unwrap();
        one.seat(HERE, &users(1..=1)).await.unwrap();
        assert_eq!(claimed(&one).await, [came(1)]);
        // Whatever happens meanwhile waits: two who tell at once might be heard in any order.
        other.unseat(HERE, &users(1..=1)).await.unwrap();
        other.seat(HERE, &users(1..=1)).await.unwrap();
        assert_eq!(claimed(&other).await, []);
        // The first one never came to its end.
        let start = Instant::now();
        let again = async || {
            one.keep_node(HERE).await.unwrap();
            claimed(&other).await == [came(1)]
        };
        eventually("another one tells", again).await;
        assert!(start.elapsed() >= Duration::from_millis(PRESENCE_CLAIM_MS) - TICK);
    });
}

#[test]
fn what_happened_while_it_was_told_is_told_next() {
    contract(|source| async move {
        let directory = source.handle().await;
        directory.keep_node(HERE).await.unwrap();
        directory.seat(HERE, &users(1..=2)).await.unwrap();
        assert_eq!(claimed(&directory).await, [came(1), came(2)]);
        directory.unseat(HERE, &users(1..=1)).await.unwrap();
        directory.told_presence(&[came(1), came(2)]).await.unwrap();
        assert_eq!(claimed(&directory).await, []);
        let told = works(&directory, HERE, GRACE + 4 * TICK).await;
        assert_eq!(told.iter().map(|(_, told)| *told).collect::<Vec<_>>(), [went(1)]);

        directory.unseat(HERE, &users(2..=2)).await.unwrap();
        let mut went_away = Vec::new();
        let is_claimed = async |went_away: &mut Vec<Presence>| {
            directory.keep_node(HERE).await.unwrap();
            went_away.extend(claimed(&directory).await);
            !went_away.is_empty()
        };
        while !is_claimed(&mut went_away).await {
            sleep(TICK).await;
        }
        assert_eq!(went_away, [went(2)]);
        directory.seat(HERE, &users(2..=2)).await.unwrap();
        directory.told_presence(&went_away).await.unwrap();
        assert_eq!(tells(&directory).await, [came(2)]);
    });
}

#[test]
fn thousands_come_and_are_told_in_portions() {
    contract(|source| async move {
        let directory = source.handle().await;
        directory.keep_node(HERE).await.unwrap();
        directory.seat(HERE, &users(1..=2_000)).await.unwrap();
        let mut told = Vec::new();
        loop {
            let some = tells(&directory).await;
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= 112, "about as many as wanted: {}", some.len());
            told.extend(some);
        }
        told.sort_unstable();
        assert_eq!(told, (1..=2_000).map(came).collect::<Vec<_>>());
    });
}
