//! Where the time goes: `perf`, if it is here and allowed, over gateway and worker while the
//! whole chain runs flat out.

use std::path::Path;
use std::process::{Command, Stdio};

use swarm::run::run as load_chain;

use crate::cluster::{Cluster, Places};
use crate::outcome::Outcome;
use crate::rows::chain;

/// Most lines of each program's profile.
const LINES: usize = 16;

/// Adds the hottest functions of gateway and worker.
///
/// # Errors
/// The chain does not run; a missing `perf` is a line, not an error.
pub fn run(places: &Places, runtime: &tokio::runtime::Runtime, outcome: &mut Outcome) -> anyhow::Result<()> {
    let cluster = runtime.block_on(Cluster::start(places, chain::PREFIX, true))?;
    let options = chain::options(places, &cluster);
    let load = std::thread::spawn(move || load_chain(&options));
    std::thread::park_timeout(std::time::Duration::from_secs(4));
    for program in cluster.watched() {
        let data = places.logs.join(format!("perf-{}.data", program.name));
        outcome.profile.push(String::new());
        match record(program.pid(), &data) {
            Some(lines) => {
                outcome.profile.push(format!("{} (self time, perf, whole chain flat out):", program.name));
                outcome.profile.extend(lines);
            }
            None => outcome.profile.push(format!("{}: perf is not here or not allowed", program.name)),
        }
    }
    match load.join() {
        Ok(report) => report.map(drop),
        Err(_) => anyhow::bail!("the generator panicked"),
    }
}

fn record(pid: u32, data: &Path) -> Option<Vec<String>> {
    let recorded = Command::new("perf")
        .args(["record", "-q", "-F", "499", "-o"])
        .arg(data)
        .args(["-p", &pid.to_string(), "--", "sleep", "3"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !recorded {
        return None;
    }
    let report = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-children",
            "--percent-limit",
            "0.8",
            "-g",
            "none",
            "-s",
            "dso,symbol",
            "-i",
        ])
        .arg(data)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    // Columns that say nothing here are dashes.
    Some(lines.take(LINES).map(|line| line.trim_end_matches([' ', '-']).to_owned()).collect())
}
