//! What a directory promises, run over both backends: always in one process, and on Redis Cluster
//! when `REDIS_NODES` names one (`127.0.0.1:7000,...`). Every test has its own prefix.
use std::time::Duration;

use common::directory::{ClusterRate, Directory, DirectoryConfig, Versioned};
use common::limits::{DIRECTORY_CONNECT_MS_MAX, NODE_LEASE_MS};
use protocol::ids::{LoginId, NodeId, UserId};

use crate::support::directory::{contract, eventually, users};

const RENEWAL: Duration = Duration::from_millis(NODE_LEASE_MS / 3);

async fn nodes_of(directory: &Directory, user: i64) -> Vec<NodeId> {
    let mut found = directory.nodes_of(&[UserId(user)]).await.unwrap();
    let mut nodes = found.remove(&UserId(user)).unwrap_or_default();
    assert!(found.is_empty());
    nodes.sort_unstable();
    nodes
}

#[test]
fn a_seated_user_is_found_until_unseated() {
    contract(|source| async move {
        let (gateway, worker) = (source.handle().await, source.handle().await);
        let node = NodeId::random();
        assert!(gateway.keep_node(node).await.unwrap(), "a new lease");
        assert!(!gateway.keep_node(node).await.unwrap(), "the same lease");
        assert!(nodes_of(&worker, 1).await.is_empty());

        gateway.seat(node, &users(1..=3)).await.unwrap();
        gateway.seat(node, &users(1..=3)).await.unwrap();
        assert_eq!(nodes_of(&worker, 1).await, [node]);
        gateway.unseat(node, &users(1..=1)).await.unwrap();
        gateway.unseat(node, &users(1..=1)).await.unwrap();
        gateway.unseat(node, &users(9..=9)).await.unwrap();

        let asked = [UserId(1), UserId(2), UserId(2), UserId(3), UserId(4)];
        let found = worker.nodes_of(&asked).await.unwrap();
        let mut online: Vec<_> = found.into_iter().collect();
        online.sort_unstable();
        assert_eq!(online, [(UserId(2), vec![node]), (UserId(3), vec![node])]);
        assert!(worker.nodes_of(&[]).await.unwrap().is_empty());
        gateway.seat(node, &[]).await.unwrap();
    });
}

#[test]
fn a_user_may_be_on_several_nodes() {
    contract(|source| async move {
        let directory = source.handle().await;
        let nodes = [NodeId(1), NodeId(2), NodeId(u64::MAX)];
        for node in nodes {
            directory.keep_node(node).await.unwrap();
            directory.seat(node, &users(7..=7)).await.unwrap();
        }
        assert_eq!(nodes_of(&directory, 7).await, nodes);
        let mut live = directory.live_nodes().await.unwrap();
        live.sort_unstable();
        assert_eq!(live, nodes);
        directory.unseat(nodes[1], &users(7..=7)).await.unwrap();
        assert_eq!(nodes_of(&directory, 7).await, [nodes[0], nodes[2]]);
    });
}

#[test]
fn a_node_that_came_a_moment_ago_is_known_to_everyone() {
    contract(|source| async move {
        let (gateway, worker) = (source.handle().await, source.handle().await);
        let nodes = [NodeId(10), NodeId(20), NodeId(30)];
        for (i, node) in nodes.into_iter().enumerate() {
            gateway.keep_node(node).await.unwrap();
            gateway.seat(node, &users(1..=1)).await.unwrap();
            assert_eq!(nodes_of(&worker, 1).await, nodes[..=i], "no old list of nodes is used");
        }
    });
}

#[test]
fn nobody_is_seated_on_a_node_without_a_lease() {
    contract(|source| async move {
        let directory = source.handle().await;
        assert!(directory.seat(NodeId::random(), &users(1..=1)).await.is_err());
        assert!(nodes_of(&directory, 1).await.is_empty());
    });
}

#[test]
fn a_seat_may_be_taken_through_another_handle() {
    contract(|source| async move {
        let (one, other) = (source.handle().await, source.handle().await);
        let node = NodeId::random();
        one.keep_node(node).await.unwrap();
        other.seat(node, &users(5..=5)).await.unwrap();
        assert_eq!(nodes_of(&one, 5).await, [node]);
    });
}

