//! Typing, receipts, who is where.

use serde_json::json;

use crate::on_both;
use crate::support::*;

on_both! {
    typing_reaches_the_other_and_not_the_typist;
    a_receipt_reaches_the_sender_of_the_message;
    the_directory_knows_who_is_where;
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
