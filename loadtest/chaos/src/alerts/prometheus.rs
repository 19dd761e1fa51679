//! Prometheus' API: what fires, and what a query gives.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::Value;

use testing::person::exchange;

/// A server.
pub struct Prometheus {
    port: u16,
}

impl Prometheus {
    /// `http://127.0.0.1:port`
    pub fn at(url: &str) -> anyhow::Result<Self> {
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        Ok(Self { port: port.context("Prometheus' port")? })
    }

    /// The alerts that are pending now, and those that fire. One of several series is enough for either.
    pub fn alerts(&self) -> anyhow::Result<(BTreeSet<String>, BTreeSet<String>)> {
        let data = self.ask("alerts")?;
        let alerts = data["alerts"].as_array().context("no alerts")?;
        let of = |state: &str| {
            let those = alerts.iter().filter(|one| one["state"] == state);
            those.filter_map(|one| one["labels"]["alertname"].as_str().map(str::to_owned)).collect()
        };
        Ok((of("pending"), of("firing")))
    }

    /// How many series a query gives that are numbers.
    pub fn numbers(&self, query: &str) -> anyhow::Result<usize> {
        let query: String = query.bytes().map(escaped).collect();
        let data = self.ask(&format!("query?query={query}"))?;
        let series = data["result"].as_array().context("no result")?;
        let is_number = |value: &&Value| value["value"][1].as_str().is_some_and(|text| text != "NaN");
        Ok(series.iter().filter(is_number).count())
    }

    fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let (head, body) = exchange(self.port, "GET", &format!("/api/v1/{path}"), None, "")?;
        let body =
            if head.to_lowercase().contains("transfer-encoding: chunked") { joined(&body) } else { body };
        let mut answer: Value = serde_json::from_str(&body)?;
        ensure!(answer["status"] == "success", "{path}: {}", answer["error"]);
        Ok(answer["data"].take())
    }
}

/// A body in chunks, as one.
fn joined(body: &str) -> String {
    let (mut out, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || size > after.len() {
            break;
        }
        out += &after[..size];
        rest = after[size..].trim_start_matches("\r\n");
    }
    out
}

fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        assert_eq!(joined("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "abcde");
    }
}
