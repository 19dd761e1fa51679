//! nats-server with its WebSocket listener, without TLS and compression; a token for all clients.

use std::process::Command;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Publisher;
use super::http::FRESH;
use crate::cluster::Places;
use crate::dialect::{PASSWORD, ROOM};
use crate::herd::content;
use crate::process::{Started, free_port};

/// Starts it, and a client that publishes.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places) -> anyhow::Result<(Started, Publisher)> {
    let (port, plain) = (free_port()?, free_port()?);
    let path = places.logs.join("nats.conf");
    let config = format!(
        "listen: \"127.0.0.1:{plain}\"\n\
         websocket {{ host: \"127.0.0.1\", port: {port}, no_tls: true, compression: false }}\n\
         authorization {{ token: \"{PASSWORD}\" }}\n\
         ping_interval: \"25s\"\nmax_connections: 20000\n"
    );
    std::fs::create_dir_all(&places.logs)?;
    std::fs::write(&path, config)?;
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(path);
    let started = Started::listening_on("nats-server", command, &places.logs, port).await?;
    Ok((started, Publisher::Nats(Line::connect(plain).await?)))
}

/// A client over plain TCP, which comes again after a pause: it does not answer pings meanwhile.
pub struct Line {
    stream: TcpStream,
    port: u16,
    used: Instant,
}

impl Line {
    async fn connect(port: u16) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.context("nats-server")?;
        stream.set_nodelay(true)?;
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"auth_token\":\"{PASSWORD}\"}}\r\nPING\r\n"
        );
        stream.write_all(hello.as_bytes()).await?;
        let mut heard = vec![];
        while memchr::memmem::find(&heard, b"PONG\r\n").is_none() {
            ensure!(stream.read_buf(&mut heard).await? > 0, "nats-server closed: {heard:?}");
        }
        Ok(Self { stream, port, used: Instant::now() })
    }

    /// Publishes to the room.
    ///
    /// # Errors
    /// It is not taken.
    pub async fn publish(&mut self, first: u64, times: usize, bytes: usize) -> anyhow::Result<()> {
        if self.used.elapsed() > FRESH {
            *self = Self::connect(self.port).await?;
        }
        self.used = Instant::now();
        // Whatever it has asked meanwhile is answered.
        let mut out = String::from("PONG\r\n");
        for number in first..first + times as u64 {
            let content = content(number, bytes);
            out.push_str(&format!("PUB {ROOM} {}\r\n{content}\r\n", content.len()));
        }
        self.stream.write_all(out.as_bytes()).await?;
        let mut heard = [0; 4_096];
        while self.stream.try_read(&mut heard).is_ok_and(|read| read > 0) {}
        Ok(())
    }
}
