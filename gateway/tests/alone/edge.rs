//! The edge: requests that contradict themselves, limits of an address, a login and a user, what a
//! browser is told, and where clients behind a proxy come from.

use std::time::Duration;

use protocol::Timestamp;
use protocol::ids::ConversationId;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Alone, Answer, Expect, ready, request};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends a head as it is; the status and the whole answer.
async fn said(gateway: &Alone, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let came = stream.read_buf(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        if came == 0 || text.contains("\r\n\r\n") {
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            return (status.unwrap_or(0), text.to_ascii_lowercase());
        }
    }
}

fn upgrade(version: &str, more: &str) -> String {
    format!(
        "GET /ws HTTP/{version}\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn an_upgrade_is_of_http_1_1_and_has_one_key_of_16_bytes() {
    let gateway = Alone::start(&[]).await;
    let check = async |version: &str, more: &str, expect: u16| {
        let (status, answer) = said(&gateway, &upgrade(version, more)).await;
        assert_eq!(status, expect, "{version} {more}: {answer}");
    };
    check("1.1", KEY, 101).await;
    check("1.0", KEY, 426).await;
    check("1.1", "", 400).await;
    check("1.1", "Sec-WebSocket-Key: x\r\n", 400).await;
    check("1.1", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n", 400).await;
    check("1.1", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=\r\n", 400).await;
    check("1.1", &format!("{KEY}{KEY}"), 400).await;
    check("1.1", &format!("{KEY}Sec-WebSocket-Version: 13\r\n"), 400).await;
    check("1.1", &format!("{KEY}Origin: a\r\nOrigin: b\r\n"), 400).await;
    gateway.finish().await;
}

#[tokio::test]
async fn a_request_that_contradicts_itself_is_refused_whatever_it_asks_for() {
    let gateway = Alone::start(&[]).await;
    let check = async |headers: &str, expect: u16| {
        let (status, answer) = said(&gateway, &format!("GET /livez HTTP/1.1\r\n{headers}\r\n")).await;
        assert_eq!(status, expect, "{headers}: {answer}");
    };
    check("Host: x\r\n", 200).await;
    check("", 400).await;
    check("Host: x\r\nHost: y\r\n", 400).await;
    check("Host: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400).await;
    gateway.finish().await;
}

/// A page never sees the status of a refused upgrade, and would connect for ever.
#[tokio::test]
async fn a_browser_hears_in_the_socket_that_its_token_does_not_count() {
    let gateway = Alone::start(&[("QUERY_TOKEN", "true")]).await;
    let old = gateway.token_until(7, Timestamp::now().0 / 1_000 - 60);
    let header = format!("Sec-WebSocket-Protocol: chatchit, bearer.{old}\r\n");
    let (mut socket, head) = gateway.upgrade("/ws", &header).await.unwrap();
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: chatchit\r\n"), "{head}");
    assert_eq!(socket.expect_close().await, Some(4501));
    let (mut socket, _) = gateway.upgrade(&format!("/ws?token={old}"), "").await.unwrap();
    assert_eq!(socket.expect_close().await, Some(4501));
    // Who can read a status hears it at once.
    let header = format!("Authorization: Bearer {old}\r\n");
    assert_eq!(gateway.upgrade("/ws", &header).await.err(), Some(401));
    gateway.finish().await;
}

/// What is judged without them costs no upgrades: a budget of two is still there afterwards.
#[tokio::test]
async fn only_what_becomes_a_socket_uses_up_upgrades() {
    let gateway = Alone::start(&[("UPGRADES_PER_S", "1"), ("CORS_ORIGINS", "https://chat.example")]).await;
    for _ in 0..20 {
        for (version, more, expect) in [
            ("1.0", KEY.to_owned(), 426),
            ("1.1", "Sec-WebSocket-Key: x\r\n".to_owned(), 400),
            ("1.1", format!("{KEY}Origin: https://evil.example\r\n"), 403),
            ("1.1", format!("{KEY}Authorization: Bearer a.b.c\r\n"), 401),
        ] {
            assert_eq!(said(&gateway, &upgrade(version, &more)).await.0, expect, "{more}");
        }
        assert_eq!(said(&gateway, "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n").await.0, 426);
    }
    assert_eq!(said(&gateway, &upgrade("1.1", KEY)).await.0, 101);
    assert_eq!(said(&gateway, &upgrade("1.1", KEY)).await.0, 503);
    gateway.finish().await;
}

fn from(address: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n")
}

#[tokio::test]
async fn one_address_opens_its_share_of_sockets_and_the_others_theirs() {
    let settings = [("TRUSTED_PROXIES", "127.0.0.1"), ("ADDRESS_UPGRADES_PER_S", "1")];
    let gateway = Alone::start(&settings).await;
    let status =
        async |address: &str| said(&gateway, &upgrade("1.1", &(KEY.to_owned() + &from(address)))).await.0;
    assert_eq!(status("198.51.100.1").await, 101);
    assert_eq!(status("198.51.100.1:4711").await, 503, "a port makes no other address");
    assert_eq!(status("198.51.100.2").await, 101);
    assert_eq!(status("2001:db8::1").await, 101);
    assert_eq!(status("[2001:db8::2]:443").await, 503, "nor does another address of the same network");
    assert_eq!(status("2001:db8:0:1::1").await, 101);
    gateway.finish().await;
}

#[tokio::test]
async fn one_address_holds_so_many_lines() {
    let settings = [("TRUSTED_PROXIES", "127.0.0.1"), ("ADDRESS_LINES_MAX", "2")];
    let gateway = Alone::start(&settings).await;
    let open = async |address: &str| {
        let headers = format!("Authorization: Bearer {}\r\n{}", gateway.token(7), from(address));
        gateway.upgrade("/ws", &headers).await
    };
    let (mut first, _) = open("198.51.100.1").await.unwrap();
    first.expect(ready()).await;
    let (second, _) = open("198.51.100.1").await.unwrap();
    assert_eq!(open("198.51.100.1").await.err(), Some(503));
    open("198.51.100.2").await.unwrap();
    first.frame(8, &1000_u16.to_be_bytes()).await;
    assert_eq!(first.expect_close().await, Some(1000));
    // The line is given back a moment after its end was heard.
    while let Err(status) = open("198.51.100.1").await {
        assert_eq!(status, 503);
    }
    drop(second);
    gateway.finish().await;
}

#[tokio::test]
async fn a_login_holds_so_many_sockets_and_the_oldest_goes() {
    let gateway = Alone::start(&[("LOGIN_SOCKETS_MAX", "2"), ("USER_SOCKETS_MAX", "9")]).await;
    let mut oldest = gateway.connect(7).await;
    let mut other = gateway.connect(8).await;
    let mut older = gateway.connect(7).await;
    let mut newest = gateway.connect(7).await;
    assert_eq!(oldest.expect_close().await, Some(4409));
    for socket in [&mut other, &mut older, &mut newest] {
        socket.expect_silence("anything").await;
    }
    drop((other, older, newest));
    gateway.finish().await;
}

/// Also when nothing is said and nothing delivered, and the wheel comes by much later.
#[tokio::test]
async fn an_idle_socket_ends_with_its_token() {
    let gateway = Alone::start(&[]).await;
    let ends_s = Timestamp::now().0 / 1_000 + 2;
    let header = format!("Authorization: Bearer {}\r\n", gateway.token_until(7, ends_s));
    let (mut socket, _) = gateway.upgrade("/ws", &header).await.unwrap();
    socket.expect(ready()).await;
    assert_eq!(socket.expect_close().await, Some(4501));
    let late_ms = Timestamp::now().0 - ends_s * 1_000;
    assert!((0..5_000).contains(&late_ms), "{late_ms} ms behind the token's end");
    gateway.finish().await;
}

/// A token that is known is needed for more than its own size.
#[tokio::test]
async fn before_it_says_who_it_is_a_socket_may_say_little() {
    let gateway = Alone::start(&[]).await;
    let (mut stranger, _) = gateway.upgrade("/ws", "").await.unwrap();
    stranger.raw(&[0x81, 0xfe, 0x40, 0x01, 0, 0, 0, 0]).await;
    assert_eq!(stranger.expect_close().await, Some(1009));
    let mut known = gateway.connect(7).await;
    known.says_as("g", ConversationId(1), &"x".repeat(20_000)).await;
    known.expect(Expect::named("sendMessageError").with("code", "too_large")).await;
    drop(known);
    gateway.finish().await;
}

async fn get(gateway: &Alone, path: &str, headers: &str) -> Answer {
    request(gateway.addr, &format!("GET {path}"), headers, "").await
}

#[tokio::test]
async fn credentials_are_for_listed_origins_only() {
    let origin = "Origin: https://chat.example\r\n";
    for (origins, expect) in [("", false), ("*", false), ("https://chat.example", true)] {
        let gateway = Alone::start(&[("CORS_ORIGINS", origins)]).await;
        for path in ["/livez", "/auth/login"] {
            let head = get(&gateway, path, origin).await.head;
            assert!(head.contains("access-control-allow-origin: https://chat.example"), "{head}");
            assert_eq!(head.contains("access-control-allow-credentials"), expect, "{origins}: {head}");
        }
        gateway.finish().await;
    }
}

#[tokio::test]
async fn what_a_browser_gets_is_neither_guessed_at_nor_kept() {
    let gateway = Alone::start(&[]).await;
    for path in ["/livez", "/readyz", "/ws", "/socket.io/", "/auth/login", "/users/me", "/nothing"] {
        let head = get(&gateway, path, "").await.head;
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        let is_rest = ["/auth/login", "/users/me", "/nothing"].contains(&path);
        assert_eq!(head.contains("cache-control: no-store"), is_rest, "{path}: {head}");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn strangers_hear_whether_it_is_ready_and_not_why() {
    let gateway = Alone::start(&[]).await;
    for path in ["/readyz", "/health"] {
        let answer = get(&gateway, path, "").await;
        assert_eq!((answer.status, answer.body), (200, json!({"ready": true})), "{path}");
    }
    gateway.finish().await;
}

/// RFC 9112, 9.6: who has said all may still listen.
#[tokio::test]
async fn a_client_that_has_closed_its_half_is_answered() {
    let gateway = Alone::start(&[]).await;
    let worker = gateway.serve(Duration::from_millis(50), 200, b"{\"here\":true}".to_vec()).await;
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    stream.write_all(b"GET /users/me HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"here\":true}"), "{answer}");
    worker.abort();
    gateway.finish().await;
}