#[test]
fn all_users_of_a_node_that_stops_renewing_are_nowhere_at_once() {
    contract(|source| async move {
        let (directory, worker) = (source.handle().await, source.handle().await);
        let (dead, alive) = (NodeId(1), NodeId(2));
        for node in [dead, alive] {
            directory.keep_node(node).await.unwrap();
            directory.seat(node, &users(1..=50)).await.unwrap();
        }
        directory.seat(dead, &users(51..=100)).await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(RENEWAL).await;
            assert!(!directory.keep_node(alive).await.unwrap());
        }
        let is_gone = async || {
            let found = worker.nodes_of(&users(1..=100)).await.unwrap();
            let on_dead = found.values().filter(|nodes| nodes.contains(&dead)).count();
            assert!((found.len(), on_dead) == (100, 100) || (found.len(), on_dead) == (50, 0), "all or none");
            on_dead == 0
        };
        eventually("the dead node's users are nowhere", is_gone).await;
        assert_eq!(worker.live_nodes().await.unwrap(), [alive]);
    });
}

#[test]
fn a_node_whose_lease_lapsed_seats_everyone_again() {
    contract(|source| async move {
        let directory = source.handle().await;
        let (lapsed, alive) = (NodeId(1), NodeId(2));
        directory.keep_node(alive).await.unwrap();
        directory.keep_node(lapsed).await.unwrap();
        directory.seat(lapsed, &users(1..=2)).await.unwrap();
        for _ in 0..4 {
            tokio::time::sleep(RENEWAL).await;
            directory.keep_node(alive).await.unwrap();
        }
        assert!(directory.keep_node(lapsed).await.unwrap(), "it must seat again");
        assert!(nodes_of(&directory, 1).await.is_empty(), "what it seated before is nothing");
        directory.seat(lapsed, &users(1..=1)).await.unwrap();
        assert_eq!(nodes_of(&directory, 1).await, [lapsed]);
        assert!(nodes_of(&directory, 2).await.is_empty());
        assert!(!directory.keep_node(lapsed).await.unwrap());
    });
}

#[test]
fn a_node_that_leaves_takes_its_seats_along() {
    contract(|source| async move {
        let directory = source.handle().await;
        let node = NodeId::random();
        directory.forget_node(node).await.unwrap();
        directory.keep_node(node).await.unwrap();
        directory.seat(node, &users(1..=9)).await.unwrap();
        directory.forget_node(node).await.unwrap();
        assert!(directory.nodes_of(&users(1..=9)).await.unwrap().is_empty());
        assert!(directory.live_nodes().await.unwrap().is_empty());
        assert!(directory.keep_node(node).await.unwrap(), "it begins anew");
        assert!(directory.nodes_of(&users(1..=9)).await.unwrap().is_empty());
    });
}

#[test]
fn a_program_that_was_killed_is_known_until_its_card_is_dropped() {
    contract(|source| async move {
        let (gateway, worker) = (source.handle().await, source.handle().await);
        let (one, two) = (NodeId(1), NodeId(2));
        assert!(worker.cards().await.unwrap().is_empty());
        for (node, text) in [(one, "one"), (one, "one again"), (two, "two")] {
            gateway.keep_node(node).await.unwrap();
            gateway.write_card(node, text.as_bytes()).await.unwrap();
        }
        let mut cards = worker.cards().await.unwrap();
        cards.sort_unstable();
        assert_eq!(cards, [b"one again".to_vec(), b"two".to_vec()]);
        gateway.forget_node(one).await.unwrap();
        assert_eq!(worker.cards().await.unwrap(), [b"two".to_vec()], "a farewell takes the card along");
        worker.drop_cards(&[]).await.unwrap();
        worker.drop_cards(&[one, two]).await.unwrap();
        assert!(gateway.cards().await.unwrap().is_empty());
    });
}

