//! Sockets: refused, ended, moved, cut.

use std::time::Duration;

use serde_json::Value;

use crate::support::*;
use crate::{on_both, on_memory};

on_both! {
    an_expired_token_is_refused;
    a_socket_ends_with_its_token;
    logging_out_closes_the_sockets_of_the_login;
    clients_of_a_drained_gateway_resume_elsewhere;
    a_slow_socket_is_cut_while_its_neighbours_go_on;
    a_burst_never_cuts_a_reader_that_reads;
    nothing_is_delivered_behind_the_end_of_a_token;
    the_token_may_come_in_the_first_frame;
}

on_memory! {
    a_silent_peer_is_closed;
    a_peer_that_answers_stays;
    a_socket_without_a_token_is_closed;
}

async fn an_expired_token_is_refused(cluster: Cluster) {
    let alice = cluster.someone("alice").await;
    let token = cluster.token(&alice, -1);
    assert_eq!(cluster.open(0, Some(&token)).await.err(), Some(401));
    assert_eq!(cluster.open(0, Some("nonsense")).await.err(), Some(401));
    cluster.finish().await;
}

async fn a_socket_ends_with_its_token(cluster: Cluster) {
    let alice = cluster.someone("alice").await;
    let mut socket = cluster.open(0, Some(&cluster.token(&alice, 1))).await.unwrap();
    let code = loop {
        socket.emit("ping", Value::Null).await;
        match socket.next().await {
            Heard::Close(code) => break code,
            Heard::End => panic!("no close code"),
            _ => {}
        }
    };
    assert_eq!(code, 4501);
    drop(socket);
    cluster.finish().await;
}

async fn logging_out_closes_the_sockets_of_the_login(cluster: Cluster) {
    let alice = cluster.someone("alice").await;
    let mut other_login = alice.clone();
    other_login.login.0 += 1;
    let mut here = cluster.connect(0, &alice).await;
    let mut there = cluster.connect(1, &alice).await;
    let mut other = cluster.connect(1, &other_login).await;

    cluster.end_login(&alice).await;

    assert_eq!(here.expect_close().await, Some(4503));
    assert_eq!(there.expect_close().await, Some(4503));
    other.expect_silence("anything").await;
    let token = cluster.token(&alice, 3_600);
    assert_eq!(cluster.open(0, Some(&token)).await.err(), Some(401));
    drop(other);
    cluster.finish().await;
}

async fn clients_of_a_drained_gateway_resume_elsewhere(mut cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let someone = bob.me.clone().unwrap();
    let another = cluster.add_gateway().await;

    cluster.drain(1);

    bob.expect(Expect::named("server.going_away")).await;
    assert_eq!(bob.expect_close().await, Some(1001));
    let guid = alice.says(conversation, "where are you?").await;
    alice.expect(processed(&guid)).await;
    let mut bob = cluster.connect(another, &someone).await;
    bob.syncs(conversation, 0).await;
    let synced = bob.expect(Expect::named("synced")).await;
    assert_eq!(synced["missed"][0]["messages"][0]["content"], "where are you?");
    alice.says(conversation, "there!").await;
    bob.expect(message_from("alice", "there!")).await;
    drop((alice, bob));
    cluster.finish().await;
}

async fn a_slow_socket_is_cut_while_its_neighbours_go_on(cluster: Cluster) {
    let (conversation, [mut alice, bob, mut carol]) = cluster.friends(["alice", "bob", "carol"]).await;
    let someone = bob.me.clone().unwrap();
    let mut slow = cluster.connect_slowly(0, &someone).await;
    let content = "\u{1f600}".repeat(8_000);

    // More than the kernel and the outbox take together: in whatever time it comes.
    for _ in 0..150 {
        let guid = alice.says(conversation, &content).await;
        alice.expect(processed(&guid)).await;
        carol.expect(message_from("alice", &content)).await;
    }

    // It wakes up and reads: what was written before the cut, then the reason, if that still found
    // its way into the kernel before the gateway hung up.
    assert!(matches!(slow.expect_close().await, Some(4000) | None));
    assert!(slow.heard("messageComing").len() < 150);
    carol.expect_silence("messageQueued").await;
    drop((alice, bob, carol));
    cluster.finish().await;
}

