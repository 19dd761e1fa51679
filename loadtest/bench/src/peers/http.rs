//! HTTP/1.1, as much as it takes to ask a program on this machine.

use std::time::Duration;

use anyhow::{Context, ensure};
use swarm::options::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The time after which a server may have closed an idle connection.
pub const FRESH: Duration = Duration::from_secs(10);

/// A kept-alive connection, opened again after a pause.
pub struct Line {
    stream: TcpStream,
    host: String,
    rest: Vec<u8>,
    used: Instant,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// The server does not listen.
    pub async fn connect(address: &Address) -> anyhow::Result<Self> {
        let host = address.authority();
        let stream = open(&host).await?;
        Ok(Self { stream, host, rest: vec![], used: Instant::now() })
    }

    /// Sends requests together, and waits for all their answers, which must be 2xx; the last body.
    ///
    /// # Errors
    /// Another answer.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        bodies: &[String],
    ) -> anyhow::Result<String> {
        if self.used.elapsed() > FRESH {
            self.stream = open(&self.host).await?;
        }
        self.used = Instant::now();
        let host = &self.host;
        let request = |body: &String| {
            let len = body.len();
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {len}\r\n\r\n{body}"
            )
        };
        let requests: String = bodies.iter().map(request).collect();
        self.stream.write_all(requests.as_bytes()).await?;
        let mut last = String::new();
        for _ in bodies {
            last = self.answer().await.with_context(|| format!("{method} {path}"))?;
        }
        Ok(last)
    }

    async fn answer(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(head) = memchr::memmem::find(&self.rest, b"\r\n\r\n").map(|at| at + 4) {
                let text = String::from_utf8_lossy(&self.rest[..head]).to_ascii_lowercase();
                ensure!(text.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{text}");
                let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
                let length: usize = length.context("an answer without a length")?.trim().parse()?;
                if self.rest.len() >= head + length {
                    let body = String::from_utf8_lossy(&self.rest[head..head + length]).into_owned();
                    self.rest.drain(..head + length);
                    return Ok(body);
                }
            }
            ensure!(self.stream.read_buf(&mut self.rest).await? > 0, "the connection was closed");
        }
    }
}

async fn open(host: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(host).await.with_context(|| host.to_owned())?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One answer of `http://127.0.0.1:port`.
///
/// # Errors
/// None, or not 2xx.
pub async fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let address = Address { host: "127.0.0.1".into(), port };
    Line::connect(&address).await?.ask("GET", path, "", &[String::new()]).await
}

/// The sum of a metric over the lines that have a label (empty: over all), from Prometheus' text.
pub fn metric(text: &str, name: &str, label: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with(['{', ' ']) && rest.contains(label))
            .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    values.sum()
}

/// Tells a server of `loadtest/bench` to send numbered contents to all its sockets.
///
/// # Errors
/// It does not answer.
pub async fn tell_to_publish(
    address: &Address,
    first: u64,
    times: usize,
    bytes: usize,
) -> anyhow::Result<()> {
    get(address.port, &format!("/fan-out?first={first}&times={times}&bytes={bytes}")).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 7\nb 1\n";
        let found = [("a_total", ""), ("a_total", "x=\"2\""), ("b", ""), ("c", "")];
        assert_eq!(found.map(|(name, label)| metric(text, name, label)), [5.0, 3.0, 1.0, 0.0]);
    }
}
