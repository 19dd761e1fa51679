//! One native socket, written anew and without the gateway's code, so that a shared mistake shows.

use std::collections::VecDeque;
use std::net::SocketAddr;

use protocol::ids::ConversationId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::cluster::Someone;
use super::expect::Expect;

/// See the module.
pub struct TestClient {
    stream: TcpStream,
    bytes: Vec<u8>,
    heard: VecDeque<(String, Value)>,
    patience: CancellationToken,
    guids: u32,
    /// Whether pings are answered; a silent peer does not.
    pub answers_pings: bool,
    /// Whose socket it is.
    pub me: Option<Someone>,
}

/// One frame from the gateway.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Event(String, Value),
    Ping,
    Close(u16),
    End,
}

impl TestClient {
    /// Upgrades; Err: the status of the refusal.
    pub async fn open(
        addr: SocketAddr,
        token: Option<&str>,
        patience: CancellationToken,
    ) -> Result<Self, u16> {
        let header = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        Self::upgrade(addr, "/ws", &header, None, patience).await.map(|(client, _)| client)
    }

    /// Upgrades with these header lines; gives the head of the response too.
    pub async fn upgrade(
        addr: SocketAddr,
        path: &str,
        headers: &str,
        receive_buffer: Option<u32>,
        patience: CancellationToken,
    ) -> Result<(Self, String), u16> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let mut stream = socket.connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let count = tokio::select! {
                read = stream.read_buf(&mut bytes) => read.unwrap(),
                () = patience.cancelled() => panic!("no response to the upgrade"),
            };
            assert!(count > 0, "the gateway hung up on the upgrade");
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 101 {
            return Err(status);
        }
        assert!(head.to_ascii_lowercase().contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        let heard = VecDeque::new();
        Ok((Self { stream, bytes, heard, patience, guids: 0, answers_pings: true, me: None }, head))
    }

    /// Sends an event.
    pub async fn emit(&mut self, event: &str, data: Value) {
        self.frame(1, json!({"event": event, "data": data}).to_string().as_bytes()).await;
    }

    /// Sends a chat message; its guid.
    pub async fn says(&mut self, conversation: ConversationId, content: &str) -> String {
        self.guids += 1;
        let guid = format!("g-{}-{}", self.stream.local_addr().unwrap().port(), self.guids);
        self.says_as(&guid, conversation, content).await;
        guid
    }

    /// Sends a chat message under this guid.
    pub async fn says_as(&mut self, guid: &str, conversation: ConversationId, content: &str) {
        let data = json!({"conversationId": conversation, "guid": guid, "content": content});
        self.emit("sendMessage", data).await;
    }

    /// Says that it types.
    pub async fn types(&mut self, conversation: ConversationId) {
        self.emit("typing", json!({"conversationId": conversation, "isTyping": true})).await;
    }

    /// Asks what it missed of one conversation.
    pub async fn syncs(&mut self, conversation: ConversationId, held: u64) {
        self.emit("sync", json!({"conversations": {conversation.to_string(): held}})).await;
    }

    /// Waits for an event; what else comes before it is kept for later.
    pub async fn expect(&mut self, expect: Expect) -> Value {
        if let Some(index) = self.heard.iter().position(|(name, data)| expect.fits(name, data)) {
            return self.heard.remove(index).unwrap().1;
        }
        loop {
            match self.next().await {
                Heard::Event(name, data) if expect.fits(&name, &data) => return data,
                Heard::Event(name, data) => self.heard.push_back((name, data)),
                Heard::Ping => {}
                end => panic!("expected {expect}, but {end:?}; heard {:?}", self.heard),
            }
        }
    }

    /// Nothing of this has come so far, nor comes before the answer to a question asked now.
    pub async fn expect_silence(&mut self, event: &str) {
        self.emit("ping", Value::Null).await;
        self.expect(Expect::named("pong")).await;
        let wrong: Vec<_> = self.heard.iter().filter(|(name, _)| name == event).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// Waits for the end; the close code, if one was said.
    pub async fn expect_close(&mut self) -> Option<u16> {
        let mut code = None;
        loop {
            match self.next().await {
                Heard::Event(name, data) => self.heard.push_back((name, data)),
                Heard::Ping => {}
                Heard::Close(said) => {
                    code = Some(said);
                    self.frame(8, &said.to_be_bytes()).await;
                }
                Heard::End => return code,
            }
        }
    }

    /// What has come so far of this event.
    pub fn heard(&self, event: &str) -> Vec<Value> {
        self.heard.iter().filter(|(name, _)| name == event).map(|(_, data)| data.clone()).collect()
    }

    /// The next frame that is not answered by itself.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some((opcode, payload)) = self.take_frame() {
                match opcode {
                    // Engine.IO's own.
                    1 if payload == b"2" => return Heard::Ping,
                    1 => {
                        let text: Value = serde_json::from_slice(&payload).unwrap();
                        let name = text["event"].as_str().unwrap().to_owned();
                        return Heard::Event(name, text["data"].clone());
                    }
                    8 => return Heard::Close(u16::from_be_bytes([payload[0], payload[1]])),
                    9 => {
                        if self.answers_pings {
                            self.frame(10, &payload).await;
                        }
                        return Heard::Ping;
                    }
                    10 => continue,
                    other => panic!("the gateway sent opcode {other}"),
                }
            }
            let read = tokio::select! {
                read = self.stream.read_buf(&mut self.bytes) => read,
                () = self.patience.cancelled() => panic!("nothing comes; heard so far: {:?}", self.heard),
            };
            match read {
                Ok(0) | Err(_) => return Heard::End,
                Ok(_) => {}
            }
        }
    }

    /// The next text frame, as it is.
    pub async fn text(&mut self) -> String {
        loop {
            if let Some((opcode, payload)) = self.take_frame() {
                assert_eq!(opcode, 1, "{payload:?}");
                return String::from_utf8(payload).unwrap();
            }
            assert!(self.stream.read_buf(&mut self.bytes).await.unwrap() > 0, "the gateway hung up");
        }
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) {
        // The gateway may have hung up: what it says then is what the test looks at.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends a masked frame.
    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.masked(opcode, payload);
        self.raw(&frame).await;
    }

    /// A masked frame.
    pub fn masked(&self, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 77, 177, 27];
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.bytes.first()?, *self.bytes.get(1)?);
        assert_eq!(second & 0x80, 0, "a server does not mask");
        assert_eq!(first & 0xf0, 0x80, "whole frames, no extensions");
        let (start, len) = match second {
            126 => (4, u64::from(u16::from_be_bytes(self.bytes.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(self.bytes.get(2..10)?.try_into().unwrap())),
            len => (2, u64::from(len)),
        };
        let end = start + usize::try_from(len).unwrap();
        if self.bytes.len() < end {
            return None;
        }
        let payload = self.bytes[start..end].to_vec();
        self.bytes.drain(..end);
        Some((first & 0x0f, payload))
    }
}
