//! Typing, receipts, who is where.

use std::time::Duration;

use common::limits::{PRESENCE_CONVERSATIONS_MAX, PRESENCE_GRACE_MS, PRESENCE_PARTICIPANTS_MAX};
use serde_json::{Value, json};

use crate::support::*;
use crate::{on_both, on_memory};

on_both! {
    typing_reaches_the_other_and_not_the_typist;
    a_receipt_reaches_the_sender_of_the_message;
    the_directory_knows_who_is_where;
    contacts_hear_who_comes_and_strangers_do_not;
    who_asks_hears_who_is_online;
    strangers_do_not_hide_friends;
    a_large_conversation_shows_no_presence;
    nobody_sees_who_blocked_them;
}

on_memory! {
    who_leaves_is_offline_after_the_grace;
    who_comes_back_within_the_grace_was_never_away;
    who_has_another_device_stays_online;
}

async fn typing_reaches_the_other_and_not_the_typist(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;

    alice.types(conversation).await;

    bob.expect(typing_of("alice").with("conversationId", conversation.0)).await;
    alice.expect_silence("typing").await;
    cluster.finish().await;
}

async fn a_receipt_reaches_the_sender_of_the_message(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    alice.says(conversation, "read me").await;
    let coming = bob.expect(message_from("alice", "read me")).await;

    bob.emit("messageRead", json!({"conversationId": conversation, "messageId": coming["id"]})).await;

    let receipt = alice.expect(Expect::named("messageRead").with("readBy.firstName", "bob")).await;
    assert_eq!(receipt["messageId"], coming["id"]);
    cluster.finish().await;
}

async fn the_directory_knows_who_is_where(cluster: Cluster) {
    let alice = cluster.someone("alice").await;
    let user = alice.person.id;
    assert_eq!(cluster.nodes_of(user).await, []);

    let first = cluster.connect(0, &alice).await;
    let second = cluster.connect(0, &alice).await;
    assert_eq!(cluster.nodes_of(user).await, [cluster.node(0)]);
    drop(first);
    let mut there = cluster.connect(1, &alice).await;
    let mut nodes = cluster.nodes_of(user).await;
    nodes.sort_unstable();
    let mut both = [cluster.node(0), cluster.node(1)];
    both.sort_unstable();
    assert_eq!(nodes, both);

    drop(second);
    // The directory is told by a task of its own: ask until it was.
    while cluster.nodes_of(user).await != [cluster.node(1)] {
        there.expect_silence("messageComing").await;
    }
    cluster.finish().await;
}

