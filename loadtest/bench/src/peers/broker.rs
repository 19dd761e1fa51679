//! RabbitMQ's management API: its version, what it has of a system, and cleaning up after a row.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::cluster::Places;

/// Longer than RabbitMQ takes from one sample of its statistics to the next.
const SAMPLED: Duration = Duration::from_secs(6);
/// Most samples within which two must be the same.
const RESTS_MAX: usize = 10;

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

/// Messages in all queues whose name begins so, handed out and not: as RabbitMQ counted them last.
///
/// # Errors
/// It does not answer.
pub async fn waiting(places: &Places, prefix: &str) -> anyhow::Result<u64> {
    let queues = call(places, "GET", "/api/queues?columns=name,messages").await?;
    let queues = queues.as_array().context("a list of queues")?.iter();
    let ours = queues.filter(|queue| queue["name"].as_str().is_some_and(|name| name.starts_with(prefix)));
    Ok(ours.filter_map(|queue| queue["messages"].as_u64()).sum())
}

/// RabbitMQ's queues and bindings of one system; all its connections; and how many times a
/// queue was declared since it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    queues: BTreeSet<String>,
    bindings: BTreeSet<String>,
    connections: u64,
    declares: u64,
}

impl Topology {
    /// Queues and bindings that only one of them has, and connections and declares between them.
    pub fn differences(&self, later: &Self) -> u64 {
        let queues = self.queues.symmetric_difference(&later.queues).count();
        let bindings = self.bindings.symmetric_difference(&later.bindings).count();
        let connections = self.connections.abs_diff(later.connections);
        (queues + bindings) as u64 + connections + self.declares.abs_diff(later.declares)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queues, bindings) = (self.queues.len(), self.bindings.len());
        let Self { connections, declares, .. } = self;
        write!(f, "{queues} queues, {bindings} bindings, {connections} connections, {declares} declares")
    }
}

/// The queues and bindings whose names begin so, once nothing changes any more: the broker's own
/// counts are seconds old.
///
/// # Errors
/// It does not answer, counts no declares, or does not come to rest.
pub async fn topology(places: &Places, prefix: &str) -> anyhow::Result<Topology> {
    let mut before = read_topology(places, prefix).await?;
    for _ in 0..RESTS_MAX {
        sleep(SAMPLED).await;
        let now = read_topology(places, prefix).await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    bail!("queues come and go: now {before}");
}

async fn read_topology(places: &Places, prefix: &str) -> anyhow::Result<Topology> {
    let text = |thing: &Value, field: &str| thing[field].as_str().unwrap_or_default().to_owned();
    let queues = call(places, "GET", "/api/queues?columns=name").await?;
    let queues = queues.as_array().context("a list of queues")?.iter().map(|queue| text(queue, "name"));
    let bindings = call(places, "GET", "/api/bindings?columns=source,destination,routing_key").await?;
    let bindings = bindings.as_array().context("a list of bindings")?;
    let bindings = bindings.iter().map(|binding| {
        format!(
            "{} {} {}",
            text(binding, "destination"),
            text(binding, "source"),
            text(binding, "routing_key")
        )
    });
    let overview = call(places, "GET", "/api/overview").await?;
    let is_ours = |name: &String| name.starts_with(prefix);
    Ok(Topology {
        queues: queues.filter(is_ours).collect(),
        bindings: bindings.filter(is_ours).collect(),
        connections: overview["object_totals"]["connections"].as_u64().context("a count of connections")?,
        declares: overview["churn_rates"]["queue_declared"].as_u64().context("a count of declares")?,
    })
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
    let status = head.split(' ').nth(1).unwrap_or_default();
    // What is to be deleted may have gone by itself meanwhile, with its last consumer.
    let is_gone = method == "DELETE" && status == "404";
    if !status.starts_with('2') && !is_gone {
        bail!("{method} {path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(serde_json::from_str(body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_a_difference() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let topology = |queues: &[&str], bindings: &[&str], declares| Topology {
            queues: set(queues),
            bindings: set(bindings),
            connections: 4,
            declares,
        };
        let before = topology(&["a", "b"], &["a x"], 7);
        assert_eq!(before.differences(&before.clone()), 0);
        assert_eq!(before.differences(&topology(&["a", "c"], &["a x"], 7)), 2, "one went, one came");
        assert_eq!(before.differences(&topology(&["a", "b"], &["a x", "b x"], 9)), 3);
        assert_eq!(before.differences(&Topology { connections: 5, ..before.clone() }), 1);
    }
}
