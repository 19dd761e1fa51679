//! Deadlines of HTTP. Time is frozen: it jumps to the next deadline when nothing else is to be done.

use std::time::Duration;

use common::limits::{
    ADDRESS_ANSWERS_BYTES_MAX, ANSWER_MS_MAX, API_ANSWER_BYTES_MAX, HANDSHAKE_MS_MAX, HTTP_IDLE_MS_MAX,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::support::{Alone, request};

async fn connect(gateway: &Alone) -> TcpStream {
    TcpStream::connect(gateway.addr).await.unwrap()
}

/// Reads until the gateway hangs up; how long that took.
async fn until_the_end(stream: &mut TcpStream) -> Duration {
    let (since, mut bytes) = (Instant::now(), Vec::new());
    let _ = stream.read_to_end(&mut bytes).await;
    assert_eq!(bytes, b"", "it is the end and no answer");
    since.elapsed()
}

/// Asks, and reads the answer.
async fn asks(stream: &mut TcpStream) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"alive\n") {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the gateway hung up");
    }
}

fn about(found: Duration, expect_ms: u64) {
    let expect = Duration::from_millis(expect_ms);
    assert!(found + Duration::from_secs(1) > expect && found < expect + Duration::from_secs(1), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_first_head_comes_soon_or_the_line_ends() {
    let gateway = Alone::start(&[]).await;
    about(until_the_end(&mut connect(&gateway).await).await, HANDSHAKE_MS_MAX);
    let mut stream = connect(&gateway).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
    about(until_the_end(&mut stream).await, HANDSHAKE_MS_MAX);
    gateway.finish().await;
}

/// A proxy that keeps its lines for 60 s never meets the end of one.
#[tokio::test(start_paused = true)]
async fn a_kept_line_may_be_idle_for_longer_than_proxies_keep_theirs() {
    let gateway = Alone::start(&[]).await;
    let mut stream = connect(&gateway).await;
    asks(&mut stream).await;
    tokio::time::advance(Duration::from_secs(65)).await;
    asks(&mut stream).await;
    about(until_the_end(&mut stream).await, HTTP_IDLE_MS_MAX);
    // The next head has no longer than the first.
    let mut stream = connect(&gateway).await;
    asks(&mut stream).await;
    stream.write_all(b"GET /livez").await.unwrap();
    about(until_the_end(&mut stream).await, HANDSHAKE_MS_MAX);
    gateway.finish().await;
}

/// Asks for an answer of the largest size through a proxy, and does not read it.
async fn asks_and_does_not_read(gateway: &Alone, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(gateway.addr).await.unwrap();
    let head = format!("GET /users/me HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The first bytes are there: the answer waits for its reader.
    stream.readable().await.unwrap();
    stream
}

async fn status(gateway: &Alone, address: &str) -> u16 {
    let header = format!("X-Forwarded-For: {address}\r\n");
    request(gateway.addr, "GET /users/me", &header, "").await.status
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_read_ends_its_line() {
    let gateway = Alone::start(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let body = vec![b' '; API_ANSWER_BYTES_MAX];
    let worker = gateway.serve(Duration::ZERO, 200, body).await;
    let mut stream = asks_and_does_not_read(&gateway, "198.51.100.1").await;
    tokio::time::advance(Duration::from_millis(ANSWER_MS_MAX + 2_000)).await;
    // What the kernels held may still come, or a reset; never the whole answer.
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.len() < API_ANSWER_BYTES_MAX, "{} bytes", bytes.len());
    worker.abort();
    gateway.finish().await;
}

#[tokio::test]
async fn an_address_that_does_not_read_gets_no_more_and_others_do() {
    let gateway = Alone::start(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let worker = gateway.serve(Duration::ZERO, 200, vec![b' '; API_ANSWER_BYTES_MAX]).await;
    let mut unread = Vec::new();
    for _ in 0..ADDRESS_ANSWERS_BYTES_MAX / API_ANSWER_BYTES_MAX {
        unread.push(asks_and_does_not_read(&gateway, "198.51.100.1").await);
    }
    assert_eq!(status(&gateway, "198.51.100.1").await, 429);
    assert_eq!(status(&gateway, "198.51.100.2").await, 200);
    // The gateway notices the end of a line with the next write, which a reset is.
    for stream in unread {
        stream.set_zero_linger().unwrap();
    }
    while status(&gateway, "198.51.100.1").await != 200 {
        tokio::task::yield_now().await;
    }
    worker.abort();
    gateway.finish().await;
}
