//! RabbitMQ's management API: its version, and cleaning up after a row.

use anyhow::{Context, bail};
use base64::Engine as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::Places;

/// RabbitMQ's version.
///
/// # Errors
/// It does not answer.
pub async fn version(places: &Places) -> anyhow::Result<String> {
    let overview = call(places, "GET", "/api/overview").await?;
    Ok(overview["rabbitmq_version"].as_str().unwrap_or("unknown").to_owned())
}

/// Deletes all lasting queues whose name begins so. Those of a node go with its connection.
///
/// # Errors
/// It does not answer.
pub async fn delete_queues(places: &Places, prefix: &str) -> anyhow::Result<()> {
    let queues = call(places, "GET", "/api/queues?columns=name,exclusive").await?;
    for queue in queues.as_array().into_iter().flatten() {
        let name = queue["name"].as_str().unwrap_or_default();
        if name.starts_with(prefix) && queue["exclusive"] == false {
            call(places, "DELETE", &format!("/api/queues/%2f/{name}")).await?;
        }
    }
    Ok(())
}

async fn call(places: &Places, method: &str, path: &str) -> anyhow::Result<Value> {
    let rest = places.management_url.strip_prefix("http://").context("http only")?;
    let (user, host) = rest.split_once('@').context("user and password")?;
    let credentials = base64::engine::general_purpose::STANDARD.encode(user);
    let mut stream = TcpStream::connect(host.trim_end_matches('/')).await?;
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Basic {credentials}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("an HTTP answer")?;
    if !head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
        bail!("{method} {path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(serde_json::from_str(body).unwrap_or_default())
}
