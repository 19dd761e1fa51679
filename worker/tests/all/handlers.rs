//! What happens, and who must know: each event against a real schema.

use crate::cluster::{Cluster, Heard, says};
use crate::on_both;
use common::bus::Subject;
use protocol::events::ClientEvent;
use protocol::events::message::MessageRead;
use protocol::events::sync::Sync;
use protocol::events::typing::Typing;
use protocol::ids::{ConversationId, MessageId, UserId};
use protocol::{self, Recipients, Reject, Sender, Timestamp, Uplink, Urgency};
use serde_json::{Value, json};

on_both! {
    a_message_is_kept_and_told_to_everyone;
    strangers_and_the_blocked_are_refused;
    the_same_guid_a_thousand_times_is_one_message;
    a_receipt_is_told_to_everyone_also_the_readers_other_sockets;
    typing_is_told_to_the_others_once;
    sync_returns_exactly_what_is_missing;
}

fn users(heard: &Heard) -> Vec<i64> {
    match &heard.to {
        Recipients::Users(users) => users.iter().map(|user| user.0).collect(),
        Recipients::Socket(serial) => panic!("told to the socket {serial}"),
    }
}

fn uplink<E: ClientEvent>(from: Sender, data: &Value) -> Uplink {
    Uplink::of::<E>(from, Timestamp::now(), &data.to_string()).unwrap()
}

async fn a_message_is_kept_and_told_to_everyone(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let worker = cluster.worker().await;

    cluster.publish([says(gateway.sender(alice, 3), conversation, "g-1", "xin chào")]).await;
    let processed = gateway.next().await;
    assert_eq!((processed.event.as_str(), &processed.to), ("messageProcessed", &Recipients::Socket(3)));
    let coming = gateway.next().await;
    assert_eq!((coming.event.as_str(), users(&coming)), ("messageComing", vec![alice.0, bob.0]));
    assert_eq!(coming.data["id"], processed.data["messageId"]);
    assert_eq!(coming.data["content"], "xin chào");
    assert_eq!(coming.data["seq"], 1);
    assert_eq!(coming.data["user"]["firstName"], "alice");
    assert_eq!(coming.data["conversationType"], 1);
    let preview = gateway.next().await;
    assert_eq!(
        (preview.event.as_str(), preview.data),
        ("loadLastMessage", json!({"conversationId": conversation}))
    );
    assert!(matches!(preview.urgency, Urgency::Latest(_)));
    worker.drain().await;
    assert_eq!(gateway.rest().await, []);
}

async fn strangers_and_the_blocked_are_refused(cluster: Cluster) {
    let (alice, bob, eve) =
        (cluster.person("alice").await, cluster.person("bob").await, cluster.person("eve").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob, eve]).await;
    let worker = cluster.worker().await;

    cluster.publish([says(gateway.sender(eve, 6), conversation, "g-1", "hello")]).await;
    let refused = gateway.next().await;
    assert_eq!((refused.event.as_str(), &refused.to), ("sendMessageError", &Recipients::Socket(6)));
    assert_eq!((&refused.data["code"], &refused.data["guid"]), (&json!("not_a_member"), &json!("g-1")));
    cluster.publish([says(gateway.sender(alice, 1), ConversationId(999_999), "g-2", "hello")]).await;
    assert_eq!(gateway.next().await.data["code"], "not_a_member");

    cluster.sql(&format!("insert into blocks (user_id, blocked_id) values ({bob}, {alice})")).await;
    cluster.publish([says(gateway.sender(alice, 1), conversation, "g-3", "hello")]).await;
    assert_eq!(gateway.next().await.data["code"], "blocked");
    cluster.publish([says(gateway.sender(bob, 2), conversation, "g-4", "hello")]).await;
    assert_eq!(gateway.next().await.data["code"], "blocked", "nor may the one who blocked write");
    worker.drain().await;
    assert_eq!(gateway.rest().await, []);
    assert_eq!(cluster.sql("select 1 from messages").await.len(), 0);
}

async fn the_same_guid_a_thousand_times_is_one_message(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let worker = cluster.worker().await;

    let sender = gateway.sender(alice, 1);
    cluster.publish((0..1_000).map(|_| says(sender, conversation, "g-1", "once"))).await;
    let (mut answers, mut coming) = (Vec::new(), 0);
    while answers.len() < 1_000 {
        let heard = gateway.next().await;
        match heard.event.as_str() {
            "messageProcessed" => answers.push(heard.data),
            "messageComing" => coming += 1,
            _ => {}
        }
    }
    assert_eq!(coming, 1);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "the first id and seq every time");
    worker.drain().await;
    assert_eq!(cluster.sql("select 1 from messages").await.len(), 1);
}

