//! A server of any dialect in this process: it upgrades, asks for the token, says when a socket is ready, answers pings, and
//! publishes numbered contents in the right order or in a wrong one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use swarm::options::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use crate::dialect::{Dialect, PASSWORD, mqtt};
use crate::frame::{BINARY, TEXT};
use crate::herd::content;

/// The token that every socket must send.
pub const TOKEN: &str = PASSWORD;

/// More contents than a test publishes.
const BACKLOG: usize = 64;

/// The order in which numbers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Right,
    /// The second comes twice.
    Doubled,
    /// The third comes before the second.
    Overtaken,
}

impl Order {
    /// The number of frames that carry this many contents.
    pub fn frames_of(self, contents: u64) -> u64 {
        contents + u64::from(self == Self::Doubled)
    }

    fn of(self, mut numbers: Vec<u64>) -> Vec<u64> {
        match self {
            Self::Right => {}
            Self::Doubled => numbers.insert(2, numbers[1]),
            Self::Overtaken => numbers.swap(1, 2),
        }
        numbers
    }
}

/// The server; see the module.
pub struct StandIn {
    pub address: Address,
    order: Order,
    published: AtomicU64,
    say: broadcast::Sender<String>,
}

impl StandIn {
    pub async fn start(dialect: Dialect, order: Order) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let (say, _) = broadcast::channel(BACKLOG);
        let contents = say.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, dialect, contents.subscribe()));
            }
        });
        Self { address, order, published: AtomicU64::new(0), say }
    }

    /// Sends `times` contents of `bytes` each to every socket.
    pub fn publish(&self, times: u64, bytes: usize) {
        let first = self.published.fetch_add(times, Relaxed);
        for number in self.order.of((first..first + times).collect()) {
            self.say.send(content(number, bytes)).unwrap();
        }
    }
}

