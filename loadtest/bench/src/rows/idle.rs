//! G1 and G2: what a socket costs while it is idle. The sockets of all programs are opened one
//! program after the other, which gives the memory, and then held beside each other, which gives
//! the CPU of their heartbeats in one and the same time.

use std::time::Duration;

use anyhow::{Context, ensure};
use common::bus::Bus;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places};
use crate::dialect::Dialect;
use crate::keeper::{Keeper, Part};
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::{Peer, Running};
use crate::process::Watched;
use crate::rows::{bus, deliver, users};

const PREFIX: &str = "bench-idle";
/// Numbers of sockets between which the slope is taken.
const FEW: usize = 2_000;
const MANY: usize = 16_000;
/// Every socket hears one event of this many bytes before its memory is measured.
const BYTES: usize = 200;
/// After this the memory is read: jemalloc gives freed pages back within ten seconds (its
/// `dirty_decay_ms`), and opening frees the buffers of as many HTTP connections.
const REST: Duration = Duration::from_secs(15);
/// The number of scrapes, and the time between two of them.
const SCRAPES: usize = 20;
const BETWEEN_SCRAPES: Duration = Duration::from_millis(250);
/// The heartbeat of all servers.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// The number of heartbeats over which the CPU is measured.
const HEARTBEATS: u32 = 3;

/// G1, and G2 if asked for.
///
/// # Errors
/// A program of ours does not do its part.
pub async fn run(
    places: &Places,
    peers: &[Peer],
    with_heartbeats: bool,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let ours = Program::Ours {
        cluster: Cluster::start(places, PREFIX, false).await?,
        bus: bus(places, PREFIX).await?,
    };
    let ours = Held::open(0, ours).await?;
    let mut theirs = vec![];
    for (peer, number) in peers.iter().zip(1..) {
        crate::say(&format!("  {} ...", peer.name()));
        let held = async { Held::open(number, Program::Theirs(peer.start(places).await?)).await }.await;
        match held {
            Ok(held) => theirs.push((*peer, held)),
            Err(err) => outcome.notes.push(format!("{} is not in G1 and G2: {err:#}", peer.name())),
        }
    }
    tell_memory(&ours, &theirs, outcome);
    scrapes(&ours, outcome).await?;
    if with_heartbeats {
        heartbeats(ours, theirs, outcome).await?;
    }
    Ok(())
}

fn tell_memory(ours: &Held, theirs: &[(Peer, Held)], outcome: &mut Outcome) {
    let what = "user-space bytes per idle, authenticated, deliverable, resumable socket";
    outcome.found("G1", what, ours.bytes(), Target::Most(1_024.0, "B"), ours.arithmetic());
    for (peer, held) in theirs {
        let target = match peer {
            Peer::SocketIo => Target::Most(1.0 / 9.0, "×"),
            _ => Target::None("×"),
        };
        outcome.found(
            "G1",
            format!("… held against {}'s", peer.name()),
            ours.bytes() / held.bytes(),
            target,
            format!("{} B ÷ {} B ({})", number(ours.bytes()), number(held.bytes()), held.arithmetic()),
        );
    }
    outcome.notes.push(format!(
        "G1: the slope of RSS between {FEW} and {MANY} sockets; each has heard one event of {BYTES} bytes, and was \
         answered one `ping` where the protocol has that. Ours: each socket of a user of its own. The peers': all \
         subscribed to one channel, which is kind to them. MQTT and NATS: one user, or token, for all; nchan compares \
         a fixed secret. Ours, Socket.IO and Centrifugo (with a history of 20) can resume; the others cannot."
    ));
}

/// How long Prometheus waits for a gateway that holds all of them.
async fn scrapes(ours: &Held, outcome: &mut Outcome) -> anyhow::Result<()> {
    let Program::Ours { cluster, .. } = &ours.program else { return Ok(()) };
    let mut took = vec![];
    for _ in 0..SCRAPES {
        let start = Instant::now();
        let open = cluster.counted("gateway_sockets_open").await?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(open == MANY as f64, "{open} of {MANY} sockets are measured");
        sleep(BETWEEN_SCRAPES).await;
    }
    let slowest = took.iter().copied().fold(0.0, f64::max);
    let what = format!("a scrape of its metrics with {MANY} sockets open");
    let arithmetic = format!("median of {SCRAPES}; the slowest took {} ms", number(slowest));
    outcome.found("G1", what, median(took), Target::Most(20.0, "ms"), arithmetic);
    Ok(())
}

