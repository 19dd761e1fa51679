//! The state that all parts of one gateway share. One per start of the program.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use common::auth::Verifier;
use common::bus::Bus;
use common::directory::Directory;
use common::health::Readiness;
use common::recorder::Recorder;
use protocol::ids::{NodeId, SocketId};
use protocol::{Account, Reject, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::clock::Clock;
use crate::cluster::downlink::Deliveries;
use crate::cluster::hub::Hub;
use crate::cluster::logins::Logins;
use crate::cluster::sampling::Sampling;
use crate::cluster::seating::Seating;
use crate::cluster::seats::Seats;
use crate::cluster::subjects::Subjects;
use crate::cluster::uplink::Uplinks;
use crate::config::GatewayConfig;
use crate::edge::address::AddressFinder;
use crate::edge::admission::Admission;
use crate::edge::shares::Shares;
use crate::metrics::Metrics;
use crate::socket::expiries::Expiries;
use crate::socket::session::{Now, SessionLimits};

/// The state of one gateway; see the module.
pub struct Node {
    /// The node id of this start.
    pub id: NodeId,
    /// The configuration.
    pub config: GatewayConfig,
    /// The bus.
    pub bus: Bus,
    /// The directory.
    pub directory: Directory,
    /// The check of tokens.
    pub verifier: Verifier,
    /// The sockets.
    pub hub: Arc<Hub>,
    /// The budget of upgrades.
    pub admission: Admission,
    /// The number of connections of each client address.
    pub shares: Arc<Shares>,
    /// Finds the addresses of clients behind proxies.
    pub origin: AddressFinder,
    /// Sockets whose tokens end soon.
    pub expiries: Expiries,
    /// Users whose seats must be written to the directory.
    pub seats: Arc<Seats>,
    /// Logins that have ended before their tokens.
    pub logins: Arc<Logins>,
    /// The limits of a session.
    pub limits: SessionLimits,
    /// Publishes events.
    pub uplinks: Arc<Uplinks>,
    /// Hands out deliveries.
    pub deliveries: Arc<Deliveries>,
    /// Keeps the directory up to date.
    pub seating: Arc<Seating>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The recorder of milestones.
    pub recorder: Recorder,
    /// The parts that the admin port reports.
    pub readiness: Readiness,
    /// Cancelled when the drain begins.
    pub draining: CancellationToken,
    /// Connections, sockets and requests in progress.
    pub tasks: TaskTracker,
    clock: Clock,
    serials: AtomicU64,
    connections: AtomicUsize,
}

/// One connection of the node, counted for its client's address; given
/// back when dropped.
pub struct ConnectionPermit {
    node: Arc<Node>,
    /// The client's address. None: not known yet, because a proxy connected.
    line: Option<IpAddr>,
}

impl Node {
    /// A node without sockets.
    pub fn new(
        id: NodeId,
        config: GatewayConfig,
        bus: Bus,
        directory: Directory,
        verifier: Verifier,
    ) -> Self {
        let (hub, seats) = (Arc::new(Hub::new(config.joins)), Arc::new(Seats::new()));
        let metrics = Arc::new(Metrics::new(config.outboxes_bytes_max));
        let recorder = Recorder::new(config.trace_messages);
        let readiness = Readiness::new("gateway", id);
        let (clock, tasks) = (Clock::start(), TaskTracker::new());
        let uplinks = Arc::new(Uplinks {
            bus: bus.clone(),
            subjects: Subjects::of(&config.events),
            hub: Arc::clone(&hub),
            user_rate: config.user_rate,
            sampling: Sampling::new(config.trace_ratio, id),
            recorder: recorder.clone(),
            metrics: Arc::clone(&metrics),
            tasks: tasks.clone(),
            clock,
        });
        let deliveries = Arc::new(Deliveries {
            node: id,
            hub: Arc::clone(&hub),
            recorder: recorder.clone(),
            metrics: Arc::clone(&metrics),
        });
        let seating = Arc::new(Seating {
            node: id,
            directory: directory.clone(),
            hub: Arc::clone(&hub),
            seats: Arc::clone(&seats),
            deliveries: Arc::clone(&deliveries),
            readiness: readiness.clone(),
            metrics: Arc::clone(&metrics),
        });
        let (ended, counted) = (directory.clone(), Arc::clone(&metrics));
        let logins = Arc::new(Logins::new(verifier.access_ttl(), Arc::clone(&hub), ended, counted));
        Self {
            id,
            limits: config.session,
            admission: Admission::new(config.upgrades_per_s),
            shares: Arc::new(Shares::new(config.address_lines_max, config.address_upgrades_per_s)),
            origin: AddressFinder::default(),
            expiries: Expiries::default(),
            draining: CancellationToken::new(),
            serials: AtomicU64::new(1),
            connections: AtomicUsize::new(0),
            config,
            bus,
            directory,
            verifier,
            hub,
            seats,
            logins,
            uplinks,
            deliveries,
            seating,
            metrics,
            recorder,
            readiness,
            tasks,
            clock,
        }
    }

    /// The node's uptime: the clock of sessions and rate limits.
    pub fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    /// A serial never used before.
    pub fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// The account of a valid, unexpired token whose login has not ended.
    ///
    /// # Errors
    /// [`Reject::Unauthorized`].
    pub fn account(&self, token: &str, now: Timestamp) -> Result<Account, Reject> {
        let account = self.verifier.verify(token, now)?;
        if self.logins.has_ended(account.login) { Err(Reject::Unauthorized) } else { Ok(account) }
    }

    /// The cluster-wide name of a socket here.
    pub fn socket_id(&self, serial: u64) -> SocketId {
        SocketId { node: self.id, serial }
    }

    /// A permit for one more connection from `peer`.
    ///
    /// # Errors
    /// The reason, as the metric's label: `full` or `address`.
    pub fn take_permit(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionPermit, &'static str> {
        let mut permit = ConnectionPermit { node: Arc::clone(self), line: None };
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.config.sockets_max {
            return Err("full");
        }
        let peer = peer.to_canonical();
        // Loopback and proxies are not clients: their connections count when the client's address is known.
        if !peer.is_loopback() && !self.config.proxies.iter().any(|network| network.contains(peer)) {
            if !self.shares.take_line(peer) {
                return Err("address");
            }
            permit.line = Some(peer);
        }
        Ok(permit)
    }
}

impl ConnectionPermit {
    /// Counts the connection for the address of the client behind the proxy, which is known now.
    pub fn hold_line(&mut self, address: IpAddr) {
        if self.line.is_none() && !address.is_loopback() {
            self.node.shares.hold_line(address);
            self.line = Some(address);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.node.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.line {
            self.node.shares.give_line(address);
        }
    }
}

impl std::ops::Deref for ConnectionPermit {
    type Target = Arc<Node>;
    fn deref(&self) -> &Arc<Node> {
        &self.node
    }
}