/// Serves one socket until its client closes.
async fn serve(
    mut stream: TcpStream,
    dialect: Dialect,
    mut contents: broadcast::Receiver<String>,
) -> Option<()> {
    let mut bytes = vec![];
    while !bytes.ends_with(b"\r\n\r\n") {
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    let head = String::from_utf8(std::mem::take(&mut bytes)).unwrap();
    assert!(head.starts_with(&format!("GET {} HTTP/1.1\r\n", dialect.path())), "{head}");
    let shows_token = head.contains(&format!("Authorization: Bearer {TOKEN}\r\n"));
    if matches!(dialect, Dialect::Native | Dialect::Plain) && !shows_token {
        let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
        return None;
    }
    let mut out =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec();
    match dialect {
        Dialect::Native => frame(&mut out, TEXT, br#"{"event":"ready","data":{"socketId":"1-1"}}"#),
        Dialect::SocketIo => frame(&mut out, TEXT, br#"0{"sid":"a","pingInterval":25000}"#),
        Dialect::Nats => frame(&mut out, BINARY, b"INFO {}\r\n"),
        Dialect::Mqtt | Dialect::Plain | Dialect::Centrifugo => {}
    }
    let mut said = vec![];
    loop {
        stream.write_all(&std::mem::take(&mut out)).await.ok()?;
        tokio::select! {
            content = contents.recv() => event(&mut out, dialect, &content.ok()?),
            read = stream.read_buf(&mut bytes) => {
                (read.ok()? > 0).then_some(())?;
                while let Some(payload) = take(&mut bytes) {
                    said.extend(payload);
                    answer(&mut out, dialect, &mut said);
                }
            }
        }
    }
}

/// Appends a content, framed as the server of this dialect does.
fn event(out: &mut Vec<u8>, dialect: Dialect, content: &str) {
    let data = format!("{{\"content\":\"{content}\"}}");
    match dialect {
        Dialect::Native => {
            frame(out, TEXT, format!("{{\"event\":\"messageComing\",\"data\":{data}}}").as_bytes())
        }
        Dialect::SocketIo => frame(out, TEXT, format!("42[\"messageComing\",{data}]").as_bytes()),
        Dialect::Plain => frame(out, TEXT, content.as_bytes()),
        Dialect::Centrifugo => {
            let push = format!("{{\"push\":{{\"channel\":\"room\",\"pub\":{{\"data\":{data}}}}}}}");
            frame(out, TEXT, push.as_bytes());
        }
        // Streams: a frame may end anywhere in them.
        Dialect::Nats => {
            let message = format!("MSG room 1 {}\r\n{content}\r\n", content.len());
            message.as_bytes().chunks(100).for_each(|part| frame(out, BINARY, part));
        }
        Dialect::Mqtt => {
            mqtt::publish(content.as_bytes()).chunks(100).for_each(|part| frame(out, BINARY, part));
        }
    }
}

/// Answers what the client has said so far, and forgets it; what is not whole yet stays.
fn answer(out: &mut Vec<u8>, dialect: Dialect, said: &mut Vec<u8>) {
    match dialect {
        Dialect::Native | Dialect::SocketIo | Dialect::Plain | Dialect::Centrifugo => {
            let text = String::from_utf8(std::mem::take(said)).unwrap();
            text.lines().for_each(|line| answer_text(out, dialect, line));
        }
        Dialect::Nats => {
            while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = said.drain(..=end).collect();
                match &line[..] {
                    b"PING\r\n" => frame(out, BINARY, b"PONG\r\n"),
                    b"PONG\r\n" | b"SUB room 1\r\n" => {}
                    connect => assert!(
                        connect.starts_with(b"CONNECT {") && String::from_utf8_lossy(connect).contains(TOKEN),
                        "{line:?}"
                    ),
                }
            }
        }
        Dialect::Mqtt => {
            // Short packets: their length is one byte.
            while let Some(end) =
                said.get(1).map(|len| 2 + usize::from(*len)).filter(|end| *end <= said.len())
            {
                let packet: Vec<u8> = said.drain(..end).collect();
                match packet[0] {
                    0x10 => frame(
                        out,
                        BINARY,
                        &[0x20, 2, 0, if packet.ends_with(TOKEN.as_bytes()) { 0 } else { 5 }],
                    ),
                    0x82 => frame(out, BINARY, &[0x90, 3, packet[2], packet[3], 0]),
                    0xc0 => frame(out, BINARY, &[0xd0, 0]),
                    other => panic!("a packet of kind {other:#x}"),
                }
            }
        }
    }
}

fn answer_text(out: &mut Vec<u8>, dialect: Dialect, line: &str) {
    let is_token = line.contains(TOKEN);
    match dialect {
        Dialect::Native if line.starts_with(r#"{"event":"ping""#) => {
            frame(out, TEXT, br#"{"event":"pong","data":{}}"#)
        }
        Dialect::SocketIo if line.starts_with("40") && is_token => frame(out, TEXT, br#"40{"sid":"b"}"#),
        Dialect::SocketIo if line.starts_with(r#"42["ping""#) => frame(out, TEXT, br#"42["pong",{}]"#),
        Dialect::Centrifugo if line.contains("\"connect\"") && is_token => {
            frame(out, TEXT, br#"{"id":1,"connect":{"ping":25}}"#);
        }
        Dialect::Centrifugo if line.contains("\"subscribe\"") => {
            frame(out, TEXT, br#"{"id":2,"subscribe":{}}"#)
        }
        _ => panic!("{dialect:?} does not know {line}"),
    }
}

/// Appends an unmasked frame, as a server writes it.
fn frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(len as u8),
        len => {
            out.push(126);
            out.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    out.extend(payload);
}

/// Takes the payload of the client's first whole frame off the front.
fn take(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (len, head) = match bytes.get(1)? & 0x7f {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        len => (usize::from(len), 2),
    };
    let mask: [u8; 4] = bytes.get(head..head + 4)?.try_into().unwrap();
    let end = head + 4 + len;
    let payload =
        bytes.get(head + 4..end)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    bytes.drain(..end);
    Some(payload)
}
