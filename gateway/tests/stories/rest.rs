//! REST and sockets together.

use serde_json::{Value, json};

use crate::on_both;
use crate::support::*;

on_both! {
    a_message_sent_over_rest_reaches_sockets;
    register_log_in_talk_and_log_out;
}

async fn post(cluster: &Cluster, gateway: usize, path: &str, token: &str, body: Value) -> Answer {
    let headers = format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    request(cluster.addr(gateway), &format!("POST {path}"), &headers, &body.to_string()).await
}

/// One path, one order: what REST sends is numbered with what sockets send.
async fn a_message_sent_over_rest_reaches_sockets(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let guid = alice.says(conversation, "from a socket").await;
    alice.expect(processed(&guid).with("seq", 1)).await;

    let token = cluster.token(alice.me.as_ref().unwrap(), 60);
    let body = json!({"conversationId": conversation, "content": "from a page", "messageType": "TEXT"});
    let answer = post(&cluster, 1, "/chat/messages", &token, body).await;

    assert_eq!(answer.status, 201, "{}", answer.body);
    for socket in [&mut alice, &mut bob] {
        socket.expect(message_from("alice", "from a page").with("seq", 2)).await;
    }
    cluster.finish().await;
}

async fn register_log_in_talk_and_log_out(cluster: Cluster) {
    let mut tokens = Vec::new();
    for (name, phone) in [("alice", "0901000001"), ("bob", "0901000002")] {
        let email = format!("{name}@example.org");
        let form = json!({
            "email": email, "password": "correct horse", "phone": phone,
            "firstName": name, "lastName": "Person",
        });
        let answer = post(&cluster, 0, "/auth/register", "", form).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let login = json!({"email": email, "password": "correct horse"});
        let answer = post(&cluster, 1, "/auth/login", "", login).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        tokens.push(answer.body["data"]["accessToken"].as_str().unwrap().to_owned());
    }
    let mut alice = cluster.open(0, Some(&tokens[0])).await.unwrap();
    let mut bob = cluster.open(1, Some(&tokens[1])).await.unwrap();
    alice.expect(ready()).await;
    let bob_id = bob.expect(ready()).await["userId"].clone();
    let talk = json!({"title": "us", "participants": [{"userId": bob_id, "type": "MEMBER"}]});
    let answer = post(&cluster, 0, "/conversations/create", &tokens[0], talk).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let conversation = protocol::ids::ConversationId(answer.body["data"]["id"].as_i64().unwrap());

    alice.says(conversation, "xin chào").await;
    bob.expect(message_from("alice", "xin chào")).await;

    let answer = post(&cluster, 0, "/auth/logout", &tokens[1], json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(bob.expect_close().await, Some(4503));
    assert_eq!(cluster.open(0, Some(&tokens[1])).await.err(), Some(401));
    drop((alice, bob));
    cluster.finish().await;
}
