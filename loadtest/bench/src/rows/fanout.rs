//! G8: one event to the 1,000 members of a room, all on one gateway.

use anyhow::ensure;
use common::bus::Bus;
use protocol::ids::UserId;
use swarm::options::Address;
use tokio::time::Instant;

use crate::cluster::{Cluster, Places};
use crate::dialect::Dialect;
use crate::herd::Herd;
use crate::outcome::{Outcome, Target, median, number};
use crate::peers::{Peer, Running, http, write};
use crate::process::{Started, Watched};
use crate::rows::{bus, deliver, tokens, users};

const PREFIX: &str = "bench-fanout";
const SOCKETS: usize = 1_000;
const BURST: usize = 10;
/// Events per pass, alone or in bursts.
const EVENTS: usize = 200;
const PASSES: usize = 3;
const BYTES: usize = 150;
/// Events at once, and the name of this pattern in the results.
const HOWS: [(usize, &str); 2] = [(1, "one at a time"), (BURST, "in bursts of 10")];

/// G8.
///
/// # Errors
/// A program of ours does not do its part.
pub async fn run(places: &Places, peers: &[Peer], outcome: &mut Outcome) -> anyhow::Result<()> {
    let mut rooms = vec![Room::of_ours(places).await?, Room::of_writes(places).await?];
    for peer in peers {
        match Room::of_peer(places, *peer).await {
            Ok(room) => rooms.push(room),
            Err(err) => outcome.notes.push(format!("{} is not in G8: {err:#}", peer.name())),
        }
    }
    for pass in 0..=PASSES {
        crate::say(&format!("  pass {pass} of {PASSES} ..."));
        for (how, (times, _)) in HOWS.iter().enumerate() {
            for room in rooms.iter_mut().filter(|room| room.failed.is_none()) {
                match room.fan_out(*times).await {
                    // The first pass warms up.
                    Ok(cost) if pass > 0 => room.found[how].push(cost),
                    Ok(_) => {}
                    Err(err) if room.peer().is_none() => return Err(err),
                    Err(err) => room.failed = Some(format!("{err:#}")),
                }
            }
        }
    }
    tell(&rooms, outcome);
    Ok(())
}

fn tell(rooms: &[Room], outcome: &mut Outcome) {
    for (how, (_, name)) in HOWS.iter().enumerate() {
        let cost = |room: &Room| {
            let of = |field: fn(&Cost) -> f64| median(room.found[how].iter().map(field).collect());
            Cost { cpu_us: of(|cost| cost.cpu_us), per_s: of(|cost| cost.per_s) }
        };
        let (ours, bare) = (cost(&rooms[0]), cost(&rooms[1]));
        outcome.found(
            "G8",
            format!(
                "deliveries per core-second in a room of {SOCKETS}, {name}, held against a bare `write()` loop of the \
                 same bytes"
            ),
            bare.cpu_us / ours.cpu_us,
            Target::Least(0.5, "×"),
            format!("1 ÷ {} µs, over 1 ÷ {} µs", number(ours.cpu_us), number(bare.cpu_us)),
        );
        outcome.found(
            "G8",
            "… the same per second of the clock, receivers on the same cores",
            ours.per_s / bare.per_s,
            Target::None("×"),
            format!("{}/s ÷ {}/s", number(ours.per_s), number(bare.per_s)),
        );
        for room in rooms.iter().filter(|room| room.failed.is_none()) {
            let Some(peer) = room.peer() else { continue };
            let target = match (peer, how) {
                (Peer::Ws, 0) => Target::Most(0.7, "×"),
                (Peer::Ws, _) => Target::Most(0.2, "×"),
                _ => Target::None("×"),
            };
            let their = cost(room);
            outcome.found(
                "G8",
                format!("… CPU per delivery, {name}, held against {}'s", peer.name()),
                ours.cpu_us / their.cpu_us,
                target,
                format!(
                    "{} µs ÷ {} µs ({}/s, {}/s)",
                    number(ours.cpu_us),
                    number(their.cpu_us),
                    number(ours.per_s),
                    number(their.per_s)
                ),
            );
        }
    }
    for room in rooms {
        if let (Some(peer), Some(failed)) = (room.peer(), &room.failed) {
            outcome.notes.push(format!("{} is not in G8: {failed}", peer.name()));
        }
    }
    outcome.notes.push(format!(
        "G8: contents of {BYTES} bytes, each in what its protocol puts around it. Every receiver checks the numbers of \
         what it hears; a message that was shed ends the row. The next event or burst goes out when all sockets have \
         the last one, so deliveries per second of the clock hold the way there too. Ours takes each event off \
         RabbitMQ and finds the members (the gateway's CPU for that is counted); the others are told over HTTP, TCP \
         or MQTT. The bare loop writes each frame to each socket, also in bursts."
    ));
}