/// A megabyte within milliseconds: the task of a socket has no turn to write it, and its client is
/// not to blame for that.
async fn a_burst_never_cuts_a_reader_that_reads(cluster: Cluster) {
    let (conversation, mut people) =
        cluster.friends(["alice", "bob", "carol", "dave", "erin", "frank"]).await;
    let content = "\u{1f600}".repeat(8_000);
    for _ in 0..7 {
        for sender in &mut people[..4] {
            sender.says(conversation, &content).await;
        }
    }
    for person in &mut people {
        for seq in 1..=28 {
            person.expect(Expect::named("messageComing").with("seq", seq)).await;
        }
    }
    drop(people);
    cluster.finish().await;
}

/// Something is said all the time, so the socket does not have to wait for a heartbeat.
async fn nothing_is_delivered_behind_the_end_of_a_token(cluster: Cluster) {
    let (conversation, [mut alice, bob]) = cluster.friends(["alice", "bob"]).await;
    let ends_s = protocol::Timestamp::now().0 / 1_000 + 2;
    let token = cluster.token(bob.me.as_ref().unwrap(), 2);
    let mut listener = cluster.open(1, Some(&token)).await.unwrap();
    listener.expect(ready()).await;
    let listening = tokio::spawn(async move {
        let code = listener.expect_close().await;
        (code, protocol::Timestamp::now(), listener.heard("messageComing").len())
    });
    while !listening.is_finished() {
        let guid = alice.says(conversation, "still there?").await;
        alice.expect(processed(&guid)).await;
    }
    let (code, closed, heard) = listening.await.unwrap();
    assert_eq!(code, Some(4501));
    assert!(heard > 0, "it heard something before");
    assert!(closed.0 < (ends_s + 2) * 1_000, "closed {} ms behind the end", closed.0 - ends_s * 1_000);
    drop((alice, bob));
    cluster.finish().await;
}

async fn the_token_may_come_in_the_first_frame(cluster: Cluster) {
    let alice = cluster.someone("alice").await;
    let mut socket = cluster.open(0, None).await.unwrap();
    socket.emit("auth", serde_json::json!({"token": cluster.token(&alice, 3_600)})).await;
    socket.expect(ready().with("userId", alice.person.id.0)).await;

    let mut liar = cluster.open(0, None).await.unwrap();
    liar.emit("auth", serde_json::json!({"token": "nonsense"})).await;
    assert_eq!(liar.expect_close().await, Some(4501));
    let mut mute = cluster.open(0, None).await.unwrap();
    mute.emit("sendMessage", serde_json::json!({"conversationId": 1, "content": "a"})).await;
    assert_eq!(mute.expect_close().await, Some(4501));
    drop(socket);
    cluster.finish().await;
}

async fn a_silent_peer_is_closed(cluster: Cluster) {
    let alice = cluster.someone("alice").await;
    let mut socket = cluster.connect(0, &alice).await;
    socket.answers_pings = false;

    cluster.pass(Duration::from_secs(75)).await;

    assert_eq!(socket.expect_close().await, Some(4001));
    cluster.finish().await;
}

async fn a_peer_that_answers_stays(cluster: Cluster) {
    let alice = cluster.someone("alice").await;
    let mut socket = cluster.connect(0, &alice).await;
    for _ in 0..5 {
        cluster.pass(Duration::from_secs(25)).await;
        assert_eq!(socket.next().await, Heard::Ping);
    }
    socket.expect_silence("anything").await;
    drop(socket);
    cluster.finish().await;
}

async fn a_socket_without_a_token_is_closed(cluster: Cluster) {
    let mut socket = cluster.open(0, None).await.unwrap();
    cluster.pass(Duration::from_secs(6)).await;
    assert_eq!(socket.expect_close().await, Some(4408));
    cluster.finish().await;
}
