//! `make hold`: very many authenticated idle sockets on many gateways, for some minutes, while
//! some of them talk. What they cost, whether one was lost, and whether RabbitMQ noticed them.
//!
//! There is no nginx between: it would hold two more files for each socket. `tests/read_only/cluster.rs` and
//! `make chaos` go through it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use swarm::options::{Address, Options};
use swarm::report::Report;
use swarm::run::{Moment, run_watched};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Layout, Places, SECRET};
use crate::dialect::Dialect;
use crate::keeper::{self, Keeper};
use crate::machine;
use crate::outcome::{Bar, Outcome, Target, count, number};
use crate::peers::broker::{self, Topology};
use crate::process::Watched;

/// The prefix of queues and keys.
const PREFIX: &str = "bench-hold";
/// Most files that a process opens here, even if its limit is higher.
const FILES_MAX: usize = 20_000;
/// Of these, what is not for sockets: peers, logs, connections that are not sockets yet.
const FILES_SPARE: usize = 1_500;
const WORKERS: usize = 2;
/// Messages per second, all pairs together: they are there to arrive, not to load.
const MESSAGES_PER_S: f64 = 4.0;
/// After this memory and counts are read: what was under way has ended, the broker has counted.
const REST: Duration = Duration::from_secs(5);

/// The arguments of `bench hold`.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// Sockets, from 100 to 2,000,000
    #[arg(value_parser = clap::value_parser!(u64).range(100..2_000_000))]
    sockets: u64,
    /// Seconds to hold them, from 2 to a day
    #[arg(value_parser = clap::value_parser!(u64).range(2..86_400))]
    seconds: u64,
    /// Write the table here too
    #[arg(value_name = "FILE")]
    write_to: Option<PathBuf>,
}

/// Holds them, prints the table. Blocks. True: everything that was asked for.
///
/// # Errors
/// A program does not do its part.
pub fn run(places: &Places, runtime: &tokio::runtime::Runtime, wanted: &Wanted) -> anyhow::Result<bool> {
    let parts = parts(usize::try_from(wanted.sockets)?, files()?)?;
    let mut held = runtime.block_on(Held::open(places, &parts))?;
    let talk = held.talk(places, wanted.seconds)?;
    let found = runtime.block_on(held.look(places, talk))?;
    drop(held);
    runtime.block_on(broker::delete_queues(places, PREFIX))?;

    let mut outcome = Outcome { machine: runtime.block_on(machine::describe(places)), ..Outcome::default() };
    found.tell(wanted, &mut outcome);
    let document = outcome.markdown(
        "Results of `make hold`",
        "Written by the command. Sockets, gateways, workers and all peers on one machine.",
    );
    crate::say(&document);
    if let Some(path) = &wanted.write_to {
        std::fs::write(path, document).with_context(|| path.display().to_string())?;
    }
    Ok(outcome.bars.iter().all(|bar| bar.is_reached() != Some(false)))
}

/// The number of files that a process may open here.
fn files() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).context("a limit of open files")?;
    Ok(soft.parse().unwrap_or(usize::MAX).min(FILES_MAX))
}

/// The sockets of one gateway.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: u8,
    /// The first user; each socket has its own.
    first: usize,
    sockets: usize,
}

impl Part {
    fn keeper(&self, gateway: &Address) -> anyhow::Result<Keeper> {
        let (number, port) = (self.number, gateway.port);
        Keeper::start(&keeper::Part { number, port, dialect: Dialect::Native, token: None })
    }
}

/// The sockets of each gateway, those that talk not among them: at least two gateways.
fn parts(sockets: usize, files: usize) -> anyhow::Result<Vec<Part>> {
    ensure!(files > 2 * FILES_SPARE, "a process may open {files} files only: raise `ulimit -n`");
    let gateways = sockets.div_ceil(files - FILES_SPARE).max(2);
    let idle = sockets - talkers(gateways);
    let mut first = 0;
    let part = |at: usize| {
        let sockets = idle / gateways + usize::from(at < idle % gateways);
        first += sockets;
        anyhow::Ok(Part { number: u8::try_from(at)?, first: first - sockets, sockets })
    };
    (0..gateways).map(part).collect()
}

