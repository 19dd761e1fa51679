//! What a gateway answers by itself: upgrades, refusals, limits of HTTP, cross-origin rules.

use std::time::Duration;

use crate::support::{Alone, Answer, Expect, TestClient, ready, request};
use common::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEADER_BYTES_MAX};
use protocol::ids::UserId;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

const UPGRADE: &str = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What makes a request an upgrade.
fn upgrade_headers() -> String {
    format!("Connection: Upgrade\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n")
}

async fn get(gateway: &Alone, path: &str, headers: &str) -> Answer {
    request(gateway.addr, &format!("GET {path}"), headers, "").await
}

#[tokio::test]
async fn a_browser_says_its_token_as_a_sub_protocol() {
    let gateway = Alone::start(&[]).await;
    let header = format!("Sec-WebSocket-Protocol: chatchit, bearer.{}\r\n", gateway.token(7));
    let (mut socket, head) = gateway.upgrade("/ws", &header).await.unwrap();
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: chatchit\r\n"), "{head}");
    socket.expect(ready().with("userId", 7)).await;
    // It was seated before it heard so.
    let nodes = gateway.directory.nodes_of(&[UserId(7)]).await.unwrap();
    assert_eq!(nodes.get(&UserId(7)), Some(&vec![gateway.node]));
    gateway.finish().await;
}