/// The cost of a delivery.
#[derive(Clone, Copy)]
struct Cost {
    /// CPU of the server per delivery, µs.
    cpu_us: f64,
    /// Deliveries per second.
    per_s: f64,
}

/// A server, with the sockets in its room.
struct Room {
    server: Server,
    watched: Watched,
    herd: Herd,
    published: u64,
    found: [Vec<Cost>; HOWS.len()],
    failed: Option<String>,
}

enum Server {
    Ours { _cluster: Cluster, bus: Bus, node: String, users: Vec<UserId> },
    Writes(Started),
    Theirs(Running),
}

impl Room {
    async fn of_ours(places: &Places) -> anyhow::Result<Self> {
        let cluster = Cluster::start(places, PREFIX, false).await?;
        let watched = cluster.gateway().watched();
        let herd = open(&cluster.gateway().address, Dialect::Native, None).await?;
        let (bus, users) = (bus(places, PREFIX).await?, users(0, SOCKETS));
        let node = herd.node().unwrap_or_default().to_owned();
        Ok(Self::new(Server::Ours { _cluster: cluster, bus, node, users }, watched, herd))
    }

    async fn of_writes(places: &Places) -> anyhow::Result<Self> {
        let server = write::start(places).await?;
        let herd = open(&server.address, Dialect::Plain, None).await?;
        let watched = server.watched();
        Ok(Self::new(Server::Writes(server), watched, herd))
    }

    async fn of_peer(places: &Places, peer: Peer) -> anyhow::Result<Self> {
        let running = peer.start(places).await?;
        let herd = open(&running.server.address, peer.dialect(), peer.token()).await?;
        let watched = running.watched();
        Ok(Self::new(Server::Theirs(running), watched, herd))
    }

    fn new(server: Server, watched: Watched, herd: Herd) -> Self {
        Self { server, watched, herd, published: 0, found: [vec![], vec![]], failed: None }
    }

    fn peer(&self) -> Option<Peer> {
        match &self.server {
            Server::Theirs(running) => Some(running.peer),
            _ => None,
        }
    }

    async fn fan_out(&mut self, times: usize) -> anyhow::Result<Cost> {
        let (start, before) = (Instant::now(), self.watched.cpu_s());
        for _ in 0..EVENTS / times {
            let heard = self.herd.heard();
            self.publish(times).await?;
            self.herd.hear(heard, (SOCKETS * times) as u64).await?;
        }
        let astray = self.herd.astray();
        ensure!(astray == 0, "{astray} messages were not the next: one was lost, doubled or overtaken");
        let deliveries = (EVENTS * SOCKETS) as f64;
        Ok(Cost {
            cpu_us: (self.watched.cpu_s() - before) * 1e6 / deliveries,
            per_s: deliveries / start.elapsed().as_secs_f64(),
        })
    }

    async fn publish(&mut self, times: usize) -> anyhow::Result<()> {
        let first = self.published;
        self.published += times as u64;
        match &mut self.server {
            Server::Ours { bus, node, users, .. } => deliver(bus, node, users, first, times, BYTES).await,
            Server::Writes(server) => http::tell_to_publish(&server.address, first, times, BYTES).await,
            Server::Theirs(running) => running.publish(times, BYTES).await,
        }
    }
}

async fn open(address: &Address, dialect: Dialect, token: Option<String>) -> anyhow::Result<Herd> {
    let mut herd = Herd::new(address, dialect);
    herd.open(&token.map_or_else(|| tokens(0, SOCKETS), |token| vec![token; SOCKETS])).await?;
    Ok(herd)
}
