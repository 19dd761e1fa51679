//! Bad input of five kinds, in tables: frames, wire forms, envelopes, HTTP, and what is merely too
//! much. Each is met with a typed error, a status or a close code; nothing panics, nothing grows,
//! and a neighbour on the same gateway notices nothing.

/// What RFC 6455 refuses: on the codec, and on a real socket.
mod frames;

/// Native, Engine.IO and Socket.IO texts on a real socket.
mod forms;

/// Bytes between programs.
mod envelopes;

/// Requests that are none.
mod http;

use std::net::SocketAddr;
use std::time::Duration;

use crate::raw;
use common::auth::{Signer, Verifier};
use common::bus::Bus;
use common::config::{AuthConfig, Env};
use common::directory::Directory;
use common::lifecycle::Lifecycle;
use gateway::{Gateway, GatewayConfig};
use protocol::ids::{LoginId, NodeId, UserId};
use protocol::{Account, Person, Role, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// For anything that should take milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// One real gateway on the loopback, memory behind it, and a socket that was there before.
struct Bench {
    addr: SocketAddr,
    token: String,
    neighbour: Raw,
    lifecycle: Lifecycle,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Bench {
    async fn start() -> Self {
        let mut env = Env::from_pairs([
            ("NODE_ENV", "development"),
            ("BIND", "127.0.0.1"),
            ("PORT", "0"),
            ("DRAIN_MS", "0"),
            ("QUERY_TOKEN", "true"),
            ("CORS_ORIGINS", "https://chat.example"),
            // The tables say all at once what a client would say in a day.
            ("RATE_SOCKET_BURST", "100000"),
        ]);
        let (config, auth) = (GatewayConfig::from_env(&mut env), AuthConfig::from_env(&mut env));
        env.finish().unwrap();
        let (bus, directory, verifier) = (Bus::memory(), Directory::memory(), Verifier::new(&auth));
        let gateway = Gateway::bind(config, NodeId(1), bus, directory, verifier).await.unwrap();
        let addr = gateway.addr().unwrap();
        let lifecycle = Lifecycle::manual();
        let running = tokio::spawn(gateway.run(lifecycle.clone()));
        let token = token(&auth);
        let neighbour = Raw::join(addr, &token).await;
        Self { addr, token, neighbour, lifecycle, running }
    }

    async fn join(&self) -> Raw {
        Raw::join(self.addr, &self.token).await
    }

    async fn connect(&self) -> Raw {
        Raw::connect(self.addr).await
    }

    /// The neighbour is still there and served; then the gateway stops cleanly.
    async fn finish(mut self) {
        self.neighbour.ping().await;
        self.lifecycle.drain();
        timeout(DEADLINE, self.running).await.unwrap().unwrap().unwrap();
    }
}

fn token(auth: &AuthConfig) -> String {
    let signer = Signer::new(auth);
    let now = Timestamp::now();
    let expires_s = signer.expires_s(now);
    let account = Account { user: UserId(7), login: LoginId(1), role: Role::User, expires_s };
    let person = Person {
        id: account.user,
        first_name: "Alice".into(),
        last_name: "A".into(),
        email: "alice@chat.example".into(),
    };
    signer.sign(&account, &person, now)
}

/// A TCP connection that says whatever it is told to.
struct Raw {
    stream: TcpStream,
    /// Came and was not looked at.
    bytes: Vec<u8>,
}

impl Raw {
    async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), bytes: Vec::new() }
    }

    /// An authenticated native socket that has heard `ready`.
    async fn join(addr: SocketAddr, token: &str) -> Self {
        let mut raw = Self::upgrade(addr, "/ws", &format!("Authorization: Bearer {token}\r\n")).await;
        let ready = raw.hear_text().await;
        assert!(ready.starts_with(r#"{"event":"ready""#), "{ready}");
        raw
    }

    /// A joined Socket.IO socket.
    async fn join_socket_io(addr: SocketAddr, token: &str) -> Self {
        let mut raw = Self::upgrade(addr, "/socket.io/?EIO=4&transport=websocket", "").await;
        assert!(raw.hear_text().await.starts_with("0{\"sid\""));
        raw.say_text(&format!(r#"40{{"token":"{token}"}}"#)).await;
        assert!(raw.hear_text().await.starts_with("40{\"sid\""));
        raw
    }

    async fn upgrade(addr: SocketAddr, path: &str, more: &str) -> Self {
        let mut raw = Self::connect(addr).await;
        raw.write(request(path, more).as_bytes()).await;
        assert_eq!(raw.status().await, 101);
        raw
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The gateway may have hung up already: what it said is what counts.
        let _ = self.stream.write_all(bytes).await;
    }

    async fn say_text(&mut self, text: &str) {
        self.write(&raw::frame(true, 0, 1, text.as_bytes())).await;
    }

    /// The status of the next response; its head is taken off. 0: the gateway ended the stream.
    async fn status(&mut self) -> u16 {
        loop {
            if let Some(at) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.bytes.drain(..at + 4).collect();
                let head = String::from_utf8(head).unwrap();
                return head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
            }
            if self.read().await == 0 {
                return 0;
            }
        }
    }

    /// The next frame: opcode and payload. None: the gateway ended the stream.
    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = raw::take(&mut self.bytes) {
                return Some(frame);
            }
            if self.read().await == 0 {
                return None;
            }
        }
    }

    async fn hear_text(&mut self) -> String {
        match self.hear().await {
            Some((1, text)) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?} is no text"),
        }
    }

    /// The code that the gateway closes with; texts before it are passed over.
    async fn hear_close(&mut self) -> u16 {
        loop {
            match self.hear().await {
                Some((8, payload)) => {
                    assert_eq!(self.hear().await, None, "nothing follows a close");
                    return raw::close_code(&payload);
                }
                Some((1 | 9 | 10, _)) => {}
                other => panic!("{other:?} instead of a close"),
            }
        }
    }

    async fn ping(&mut self) {
        self.write(&raw::frame(true, 0, 9, b"still there?")).await;
        while self.hear().await.expect("the neighbour is cut") != (10, b"still there?".to_vec()) {}
    }

    async fn read(&mut self) -> usize {
        let read = timeout(DEADLINE, self.stream.read_buf(&mut self.bytes)).await;
        // A reset is an end, too.
        read.expect("an answer in time").unwrap_or(0)
    }
}

/// An upgrade request that is right.
fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}