#[tokio::test]
async fn a_token_in_the_query_counts_only_where_it_may() {
    for (settings, expect) in [(&[("QUERY_TOKEN", "true")][..], true), (&[], false)] {
        let gateway = Alone::start(settings).await;
        let path = format!("/ws?token={}", gateway.token(7));
        let (mut socket, _) = gateway.upgrade(&path, "").await.unwrap();
        if expect {
            socket.expect(ready()).await;
        } else {
            socket.emit("typing", Value::Null).await;
            assert_eq!(socket.expect_close().await, Some(4501));
        }
        gateway.finish().await;
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused() {
    let gateway = Alone::start(&[("CORS_ORIGINS", "https://chat.example")]).await;
    let connection = "Connection: Upgrade\r\n";
    let check = async |headers: String, status: u16| {
        let answer = get(&gateway, "/ws", &headers).await;
        assert_eq!((answer.status, &answer.body["statusCode"]), (status, &json!(status)), "{headers}");
    };
    check(String::new(), 426).await;
    check(format!("{connection}{UPGRADE}Sec-WebSocket-Version: 12\r\n"), 426).await;
    check(format!("{connection}{UPGRADE}Sec-WebSocket-Version: 13\r\nOrigin: https://evil.example\r\n"), 403)
        .await;
    let bad = "Authorization: Bearer a.b.c\r\n";
    check(format!("{connection}{UPGRADE}Sec-WebSocket-Version: 13\r\n{bad}"), 401).await;
    let keyless = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    check(keyless.to_owned(), 400).await;
    let header = format!("Origin: https://chat.example\r\nAuthorization: Bearer {}\r\n", gateway.token(7));
    gateway.upgrade("/ws", &header).await.unwrap();
    gateway.finish().await;
}

#[tokio::test]
async fn engine_io_is_refused_in_its_own_words() {
    let gateway = Alone::start(&[]).await;
    let check = async |line: &str, code: u8| {
        let answer = request(gateway.addr, line, "", "").await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!(code)), "{line}");
    };
    check("GET /socket.io/?EIO=4&transport=polling", 0).await;
    check("GET /socket.io/?EIO=4", 0).await;
    check("GET /socket.io/?EIO=4&transport=websocket&sid=x", 1).await;
    check("POST /socket.io/?EIO=4&transport=websocket", 2).await;
    check("GET /socket.io/?EIO=4&transport=websocket", 3).await;
    check("GET /socket.io/?EIO=3&transport=websocket", 5).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_socket_io_client_joins_by_connect() {
    let gateway = Alone::start(&[]).await;
    let (mut socket, _) = gateway.upgrade("/socket.io/?EIO=4&transport=websocket", "").await.unwrap();
    let open = socket.text().await;
    assert!(open.starts_with("0{\"sid\":"), "{open}");
    socket.frame(1, b"40{\"token\":\"nonsense\"}").await;
    assert_eq!(socket.text().await, "44{\"message\":\"Invalid token\"}");
    socket.frame(1, format!("40{{\"token\":\"{}\"}}", gateway.token(9)).as_bytes()).await;
    assert!(socket.text().await.starts_with("40{\"sid\":"));
    socket.frame(1, b"42[\"ping\",{}]").await;
    assert!(socket.text().await.starts_with("42[\"pong\",{"));
    drop(socket);
    gateway.finish().await;
}

#[tokio::test]
async fn http_has_limits() {
    let gateway = Alone::start(&[]).await;
    let mut neighbour = gateway.connect(1).await;
    let large = format!("X-Large: {}\r\n", "x".repeat(HTTP_HEADER_BYTES_MAX));
    assert!(matches!(get(&gateway, "/ws", &large).await.status, 431 | 0));
    let many = "X-Many: x\r\n".repeat(200);
    assert!(matches!(get(&gateway, "/livez", &many).await.status, 431 | 0));
    let body = "x".repeat(HTTP_BODY_BYTES_MAX + 1);
    assert_eq!(request(gateway.addr, "POST /auth/login", "", &body).await.status, 413);
    assert_eq!(request(gateway.addr, "NONSENSE\r\n\r\n", "", "").await.status, 400);
    neighbour.expect_silence("anything").await;
    drop(neighbour);
    gateway.finish().await;
}

/// Those who are here notice nothing.
#[tokio::test]
async fn a_storm_of_upgrades_is_told_to_come_again() {
    let gateway = Alone::start(&[("UPGRADES_PER_S", "1")]).await;
    let mut neighbour = gateway.connect(1).await;
    let mut taken = Vec::new();
    let refused = loop {
        match gateway.upgrade("/ws", "").await {
            Ok((socket, _)) => taken.push(socket),
            Err(status) => break status,
        }
    };
    assert!(refused == 503 && taken.len() < 20, "{refused} after {}", taken.len());
    for path in ["/ws", "/socket.io/?EIO=4&transport=websocket"] {
        let answer = get(&gateway, path, &upgrade_headers()).await;
        assert!(answer.status == 503 && answer.head.contains("retry-after: "), "{}", answer.head);
    }
    neighbour.expect_silence("anything").await;
    drop((neighbour, taken));
    gateway.finish().await;
}

#[tokio::test]
async fn without_a_worker_rest_says_so_at_once() {
    let gateway = Alone::start(&[]).await;
    let answer = get(&gateway, "/conversations", "").await;
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    assert_eq!(answer.body["error"], "Service Unavailable");
    gateway.finish().await;
}

#[tokio::test]
async fn pages_of_known_origins_may_call() {
    let gateway = Alone::start(&[("CORS_ORIGINS", "https://chat.example")]).await;
    let asked = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n";
    let known = format!("Origin: https://chat.example\r\n{asked}");
    let answer = request(gateway.addr, "OPTIONS /conversations", &known, "").await;
    assert_eq!(answer.status, 204);
    for line in [
        "access-control-allow-origin: https://chat.example",
        "access-control-allow-credentials: true",
        "access-control-allow-headers: authorization",
        "access-control-allow-methods: get,head,put,patch,post,delete,options",
    ] {
        assert!(answer.head.contains(line), "{line} in {}", answer.head);
    }
    let answer = get(&gateway, "/livez", "Origin: https://evil.example\r\n").await;
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
    gateway.finish().await;
}

#[tokio::test]
async fn frames_that_break_the_rules_close_their_socket_only() {
    let gateway = Alone::start(&[]).await;
    let mut neighbour = gateway.connect(1).await;
    let check = async |bytes: &[u8], code: u16| {
        let mut socket = gateway.connect(2).await;
        socket.raw(bytes).await;
        assert_eq!(socket.expect_close().await, Some(code), "{bytes:?}");
    };
    check(&[0x81, 0x02, b'h', b'i'], 1002).await;
    check(&[0xc1, 0x80, 0, 0, 0, 0], 1002).await;
    check(&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0], 1009).await;
    check(&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007).await;
    check(&[0x82, 0x81, 0, 0, 0, 0, 0xff], 1003).await;
    check(&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], 1002).await;
    neighbour.expect_silence("anything").await;
    drop(neighbour);
    gateway.finish().await;
}

