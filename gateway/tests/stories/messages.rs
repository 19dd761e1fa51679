//! Chat messages: sent, queued, kept, delivered, repeated, refused.

use common::limits::{ATTACHMENTS_MAX, CONTENT_CHARS_MAX, URL_BYTES_MAX};
use serde_json::json;

use crate::on_both;
use crate::support::*;

on_both! {
    a_message_reaches_a_friend_on_another_gateway;
    a_message_reaches_all_sockets_of_its_sender;
    a_repeated_guid_gives_the_first_result;
    a_stranger_is_refused;
    the_largest_message_is_taken_however_it_is_encoded;
    messages_of_a_conversation_arrive_in_order;
    a_sampled_trace_comes_along_and_nothing_else_does;
}

/// Alice and Bob are on different gateways; the message crosses the bus once.
async fn a_message_reaches_a_friend_on_another_gateway(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;

    let guid = alice.says(conversation, "xin chào").await;

    alice.expect(queued(&guid)).await;
    bob.expect(message_from("alice", "xin chào").with("seq", 1)).await;
    alice.expect(processed(&guid).with("seq", 1)).await;
    bob.expect_silence("messageComing").await;
    bob.expect_silence("messageQueued").await;
    cluster.finish().await;
}

async fn a_message_reaches_all_sockets_of_its_sender(cluster: Cluster) {
    let (conversation, [mut alice, _bob]) = cluster.friends(["alice", "bob"]).await;
    let me = alice.me.clone().unwrap();
    let mut phone = cluster.connect(0, &me).await;
    let mut tablet = cluster.connect(1, &me).await;

    alice.says(conversation, "hello").await;

    for socket in [&mut alice, &mut phone, &mut tablet] {
        socket.expect(message_from("alice", "hello")).await;
        socket.expect_silence("messageComing").await;
    }
    phone.expect_silence("messageQueued").await;
    cluster.finish().await;
}

/// Also over another gateway, as after a reconnect.
async fn a_repeated_guid_gives_the_first_result(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let guid = alice.says(conversation, "once").await;
    let first = alice.expect(processed(&guid)).await;

    let mut elsewhere = cluster.connect(1, &alice.me.clone().unwrap()).await;
    elsewhere.says_as(&guid, conversation, "once").await;

    let again = elsewhere.expect(processed(&guid)).await;
    assert_eq!(first, again);
    bob.expect(message_from("alice", "once")).await;
    bob.expect_silence("messageComing").await;
    cluster.finish().await;
}

async fn a_stranger_is_refused(cluster: Cluster) {
    let (conversation, [_alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let mallory = cluster.someone("mallory").await;
    let mut mallory = cluster.connect(0, &mallory).await;

    let guid = mallory.says(conversation, "let me in").await;

    let refusal = mallory.expect(refused("sendMessageError", "not_a_member")).await;
    assert_eq!(refusal["guid"], guid.as_str());
    bob.expect_silence("messageComing").await;
    cluster.finish().await;
}

async fn messages_of_a_conversation_arrive_in_order(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    for number in 0..100 {
        alice.says(conversation, &number.to_string()).await;
    }
    for number in 0..100 {
        let coming = bob.expect(Expect::named("messageComing")).await;
        assert_eq!((&coming["content"], &coming["seq"]), (&number.to_string().into(), &(number + 1).into()));
    }
    cluster.finish().await;
}

/// A client's trace goes with its message; what is not sampled, or no trace at all, is not seen.
async fn a_sampled_trace_comes_along_and_nothing_else_does(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let unsampled = sampled.replace("-01", "-00");
    let cases = [
        (json!(sampled), Some(sampled)),
        (json!(unsampled), None),
        (json!("00-what-is-this"), None),
        (json!(sampled.to_uppercase()), None),
        (json!({ "trace": 7 }), None),
        (json!(null), None),
    ];
    for (nth, (traceparent, heard)) in cases.into_iter().enumerate() {
        let guid = format!("t-{nth}");
        let data = json!({
            "conversationId": conversation, "guid": guid, "content": guid, "traceparent": traceparent,
        });
        alice.emit("sendMessage", data).await;
        // Whatever it is, it is never an error.
        alice.expect(processed(&guid)).await;
        for who in [&mut alice, &mut bob] {
            let coming = who.expect(message_from("alice", &guid)).await;
            assert_eq!(
                coming.get("traceparent").and_then(|text| text.as_str()),
                heard,
                "{traceparent}: {coming}"
            );
            assert_eq!(coming.as_object().unwrap().contains_key("traceparent"), heard.is_some());
        }
    }
    cluster.finish().await;
}

/// As an encoder writes it that knows ASCII only: a frame and a body of REST hold all that the limits
/// of a message allow.
async fn the_largest_message_is_taken_however_it_is_encoded(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let content = r"\ud83d\ude00".repeat(CONTENT_CHARS_MAX);
    // Three bytes of UTF-8, six of ASCII, as far as the URL's bytes go.
    let url = format!("https://chat.example/{}", r"\u4f60".repeat((URL_BYTES_MAX - 21) / 3));
    let attachment = format!(r#"{{"fileUrl":"{url}","thumbUrl":"{url}"}}"#);
    let attachments = [attachment.as_str(); ATTACHMENTS_MAX].join(",");
    let message = |guid: &str| {
        format!(
            r#"{{"conversationId":{conversation},"guid":"{guid}","content":"{content}","attachments":[{attachments}]}}"#
        )
    };
    let frame = format!(r#"{{"event":"sendMessage","data":{}}}"#, message("framed"));
    assert!(frame.len() > 160_000, "{} bytes", frame.len());
    alice.frame(1, frame.as_bytes()).await;
    alice.expect(processed("framed")).await;
    let shown = "\u{1f600}".repeat(CONTENT_CHARS_MAX);
    bob.expect(message_from("alice", &shown)).await;

    let token = cluster.token(alice.me.as_ref().unwrap(), 60);
    let headers = format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    let answer = request(cluster.addr(0), "POST /chat/messages", &headers, &message("posted")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    bob.expect(message_from("alice", &shown).with("guid", "posted")).await;
    drop((alice, bob));
    cluster.finish().await;
}
