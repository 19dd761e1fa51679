//! The programs that ours is compared with, in the same run.

/// Bare lapin on the same RabbitMQ.
pub mod lapin;

/// The whole chain without a product's logic.
pub mod chain;

/// The chain's part in the database.
mod chain_table;

/// Accounts and rooms in the database.
pub mod rooms;

/// A bare accept and handshake loop.
pub mod accept;

/// A bare loop of `write()`.
pub mod write;

/// Node's `ws` and `socket.io`.
pub mod node;

/// A server with the crate socketioxide.
pub mod socketioxide;

/// nats-server's WebSocket listener.
pub mod nats;

/// mosquitto, MQTT over WebSockets.
pub mod mosquitto;

/// nchan in nginx.
pub mod nchan;

/// Centrifugo, with its JSON protocol.
pub mod centrifugo;

/// RabbitMQ's management API.
pub mod broker;

/// A smaller Redis Cluster than the one of the peers.
pub mod redis;

/// HTTP, as much as it takes to tell a peer what to publish.
pub mod http;

use std::process::Command;

use anyhow::Context;

use crate::cluster::Places;
use crate::dialect::{Dialect, PASSWORD};
use crate::process::{Started, Watched};

/// A program that holds sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Node's `ws`.
    Ws,
    /// Node's `socket.io`.
    SocketIo,
    /// Rust's `socketioxide`.
    Socketioxide,
    /// nats-server.
    Nats,
    /// mosquitto.
    Mosquitto,
    /// nginx with nchan.
    Nchan,
    /// Centrifugo.
    Centrifugo,
}

impl Peer {
    /// All peers, in the order of the results.
    pub const ALL: [Self; 7] = [
        Self::Ws,
        Self::SocketIo,
        Self::Socketioxide,
        Self::Nats,
        Self::Mosquitto,
        Self::Nchan,
        Self::Centrifugo,
    ];

    /// The name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::SocketIo => "Socket.IO",
            Self::Socketioxide => "socketioxide",
            Self::Nats => "nats-server",
            Self::Mosquitto => "mosquitto",
            Self::Nchan => "nchan",
            Self::Centrifugo => "Centrifugo",
        }
    }

    /// How to install it, if it is missing.
    pub fn comes_from(self) -> &'static str {
        match self {
            Self::Ws | Self::SocketIo => "Node and npm (`apt-get install nodejs npm`)",
            Self::Socketioxide => "cargo, which builds loadtest/bench/peers/socketioxide",
            Self::Nats => "`apt-get install nats-server`",
            Self::Mosquitto => "`apt-get install mosquitto`",
            Self::Nchan => "`apt-get install nginx libnginx-mod-nchan`",
            Self::Centrifugo => "Go: `go install github.com/centrifugal/centrifugo/v6@v6.9.1`",
        }
    }

    /// The protocol of its sockets.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Ws => Dialect::Native,
            Self::SocketIo | Self::Socketioxide => Dialect::SocketIo,
            Self::Nats => Dialect::Nats,
            Self::Mosquitto => Dialect::Mqtt,
            Self::Nchan => Dialect::Plain,
            Self::Centrifugo => Dialect::Centrifugo,
        }
    }

    /// What all its sockets show, if not each the token of a user.
    pub fn token(self) -> Option<String> {
        match self {
            Self::Centrifugo => Some(centrifugo::token()),
            Self::Nats | Self::Mosquitto | Self::Nchan => Some(PASSWORD.into()),
            Self::Ws | Self::SocketIo | Self::Socketioxide => None,
        }
    }

    /// Makes it ready to start; its version. None: it is not here.
    fn prepare(self, places: &Places) -> anyhow::Result<Option<String>> {
        match self {
            Self::Ws => Ok(node::install(places)?.then(|| node::version("ws"))),
            Self::SocketIo => Ok(node::install(places)?.then(|| node::version("socket.io"))),
            Self::Socketioxide => socketioxide::build(places),
            Self::Nats => Ok(first_line("nats-server", &["--version"])),
            Self::Mosquitto => Ok(first_line("mosquitto", &["-h"])),
            Self::Nchan => Ok(nchan::version()),
            Self::Centrifugo => Ok(centrifugo::version()),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(self, places: &Places) -> anyhow::Result<Running> {
        let (server, publisher) = match self {
            Self::Ws => node::start(places, "ws.mjs").await,
            Self::SocketIo => node::start(places, "socketio.mjs").await,
            Self::Socketioxide => socketioxide::start(places).await,
            Self::Nats => nats::start(places).await,
            Self::Mosquitto => mosquitto::start(places).await,
            Self::Nchan => nchan::start(places).await,
            Self::Centrifugo => centrifugo::start(places).await,
        }
        .with_context(|| format!("starting {}", self.name()))?;
        Ok(Running { peer: self, server, publisher, published: 0 })
    }
}

/// The peers to compare with.
#[derive(Default)]
pub struct Found {
    /// Peers on this machine, with their versions.
    pub here: Vec<(Peer, String)>,
    /// A sentence for each peer that is missing.
    pub missing: Vec<String>,
}

impl Found {
    /// Looks, and makes those that are here ready to start.
    ///
    /// # Errors
    /// One is here and cannot be made ready.
    pub fn look(places: &Places) -> anyhow::Result<Self> {
        let mut found = Self::default();
        for peer in Peer::ALL {
            match peer.prepare(places).with_context(|| peer.name())? {
                Some(version) => found.here.push((peer, version)),
                None => found.missing.push(format!(
                    "Without {}, which is not on this machine: it comes from {}.",
                    peer.name(),
                    peer.comes_from()
                )),
            }
        }
        Ok(found)
    }
}

/// The way to publish at a peer.
pub enum Publisher {
    /// `GET /fan-out?first=&times=&bytes=`: the peer makes the events itself.
    Told,
    /// A NATS client on its own connection.
    Nats(nats::Line),
    /// An MQTT client on its own connection.
    Mqtt(mosquitto::Line),
    /// One POST per event.
    Nchan(http::Line),
    /// One POST for all events.
    Centrifugo(http::Line),
}

/// A running peer.
pub struct Running {
    /// Which peer it is.
    pub peer: Peer,
    /// The process of the peer.
    pub server: Started,
    publisher: Publisher,
    published: u64,
}

impl Running {
    /// The process, for its figures.
    pub fn watched(&self) -> Watched {
        self.server.watched()
    }

    /// Publishes this many contents of `bytes` to all its sockets, numbered.
    ///
    /// # Errors
    /// It does not take them.
    pub async fn publish(&mut self, times: usize, bytes: usize) -> anyhow::Result<()> {
        let first = self.published;
        self.published += times as u64;
        match &mut self.publisher {
            Publisher::Told => http::tell_to_publish(&self.server.address, first, times, bytes).await,
            Publisher::Nats(line) => line.publish(first, times, bytes).await,
            Publisher::Mqtt(line) => line.publish(first, times, bytes).await,
            Publisher::Nchan(line) => nchan::publish(line, first, times, bytes).await,
            Publisher::Centrifugo(line) => centrifugo::publish(line, first, times, bytes).await,
        }
    }
}

/// The first line that a program prints; None: it is not here.
fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    // nginx tells its version as an error.
    let text = if out.stdout.is_empty() { out.stderr } else { out.stdout };
    String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests;
