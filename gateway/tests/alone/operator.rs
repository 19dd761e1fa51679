//! What a gateway answers an operator, and that nobody else is taken for one.

use std::time::Duration;

use crate::support::{Alone, request};
use bytes::Bytes;
use common::bus::{Arrival, Envelope, Pattern, Subject};
use common::control::Asker;
use protocol::control::{Part, Question, Reply};
use protocol::ids::{LoginId, NodeId, UserId};
use serde_json::json;

const WAIT: Duration = Duration::from_secs(10);

/// What one gateway says to it.
async fn ask(gateway: &Alone, question: Question) -> Reply {
    let mut asker = Asker::open(&gateway.bus, NodeId(1)).await.unwrap();
    let mut answers = asker.ask(question, WAIT, |heard| !heard.is_empty()).await.unwrap();
    let answer = answers.pop().expect("an answer in time");
    assert_eq!((answer.who.node, answer.who.part), (gateway.node, Part::Gateway));
    answer.said
}

#[tokio::test]
async fn the_sockets_of_a_user_are_shown_and_closed() {
    let gateway = Alone::start(&[]).await;
    let mut seven = [gateway.connect(7).await, gateway.connect(7).await];
    let mut eight = gateway.connect(8).await;
    assert_eq!(ask(&gateway, Question::Roll).await, Reply::Here { sockets: Some(3), shards: None });
    let Reply::Sockets { sockets, total } = ask(&gateway, Question::Sockets(UserId(7))).await else {
        panic!("sockets")
    };
    assert_eq!((total, sockets.len()), (2, 2));
    assert!(sockets[0].socket.serial < sockets[1].socket.serial, "in the order in which they came");
    assert_eq!((sockets[0].login, sockets[0].form.as_str()), (LoginId(7), "native"));

    let kick = Question::Kick { user: UserId(7), ended: None };
    assert_eq!(ask(&gateway, kick).await, Reply::Closed(2));
    for socket in &mut seven {
        assert_eq!(socket.expect_close().await, Some(1001));
    }
    let _back = gateway.connect(7).await;

    let kick = Question::Kick { user: UserId(8), ended: Some(LoginId(8)) };
    assert_eq!(ask(&gateway, kick).await, Reply::Closed(1));
    assert_eq!(eight.expect_close().await, Some(4503), "the end of the login is the reason");
    let header = format!("Authorization: Bearer {}\r\n", gateway.token(8));
    assert_eq!(gateway.upgrade("/ws", &header).await.err(), Some(401));
    gateway.finish().await;
}

#[tokio::test]
async fn it_leaves_when_told_by_its_own_id() {
    let gateway = Alone::start(&[]).await;
    let mut socket = gateway.connect(7).await;
    let mut asker = Asker::open(&gateway.bus, NodeId(1)).await.unwrap();
    let other = Question::Drain(NodeId(gateway.node.0 ^ 1));
    let silence = asker.ask(other, Duration::from_millis(100), |_| false).await.unwrap();
    assert_eq!(silence, [], "it is somebody else's");
    assert_eq!(ask(&gateway, Question::Roll).await, Reply::Here { sockets: Some(1), shards: None });
    assert_eq!(ask(&gateway, Question::Drain(gateway.node)).await, Reply::Draining { already: false });
    assert_eq!(socket.expect_close().await, Some(1001));
    gateway.finish().await;
}

/// Whatever a client writes, in frames or in requests, nothing of it travels on `control.*`.
#[tokio::test]
async fn no_client_speaks_as_an_operator() {
    let gateway = Alone::start(&[]).await;
    let mut overheard = gateway.bus.subscribe(Pattern::new(">").unwrap()).await.unwrap();
    let mut socket = gateway.connect(7).await;
    let node = gateway.node.to_string();
    for event in ["control.programs", "control.gateways", "control.>", "drain", "kick", "endLogin", ""] {
        socket.emit(event, json!({ "node": node, "user": 7, "subject": "control.programs" })).await;
    }
    for path in
        ["/control.programs", "/control", "/../control.programs", "/control.programs/x", "/%2e/control"]
    {
        let header = format!("Authorization: Bearer {}\r\n", gateway.token(7));
        let answer = request(gateway.addr, &format!("POST {path}"), &header, &node).await;
        assert_eq!(answer.status, 503, "{path}: REST, for which nobody is here");
    }
    let marker = Subject::new("control.marker").unwrap();
    gateway.bus.publish(Envelope { subject: marker, key: 0, body: Bytes::new() }).await.unwrap();
    let Some(Arrival::Envelopes(heard)) = overheard.next().await else { panic!("the marker") };
    let subjects: Vec<_> = heard.iter().map(|envelope| envelope.subject.as_str()).collect();
    assert_eq!(subjects, ["control.marker"]);
    assert_eq!(ask(&gateway, Question::Roll).await, Reply::Here { sockets: Some(1), shards: None });
    gateway.finish().await;
}
