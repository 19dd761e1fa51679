//! `make flame`: where gateway and worker spend their time while the whole chain runs flat out, as
//! flame graphs and as a list. The release profile has no frame pointers: stacks are unwound from
//! copies (DWARF), which is why few samples are taken per second.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use swarm::run::run as load_chain;
use tokio::runtime::Runtime;

use crate::cluster::{Cluster, Places};
use crate::process::Watched;
use crate::rows::chain;

/// Samples per second of each running thread.
const PER_S: &str = "199";
/// Unwinding by DWARF, with this many bytes of each stack; deeper frames are lost.
const STACK: &str = "dwarf,16384";
const SECONDS: u64 = 8;
/// Warm-up time, for connections, plans and caches.
const WARM: Duration = Duration::from_secs(3);
/// Lines of each list.
const LINES: usize = 20;

/// Records, draws and lists. Blocks.
///
/// # Errors
/// The chain does not run, or a tool is missing.
pub fn run(places: &Places, runtime: &Runtime) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/flame");
    std::fs::create_dir_all(&folder)?;
    let cluster = runtime.block_on(Cluster::start(places, chain::PREFIX, true))?;
    let mut options = chain::options(places, &cluster);
    options.seconds = Some(SECONDS + 2 * WARM.as_secs());
    crate::say(&format!("recording {SECONDS} s of the whole chain, flat out ..."));
    let load = std::thread::spawn(move || load_chain(&options));
    std::thread::park_timeout(WARM);
    // Both at once: they share the same load.
    let mut recordings = vec![];
    for program in cluster.watched() {
        let data = folder.join(format!("{}.data", program.name));
        recordings.push((record(&program, &data)?, program, data));
    }
    for (recording, program, _) in &mut recordings {
        ensure!(recording.wait()?.success(), "perf could not record {}: is it allowed?", program.name);
    }
    load.join().map_err(|_| anyhow::anyhow!("the generator panicked"))??;
    for (_, program, data) in &recordings {
        let folded = fold(data)?;
        let picture = draw(&program.name, &folded, &folder)?;
        let text = std::fs::read_to_string(&folded)?;
        crate::say(&format!("\n{}: {}", program.name, picture.display()));
        crate::say(&Costs::of(&text).lines().join("\n"));
        for file in [data, &folded] {
            std::fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn record(program: &Watched, data: &Path) -> anyhow::Result<std::process::Child> {
    Command::new("perf")
        .args(["record", "-q", "-F", PER_S, "--call-graph", STACK, "-p", &program.pid().to_string(), "-o"])
        .arg(data)
        .args(["--", "sleep", &SECONDS.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("perf")
}

/// Folds samples to one line per stack, with its number of samples.
fn fold(data: &Path) -> anyhow::Result<PathBuf> {
    let folded = data.with_extension("folded");
    // Inlined functions would take addr2line minutes to name.
    let mut script = Command::new("perf")
        .args(["script", "--no-inline", "-i"])
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("perf")?;
    let stacks = script.stdout.take().context("it is piped")?;
    let collapsed = Command::new("inferno-collapse-perf")
        .arg("--kernel")
        .stdin(stacks)
        .stdout(File::create(&folded)?)
        .status();
    ensure!(collapsed.context("inferno-collapse-perf")?.success(), "inferno-collapse-perf");
    ensure!(script.wait()?.success(), "perf script");
    Ok(folded)
}

fn draw(name: &str, folded: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let picture = folder.join(format!("{name}.svg"));
    let title = format!("{name}, CPU, whole chain flat out");
    let drawn = Command::new("inferno-flamegraph")
        .args(["--title", &title, "--hash"])
        .arg(folded)
        .stdout(File::create(&picture)?)
        .status();
    ensure!(drawn.context("inferno-flamegraph")?.success(), "inferno-flamegraph");
    Ok(std::fs::canonicalize(picture)?)
}

/// The samples, summed up.
#[derive(Default)]
struct Costs {
    samples: u64,
    /// Samples of each function of ours, including everything that it calls.
    functions: BTreeMap<String, u64>,
    /// Samples without callees, by crate, library or kernel.
    crates: BTreeMap<String, u64>,
}

impl Costs {
    fn of(folded: &str) -> Self {
        let mut costs = Self::default();
        for (stack, samples) in folded.lines().filter_map(|line| line.rsplit_once(' ')) {
            let Ok(samples) = samples.parse::<u64>() else { continue };
            costs.samples += samples;
            // A function that calls itself counts once.
            let ours: BTreeSet<String> = stack.split(';').filter(|frame| is_ours(frame)).map(short).collect();
            for function in ours {
                *costs.functions.entry(function).or_default() += samples;
            }
            let last = stack.rsplit(';').next().unwrap_or_default();
            *costs.crates.entry(home(last)).or_default() += samples;
        }
        costs
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec!["  our functions, with what they call:".to_owned()];
        lines.extend(self.largest(&self.functions));
        lines.push("  by crate, alone:".to_owned());
        lines.extend(self.largest(&self.crates));
        lines
    }

    fn largest<'a>(&self, costs: &'a BTreeMap<String, u64>) -> impl Iterator<Item = String> + 'a {
        let mut sorted: Vec<_> = costs.iter().collect();
        sorted.sort_by_key(|(_, samples)| std::cmp::Reverse(**samples));
        let all = self.samples.max(1) as f64;
        let line = move |(name, samples): (&String, &u64)| {
            format!("  {:6.2}%  {name}", *samples as f64 * 100.0 / all)
        };
        sorted.into_iter().take(LINES).map(line)
    }
}

/// The suffix of kernel functions.
const KERNEL: &str = "_[k]";

fn is_ours(frame: &str) -> bool {
    ["gateway", "worker", "common"].contains(&home(frame).as_str())
}

/// The crate of a function; `kernel`; or the function itself, of a C library.
fn home(frame: &str) -> String {
    if frame.ends_with(KERNEL) {
        return "kernel".into();
    }
    let path = frame.trim_start_matches(['<', '&', '*', '(']).trim_start_matches("dyn ");
    path.split_once("::").map_or_else(|| format!("C: {frame}"), |(home, _)| home.to_owned())
}

/// The name of a function without the compiler's additions.
fn short(function: &str) -> String {
    function.replace("::{{closure}}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_with_what_is_called_and_alone() {
        let folded = "a;gateway::x::{{closure}};gateway::x;serde_json::y 3\na;gateway::x;vfs_write_[k] 1\na;memcpy 4\n";
        let costs = Costs::of(folded);
        assert_eq!(costs.samples, 8);
        assert_eq!(costs.crates.get("serde_json"), Some(&3));
        assert_eq!(costs.crates.get("kernel"), Some(&1));
        assert_eq!(costs.crates.get("C: memcpy"), Some(&4));
        assert!(costs.lines()[1].contains("50.00%  gateway::x"), "{:?}", costs.lines());
    }
}
