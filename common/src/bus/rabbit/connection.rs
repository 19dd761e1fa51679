//! One AMQP connection, kept alive: connects, declares, watches, rebuilds, for ever.
//!
//! The client library's own recovery is not used: a publish in flight when the broker dies never
//! resolves there. A user of a link holds a [`Live`] of it, works until something fails or
//! `dead` resolves, and asks for the next one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::config::{BusConfig, QueueKind};
use super::super::metrics;
use super::super::outcome::Health;
use super::super::topology::Names;
use super::declare;
use crate::random;
use protocol::ids::NodeId;

/// From the first byte to a declared topology; then the next node is tried.
const CONNECT_MS_MAX: u64 = 5_000;

/// Any other single answer of the broker (declare, consume, close).
pub(super) const ANSWER_MS_MAX: u64 = 5_000;

/// First pause before connecting again; doubles up to the last.
const BACKOFF_MS_FIRST: u64 = 50;
const BACKOFF_MS_LAST: u64 = 800;

/// Seconds between heartbeats asked of the broker; a silent peer is dead after two.
const HEARTBEAT_S: u16 = 10;

/// A connection that keeps coming back.
pub(super) struct BrokerLink {
    name: &'static str,
    /// Of the nodes of the broker; never empty.
    uris: Vec<AMQPUri>,
    /// The node to try next. A link begins at a random one, so that a cluster's load spreads.
    next: AtomicUsize,
    names: Names,
    queues: QueueKind,
    /// Certificates in PEM to trust beside the machine's.
    authorities: Option<String>,
    node: NodeId,
    publishing: Option<Publishing>,
    live: watch::Sender<Option<Live>>,
    closing: CancellationToken,
}

/// The duties of the publishing link alone.
pub(super) struct Publishing {
    pub health: watch::Sender<Health>,
    /// It declares what is durable. A visitor's does not: it must be there.
    pub declares: bool,
}

/// One life of a link.
#[derive(Clone)]
pub(super) struct Live {
    connection: Arc<Connection>,
    /// Cancelled when this life is over; cancel it to end it.
    pub(super) dead: CancellationToken,
}