async fn contacts_hear_who_comes_and_strangers_do_not(cluster: Cluster) {
    let (_, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let mut stranger = cluster.connect(0, &cluster.someone("mallory").await).await;
    cluster.a_moment().await;

    let coming = alice.expect(online(&bob)).await;
    assert!(coming["timestamp"].is_string());
    bob.expect(online(&alice)).await;

    stranger.expect_silence("userOnline").await;
    stranger.expect_silence("userOffline").await;
    alice.expect_silence("userOffline").await;
    cluster.finish().await;
}

async fn who_asks_hears_who_is_online(cluster: Cluster) {
    let (_, [mut alice, bob]) = cluster.friends(["alice", "bob"]).await;
    let mut stranger = cluster.connect(1, &cluster.someone("mallory").await).await;

    alice.emit("getOnlineUsers", Value::Null).await;
    let users = alice.expect(Expect::named("onlineUsers")).await;
    assert_eq!(users["users"], json!([bob.me.as_ref().unwrap().person.id]));
    stranger.emit("getOnlineUsers", json!({})).await;
    let users = stranger.expect(Expect::named("onlineUsers")).await;
    assert_eq!(users["users"], json!([]), "of strangers nothing is told");
    stranger.expect_silence("listOnline").await;
    cluster.finish().await;
}

/// Alice has written to Bob, who made the conversation; then a stranger makes as many with her as are
/// looked at.
async fn strangers_do_not_hide_friends(cluster: Cluster) {
    let (alice, bob) = (cluster.someone("alice").await, cluster.someone("bob").await);
    let mallory = cluster.someone("mallory").await;
    let conversation = cluster.conversation(&[&bob, &alice]).await;
    let mut alice_here = cluster.connect(0, &alice).await;
    let _bob = cluster.connect(1, &bob).await;
    let guid = alice_here.says(conversation, "hello").await;
    alice_here.expect(processed(&guid)).await;
    for _ in 0..PRESENCE_CONVERSATIONS_MAX {
        cluster.conversation(&[&mallory, &alice]).await;
    }

    alice_here.emit("getOnlineUsers", Value::Null).await;
    let users = alice_here.expect(Expect::named("onlineUsers")).await;
    assert_eq!(users["users"], json!([bob.person.id]));
    cluster.finish().await;
}

async fn a_large_conversation_shows_no_presence(cluster: Cluster) {
    let mut crowd = Vec::new();
    for number in 0..=PRESENCE_PARTICIPANTS_MAX {
        crowd.push(cluster.someone(&format!("member{number}")).await);
    }
    cluster.conversation(&crowd.iter().collect::<Vec<_>>()).await;
    let mut first = cluster.connect(0, &crowd[0]).await;
    let second = cluster.connect(1, &crowd[1]).await;

    first.emit("getOnlineUsers", Value::Null).await;
    let users = first.expect(Expect::named("onlineUsers")).await;
    assert_eq!(users["users"], json!([]));
    drop(second);
    cluster.finish().await;
}

async fn nobody_sees_who_blocked_them(cluster: Cluster) {
    let (_, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let (id, blocked) = (alice.me.as_ref().unwrap().person.id, bob.me.as_ref().unwrap().person.id);
    cluster.blocks(id, blocked).await;

    for client in [&mut alice, &mut bob] {
        client.emit("getOnlineUsers", Value::Null).await;
        let users = client.expect(Expect::named("onlineUsers")).await;
        assert_eq!(users["users"], json!([]));
    }
    cluster.finish().await;
}

async fn who_leaves_is_offline_after_the_grace(cluster: Cluster) {
    let (_, [mut alice, bob]) = cluster.friends(["alice", "bob"]).await;
    cluster.a_moment().await;
    alice.expect(online(&bob)).await;
    let id = bob.me.as_ref().unwrap().person.id;

    drop(bob);
    // The gateway and the directory notice in their own time.
    while !cluster.nodes_of(id).await.is_empty() {
        alice.expect_silence("userOffline").await;
    }
    cluster.pass(Duration::from_millis(PRESENCE_GRACE_MS - 1_000)).await;
    alice.expect_silence("userOffline").await;
    cluster.pass(Duration::from_secs(2)).await;
    let gone = alice.expect(Expect::named("userOffline")).await;
    assert_eq!(gone["userId"], id.0);
    alice.emit("getOnlineUsers", Value::Null).await;
    assert_eq!(alice.expect(Expect::named("onlineUsers")).await["users"], json!([]));
    cluster.finish().await;
}

async fn who_comes_back_within_the_grace_was_never_away(mut cluster: Cluster) {
    let (_, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    cluster.a_moment().await;
    alice.expect(online(&bob)).await;

    // Bob's gateway is replaced.
    let someone = bob.me.take().unwrap();
    cluster.drain(1);
    cluster.a_moment().await;
    assert_eq!(bob.expect_close().await, Some(1001));
    let other = cluster.add_gateway().await;
    cluster.pass(Duration::from_millis(PRESENCE_GRACE_MS / 2)).await;
    let back = cluster.connect(other, &someone).await;
    cluster.pass(Duration::from_millis(2 * PRESENCE_GRACE_MS)).await;
    alice.expect_silence("userOffline").await;
    alice.expect_silence("userOnline").await;
    drop(back);
    cluster.finish().await;
}

async fn who_has_another_device_stays_online(cluster: Cluster) {
    let (_, [mut alice, bob]) = cluster.friends(["alice", "bob"]).await;
    let telephone = cluster.connect(0, bob.me.as_ref().unwrap()).await;
    cluster.a_moment().await;
    alice.expect(online(&bob)).await;
    drop(bob);
    cluster.pass(Duration::from_millis(2 * PRESENCE_GRACE_MS)).await;
    alice.expect_silence("userOffline").await;
    alice.expect_silence("userOnline").await;
    drop(telephone);
    cluster.finish().await;
}

fn online(client: &TestClient) -> Expect {
    Expect::named("userOnline").with("userId", client.me.as_ref().unwrap().person.id.0)
}
