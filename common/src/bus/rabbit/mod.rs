//! The bus over RabbitMQ: the only folder that uses `lapin`.
//!
//! At most three connections per process, because the client library gives each a thread and
//! eight megabytes: one publishes (the broker may block it), one feeds the node (subscriptions,
//! groups, answers), one consumes lanes (only where lanes are consumed). Everything that runs on
//! a connection rebuilds itself on the next life of it.

/// A connection that keeps coming back.
mod connection;

/// Declares the topology at the broker.
mod declare;

/// When the next batch of a lane may go.
mod pacing;

/// Outlets: windows, pumps, receipts.
mod publisher;

/// Requests and their answers.
mod requests;

/// Acknowledging.
mod acknowledge;

/// Plain subscriptions.
mod subscriptions;

/// Members of queue groups.
mod groups;

/// Lane consumers.
mod lanes;

/// The retry ladder and the quarantine.
mod quarantine;

/// Headers of a batch: its publish time and its trace.
mod headers;

/// How long publishing was impossible.
mod outages;

/// Depths at the broker.
mod inspect;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::connection::{ANSWER_MS_MAX, BrokerLink, Publishing};
use self::groups::Membership;
pub(super) use self::groups::{RabbitGroupTicket, RabbitMember};
pub(super) use self::lanes::{RabbitConsumer, RabbitLaneTicket, RabbitView};
use self::publisher::Publisher;
use self::quarantine::Quarantine;
use self::requests::Requests;
use self::subscriptions::Feed;
use super::arrival::LaneEnvelope;
use super::config::BusConfig;
use super::envelope::Envelope;
use super::inspect::{Depths, Quarantined, Replayed, Which};
use super::mailbox::{Mailbox, MailboxReader};
use super::outcome::{BusError, Fate, Health, PublishError, Receipt, RequestError};
use super::subject::{Pattern, Subject};
use super::topology::Names;
use crate::limits::BUS_DRAIN_MS_MAX;
use protocol::ids::NodeId;
use protocol::{Lane, TraceContext};

/// With the longest subject a queue's name stays under AMQP's 255 bytes.
const NAME_BYTES_MAX: usize = 40;

#[derive(Clone)]
pub(super) struct RabbitBus {
    shared: Arc<Shared>,
    /// When the last clone goes, everything ends.
    _owner: Arc<DropGuard>,
}

struct Shared {
    config: BusConfig,
    node: NodeId,
    names: Names,
    health: watch::Receiver<Health>,
    publisher: Arc<Publisher>,
    requests: Arc<Requests>,
    quarantine: Arc<Quarantine>,
    node_link: Arc<BrokerLink>,
    lanes_link: OnceCell<Arc<BrokerLink>>,
    next_subscription: AtomicU64,
    /// Hands out nothing more.
    ending: CancellationToken,
    /// Set when nothing more may be published. Read for every envelope, where a token would take a lock.
    closed: Arc<AtomicBool>,
    /// Has no connection any more.
    closing: CancellationToken,
    consumers: TaskTracker,
    links: TaskTracker,
}

impl RabbitBus {
    pub(super) async fn connect(config: BusConfig, node: NodeId) -> anyhow::Result<Self> {
        Self::open(config, node, true).await
    }

    /// Without declaring anything that stays.
    pub(super) async fn visit(config: BusConfig, node: NodeId) -> anyhow::Result<Self> {
        Self::open(config, node, false).await
    }

    async fn open(config: BusConfig, node: NodeId, declares: bool) -> anyhow::Result<Self> {
        plain_name(&config.prefix)?;
        let names = Names::new(&config.prefix);
        let (health_sender, health) = watch::channel(Health::Down);
        let [ending, closing] = [(); 2].map(|()| CancellationToken::new());
        let closed = Arc::<AtomicBool>::default();
        let links = TaskTracker::new();
        let duty = Publishing { health: health_sender, declares };
        let publishing = BrokerLink::new("publish", &config, node, Some(duty), closing.clone())?;
        let node_link = BrokerLink::new("node", &config, node, None, closing.clone())?;
        for link in [&publishing, &node_link] {
            let kept = link.start().await?;
            links.spawn(kept);
        }
        let publisher =
            Publisher::new(publishing.clone(), names.clone(), node, health.clone(), closed.clone());
        links.spawn(outages::watch(publisher.clone(), health.clone(), closing.clone()));
        let quarantine = Arc::new(Quarantine::new(publishing.clone(), names.clone(), health.clone()));
        let requests = Requests::start(names.clone(), node, publishing.clone(), node_link.clone());
        let started = async {
            requests.ready().await;
            publishing.live().await;
        };
        timeout(Duration::from_millis(ANSWER_MS_MAX), started).await.context("the inbox in time")?;
        let owner = Arc::new(closing.clone().drop_guard());
        let shared = Shared {
            config,
            node,
            names,
            health,
            publisher,
            requests,
            quarantine,
            node_link,
            lanes_link: OnceCell::new(),
            next_subscription: AtomicU64::new(0),
            ending,
            closed,
            closing,
            consumers: TaskTracker::new(),
            links,
        };
        Ok(Self { shared: Arc::new(shared), _owner: owner })
    }