impl BrokerLink {
    pub(super) fn new(
        name: &'static str,
        config: &BusConfig,
        node: NodeId,
        publishing: Option<Publishing>,
        closing: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let parse = |url: &str| url.parse().map_err(|reason| anyhow::anyhow!("AMQP url: {reason}"));
        let uris = config.url.split(',').map(parse).collect::<anyhow::Result<Vec<AMQPUri>>>()?;
        let next = AtomicUsize::new(random::below(uris.len() as u64) as usize);
        let names = Names::new(&config.prefix);
        let (queues, live) = (config.queues, watch::Sender::new(None));
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("the certificates in {}", path.display()))
        };
        let authorities = config.ca_file.as_ref().map(read).transpose()?;
        Ok(Arc::new(Self { name, uris, next, names, queues, authorities, node, publishing, live, closing }))
    }

    /// The first connection, to whichever node takes it; afterwards a task keeps the link alive.
    pub(super) async fn start(self: &Arc<Self>) -> anyhow::Result<tokio::task::JoinHandle<()>> {
        let mut live = self.connect().await;
        for _ in 1..self.uris.len() {
            if live.is_err() {
                live = self.connect().await;
            }
        }
        Ok(tokio::spawn(self.clone().keep(live?)))
    }

    /// The present life, or the next one. None: the bus closes.
    pub(super) async fn live(&self) -> Option<Live> {
        let mut lives = self.live.subscribe();
        tokio::select! {
            () = self.closing.cancelled() => None,
            live = lives.wait_for(Option::is_some) => live.ok().and_then(|live| live.clone()),
        }
    }

    /// Until the bus closes.
    pub(super) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Ends the present life, if there is one.
    pub(super) fn kill(&self) {
        if let Some(live) = &*self.live.borrow() {
            live.dead.cancel();
        }
    }

    async fn keep(self: Arc<Self>, mut live: Live) {
        loop {
            self.watch(live).await;
            self.live.send_replace(None);
            self.set_health(Health::Down);
            if self.closing.is_cancelled() {
                return;
            }
            metrics::reconnects(self.name).increment(1);
            warn!(connection = self.name, "The connection to RabbitMQ is lost, connecting again");
            live = tokio::select! {
                () = self.closing.cancelled() => return,
                live = self.connect_again() => live,
            };
            info!(connection = self.name, "Connected to RabbitMQ again");
        }
    }

    async fn connect_again(&self) -> Live {
        let mut pause = BACKOFF_MS_FIRST;
        loop {
            // Half of the pause is jitter, so that a cluster does not come back as one.
            sleep(random::jitter(Duration::from_millis(pause))).await;
            match self.connect().await {
                Ok(live) => return live,
                Err(reason) => info!(connection = self.name, "RabbitMQ is away: {reason:#}"),
            }
            pause = (pause * 2).min(BACKOFF_MS_LAST);
        }
    }

    async fn connect(&self) -> anyhow::Result<Live> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.uris.len();
        let mut uri = self.uris[next].clone();
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        uri.query.connection_timeout.get_or_insert(CONNECT_MS_MAX);
        let name = format!("chatchit {} {}", self.node, self.name);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connect = async {
            let tls = OwnedTLSConfig { identity: None, cert_chain: self.authorities.clone() };
            let runtime = lapin::runtime::default_runtime()?;
            let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
            let connection = connecting.await.context("connect")?;
            if let Some(Publishing { declares, .. }) = self.publishing {
                let channel = connection.create_channel().await.context("open a channel")?;
                if declares {
                    let declared = declare::durable(&channel, &self.names, self.queues).await;
                    declared.context("declare the topology")?;
                } else {
                    let found = declare::is_there(&channel, &self.names).await;
                    found.context(
                        "no program with this CHATCHIT_PREFIX has ever run here: check CHATCHIT_PREFIX",
                    )?;
                }
            }
            anyhow::Ok(connection)
        };
        let connection =
            timeout(Duration::from_millis(CONNECT_MS_MAX), connect).await.context("in time")??;
        Ok(Live { connection: Arc::new(connection), dead: CancellationToken::new() })
    }

    /// Until this life is over.
    async fn watch(&self, live: Live) {
        let mut events = live.connection.events_listener();
        let dead = live.dead.clone();
        // Whatever happened before the listener was there shows in the status.
        if live.connection.status().connected() {
            self.live.send_replace(Some(live.clone()));
            self.set_health(Health::Up);
            loop {
                let event = tokio::select! {
                    () = dead.cancelled() => break,
                    () = self.closing.cancelled() => break,
                    event = events.next() => event,
                };
                match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        warn!(connection = self.name, "RabbitMQ takes no publishes: {reason}");
                        self.set_health(Health::Blocked);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        info!(connection = self.name, "RabbitMQ takes publishes again");
                        self.set_health(Health::Up);
                    }
                    // A lost channel is told here too.
                    Some(_) if live.connection.status().connected() => {}
                    _ => break,
                }
            }
        }
        dead.cancel();
        if live.connection.status().connected() {
            let close = live.connection.close(200, "bye".into());
            // A broker that does not answer is left: dropping the connection closes it.
            let _ = timeout(Duration::from_millis(ANSWER_MS_MAX / 5), close).await;
        }
    }

    fn set_health(&self, now: Health) {
        if let Some(Publishing { health, .. }) = &self.publishing {
            metrics::up().set(if now == Health::Up { 1 } else { 0 });
            health.send_replace(now);
        }
    }
}

impl Live {
    /// A channel of this life; an error when the life ends or the broker is silent.
    pub(super) async fn channel(&self) -> anyhow::Result<Channel> {
        self.answer(self.connection.create_channel()).await.context("open a channel")
    }

    /// Runs `consume` on a channel of its own. If it fails, closes the channel before returning: the broker may register the
    /// consumer late and deliver to it, and this program would not read those deliveries. If the broker does not answer the
    /// close either, ends this life: the broker drops all consumers of a connection that ends.
    pub(super) async fn on_channel<T>(
        &self,
        consume: impl AsyncFnOnce(&Channel) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let channel = self.channel().await?;
        let outcome = consume(&channel).await;
        if outcome.is_err() {
            // An error: the broker has closed it already.
            let closed = timeout(Duration::from_millis(ANSWER_MS_MAX), channel.close(200, "failed".into()));
            tokio::select! {
                () = self.dead.cancelled() => {}
                closed = closed => if closed.is_err() {
                    warn!("RabbitMQ does not close a channel: ending the connection");
                    self.dead.cancel();
                }
            }
        }
        outcome
    }

    /// An answer of the broker, within its deadline and this life.
    pub(super) async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, lapin::Error>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            () = self.dead.cancelled() => anyhow::bail!("the connection was lost"),
            answer = timeout(Duration::from_millis(ANSWER_MS_MAX), asked) => {
                Ok(answer.context("no answer in time")??)
            }
        }
    }
}