/// However the bytes are cut, the events are the same; what came behind the request is not lost.
#[tokio::test]
async fn events_may_arrive_in_pieces_or_all_at_once() {
    let gateway = Alone::start(&[]).await;
    let mut socket = gateway.connect(3).await;
    let frame = socket.masked(1, br#"{"event":"ping","data":{}}"#);
    for byte in &frame {
        socket.raw(&[*byte]).await;
    }
    socket.expect(Expect::named("pong")).await;
    socket.raw(&frame.repeat(50)).await;
    for _ in 0..50 {
        socket.expect(Expect::named("pong")).await;
    }
    drop(socket);
    gateway.finish().await;
}

/// Hears when the gateway wants the socket to come again.
async fn slot(mut socket: TestClient) -> Instant {
    let told = socket.expect(Expect::named("server.going_away")).await;
    Instant::now() + Duration::from_millis(told["in_ms"].as_u64().unwrap())
}

/// Also when two gateways leave at the same time.
#[tokio::test]
async fn draining_gateways_give_each_socket_a_slot_within_the_budget_of_all() {
    let settings = [("DRAIN_MS", "60000"), ("RECONNECTS_PER_S", "20")];
    let one = Alone::start(&settings).await;
    let other = one.start_beside(&settings).await;
    assert_eq!(get(&one, "/readyz", "").await.status, 200);
    let mut slots = JoinSet::new();
    for user in 1..=30 {
        slots.spawn(slot(one.connect(user).await));
        slots.spawn(slot(other.connect(user).await));
    }
    one.drain();
    other.drain();
    let first = slots.join_next().await.unwrap().unwrap();
    assert_eq!(get(&one, "/readyz", "").await.status, 503);
    assert_eq!(get(&one, "/livez", "").await.status, 200);
    assert_eq!(one.upgrade("/ws", "").await.err(), Some(503));
    let mut slots = slots.join_all().await;
    slots.push(first);
    slots.sort_unstable();
    let lasted = *slots.last().unwrap() - slots[0];
    assert!(lasted > Duration::from_millis(2_500), "sixty sockets, twenty per second: {lasted:?}");
    let in_a_second =
        |&from: &Instant| slots.iter().filter(|slot| (from..from + SECOND).contains(slot)).count();
    let peak = slots.iter().map(in_a_second).max().unwrap();
    assert!(peak <= 24, "{peak} in a second");
    one.abort().await;
    other.finish().await;
}

#[tokio::test]
async fn a_drain_ends_when_the_last_socket_has_moved() {
    let gateway = Alone::start(&[("DRAIN_MS", "600000"), ("RECONNECTS_PER_S", "2")]).await;
    let mut stays = gateway.connect(1).await;
    let (mut moves, _) = gateway.upgrade("/socket.io/?EIO=4&transport=websocket", "").await.unwrap();
    moves.frame(1, format!(r#"40{{"token":"{}"}}"#, gateway.token(2)).as_bytes()).await;
    assert!(moves.text().await.starts_with("0{") && moves.text().await.starts_with("40{"));
    gateway.drain();
    let told = stays.expect(Expect::named("server.going_away")).await;
    assert!(told["in_ms"].as_u64().unwrap() <= 500, "{told}");
    // Who does not go is closed; who would not understand an event hears none, and is closed, too.
    assert_eq!(stays.expect_close().await, Some(1001));
    assert_eq!(moves.expect_close().await, Some(1001));
    drop((stays, moves));
    gateway.finish().await;
}
