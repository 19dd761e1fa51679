//! What was missed comes back, or is said to be too much.

use serde_json::json;

use crate::on_both;
use crate::support::*;

on_both! {
    sync_returns_what_was_missed;
    sync_says_gap_when_too_much_was_missed;
    one_sync_at_a_time;
}

async fn sync_returns_what_was_missed(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let someone = bob.me.clone().unwrap();
    alice.says(conversation, "one").await;
    bob.expect(message_from("alice", "one")).await;
    drop(bob);
    for content in ["two", "three"] {
        let guid = alice.says(conversation, content).await;
        alice.expect(processed(&guid)).await;
    }

    let mut bob = cluster.connect(0, &someone).await;
    bob.syncs(conversation, 1).await;

    let synced = bob.expect(Expect::named("synced")).await;
    let missed = &synced["missed"][0];
    let contents: Vec<_> = missed["messages"].as_array().unwrap().iter().map(|one| &one["content"]).collect();
    assert_eq!((contents, &missed["head"]), (vec![&json!("two"), &json!("three")], &json!(3)));

    bob.syncs(conversation, 3).await;
    let synced = bob.expect(Expect::named("synced")).await;
    assert_eq!(synced["current"], json!([conversation]));
    cluster.finish().await;
}

async fn sync_says_gap_when_too_much_was_missed(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let count = common::limits::SYNC_MESSAGES_MAX + 1;
    for number in 0..count {
        alice.says(conversation, &number.to_string()).await;
    }
    bob.expect(Expect::named("messageComing").with("seq", count)).await;

    bob.syncs(conversation, 0).await;

    let synced = bob.expect(Expect::named("synced")).await;
    assert_eq!(synced["gaps"], json!([{"conversationId": conversation, "head": count}]));
    cluster.finish().await;
}

async fn one_sync_at_a_time(cluster: Cluster) {
    let (conversation, [mut alice, _bob]) = cluster.friends(["alice", "bob"]).await;
    for _ in 0..50 {
        alice.syncs(conversation, 0).await;
    }
    alice.expect(Expect::named("synced")).await;
    alice.expect(refused("syncError", "rate_limited")).await;
    cluster.finish().await;
}