/// Two for each gateway: every pair is on two of them, and every gateway is in two pairs.
fn talkers(gateways: usize) -> usize {
    2 * gateways
}

/// The sockets, and the processes that hold them.
struct Held {
    // Ended first: the sockets end with their gateways, so no gateway has to remove their seats.
    cluster: Cluster,
    keepers: Vec<Keeper>,
    idle: usize,
    put_off: usize,
    open_s: f64,
    empty: Memory,
    before: Topology,
}

/// Memory at one moment, KiB.
#[derive(Clone, Copy)]
struct Memory {
    gateways: u64,
    clients: u64,
    slab: u64,
    /// Buffers of TCP, in pages, not KiB.
    tcp_pages: u64,
}

impl Memory {
    fn now(cluster: &Cluster, keepers: &[Keeper]) -> Self {
        Self {
            gateways: cluster.gateways.iter().map(|gateway| gateway.watched().rss_kib()).sum(),
            clients: keepers.iter().map(|keeper| keeper.watched().rss_kib()).sum(),
            slab: machine::memory_kib("Slab"),
            tcp_pages: machine::tcp_pages(),
        }
    }
}

/// The result of the messages that were sent meanwhile.
struct Talk {
    report: Report,
    /// The duration in seconds; `cpu_s` are the CPU seconds of each program in that time.
    seconds: f64,
    cpu_s: Vec<(String, f64)>,
}

/// The result of the whole measurement.
struct Found {
    gateways: usize,
    held: usize,
    put_off: usize,
    open_s: f64,
    lost: usize,
    alive: usize,
    empty: Memory,
    full: Memory,
    before: Topology,
    after: Topology,
    talk: Talk,
}

impl Held {
    /// Starts everything and opens all sockets but those that talk.
    async fn open(places: &Places, parts: &[Part]) -> anyhow::Result<Self> {
        let mut layout = Layout::of(parts.len(), WORKERS);
        layout.limited = true;
        let cluster = Cluster::lay_out(places, PREFIX, &layout).await?;
        let addresses = cluster.addresses();
        let keepers = parts.iter().zip(&addresses).map(|(part, gateway)| part.keeper(gateway));
        let mut keepers = keepers.collect::<anyhow::Result<Vec<_>>>()?;
        sleep(REST).await;
        let before = broker::topology(places, PREFIX).await?;
        let empty = Memory::now(&cluster, &keepers);
        let idle = parts.iter().map(|part| part.sockets).sum();
        crate::say(&format!("{} gateways are up; opening {idle} sockets ...", parts.len()));
        let start = Instant::now();
        let opening =
            keepers.iter_mut().zip(parts).map(|(keeper, part)| keeper.open(part.first, part.sockets));
        let put_off = try_join_all(opening).await?.iter().sum();
        let open_s = start.elapsed().as_secs_f64();
        crate::say(&format!("all are ready after {open_s:.1} s"));
        sleep(REST).await;
        Ok(Self { cluster, keepers, idle, put_off, open_s, empty, before })
    }