    pub(super) fn enqueue(&self, envelope: Envelope, context: Option<TraceContext>, receipt: Receipt) {
        self.shared.publisher.enqueue(envelope, context, receipt);
    }

    pub(super) async fn subscribe(&self, pattern: Pattern) -> Result<MailboxReader, BusError> {
        let shared = &self.shared;
        let queue = if subscriptions::is_deliver(&pattern) {
            shared.names.deliver(pattern.as_str())
        } else {
            let serial = shared.next_subscription.fetch_add(1, Ordering::Relaxed);
            shared.names.subscription(shared.node, serial)
        };
        let mailbox = Arc::new(Mailbox::default());
        let reader = MailboxReader(mailbox.clone());
        let (link, names, ending) = (shared.node_link.clone(), shared.names.clone(), shared.ending.clone());
        let (ready, stands) = oneshot::channel();
        let feed = Feed { link, names, queue, pattern, mailbox, ending };
        shared.consumers.spawn(feed.run(ready));
        in_time(stands).await?;
        Ok(reader)
    }

    pub(super) async fn queue_subscribe(
        &self,
        pattern: Pattern,
        group: &str,
    ) -> Result<RabbitMember, BusError> {
        plain_name(group).map_err(BusError)?;
        let shared = &self.shared;
        let membership = Membership {
            link: shared.node_link.clone(),
            names: shared.names.clone(),
            queues: shared.config.queues,
            group: group.into(),
            pattern,
            requests: shared.requests.clone(),
            quarantine: shared.quarantine.clone(),
            ending: shared.ending.clone(),
        };
        let (ready, stands) = oneshot::channel();
        let (member, run) = membership.start(ready);
        shared.consumers.spawn(run);
        in_time(stands).await?;
        Ok(member)
    }

    pub(super) async fn request(
        &self,
        subject: Subject,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(RequestError::Closed);
        }
        if *self.shared.health.borrow() != Health::Up {
            return Err(RequestError::Busy);
        }
        self.shared.requests.request(subject, body, deadline).await
    }

    pub(super) async fn consume(&self, lane: Lane) -> Result<RabbitConsumer, BusError> {
        let shared = &self.shared;
        let link = shared.lanes_link.get_or_try_init(|| async {
            let link = BrokerLink::new("lanes", &shared.config, shared.node, None, shared.closing.clone())?;
            shared.links.spawn(link.start().await?);
            anyhow::Ok(link)
        });
        let link = link.await.map_err(BusError)?.clone();
        let (names, quarantine, queues) =
            (shared.names.clone(), shared.quarantine.clone(), shared.config.queues);
        let line = lanes::ShardTask { link, names, queues, quarantine, ending: shared.ending.clone() };
        let start = RabbitConsumer::start(lane, line, &shared.consumers);
        let consumer = timeout(Duration::from_millis(ANSWER_MS_MAX), start).await;
        consumer.context("the broker gives no answer").and_then(|started| started).map_err(BusError)
    }

    pub(super) async fn retry(
        &self,
        lane: Lane,
        failed: LaneEnvelope,
        reason: &str,
    ) -> Result<Fate, PublishError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(PublishError::Closed);
        }
        self.shared.quarantine.retry(lane, failed, reason).await
    }

    pub(super) async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>, BusError> {
        self.shared.quarantine.quarantined(limit).await.map_err(BusError)
    }

    pub(super) async fn replay(&self, which: Which) -> Replayed {
        self.shared.quarantine.replay(which).await
    }

    pub(super) async fn depths(&self) -> Result<Depths, BusError> {
        let depths = async {
            let live = self.shared.node_link.live().await.context("the bus closes")?;
            inspect::depths(&live, &self.shared.names).await
        };
        depths.await.map_err(BusError)
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.clone()
    }

    pub(super) async fn drain(&self) {
        let shared = &self.shared;
        let patience = Duration::from_millis(BUS_DRAIN_MS_MAX);
        shared.ending.cancel();
        shared.consumers.close();
        // What is out or unconfirmed for longer comes again elsewhere, or was never acknowledged.
        let _ = timeout(patience, shared.consumers.wait()).await;
        shared.closed.store(true, Ordering::Release);
        let _ = timeout(patience, shared.publisher.flushed()).await;
        shared.closing.cancel();
        shared.links.close();
        let _ = timeout(patience, shared.links.wait()).await;
        shared.publisher.stopped().await;
    }
}

async fn in_time(stands: oneshot::Receiver<()>) -> Result<(), BusError> {
    let stands = timeout(Duration::from_millis(ANSWER_MS_MAX), stands).await;
    match stands {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(BusError(anyhow::anyhow!("the bus closes"))),
        Err(_) => Err(BusError(anyhow::anyhow!("the broker gives no answer"))),
    }
}

/// Names of prefixes and groups become parts of queue names.
fn plain_name(name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain);
    anyhow::ensure!(fits, "{name:?} is no name of 1 to {NAME_BYTES_MAX} letters, digits, - or _");
    Ok(())
}
