//! The handle: publishing, subscribing, asking.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::arrival::LaneEnvelope;
use super::backend::Backend;
use super::config::BusConfig;
use super::envelope::Envelope;
use super::lane::{LaneConsumer, LaneMember};
use super::outcome::{BusError, Fate, Health, PublishError, Receipt, RequestError};
use super::subject::{Pattern, Subject};
use super::subscription::{GroupMember, GroupSubscription, Subscription};
use super::{memory, metrics, rabbit};
use protocol::ids::NodeId;
use protocol::{Lane, TraceContext};

/// The handle for publishing and subscribing on subjects. Cheap to clone; the bus lives as long as
/// a clone or something that was subscribed with one.
#[derive(Clone)]
pub struct Bus(pub(super) Backend);

impl Bus {
    /// The bus of one process: everything that should meet on it takes a clone.
    pub fn memory() -> Self {
        Self(Backend::Memory(memory::MemoryBus::new()))
    }

    /// Connects, declares the topology. The first connection must succeed.
    pub async fn connect(config: BusConfig, node: NodeId) -> Result<Self, BusError> {
        let bus = rabbit::RabbitBus::connect(config, node).await.map_err(BusError)?;
        Ok(Self(Backend::Rabbit(bus)))
    }

    /// Publishes without waiting; the receipt hears the outcome. The hot path.
    pub fn enqueue(&self, envelope: Envelope, receipt: Receipt) {
        match &self.0 {
            Backend::Memory(bus) => bus.enqueue(envelope, receipt),
            Backend::Rabbit(bus) => bus.enqueue(envelope, None, receipt),
        }
    }

    /// The same, of an envelope that belongs to a sampled trace: its batch says so to the broker.
    pub fn enqueue_in(&self, envelope: Envelope, context: Option<TraceContext>, receipt: Receipt) {
        match &self.0 {
            Backend::Memory(bus) => bus.enqueue(envelope, receipt),
            Backend::Rabbit(bus) => bus.enqueue(envelope, context, receipt),
        }
    }

    /// Publishes and waits for the outcome.
    pub async fn publish(&self, envelope: Envelope) -> Result<(), PublishError> {
        let (sender, outcome) = oneshot::channel();
        // The caller may be gone by then: the envelope travels all the same.
        self.enqueue(
            envelope,
            Box::new(move |result| {
                let _ = sender.send(result);
            }),
        );
        outcome.await.unwrap_or(Err(PublishError::Closed))
    }

    /// Every subscriber gets every envelope that is published from now on. Lane subjects go to
    /// lane consumers only.
    pub async fn subscribe(&self, pattern: Pattern) -> Result<Subscription, BusError> {
        let reader = match &self.0 {
            Backend::Memory(bus) => bus.subscribe(pattern),
            Backend::Rabbit(bus) => bus.subscribe(pattern).await?,
        };
        Ok(Subscription { reader, _bus: self.0.clone() })
    }

    /// One member of the group gets each envelope, and must acknowledge it. All members of a
    /// group take what any of them subscribed to.
    pub async fn queue_subscribe(
        &self,
        pattern: Pattern,
        group: &str,
    ) -> Result<GroupSubscription, BusError> {
        let member = match &self.0 {
            Backend::Memory(bus) => GroupMember::Memory(bus.queue_subscribe(pattern, group)),
            Backend::Rabbit(bus) => GroupMember::Rabbit(bus.queue_subscribe(pattern, group).await?),
        };
        Ok(GroupSubscription { member, _bus: self.0.clone() })
    }

    /// Asks a queue group and waits for the answer.
    pub async fn request(
        &self,
        subject: Subject,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, RequestError> {
        let asked = Instant::now();
        let answer = match &self.0 {
            Backend::Memory(bus) => bus.request(subject, body, deadline).await,
            Backend::Rabbit(bus) => bus.request(subject, body, deadline).await,
        };
        metrics::requested(&answer, asked.elapsed());
        answer
    }

    /// Takes envelopes off a lane.
    pub async fn consume(&self, lane: Lane) -> Result<LaneConsumer, BusError> {
        let member = match &self.0 {
            Backend::Memory(bus) => LaneMember::Memory(bus.consume(lane)),
            Backend::Rabbit(bus) => LaneMember::Rabbit(bus.consume(lane).await?),
        };
        Ok(LaneConsumer { lane, member, _bus: self.0.clone() })
    }

    /// Sends a failed envelope up the retry ladder, or to quarantine after its last rung. Only
    /// then acknowledge the batch it came in. It has lost its place in the order.
    pub async fn retry(&self, lane: Lane, failed: LaneEnvelope, reason: &str) -> Result<Fate, PublishError> {
        match &self.0 {
            Backend::Memory(bus) => bus.retry(lane, failed, reason),
            Backend::Rabbit(bus) => bus.retry(lane, failed, reason).await,
        }
    }

    /// Whether publishing can work now.
    pub fn health(&self) -> watch::Receiver<Health> {
        match &self.0 {
            Backend::Memory(bus) => bus.health(),
            Backend::Rabbit(bus) => bus.health(),
        }
    }

    /// Subscriptions first (what was handed out may still be acknowledged, and publishing still
    /// works), then publishers flush, then close. Ends the bus for all its clones, within
    /// [`BUS_DRAIN_MS_MAX`](crate::limits::BUS_DRAIN_MS_MAX).
    pub async fn drain(&self) {
        match &self.0 {
            Backend::Memory(bus) => bus.drain().await,
            Backend::Rabbit(bus) => bus.drain().await,
        }
    }
}
