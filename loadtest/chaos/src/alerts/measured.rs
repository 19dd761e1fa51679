//! Is everything measured that METRICS.md lists, and does every dashboard get its answers?

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::prometheus::Prometheus;
use testing::faults::{ONLY_A_FAULT, silent_while_well};

/// Parts of queries that find nothing as long as all is well; with those of metrics that only a fault
/// moves.
const ONLY_A_FAULT_HERE: &[&str] =
    &["health_part_up", "status=\"5xx\"", "result!=\"answered\"", "slo:lost", "slo:refused"];

fn file(path: &str) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn documented() -> anyhow::Result<BTreeSet<String>> {
    let text = file("METRICS.md")?;
    Ok(text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect())
}

/// Whether Prometheus has it, whatever its type.
fn is_there(prometheus: &Prometheus, name: &str) -> anyhow::Result<bool> {
    Ok(prometheus.numbers(&format!("last_over_time({{__name__=~\"{name}(_count)?\"}}[3h])"))? > 0)
}

/// What is wrong while all is well: metrics that are not there, queries without an answer.
pub fn before_any_fault(prometheus: &Prometheus) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in documented()? {
        if !silent_while_well().any(|(known, _)| *known == name) && !is_there(prometheus, &name)? {
            found.push(format!("{name} is in METRICS.md, and nobody shows it"));
        }
    }
    for (dashboard, title, query) in queries()? {
        let asked = query
            .replace("$__rate_interval", "1m")
            .replace("$job", "gateway|worker|canary")
            .replace("$instance", ".*")
            .replace("$broker", ".*");
        let is_excused = ONLY_A_FAULT_HERE.iter().any(|part| query.contains(part))
            || silent_while_well().any(|(name, _)| query.contains(name));
        match prometheus.numbers(&asked) {
            Err(err) => found.push(format!("{dashboard}: {title}: {err:#}")),
            Ok(0) if !is_excused => found.push(format!("{dashboard}: {title}: no number: {asked}")),
            Ok(_) => {}
        }
    }
    Ok(found)
}

/// Metrics of faults that no fault has moved.
pub fn never_moved(prometheus: &Prometheus) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, fault) in ONLY_A_FAULT {
        if !is_there(prometheus, name)? {
            found.push(format!("{name} has not moved in any fault ({fault})"));
        }
    }
    Ok(found)
}

/// Of every panel.
fn queries() -> anyhow::Result<Vec<(String, String, String)>> {
    let mut out = Vec::new();
    for name in ["overview", "gateway", "lanes", "messaging", "stores"] {
        let all: Value = serde_json::from_str(&file(&format!("grafana/dashboards/{name}.json"))?)?;
        for panel in all["panels"].as_array().context("panels")? {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let title = panel["title"].as_str().unwrap_or_default().to_owned();
                let query = target["expr"].as_str().context("a query")?.to_owned();
                out.push((name.to_owned(), title, query));
            }
        }
    }
    Ok(out)
}
