//! HTTP/1.1 and the client's side of RFC 6455, as small as it can be: one request per
//! connection, plain text, small frames. For the commands that are clients: the demo's people and
//! the canary.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use common::limits::FRAME_BYTES_MAX;
use protocol::ids::NodeId;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one REST call or one upgrade.
const ANSWER_MS_MAX: u64 = 15_000;

/// A page of history is far smaller.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An answer over HTTP that is no success.
#[derive(Debug, thiserror::Error)]
#[error("{request} answered {status}: {body}")]
pub struct Refusal {
    request: String,
    /// What it says.
    pub body: String,
    /// 401, 503 …
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// The gateway ended a socket, and said why.
#[derive(Debug, thiserror::Error)]
#[error("the gateway closed the socket: {code} {reason}")]
pub struct Closed {
    /// The close code; 1005 when there is none.
    pub code: u16,
    reason: String,
}

/// Where the gateway is.
#[derive(Clone, Debug)]
pub struct Site {
    authority: String,
}

impl Site {
    /// The gateway at this address.
    pub fn at(addr: SocketAddr) -> Self {
        Self { authority: addr.to_string() }
    }

    /// `http://host:port`, nothing more.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").context("the URL should begin with http://")?;
        let authority = rest.trim_end_matches('/').to_owned();
        ensure!(!authority.contains('/') && authority.contains(':'), "the URL should be http://host:port");
        Ok(Self { authority })
    }

    /// The address of the sockets.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.authority)
    }

    /// GET, JSON back.
    pub async fn get(&self, path: &str, token: &str) -> anyhow::Result<Value> {
        self.request("GET", path, Some(token), "").await
    }

    /// POST JSON, JSON back.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> anyhow::Result<Value> {
        self.request("POST", path, token, &body.to_string()).await
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> anyhow::Result<Value> {
        let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{token}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.authority,
            body.len()
        );
        let exchange = async {
            let mut stream = self.connect().await?;
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
            anyhow::Ok(String::from_utf8(answer)?)
        };
        let answer =
            timeout(Duration::from_millis(ANSWER_MS_MAX), exchange).await.context("no answer in time")??;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer is cut short")?;
        refused(head, &format!("{method} {path}"), body.trim(), 200..300)?;
        serde_json::from_str(body).with_context(|| format!("{method} {path} did not answer JSON"))
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let connected = TcpStream::connect(&self.authority).await;
        connected.with_context(|| format!("nothing answers at {}", self.authority))
    }
}

/// Whether this head of an answer has another status than these.
fn refused(head: &str, request: &str, body: &str, good: Range<u16>) -> Result<(), Refusal> {
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    if good.contains(&status) {
        return Ok(());
    }
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("retry-after").then(|| value.trim().parse().ok()).flatten()
    };
    let retry_after = head.lines().find_map(header).map(Duration::from_secs);
    Err(Refusal { request: request.to_owned(), body: body.to_owned(), status, retry_after })
}

/// A native socket.
///
/// `send` and `next` may be given up at any await and called again: what was read or has to be
/// written stays here.
pub struct Socket {
    stream: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Socket {
    /// Upgrades with the token in the header.
    pub async fn open(site: &Site, token: &str) -> anyhow::Result<Self> {
        let opening = async {
            let mut stream = site.connect().await?;
            let request = format!(
                "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Authorization: Bearer {token}\r\n\r\n",
                site.authority
            );
            stream.write_all(request.as_bytes()).await?;
            let mut incoming = Vec::new();
            let end = loop {
                if let Some(at) = incoming.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    break at + 4;
                }
                ensure!(incoming.len() < 16 * 1024, "the head of the answer never ends");
                ensure!(stream.read_buf(&mut incoming).await? > 0, "the answer is cut short");
            };
            let head: Vec<u8> = incoming.drain(..end).collect();
            refused(&String::from_utf8_lossy(&head), "the upgrade", "", 101..102)?;
            Ok(Self { stream, incoming, outgoing: Vec::new() })
        };
        timeout(Duration::from_millis(ANSWER_MS_MAX), opening).await.context("no upgrade in time")?
    }

    /// Sends one event.
    pub async fn send(&mut self, event: &Value) -> anyhow::Result<()> {
        self.put(0x1, event.to_string().as_bytes())?;
        self.flush().await
    }

    /// The next event; pings are answered on the way.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            self.flush().await?;
            let Some((opcode, payload)) = self.frame()? else {
                let read = self.stream.read_buf(&mut self.incoming).await?;
                ensure!(read > 0, "the gateway closed the socket without a word");
                continue;
            };
            match opcode {
                0x1 => return Ok(serde_json::from_slice(&payload)?),
                0x8 => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    let reason = payload.get(2..).unwrap_or_default();
                    return Err(Closed { code, reason: String::from_utf8_lossy(reason).into_owned() }.into());
                }
                0x9 => self.put(0xa, &payload)?,
                _ => {}
            }
        }
    }

    /// The first whole frame of what came: its opcode and its payload.
    fn frame(&mut self) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
        let [first, second, rest @ ..] = &self.incoming[..] else { return Ok(None) };
        let (opcode, begin, length) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (first & 0x0f, 4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (first & 0x0f, 10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (first & 0x0f, 2, u64::from(short)),
        };
        ensure!(length <= ANSWER_BYTES_MAX, "a frame of {length} bytes");
        let end = begin + usize::try_from(length)?;
        if self.incoming.len() < end {
            return Ok(None);
        }
        let payload = self.incoming[begin..end].to_vec();
        self.incoming.drain(..end);
        Ok(Some((opcode, payload)))
    }

    fn put(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        ensure!(payload.len() <= FRAME_BYTES_MAX, "too long for one frame");
        let mask = u32::try_from(NodeId::random().0 & 0xffff_ffff)?.to_be_bytes();
        self.outgoing.push(0x80 | opcode);
        match u16::try_from(payload.len())? {
            short @ 0..126 => self.outgoing.push(0x80 | u8::try_from(short)?),
            long => {
                self.outgoing.push(0x80 | 126);
                self.outgoing.extend(long.to_be_bytes());
            }
        }
        self.outgoing.extend(mask);
        self.outgoing.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        Ok(())
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        while !self.outgoing.is_empty() {
            let written = self.stream.write(&self.outgoing).await?;
            self.outgoing.drain(..written);
        }
        Ok(())
    }
}