async fn a_receipt_is_told_to_everyone_also_the_readers_other_sockets(cluster: Cluster) {
    let (alice, bob) = (cluster.person("alice").await, cluster.person("bob").await);
    let eve = cluster.person("eve").await;
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob, eve]).await;
    let worker = cluster.worker().await;
    cluster.publish([says(gateway.sender(alice, 1), conversation, "g-1", "read me")]).await;
    let message = MessageId(gateway.until("messageComing").await.data["id"].as_i64().unwrap());
    gateway.until("loadLastMessage").await;

    let (bobs, eves) = (gateway.sender(bob, 2), gateway.sender(eve, 3));
    let read = |from, message: MessageId| {
        uplink::<MessageRead>(from, &json!({ "conversationId": conversation, "messageId": message }))
    };
    let all = [
        read(bobs, message),
        read(bobs, message),
        read(eves, message),
        read(bobs, MessageId(message.0 + 999)),
    ];
    for one in all {
        cluster.publish([one]).await;
    }
    let receipt = gateway.next().await;
    assert_eq!((receipt.event.as_str(), users(&receipt)), ("messageRead", vec![alice.0, bob.0]));
    assert_eq!((&receipt.data["messageId"], &receipt.data["seq"]), (&json!(message), &json!(1)));
    assert_eq!(receipt.data["readBy"]["id"], bob.0);
    let refused = gateway.next().await;
    assert_eq!((&refused.to, &refused.data["code"]), (&Recipients::Socket(3), &json!("not_a_member")));
    let refused = gateway.next().await;
    assert_eq!((&refused.to, &refused.data["code"]), (&Recipients::Socket(2), &json!("not_found")));
    worker.drain().await;
    assert_eq!(gateway.rest().await, []);
}

async fn typing_is_told_to_the_others_once(cluster: Cluster) {
    let (alice, bob, eve) =
        (cluster.person("alice").await, cluster.person("bob").await, cluster.person("eve").await);
    let conversation = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob, eve]).await;

    let socket = gateway.sender(alice, 1).socket;
    let typing = |user, is_typing| {
        let data = json!({ "conversationId": conversation, "isTyping": is_typing });
        uplink::<Typing>(Sender { user, socket }, &data)
    };
    let mut late = typing(bob, true);
    late.at = Timestamp(late.at.0 - 60_000);
    cluster
        .publish([typing(alice, true), typing(alice, true), typing(alice, false), late, typing(eve, true)])
        .await;
    let worker = cluster.worker().await;
    let heard = gateway.until("exception").await;
    assert_eq!(heard.data["code"], "not_a_member");
    cluster.publish([typing(bob, true)]).await;
    let mut told = vec![gateway.until("typing").await];
    if told[0].data["user"]["id"] != bob.0 {
        told.push(gateway.until("typing").await);
    }
    let told = told.pop().unwrap();
    assert_eq!(users(&told), [alice.0]);
    assert_eq!(told.data["otherId"], conversation.0);
    assert_eq!(told.data["isTyping"], true);
    worker.drain().await;
    assert_eq!(gateway.rest().await, []);
}

async fn ask(cluster: &Cluster, user: UserId, held: &[(ConversationId, u64)]) -> Value {
    let held: serde_json::Map<String, Value> =
        held.iter().map(|(conversation, seq)| (conversation.to_string(), json!(seq))).collect();
    ask_for(cluster, user, &Value::Object(held)).await
}

async fn ask_for(cluster: &Cluster, user: UserId, held: &Value) -> Value {
    let from = Sender { user, socket: None };
    let body = protocol::encode(&uplink::<Sync>(from, &json!({ "conversations": held })));
    let answer =
        cluster.bus.request(Subject::new("api.sync").unwrap(), body, crate::cluster::PATIENCE).await.unwrap();
    let answer: Result<String, Reject> = protocol::decode(&answer).unwrap();
    serde_json::from_str(&answer.unwrap()).unwrap()
}

async fn sync_returns_exactly_what_is_missing(cluster: Cluster) {
    let (alice, bob, eve) =
        (cluster.person("alice").await, cluster.person("bob").await, cluster.person("eve").await);
    let first = cluster.conversation(&[alice, bob]).await;
    let second = cluster.conversation(&[alice, bob]).await;
    let empty = cluster.conversation(&[alice, bob]).await;
    let mut gateway = cluster.gateway(&[alice, bob]).await;
    let worker = cluster.worker().await;
    let sender = gateway.sender(alice, 1);
    cluster.publish((1..=5).map(|n| says(sender, first, &format!("g-{n}"), &format!("message {n}")))).await;
    cluster.publish((1..=250).map(|n| says(sender, second, &format!("h-{n}"), "much"))).await;
    gateway.count("messageProcessed", 255).await;

    let answer = ask(&cluster, bob, &[(first, 3), (second, 1), (empty, 0)]).await;
    let seqs: Vec<_> =
        answer["missed"][0]["messages"].as_array().unwrap().iter().map(|m| m["seq"].clone()).collect();
    assert_eq!((&answer["missed"][0]["conversationId"], seqs), (&json!(first), vec![json!(4), json!(5)]));
    let gap = json!({"conversationId": second, "head": 250, "changeSeq": 0, "changed": false});
    assert_eq!(answer["gaps"], json!([gap]));
    assert_eq!(answer["current"], json!([empty]));

    let nobody = json!({"current": [], "missed": [], "gaps": [], "unknown": [first, second], "reads": []});
    assert_eq!(ask(&cluster, eve, &[(first, 3), (second, 1)]).await, nobody);
    assert_eq!(ask(&cluster, eve, &[(first, 5), (second, 250)]).await, nobody, "a right guess tells nothing");
    let right = json!({"seq": 5, "changeSeq": 0, "readSeq": 0});
    let told = ask_for(&cluster, eve, &json!({ first.to_string(): right })).await;
    assert_eq!((&told["unknown"], &told["reads"]), (&json!([first]), &json!([])));
    let current = json!({"current": [first, second], "missed": [], "gaps": [], "unknown": [], "reads": []});
    assert_eq!(ask(&cluster, bob, &[(first, 5), (second, 250)]).await, current);
    worker.drain().await;
}