#[test]
fn thousands_of_users_in_one_call() {
    contract(|source| async move {
        let directory = source.handle().await;
        let (one, two) = (NodeId(1), NodeId(2));
        directory.keep_node(one).await.unwrap();
        directory.keep_node(two).await.unwrap();
        directory.seat(one, &users(1..=20_000)).await.unwrap();
        directory.seat(two, &users(1..=2_000)).await.unwrap();
        let found = directory.nodes_of(&users(1..=5_000)).await.unwrap();
        assert_eq!(found.len(), 5_000);
        assert_eq!(found.values().filter(|nodes| nodes.len() == 2).count(), 2_000);
        directory.unseat(one, &users(1..=20_000)).await.unwrap();
        assert_eq!(directory.nodes_of(&users(1..=5_000)).await.unwrap().len(), 2_000);
    });
}

#[test]
fn a_burst_is_allowed_then_the_rate() {
    contract(|source| async move {
        let directory = source.handle().await;
        let rate = ClusterRate { burst: 3, per_second: 1.0 };
        let take = async |key: &str, cost| directory.take_tokens(key, cost, rate).await.unwrap();
        for _ in 0..3 {
            assert_eq!(take("a", 1).await, Ok(()));
        }
        let wait = take("a", 1).await.unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(take("b", 3).await, Ok(()), "every key has its own bucket");
        assert!(take("b", 2).await.unwrap_err() > Duration::from_secs(1), "two need longer");
        tokio::time::sleep(wait).await;
        assert_eq!(take("a", 1).await, Ok(()), "after the wait it is allowed");
        assert!(take("a", 1).await.is_err());
        assert!(directory.take_tokens("a", 4, rate).await.is_err(), "more than the burst never comes");
        assert!(directory.take_tokens("a", 1, ClusterRate { burst: 1, per_second: 0.0 }).await.is_err());
    });
}

#[test]
fn tokens_are_shared_by_all_handles() {
    contract(|source| async move {
        let rate = ClusterRate { burst: 20, per_second: 0.001 };
        let mut takers = Vec::new();
        for _ in 0..2 {
            let directory = source.handle().await;
            takers.extend((0..25).map(|_| {
                let directory = directory.clone();
                tokio::spawn(async move { directory.take_tokens("shared", 1, rate).await.unwrap().is_ok() })
            }));
        }
        let mut taken = 0;
        for taker in takers {
            taken += u32::from(taker.await.unwrap());
        }
        assert_eq!(taken, 20);
    });
}

#[test]
fn of_fifty_who_change_a_value_one_wins() {
    contract(|source| async move {
        let ttl = Duration::from_secs(60);
        let handles = [source.handle().await, source.handle().await];
        for expected in 0..3 {
            let racers: Vec<_> = (0..50_u8)
                .map(|i| {
                    let directory = handles[usize::from(i % 2)].clone();
                    tokio::spawn(async move {
                        let has_won = directory.compare_and_set("call", expected, &[i], ttl).await.unwrap();
                        has_won.then_some(i)
                    })
                })
                .collect();
            let mut winners = Vec::new();
            for racer in racers {
                winners.extend(racer.await.unwrap());
            }
            assert_eq!(winners.len(), 1, "{winners:?}");
            let now = Versioned { version: expected + 1, value: winners };
            assert_eq!(handles[0].value("call").await.unwrap(), Some(now));
        }
    });
}

#[test]
fn values_are_bytes_and_end() {
    contract(|source| async move {
        let directory = source.handle().await;
        let long = Duration::from_secs(60);
        assert_eq!(directory.value("v").await.unwrap(), None);
        assert!(!directory.compare_and_set("v", 1, b"x", long).await.unwrap(), "there is no version 1");
        let bytes: Vec<u8> = (0..=255).collect();
        assert!(directory.compare_and_set("v", 0, &bytes, long).await.unwrap());
        assert!(!directory.compare_and_set("v", 0, b"y", long).await.unwrap());
        assert_eq!(directory.value("v").await.unwrap(), Some(Versioned { version: 1, value: bytes }));
        assert!(directory.compare_and_set("v", 1, b"", long).await.unwrap(), "empty deletes");
        assert_eq!(directory.value("v").await.unwrap(), None);

        let short = Duration::from_millis(300);
        assert!(directory.compare_and_set("v", 0, b"z", short).await.unwrap());
        eventually("the value ends", async || directory.value("v").await.unwrap().is_none()).await;
        assert!(directory.compare_and_set("v", 0, b"again", long).await.unwrap());
    });
}

