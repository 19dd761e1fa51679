//! What was missed comes back, or is said to be too much.

use common::bus::{Envelope, Subject};
use protocol::ids::{ConversationId, UserId};
use protocol::{Lane, Sender, Timestamp, Uplink};
use serde_json::{Value, json};
use worker::features::operator::RedactMessage;

use crate::on_both;
use crate::support::*;

on_both! {
    a_change_is_heard_live_and_told_once_to_a_client_that_was_away;
    ten_thousand_changes_of_one_message_are_told_once;
    no_client_can_change_what_only_an_operator_may;
    a_reader_is_read_on_every_device;
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
    let gap = json!({"conversationId": conversation, "head": count, "changeSeq": 0, "changed": false});
    assert_eq!(synced["gaps"], json!([gap]));
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

/// As an operator's command does it.
async fn redact(cluster: &Cluster, conversation_id: ConversationId, seq: u64) {
    let from = Sender { user: UserId(0), socket: None };
    let data = serde_json::to_string(&RedactMessage { conversation_id, seq }).unwrap();
    let uplink = Uplink::of::<RedactMessage>(from, Timestamp::now(), &data).unwrap();
    let subject = Subject::on_lane(Lane::High, &uplink.event).unwrap();
    let envelope = Envelope { subject, key: uplink.key(), body: protocol::encode(&uplink) };
    cluster.bus.publish(envelope).await.unwrap();
}

async fn asks(client: &mut TestClient, conversation: ConversationId, held: Value) -> Value {
    client.emit("sync", json!({ "conversations": { conversation.to_string(): held } })).await;
    client.expect(Expect::named("synced")).await
}

async fn a_change_is_heard_live_and_told_once_to_a_client_that_was_away(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let someone = bob.me.clone().unwrap();
    for content in ["leaked", "harmless"] {
        alice.says(conversation, content).await;
        bob.expect(message_from("alice", content)).await;
    }
    drop(bob);
    redact(&cluster, conversation, 1).await;

    let live = alice.expect(Expect::named("messageChanged").with("message.content", "")).await;
    assert_eq!((&live["seq"], &live["changeSeq"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&live["what"]["kind"], &live["message"]["senderId"]),
        (&json!("redacted"), &live["message"]["sender"]["id"])
    );

    let mut bob = cluster.connect(0, &someone).await;
    let synced = asks(&mut bob, conversation, json!({"seq": 2, "changeSeq": 0})).await;
    let missed = &synced["missed"][0];
    assert_eq!(
        (&missed["head"], &missed["changeSeq"], &missed["messages"]),
        (&json!(2), &json!(1), &json!([]))
    );
    assert_eq!(missed["changes"], json!([live]), "the same as live");

    let synced = asks(&mut bob, conversation, json!({"seq": 2, "changeSeq": 1})).await;
    assert_eq!(synced["current"], json!([conversation]), "once");
    let synced = asks(&mut bob, conversation, json!(2)).await;
    assert_eq!(synced["current"], json!([conversation]), "a client that knows no changes is not told of any");
    let synced = asks(&mut bob, conversation, json!({"seq": 0, "changeSeq": 0})).await;
    let missed = &synced["missed"][0];
    assert_eq!(
        (&missed["messages"][0]["content"], &missed["changes"]),
        (&json!(""), &json!([])),
        "it comes as it is"
    );
    cluster.finish().await;
}

async fn ten_thousand_changes_of_one_message_are_told_once(cluster: Cluster) {
    const CHANGES: u64 = 10_000;
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    alice.says(conversation, "leaked").await;
    bob.expect(message_from("alice", "leaked")).await;
    let all = worker::features::statements();
    let redact = all.iter().find(|one| one.name == "redact_message").unwrap().sql;
    let redact = redact.replace("$1", &conversation.to_string()).replace("$2", "1");
    let many = format!(
        "do $loop$ declare row record; begin for n in 1..{CHANGES} loop
         for row in {redact} loop end loop; -- planned once
         if n % 50 = 0 then commit; end if; end loop; end $loop$"
    );
    testing::connect(&cluster.url).await.batch_execute(&many).await.unwrap();

    let synced = asks(&mut bob, conversation, json!({"seq": 1, "changeSeq": 0})).await;
    let changes = synced["missed"][0]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!((&changes[0]["changeSeq"], &changes[0]["message"]["content"]), (&json!(CHANGES), &json!("")));
    assert_eq!(synced["missed"][0]["changeSeq"], CHANGES);
    let synced = asks(&mut bob, conversation, json!({"seq": 1, "changeSeq": CHANGES + 1})).await;
    assert_eq!(synced["gaps"][0]["changed"], true, "a client that is ahead has another history");
    cluster.finish().await;
}

async fn no_client_can_change_what_only_an_operator_may(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    alice.says(conversation, "mine").await;
    bob.expect(message_from("alice", "mine")).await;
    alice.emit("redactMessage", json!({"conversationId": conversation, "seq": 1})).await;
    alice.expect(refused("exception", "unknown_event")).await;
    let synced = asks(&mut bob, conversation, json!({"seq": 1, "changeSeq": 0})).await;
    assert_eq!(synced["current"], json!([conversation]));
    cluster.finish().await;
}

async fn a_reader_is_read_on_every_device(cluster: Cluster) {
    let (conversation, [mut alice, mut phone]) = cluster.friends(["alice", "bob"]).await;
    let mut desktop = cluster.connect(0, phone.me.as_ref().unwrap()).await;
    for (content, says_seq) in [("one", true), ("two", false)] {
        alice.says(conversation, content).await;
        let coming = phone.expect(message_from("alice", content)).await;
        let mut read = json!({"conversationId": conversation, "messageId": coming["id"]});
        if says_seq {
            read["seq"] = coming["seq"].clone();
        }
        phone.emit("messageRead", read).await;
        for device in [&mut alice, &mut desktop] {
            let receipt = Expect::named("messageRead").with("readBy.firstName", "bob");
            let receipt = device.expect(receipt.with("seq", coming["seq"].clone())).await;
            assert_eq!(receipt["messageId"], coming["id"]);
        }
    }
    let synced = asks(&mut desktop, conversation, json!({"seq": 2, "readSeq": 1})).await;
    assert_eq!(synced["reads"], json!([{"conversationId": conversation, "readSeq": 2}]));
    let synced = asks(&mut desktop, conversation, json!({"seq": 2, "readSeq": 2})).await;
    assert_eq!(synced["reads"], json!([]));
    cluster.finish().await;
}
