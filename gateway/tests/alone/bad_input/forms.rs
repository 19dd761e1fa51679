//! Texts that are frames but no events, on real sockets of both forms.

use std::time::Duration;

use tokio::time::timeout;

use super::{Bench, DEADLINE, Raw};
use crate::raw;

/// What follows a text.
enum Then {
    /// An event that begins so; the socket stays.
    Hears(&'static str),
    /// Nothing; the socket stays.
    Silence,
    /// This close code.
    Closes(u16),
}
use Then::{Closes, Hears, Silence};

#[tokio::test]
async fn native_texts_that_are_no_events_are_answered() {
    let malformed = r#"{"event":"exception","data":{"status":"error","code":"malformed""#;
    let invalid = r#"{"event":"exception","data":{"status":"error","code":"invalid""#;
    let unknown = r#"{"event":"exception","data":{"status":"error","code":"unknown_event""#;
    let send = |code: &'static str| Hears(code);
    let deep = format!(r#"{{"event":"sendMessage","data":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    let long = format!(r#"{{"event":"{}"}}"#, "x".repeat(60_000));
    let table: Vec<(&str, Then)> = vec![
        ("", Hears(malformed)),
        ("\0", Hears(malformed)),
        ("{", Hears(malformed)),
        ("[]", Hears(malformed)),
        ("null", Hears(malformed)),
        (r#"["ping",{},1]"#, Hears(malformed)),
        (r#"{"event":null}"#, Hears(malformed)),
        (r#"{"event":"ping"}{"event":"ping"}"#, Hears(malformed)),
        (r#"{"event":"ping","event":"ping"}"#, Hears(malformed)),
        (r#"{"event":"\ud800"}"#, Hears(malformed)),
        ("42[\"ping\"]", Hears(malformed)),
        ("{\"event\":\"ping\",\"id\":\"a b\"}", Hears(invalid)),
        (r#"{"event":"__proto__"}"#, Hears(unknown)),
        (r#"{"event":"high.sendMessage"}"#, Hears(unknown)),
        (&long, Hears(unknown)),
        (
            r#"{"event":"sendMessage","data":{"conversationId":1e999}}"#,
            send(r#"{"event":"sendMessageError","data":{"status":"error","code":"invalid""#),
        ),
        (
            r#"{"event":"sendMessage","data":{"conversationId":1.5,"content":"a"}}"#,
            send(r#"{"event":"sendMessageError","data":{"status":"error","code":"invalid""#),
        ),
        (&deep, send(r#"{"event":"sendMessageError","data":{"status":"error","code":"#)),
        (r#"{"event":"typing"}"#, Hears(invalid)),
        (r#"{"event":"sync","data":{"conversations":{"-1":0}}}"#, Hears(r#"{"event":"syncError""#)),
        (r#"{"event":"auth","data":{"token":"forged"}}"#, Closes(4501)),
    ];
    let bench = Bench::start().await;
    for (text, then) in table {
        check(bench.join().await, text, then, r#"{"event":"ping"}"#, r#"{"event":"pong""#).await;
    }
    bench.finish().await;
}

#[tokio::test]
async fn socket_io_packets_that_are_none_are_answered_or_closed() {
    let malformed = r#"42["exception",{"status":"error","code":"malformed""#;
    let deep = format!("42[\"sendMessage\",{}", "[".repeat(60_000));
    let table: Vec<(&str, Then)> = vec![
        ("", Closes(1002)),
        ("0{}", Closes(1002)),
        ("5", Closes(1002)),
        ("7", Closes(1002)),
        ("b4AQID", Closes(1002)),
        ("é", Closes(1002)),
        ("4", Closes(1002)),
        ("44{}", Closes(1002)),
        ("49", Closes(1002)),
        ("40[", Closes(1002)),
        (r#"40{"token":"forged"}"#, Closes(4501)),
        (r#"429999999999999999999999["ping"]"#, Closes(1002)),
        (r#"451-["sendMessage",{"_placeholder":true,"num":0}]"#, Closes(1003)),
        ("461-[]", Closes(1003)),
        ("1", Closes(1000)),
        ("41", Closes(1000)),
        ("42", Hears(malformed)),
        ("42{}", Hears(malformed)),
        ("42[]", Hears(malformed)),
        ("42[1]", Hears(malformed)),
        (&deep, Hears(malformed)),
        (r#"40/admin,{"token":"forged"}"#, Hears(r#"44/admin,{"message":"Invalid namespace"}"#)),
        (r#"42/admin,["sendMessage",{}]"#, Silence),
        ("43", Silence),
        ("6", Silence),
        ("3", Silence),
        (r#"42["error",{}]"#, Silence),
        (r#"42["disconnect"]"#, Silence),
    ];
    let bench = Bench::start().await;
    for (text, then) in table {
        let socket = Raw::join_socket_io(bench.addr, &bench.token).await;
        check(socket, text, then, r#"42["ping"]"#, r#"42["pong""#).await;
    }
    bench.finish().await;
}

async fn check(mut socket: Raw, text: &str, then: Then, ping: &str, pong: &str) {
    let shown = &text[..text.floor_char_boundary(80)];
    socket.say_text(text).await;
    match then {
        Closes(code) => return assert_eq!(socket.hear_close().await, code, "{shown}"),
        Hears(expect) => {
            let heard = socket.hear_text().await;
            assert!(heard.starts_with(expect), "{shown} was answered {heard}");
        }
        Silence => {}
    }
    // What comes next is the answer to the ping: the socket stays, and was told nothing else.
    socket.say_text(ping).await;
    let heard = socket.hear_text().await;
    assert!(heard.starts_with(pong), "after {shown} came {heard}");
}

#[tokio::test]
async fn nonsense_without_end_closes_its_socket_only() {
    let bench = Bench::start().await;
    let mut socket = bench.join().await;
    let nonsense = raw::frame(true, 0, 1, b"x").repeat(100);
    let flood = async {
        loop {
            socket.write(&nonsense).await;
            while let Some((opcode, payload)) = raw::take(&mut socket.bytes) {
                if opcode == 8 {
                    return raw::close_code(&payload);
                }
            }
            assert!(socket.read().await > 0, "an end without a close");
        }
    };
    assert_eq!(timeout(DEADLINE, flood).await.unwrap(), 4029);
    bench.finish().await;
}

#[tokio::test]
async fn nobody_stays_without_a_token() {
    let bench = Bench::start().await;
    for (path, first, code) in [
        ("/ws", r#"{"event":"ping"}"#, 4501),
        ("/ws", r#"{"event":"auth","data":{"token":""}}"#, 4501),
        ("/socket.io/?EIO=4&transport=websocket", r#"42["ping"]"#, 4501),
    ] {
        let mut socket = Raw::upgrade(bench.addr, path, "").await;
        socket.say_text(first).await;
        assert_eq!(socket.hear_close().await, code, "{path} {first}");
    }
    // Saying nothing, or only pings, ends with the handshake's time.
    let mut silent = Raw::upgrade(bench.addr, "/ws", "").await;
    silent.write(&raw::frame(true, 0, 9, b"")).await;
    let close = timeout(Duration::from_secs(7), silent.hear_close());
    assert_eq!(close.await.expect("5 seconds"), 4408);
    bench.finish().await;
}