    /// Opens the sockets that exchange messages and runs them for this long. Blocks.
    fn talk(&self, places: &Places, seconds: u64) -> anyhow::Result<Talk> {
        let gateways = self.cluster.gateways.len() as u32;
        let options = Options {
            urls: self.cluster.addresses(),
            senders: talkers(gateways as usize) as u32,
            conversations: gateways,
            members: 2,
            rate: Some(MESSAGES_PER_S),
            seconds: Some(seconds),
            deadline_s: seconds + 300,
            cache: places.binaries.join("bench-users"),
            jwt_secret: Some(SECRET.into()),
            ..Options::default()
        };
        let mut programs = self.cluster.watched();
        programs.extend(places.watched()?);
        programs.extend(self.keepers.iter().map(Keeper::watched));
        let cpu = || (Instant::now(), programs.iter().map(Watched::cpu_s).collect::<Vec<_>>());
        let (mut before, mut after) = (cpu(), cpu());
        let report = run_watched(&options, |moment, _| match moment {
            Moment::Opened => {
                before = cpu();
                crate::say(&format!("holding them for {seconds} s ..."));
            }
            Moment::Sent => after = cpu(),
            Moment::Settled => {}
        })
        .context("talking among many")?;
        let mut cpu_s: Vec<(String, f64)> = vec![];
        for (program, (after, before)) in programs.iter().zip(after.1.iter().zip(&before.1)) {
            let kind = program.name.trim_end_matches(|c: char| c.is_ascii_digit());
            match cpu_s.iter_mut().find(|(known, _)| known == kind) {
                Some((_, sum)) => *sum += after - before,
                None => cpu_s.push((kind.to_owned(), after - before)),
            }
        }
        Ok(Talk { report, seconds: (after.0 - before.0).as_secs_f64(), cpu_s })
    }

    /// Checks how many sockets are left and alive.
    async fn look(&mut self, places: &Places, talk: Talk) -> anyhow::Result<Found> {
        let full = Memory::now(&self.cluster, &self.keepers);
        let after = broker::topology(places, PREFIX).await?;
        let alive: usize = try_join_all(self.keepers.iter_mut().map(Keeper::alive)).await?.iter().sum();
        let lost: usize = try_join_all(self.keepers.iter_mut().map(Keeper::lost)).await?.iter().sum();
        // A talker that lost its socket has come again; that counts all the same.
        let lost = lost + talk.report.counts.reconnects as usize;
        Ok(Found {
            gateways: self.cluster.gateways.len(),
            held: self.idle + talk.report.sockets,
            put_off: self.put_off,
            open_s: self.open_s,
            lost,
            alive: alive + talk.report.sockets,
            empty: self.empty,
            full,
            before: self.before.clone(),
            after,
            talk,
        })
    }
}

impl Found {
    fn tell(&self, wanted: &Wanted, outcome: &mut Outcome) {
        let mut row = |what: &str, found: f64, target: Target, arithmetic: String| {
            outcome.bars.push(Bar { goal: "", what: what.into(), arithmetic, found: Some(found), target });
        };
        row(
            "sockets held at once: authenticated, `ready` heard, a user each",
            self.held as f64,
            Target::Exactly(wanted.sockets as usize),
            format!(
                "{} gateways; opened in {:.1} s ({}/s), {} times one was told to come again later",
                self.gateways,
                self.open_s,
                number(self.held as f64 / self.open_s),
                self.put_off
            ),
        );
        row(
            "… of these lost",
            self.lost as f64,
            Target::Exactly(0),
            format!("in {:.0} s with a heartbeat every 25 s", self.talk.seconds),
        );
        row(
            "… of these alive at the end: answered a `ping`, or (those that talk) a `sync`",
            self.alive as f64,
            Target::Exactly(wanted.sockets as usize),
            format!("of {} held", count(self.held as f64)),
        );
        self.tell_costs(&mut row);
        self.tell_messages(&mut row);
        let same = self.before == self.after;
        let changed = if same { "with all sockets: the same".into() } else { format!("then {}", self.after) };
        row(
            "the broker's cost of users: changes of queues, bindings and declares",
            self.before.differences(&self.after) as f64,
            Target::Exactly(0),
            format!("with nobody online {}; {changed}", self.before),
        );
        outcome.notes.push(format!(
            "{} gateways and {WORKERS} workers with the limits they are shipped with, RabbitMQ, six Redis nodes, \
             PostgreSQL; no nginx, which would hold two more files for each socket.",
            self.gateways
        ));
        outcome.notes.push(
            "Kernel memory is the growth of all slabs (`Slab` of /proc/meminfo), both ends of each connection and \
             whatever else the machine did; the two ends are the same things (a socket, a file, an entry of epoll), \
             so a gateway's is about half."
                .into(),
        );
        outcome.notes.push(format!(
            "CPU is that of /proc/<pid>/stat over the time of the hold, heartbeats and the {MESSAGES_PER_S} messages \
             per second included. The talkers, every other one Socket.IO, are among the held; the others are native."
        ));
    }

