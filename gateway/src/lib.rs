//! The clients' door to the cluster: is this frame allowed in, and which sockets get that one?
//!
//! A gateway holds sockets and knows no SQL. Modules in the order in which data flows.

/// The gateway's own section of the environment.
mod config;

/// From TCP to a checked request: accept, admission, HTTP, the upgrade, REST.
mod edge;

/// Bytes to events and back, in both wire forms.
pub mod wire;

/// How packets travel: frames over WebSocket.
pub mod transport;

/// One client: its task, its session, its outbox, its limits.
pub mod socket;

/// This node among the others: events up, deliveries down, seats, logins, the drain.
mod cluster;

/// Reports to the admin port whether workers consume the lanes.
mod workers;

/// This node's numbers, reported once a second: sockets, memory, lag of the runtime.
mod gauges;

/// The names of all metrics of the gateway.
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use common::auth::Verifier;
use common::bus::{Bus, Pattern, Subject, Subscription};
use common::control::Ear;
use common::directory::Directory;
use common::health::Readiness;
use common::lifecycle::Lifecycle;
use common::limits::DIRECTORY_MS_MAX;
use common::roster::Roster;
use protocol::control::Part;
use protocol::ids::NodeId;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::cluster::node::Node;
use self::cluster::{downlink, drain, logins, operator, seating};
pub use self::config::{Bind, ClusterConfig, GatewayConfig, Network, Origins};
use self::edge::server;
use self::socket::heartbeat;

/// One gateway, bound to its port and known to the cluster, not yet accepting.
pub struct Gateway {
    node: Arc<Node>,
    /// One, or one of each family; never empty.
    listeners: Vec<TcpListener>,
    deliveries: Subscription,
    control: Subscription,
    ear: Ear,
}

impl Gateway {
    /// Subscribes, takes the node's lease, opens the port.
    ///
    /// # Errors
    /// The port is in use, or the bus or the directory do not answer.
    pub async fn bind(
        config: GatewayConfig,
        id: NodeId,
        bus: Bus,
        directory: Directory,
        verifier: Verifier,
    ) -> anyhow::Result<Self> {
        let listeners = server::listen(config.bind, config.port).with_context(|| {
            format!("the gateway cannot listen on {}, port {}: set BIND or PORT", config.bind, config.port)
        })?;
        let node = Arc::new(Node::new(id, config, bus, directory, verifier));
        // Before the lease: what is delivered to a node must find its queue.
        let deliveries = node.bus.subscribe(Pattern::from(Subject::deliver(id))).await?;
        let control = node.bus.subscribe(Pattern::new("control.gateways")?).await?;
        let ear = Ear::open(&node.bus, id, Part::Gateway).await?;
        node.directory.keep_node(id).await?;
        node.logins.read().await?;
        Ok(Self { node, listeners, deliveries, control, ear })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The system no longer knows it.
    pub fn addr(&self) -> std::io::Result<SocketAddr> {
        let listener = self.listeners.first().ok_or(std::io::ErrorKind::NotConnected)?;
        listener.local_addr()
    }

    /// The id of this start.
    pub fn node(&self) -> NodeId {
        self.node.id
    }

    /// For the admin port.
    pub fn readiness(&self) -> Readiness {
        self.node.readiness.clone()
    }

    /// Accepts until `lifecycle` drains, then drains its sockets.
    ///
    /// # Errors
    /// A part that must run to the end has stopped early.
    pub async fn run(self, lifecycle: Lifecycle) -> anyhow::Result<()> {
        let Self { node, listeners, deliveries, control, ear } = self;
        let mut parts = JoinSet::new();
        parts.spawn(seating::keep(Arc::clone(&node.seating)));
        parts.spawn(heartbeat::turn(Arc::clone(&node)));
        parts.spawn(logins::keep_fresh(Arc::clone(&node.logins)));
        parts.spawn(downlink::deliver(Arc::clone(&node.deliveries), deliveries));
        parts.spawn(logins::obey(Arc::clone(&node.logins), control));
        parts.spawn(common::peers::bus(node.bus.clone(), node.readiness.clone()));
        parts.spawn(workers::watch(node.bus.clone(), node.readiness.clone()));
        parts.spawn(gauges::tell(Arc::clone(&node)));
        parts.spawn(operator::listen(Arc::clone(&node), ear, lifecycle.clone()));
        let roster = Roster::new(node.id, Part::Gateway, &node.directory, node.verifier.secret_digest());
        parts.spawn(roster.keep(node.readiness.clone()));
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(server::accept(Arc::clone(&node), listener));
        }
        node.readiness.set("directory", Ok(()));

        let stopped = tokio::select! {
            () = lifecycle.draining() => false,
            _ = parts.join_next() => true,
            _ = accepting.join_next() => true,
        };
        drain::drain(&node, &lifecycle).await;
        accepting.shutdown().await;
        drain::last_words(&node, &lifecycle).await;
        seating::settle(&node.seating, Duration::from_millis(DIRECTORY_MS_MAX)).await;
        parts.shutdown().await;
        drain::forget(&node.directory, node.id).await;
        anyhow::ensure!(!stopped, "a part of the gateway stopped by itself");
        Ok(())
    }
}
