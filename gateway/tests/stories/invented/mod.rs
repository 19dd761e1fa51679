//! A feature that the product does not know is added as ARCHITECTURE.md ("How to add a feature") says,
//! with nothing but what the crates offer: an event, a request, two routes
//! with their permissions, a table, a task in the background, a story.
//! It stands for every feature to come: as long as it compiles and its story passes, a new feature
//! changes no machinery.

/// What clients say and hear.
mod events;

/// What happens.
mod feature;

use std::sync::Arc;

use protocol::Role;
use protocol::events::{CLIENT, Events};
use serde_json::{Value, json};
use worker::features::{ALL, Feature};

use crate::support::*;

/// The product and one feature more.
async fn cluster(kind: Kind) -> Option<Cluster> {
    let features: Vec<&'static Feature> = ALL.iter().copied().chain([&feature::FEATURE]).collect();
    let events = Events::of(&[CLIENT, &[events::CLIENT]].concat());
    let migrations: &[_] = &[("V9001__hands", include_str!("V9001__hands.sql"))];
    Cluster::start_with(kind, Product { features, events: Arc::new(events), migrations }).await
}

#[tokio::test]
async fn on_memory() {
    if let Some(cluster) = cluster(Kind::Memory).await {
        a_hand_is_raised(cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_real_peers() {
    if let Some(cluster) = cluster(Kind::Real).await {
        a_hand_is_raised(cluster).await;
    }
}

#[test]
fn its_events_have_names_of_their_own() {
    let known: Vec<_> = protocol::events::SERVER.concat().iter().map(|row| row.name).collect();
    assert!(events::SERVER.iter().all(|row| !known.contains(&row.name)));
}

async fn ask(cluster: &Cluster, line: &str, token: &str) -> Answer {
    let headers = format!("Authorization: Bearer {token}\r\n");
    request(cluster.addr(1), line, &headers, "").await
}

async fn a_hand_is_raised(cluster: Cluster) {
    let (conversation, [mut alice, mut bob]) = cluster.friends(["alice", "bob"]).await;
    let (_, [mut mallory]) = cluster.friends(["mallory"]).await;
    let hand = json!({ "conversationId": conversation });
    let raised = |name| Expect::named("handRaised").with("user.firstName", name);

    alice.emit("raiseHand", hand.clone()).await;
    bob.expect(raised("alice").with("conversationId", json!(conversation))).await;
    alice.expect(raised("alice")).await;
    mallory.emit("raiseHand", hand.clone()).await;
    mallory.expect(refused("raiseHandError", "not_a_member")).await;
    mallory.emit("raiseHand", json!({})).await;
    mallory.expect(refused("raiseHandError", "invalid")).await;

    let [alices, bobs, mallorys] =
        [&alice, &bob, &mallory].map(|client| cluster.token(client.me.as_ref().unwrap(), 60));
    let list = format!("GET /conversations/{conversation}/hands");
    let users = |answer: Answer| (answer.status, answer.body["data"]["users"].clone());
    let alices_id = json!([alice.me.as_ref().unwrap().person.id]);
    assert_eq!(users(ask(&cluster, &list, &bobs).await), (200, alices_id.clone()));
    assert_eq!(users(ask(&cluster, &list, &mallorys).await), (403, Value::Null));
    assert_eq!(ask(&cluster, &list, "none").await.status, 401);

    let lower = format!("DELETE /hands/{conversation}");
    assert_eq!(ask(&cluster, &lower, "none").await.status, 401);
    assert_eq!(ask(&cluster, &lower, &alices).await.status, 403, "she is no administrator");
    assert_eq!(users(ask(&cluster, &list, &bobs).await), (200, alices_id.clone()));
    let admin = cluster.token_as(Role::Admin, mallory.me.as_ref().unwrap(), 60);
    assert_eq!(ask(&cluster, &lower, &admin).await.status, 200);
    assert_eq!(users(ask(&cluster, &list, &bobs).await), (200, json!([])));

    alice.emit("getHands", hand.clone()).await;
    alice.expect(Expect::named("hands").with("users", json!([]))).await;
    mallory.emit("getHands", hand.clone()).await;
    mallory.expect(refused("getHandsError", "not_a_member")).await;
    alice.emit("raiseHand", hand.clone()).await;
    bob.expect(raised("alice")).await;
    bob.emit("getHands", hand.clone()).await;
    bob.expect(Expect::named("hands").with("users", alices_id)).await;
    // The background task lowers the hands when every member has raised one.
    bob.emit("raiseHand", hand).await;
    bob.expect(raised("bob")).await;
    cluster.a_moment().await;
    for client in [&mut alice, &mut bob] {
        client.expect(Expect::named("handsLowered").with("conversationId", json!(conversation))).await;
    }
    assert_eq!(users(ask(&cluster, &list, &bobs).await), (200, json!([])));
    drop((alice, bob, mallory));
    cluster.finish().await;
}