/// Measures the CPU of all programs while only heartbeats happen.
async fn heartbeats(
    mut ours: Held,
    mut theirs: Vec<(Peer, Held)>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let time = HEARTBEAT * HEARTBEATS;
    crate::say(&format!("  heartbeats for {} s ...", (time + HEARTBEAT).as_secs()));
    // What opening left behind; and each socket is in its turn then.
    sleep(HEARTBEAT).await;
    let cpu = |ours: &Held, theirs: &[(Peer, Held)]| {
        let theirs = theirs.iter().map(|(_, held)| held.watched.cpu_s());
        std::iter::once(ours.watched.cpu_s()).chain(theirs).collect::<Vec<_>>()
    };
    let (start, before) = (Instant::now(), cpu(&ours, &theirs));
    sleep(time).await;
    let (after, seconds) = (cpu(&ours, &theirs), start.elapsed().as_secs_f64());
    let per_socket = |at: usize| (after[at] - before[at]) * 1e6 / seconds / MANY as f64;

    let lost = ours.keeper.lost().await?;
    ensure!(lost == 0, "{lost} idle sockets of ours were lost");
    let what = "CPU per idle socket with a heartbeat every 25 s";
    let arithmetic = format!(
        "{} ms in {seconds:.0} s ÷ {MANY}, what the gateway does besides included",
        number((after[0] - before[0]) * 1e3)
    );
    outcome.found("G2", what, per_socket(0), Target::Most(1.0, "µs/s"), arithmetic);
    for (at, (peer, held)) in theirs.iter_mut().enumerate() {
        let lost = held.keeper.lost().await?;
        if lost > 0 {
            outcome.notes.push(format!("{} is not in G2: it lost {lost} idle sockets", peer.name()));
            continue;
        }
        outcome.found(
            "G2",
            format!("… held against {}'s", peer.name()),
            per_socket(0) / per_socket(at + 1),
            Target::None("×"),
            format!("{} ÷ {} µs/s", number(per_socket(0)), number(per_socket(at + 1))),
        );
    }
    outcome.notes.push(format!(
        "G2: {MANY} sockets of each program, all held at the same time. All servers ping, except mosquitto, whose \
         clients do; every client answers."
    ));
    Ok(())
}

/// A program that holds sockets.
enum Program {
    Ours { cluster: Cluster, bus: Bus },
    Theirs(Running),
}

/// A program with its sockets.
struct Held {
    // Ended first: the sockets end with their server.
    program: Program,
    keeper: Keeper,
    watched: Watched,
    /// The number of sockets, and KiB of memory with them.
    few: (usize, u64),
    many: (usize, u64),
}

impl Held {
    /// Opens the sockets; `number` is different for each program.
    async fn open(number: u8, program: Program) -> anyhow::Result<Self> {
        let (watched, port, dialect, token) = match &program {
            Program::Ours { cluster, .. } => {
                let gateway = cluster.gateway();
                (gateway.watched(), gateway.address.port, Dialect::Native, None)
            }
            Program::Theirs(running) => {
                let (peer, port) = (running.peer, running.server.address.port);
                (running.watched(), port, peer.dialect(), peer.token())
            }
        };
        let keeper = Keeper::start(&Part { number, port, dialect, token })?;
        let mut held = Self { program, keeper, watched, few: (0, 0), many: (0, 0) };
        held.few = held.grow(0, FEW, 0, dialect).await?;
        held.many = held.grow(FEW, MANY, FEW, dialect).await?;
        Ok(held)
    }

    /// Opens more sockets, sends an event to all of them, and reads the memory.
    async fn grow(
        &mut self,
        from: usize,
        to: usize,
        heard: usize,
        dialect: Dialect,
    ) -> anyhow::Result<(usize, u64)> {
        self.keeper.open(from, to - from).await?;
        if dialect.answers_pings() {
            let alive = self.keeper.alive().await?;
            ensure!(alive == to, "{alive} of {to} sockets answer");
        }
        match &mut self.program {
            Program::Ours { bus, .. } => {
                let node = self.keeper.node().context("a gateway says its node")?;
                // The second event is the number 1, for those that had the number 0.
                let number = u64::from(from > 0);
                for batch in users(0, to).chunks(1_000) {
                    deliver(bus, node, batch, number, 1, BYTES).await?;
                }
            }
            Program::Theirs(running) => running.publish(1, BYTES).await?,
        }
        self.keeper.hear((heard + to) as u64).await?;
        sleep(REST).await;
        Ok((to, self.watched.rss_kib()))
    }

    fn bytes(&self) -> f64 {
        let ((few, small), (many, large)) = (self.few, self.many);
        (large as f64 - small as f64) * 1_024.0 / (many - few) as f64
    }

    fn arithmetic(&self) -> String {
        let ((few, small), (many, large)) = (self.few, self.many);
        format!("RSS {large} KiB at {many} sockets − {small} KiB at {few}, ÷ {}", many - few)
    }
}