#[test]
fn ended_logins_are_remembered_until_their_tokens_expired() {
    contract(|source| async move {
        let (one, other) = (source.handle().await, source.handle().await);
        let (short, long) = (Duration::from_secs(2), Duration::from_secs(60));
        one.end_login(LoginId(1), long).await.unwrap();
        one.end_login(LoginId(3), long).await.unwrap();
        one.end_login(LoginId(3), short).await.unwrap();
        one.end_login(LoginId(2), short).await.unwrap();
        let ended = async || {
            let mut ended = other.ended_logins().await.unwrap().logins;
            ended.sort_unstable();
            ended
        };
        assert!(ended().await.contains(&LoginId(2)));
        let rest = [LoginId(1), LoginId(3)];
        eventually("the short one is forgotten", async || ended().await == rest).await;
    });
}

#[test]
fn a_directory_says_whether_it_knows_all_ended_logins() {
    contract(|source| async move {
        let (one, other) = (source.handle().await, source.handle().await);
        let long = Duration::from_secs(60);
        let both = [(LoginId(1), long), (LoginId(2), long)];
        assert_eq!(one.end_logins(&both[..1]).await.unwrap(), [LoginId(1)]);
        assert!(!other.ended_logins().await.unwrap().is_complete, "nobody has filled it");
        assert_eq!(one.end_logins(&both).await.unwrap(), [LoginId(2)], "the first was known");

        one.mark_ended_logins(Duration::from_secs(2)).await.unwrap();
        let ended = other.ended_logins().await.unwrap();
        assert!(ended.is_complete && one.has_all_ended_logins().await.unwrap());
        assert_eq!(ended.logins.len(), 2, "the mark is no login: {ended:?}");
        let complete = async || other.ended_logins().await.unwrap().is_complete;
        eventually("the mark ends", async || !complete().await).await;
        assert!(!one.has_all_ended_logins().await.unwrap());
        assert_eq!(one.end_logins(&[]).await.unwrap(), []);
    });
}

#[test]
fn tokens_that_are_given_back_can_be_taken_again() {
    contract(|source| async move {
        let directory = source.handle().await;
        // So slow that no token comes by itself during the test.
        let rate = ClusterRate { burst: 3, per_second: 0.001 };
        for _ in 0..3 {
            assert_eq!(directory.take_tokens("guess", 1, rate).await.unwrap(), Ok(()));
        }
        assert!(directory.take_tokens("guess", 1, rate).await.unwrap().is_err(), "the bucket is empty");
        directory.give_tokens("guess", 1, rate).await.unwrap();
        assert_eq!(directory.take_tokens("guess", 1, rate).await.unwrap(), Ok(()));
        assert!(
            directory.take_tokens("guess", 1, rate).await.unwrap().is_err(),
            "one was given back, no more"
        );

        directory.give_tokens("full", 5, rate).await.unwrap();
        directory.give_tokens("guess", 9, rate).await.unwrap();
        for key in ["full", "guess"] {
            assert_eq!(directory.take_tokens(key, 3, rate).await.unwrap(), Ok(()), "{key}");
            assert!(
                directory.take_tokens(key, 1, rate).await.unwrap().is_err(),
                "{key} never holds more than 3"
            );
        }
    });
}

/// Something that takes connections and never says a word is not a directory.
#[tokio::test]
async fn connecting_has_a_deadline() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nodes = vec![format!("redis://{}", silent.local_addr().unwrap())];
    let connecting = Directory::connect(DirectoryConfig { nodes, prefix: "silent".into(), ca_file: None });
    let limit = Duration::from_millis(DIRECTORY_CONNECT_MS_MAX + 1_000);
    let outcome = tokio::time::timeout(limit, connecting).await.expect("an answer in time");
    assert!(outcome.is_err());
}
