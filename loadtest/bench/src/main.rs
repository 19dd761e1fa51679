//! `make bench`: what ours costs and gives, as ratios against peer programs in the same run.
//! Prints as it goes and writes `loadtest/RESULTS.md`. And `make hold` (`hold.rs`),
//! `make soak` (`soak/mod.rs`), `make flame` (`flame.rs`).

/// CPU and memory of the measured programs.
mod process;

/// The gateways and workers of one system.
mod cluster;

/// The machine and the versions that the figures belong to.
mod machine;

/// WebSocket frames of any server.
mod frame;

/// The protocol of each program.
mod dialect;

/// Many sockets that only listen.
mod herd;

/// Processes that keep sockets.
mod keeper;

/// The bars, and whether they were reached.
mod outcome;

/// The programs that ours is compared with.
mod peers;

/// The rows of the table.
mod rows;

/// CPU profiles of the programs.
mod profile;

/// CPU profiles as flame graphs.
mod flame;

/// `bench hold`: very many idle sockets.
mod hold;

/// `bench soak`: half of saturation for a long time.
mod soak;

/// `bench against`: compares this build with another commit's, in turn.
mod against;

/// The command line.
mod arguments;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::arguments::{Arguments, Mode};
use crate::cluster::Places;
use crate::outcome::Outcome;
use crate::peers::{Found, Peer};
use crate::rows::{accepted, broker, chain, counted, fanout, idle, lanes, limit, rooms, scale, upgrades};

fn main() -> anyhow::Result<ExitCode> {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(code) => return Ok(code),
    };
    let is_reached = match arguments.mode {
        Some(Mode::AcceptLoop) => peers::accept::serve(port()?).map(|()| true)?,
        Some(Mode::WriteLoop) => peers::write::serve(port()?).map(|()| true)?,
        Some(Mode::KeepSockets { part }) => keeper::serve(&part).map(|()| true)?,
        Some(Mode::BareChain(load)) => peers::chain::serve(load).map(|()| true)?,
        Some(Mode::Hold(wanted)) => hold::run(&Places::find()?, &runtime()?, &wanted)?,
        Some(Mode::Soak(wanted)) => soak::run(&Places::find()?, &runtime()?, &wanted)?,
        Some(Mode::Trace { pairs }) => {
            let outcome = rows::trace::run(&Places::find()?, &runtime()?, pairs)?;
            say(&outcome.markdown("What `chatchit trace` costs", "Ratios of one run, in pairs."));
            true
        }
        Some(Mode::Flame) => flame::run(&Places::find()?, &runtime()?).map(|()| true)?,
        Some(Mode::Against(wanted)) => against::run(&wanted)?,
        None => measure(&arguments.rows).map(|()| true)?,
    };
    Ok(if is_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The port on which a process of the bench listens, from $PORT.
fn port() -> anyhow::Result<u16> {
    Ok(std::env::var("PORT").context("no PORT: only the bench starts this")?.parse()?)
}

/// Creates a runtime with one thread. Programs that the bench starts end with it.
fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.spawn(process::end_on_signal());
    Ok(runtime)
}

/// The names of each row, and what it is. In the order of running: what is steady comes first.
const ROWS: [(&[&str], &str); 12] = [
    (&["g1", "g2", "idle"], "idle sockets"),
    (&["g3", "upgrades"], "upgrades"),
    (&["g8", "fanout"], "fan-out to a room"),
    (&["g4", "accepted"], "frames accepted"),
    (&["g5", "g5b", "g6", "g7", "chain"], "the whole chain"),
    (&["limit", "bare"], "the whole chain against the bare chain"),
    (&["rooms"], "a room of 5,000"),
    (&["g9", "counted"], "what is counted"),
    (&["g10", "broker"], "what the broker notices"),
    (&["g12", "lanes"], "messages beside typing"),
    (&["g13", "scale"], "scale-out"),
    (&["profile"], "where the time goes"),
];

/// The rows that compare with other programs, by their first names: making those ready takes minutes.
const WITH_PEERS: [&str; 3] = ["g1", "g3", "g8"];

/// The peers that are installed on this machine.
fn make_ready(places: &Places, outcome: &mut Outcome) -> anyhow::Result<Vec<Peer>> {
    say("making the peers ready ...");
    let Found { here, missing } = Found::look(places)?;
    outcome.machine.extend(here.iter().map(|(peer, version)| (peer.name(), version.clone())));
    missing.iter().for_each(|line| say(line));
    outcome.notes.extend(missing);
    Ok(here.into_iter().map(|(peer, _)| peer).collect())
}

/// `bench g1 chain` runs these rows only, and writes no file.
fn measure(wanted: &[String]) -> anyhow::Result<()> {
    let is_wanted =
        |names: &[&str]| wanted.is_empty() || wanted.iter().any(|name| names.contains(&name.as_str()));
    let places = Places::find()?;
    let runtime = runtime()?;
    let mut outcome = Outcome { machine: runtime.block_on(machine::describe(&places)), ..Outcome::default() };
    let needs_peers = ROWS.iter().any(|(names, _)| is_wanted(names) && WITH_PEERS.contains(&names[0]));
    let peers = if needs_peers { make_ready(&places, &mut outcome)? } else { vec![] };
    let start = Instant::now();
    for (at, (names, what)) in ROWS.iter().enumerate().filter(|(_, (names, _))| is_wanted(names)) {
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        say(&format!("[{} of {}, {minutes:.1} min] {} ({what}) ...", at + 1, ROWS.len(), names[0]));
        let with_heartbeats = wanted.is_empty() || wanted.iter().any(|name| name != "g1");
        row(names[0], &places, &runtime, &peers, with_heartbeats, &mut outcome).with_context(|| names[0])?;
    }
    let took = start.elapsed().as_secs_f64() / 60.0;
    outcome.machine.push(("took", format!("{took:.1} minutes")));
    let document = outcome.markdown(
        "Results of `make bench`",
        "Written by the command; ratios of one run, programs and generator on the same cores. Read them as ratios. \
         G1 to G13 are goals; G11, recovery, has commands of its own: `make proof` and `make chaos`.",
    );
    say(&document);
    if wanted.is_empty() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../RESULTS.md");
        std::fs::write(&path, document)?;
        say(&format!("written to {}", path.display()));
    }
    Ok(())
}

fn row(
    name: &str,
    places: &Places,
    runtime: &Runtime,
    peers: &[Peer],
    with_heartbeats: bool,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    match name {
        "g1" => runtime.block_on(idle::run(places, peers, with_heartbeats, outcome)),
        "g3" => runtime.block_on(upgrades::run(places, peers, outcome)),
        "g8" => runtime.block_on(fanout::run(places, peers, outcome)),
        "g4" => accepted::run(places, runtime, outcome),
        "g5" => chain::run(places, runtime, outcome),
        "limit" => limit::run(places, runtime, outcome),
        "rooms" => runtime.block_on(rooms::run(places, outcome)),
        "g9" => counted::run(places, runtime, outcome),
        "g10" => runtime.block_on(broker::run(places, outcome)),
        "g12" => lanes::run(places, runtime, outcome),
        "g13" => scale::run(places, runtime, outcome),
        _ => profile::run(places, runtime, outcome),
    }
}

fn say(text: &str) {
    // A closed pipe does not change the figures.
    let _ = writeln!(std::io::stdout(), "{text}");
}
