//! HTTP/1.1 and the client's side of RFC 6455, as small as it can be: one request per
//! connection, plain text, small frames. For the demo commands only.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use common::ids::NodeId;
use common::limits::FRAME_BYTES_MAX;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one REST call or one upgrade.
const ANSWER_MS_MAX: u64 = 15_000;

/// A page of history is far smaller.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where the gateway is.
#[derive(Clone)]
pub struct Site {
    authority: String,
}

impl Site {
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
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path} answered {status}: {}", body.trim());
        serde_json::from_str(body).with_context(|| format!("{method} {path} did not answer JSON"))
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let connected = TcpStream::connect(&self.authority).await;
        connected.with_context(|| format!("nothing answers at {}: is `make run` running?", self.authority))
    }
}

/// A native socket.
pub struct Socket {
    stream: BufReader<TcpStream>,
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
            let mut stream = BufReader::new(stream);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                ensure!(head.len() < 16 * 1024, "the head of the answer never ends");
                head.push(stream.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            ensure!(
                head.starts_with("HTTP/1.1 101"),
                "no upgrade: {}",
                head.lines().next().unwrap_or_default()
            );
            Ok(Self { stream })
        };
        timeout(Duration::from_millis(ANSWER_MS_MAX), opening).await.context("no upgrade in time")?
    }

    /// Sends one event.
    pub async fn send(&mut self, event: &Value) -> anyhow::Result<()> {
        self.write(0x1, event.to_string().as_bytes()).await
    }

    /// The next event; pings are answered on the way.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            let opcode = self.stream.read_u8().await.context("the gateway closed the socket")? & 0x0f;
            let length = match self.stream.read_u8().await? {
                126 => u64::from(self.stream.read_u16().await?),
                127 => self.stream.read_u64().await?,
                short => u64::from(short),
            };
            ensure!(length <= ANSWER_BYTES_MAX, "a frame of {length} bytes");
            let mut payload = vec![0; usize::try_from(length)?];
            self.stream.read_exact(&mut payload).await?;
            match opcode {
                0x1 => return Ok(serde_json::from_slice(&payload)?),
                0x8 => bail!(
                    "the gateway closed the socket: {}",
                    String::from_utf8_lossy(payload.get(2..).unwrap_or_default())
                ),
                0x9 => self.write(0xa, &payload).await?,
                _ => {}
            }
        }
    }

    async fn write(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        ensure!(payload.len() <= FRAME_BYTES_MAX, "too long for one frame");
        let mask = u32::try_from(NodeId::random().0 & 0xffff_ffff)?.to_be_bytes();
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len())? {
            short @ 0..126 => frame.push(0x80 | u8::try_from(short)?),
            long => {
                frame.push(0x80 | 126);
                frame.extend(long.to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        Ok(self.stream.write_all(&frame).await?)
    }
}
