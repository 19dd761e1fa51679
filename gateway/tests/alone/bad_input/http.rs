//! Requests that are wrong, on a real port: a status, or the end of the connection.

use common::limits::HTTP_BODY_BYTES_MAX;

use super::{Bench, request};

/// What is wrong, the octets, the status; 0: the connection ends without one.
fn table(token: &str) -> Vec<(&'static str, String, u16)> {
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let post = |more: &str| format!("POST /auth/login HTTP/1.1\r\nHost: a\r\n{more}");
    let without = |line: &str| {
        let lines = request("/ws", "");
        lines.split_inclusive("\r\n").filter(|other| !other.starts_with(line)).collect::<String>()
    };
    let eio = "/socket.io/?EIO=4&transport=websocket";
    vec![
        // No HTTP.
        ("nonsense", "nonsense\r\n\r\n".into(), 400),
        ("binary", "\x16\x03\x01\x02\x00\x01\r\n\r\n".into(), 400),
        ("a frame without a request", "\u{1}\u{5}Hello\r\n\r\n".into(), 400),
        ("no version", "GET /\r\n\r\n".into(), 400),
        ("a version of the future", "GET / HTTP/3.7\r\n\r\n".into(), 400),
        ("HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 0),
        ("a space in the target", get("/a b", ""), 400),
        ("a header without a name", get("/", ": x\r\n"), 400),
        ("a header that is a NUL", get("/", "a: \0\r\n"), 400),
        // Too much.
        ("a header too large", get("/", &format!("a: {}\r\n", "x".repeat(20_000))), 431),
        ("headers too many", get("/", &"a: b\r\n".repeat(100)), 431),
        ("a target too long", get(&format!("/{}", "x".repeat(70_000)), ""), 431),
        ("a body too large", post(&format!("Content-Length: {}\r\n\r\n", HTTP_BODY_BYTES_MAX + 1)), 413),
        ("a body of terabytes", post("Content-Length: 99999999999999\r\n\r\n"), 413),
        (
            "a chunk too large",
            post(&format!(
                "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n{}",
                "x".repeat(HTTP_BODY_BYTES_MAX + 1)
            )),
            413,
        ),
        // Lengths that differ: the ground of smuggling.
        ("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400),
        ("a length that is none", post("Content-Length: -1\r\n\r\n"), 400),
        ("a chunk that is none", post("Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"), 400),
        ("an unknown encoding", post("Transfer-Encoding: gzip\r\n\r\n"), 400),
        // Upgrades that are none.
        ("a socket without upgrade", get("/ws", ""), 426),
        ("posted", request("/ws", "").replacen("GET", "POST", 1), 426),
        ("no key", without("Sec-WebSocket-Key"), 400),
        ("no version of WebSocket", without("Sec-WebSocket-Version"), 426),
        ("another version of WebSocket", request("/ws", "").replace("Version: 13", "Version: 8"), 426),
        ("no upgrade header", without("Upgrade"), 426),
        ("a foreign origin", request("/ws", "Origin: https://evil.example\r\n"), 403),
        ("a forged token", request("/ws", "Authorization: Bearer a.b.c\r\n"), 401),
        ("a token cut", request("/ws", &format!("Authorization: Bearer {}\r\n", &token[..20])), 401),
        // A page sees no status: the socket says it.
        ("a forged token in the query", request("/ws?token=a.b.c", ""), 101),
        ("a forged sub-protocol", request("/ws", "Sec-WebSocket-Protocol: chatchit, bearer.x\r\n"), 101),
        ("an upgrade of HTTP/1.0", request("/ws", "").replacen("HTTP/1.1", "HTTP/1.0", 1), 426),
        (
            "a key that is none",
            request("/ws", "").replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: x"),
            400,
        ),
        ("two keys", request("/ws", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", get("/", "Host: b\r\n"), 400),
        // Engine.IO.
        ("Engine.IO 3", request("/socket.io/?EIO=3&transport=websocket", ""), 400),
        ("no transport", request("/socket.io/?EIO=4", ""), 400),
        ("a transport of nobody", request("/socket.io/?EIO=4&transport=flash", ""), 400),
        ("a sid of nobody", request(&format!("{eio}&sid=1"), ""), 400),
        ("Engine.IO without upgrade", get(eio, ""), 400),
        ("Engine.IO from a foreign origin", request(eio, "Origin: https://evil.example\r\n"), 403),
        // Right, but nobody is there to answer.
        ("a bad token over REST", get("/users/me", "Authorization: Bearer a.b.c\r\n"), 503),
        ("a path of nobody", get("/%00/..//%ff?%zz", ""), 503),
    ]
}

#[tokio::test]
async fn wrong_requests_have_a_status_and_neighbours_stay() {
    let (mut bench, mut wrong) = (Bench::start().await, Vec::new());
    for (what, bytes, status) in table(&bench.token) {
        let mut raw = bench.connect().await;
        raw.write(bytes.as_bytes()).await;
        let heard = raw.status().await;
        if heard != status {
            wrong.push(format!("{what}: wanted {status}, got {heard}"));
        }
        bench.neighbour.ping().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bench.finish().await;
}

#[tokio::test]
async fn requests_that_never_end_are_ended() {
    let bench = Bench::start().await;
    let mut slow = bench.connect().await;
    slow.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
    let mut vanishing = bench.connect().await;
    vanishing.write(b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{").await;
    drop(vanishing);
    // No more headers within the handshake's time: 408, or just the end.
    while slow.read().await > 0 {}
    bench.finish().await;
}