    fn tell_costs(&self, row: &mut impl FnMut(&str, f64, Target, String)) {
        let per_socket =
            |before: u64, after: u64| (after as f64 - before as f64) * 1_024.0 / self.held as f64;
        let (empty, full) = (&self.empty, &self.full);
        row(
            "user-space memory of the gateways per socket",
            per_socket(empty.gateways, full.gateways),
            Target::None("B"),
            format!("RSS {} KiB − {} KiB when empty, ÷ {}", full.gateways, empty.gateways, self.held),
        );
        let slab = per_socket(empty.slab, full.slab);
        row(
            "kernel memory per connection, both ends",
            slab,
            Target::None("B"),
            format!(
                "slabs {} KiB − {} KiB; a gateway's end about {} B; TCP buffers in use: {} pages",
                full.slab,
                empty.slab,
                number(slab / 2.0),
                full.tcp_pages
            ),
        );
        let us = |cpu_s: f64| cpu_s * 1e6 / self.talk.seconds / self.held as f64;
        let of =
            |kind: &str| self.talk.cpu_s.iter().find(|(name, _)| name == kind).map_or(0.0, |(_, cpu)| *cpu);
        let rest = self.talk.cpu_s.iter().filter(|(name, _)| name != "gateway" && name != "clients");
        let rest: Vec<_> = rest.map(|(name, cpu)| format!("{name} {}", number(us(*cpu)))).collect();
        row(
            "CPU of the gateways per socket and second",
            us(of("gateway")),
            Target::None("µs/s"),
            format!(
                "{} ms per second ÷ {}; besides, in the same unit: {}; the generator {}",
                number(of("gateway") * 1e3 / self.talk.seconds),
                self.held,
                rest.join(", "),
                number(us(of("clients")))
            ),
        );
        row(
            "memory of the generator per socket",
            per_socket(empty.clients, full.clients),
            Target::None("B"),
            format!("RSS {} KiB − {} KiB", full.clients, empty.clients),
        );
    }

    fn tell_messages(&self, row: &mut impl FnMut(&str, f64, Target, String)) {
        let (report, verdict) = (&self.talk.report, &self.talk.report.verdict);
        let arrived = if verdict.is_clean() && verdict.sent > 0 { verdict.delivered } else { 0 };
        row(
            "chat messages between held sockets that did not arrive",
            (2 * verdict.sent.max(1)).saturating_sub(arrived) as f64,
            Target::Exactly(0),
            format!(
                "{} messages in {} conversations of two sockets on two gateways, {} of {} deliveries, each judged",
                verdict.sent, self.gateways, verdict.delivered, verdict.expected
            ),
        );
        for (name, found) in [("p50", report.delivered.p50), ("p99", report.delivered.p99)] {
            let how = format!("due → shown to a member; at most {} ms", number(report.delivered.max));
            row(&format!("{name} of these messages"), found, Target::None("ms"), how);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gateway_has_its_part_within_its_files() {
        for (sockets, gateways) in [(200_000, 11), (18_500, 2), (300, 2)] {
            let parts = parts(sockets, FILES_MAX).unwrap();
            assert_eq!(parts.len(), gateways);
            assert_eq!(parts.iter().map(|part| part.sockets).sum::<usize>() + 2 * gateways, sockets);
            assert!(parts.iter().all(|part| part.sockets < FILES_MAX - FILES_SPARE));
            let follows = |two: &[Part]| two[0].first + two[0].sockets == two[1].first;
            assert!(parts.windows(2).all(follows), "no user twice");
        }
        assert!(parts(1_000, 1_024).is_err());
    }
}
