//! Subjects over RabbitMQ: the seam, and its promises.
//!
//! * **Publish.** On durable lanes and on group subjects [`Bus::publish`] returns when the envelope
//!   survives a crash of anything: the broker has confirmed it. The bus of one process keeps
//!   nothing, so there a consumer says that a durable lane's envelope is kept
//!   ([`LaneBatch::kept`], [`LaneBatch::ack`]). On transient subjects (`low.*`, `deliver.*`,
//!   `control.*`, requests) it returns when the connection has taken the envelope.
//!   It answers [`PublishError::Busy`] within [`PUBLISH_BUSY_MS`](crate::limits::PUBLISH_BUSY_MS)
//!   when the broker is away, blocks, or the window is full; in one process, when no consumer has
//!   kept the envelope. *Busy* means "not acknowledged", not
//!   "not taken": repeat under the same guid. On `deliver.*` and `control.*` nothing that waited
//!   is sent after its caller heard *busy*, and nothing unconfirmed after its connection was lost.
//! * **Order.** Envelopes with the same key on the same lane, published by one process, arrive in
//!   that order, also across reconnects and across a hand-over of the shard between workers.
//!   Repeats come only after the first. There is no order between lanes.
//! * **At least once.** What was confirmed arrives until it is acknowledged. The low lane and
//!   `deliver.*` are transient: what is lost there is counted, and clients detect it by seq.
//! * **Reconnect.** The bus rebuilds itself for ever, republishes what was unconfirmed (on durable
//!   subjects), and tells subscribers of transient subjects with [`Arrival::Lapse`] that something
//!   may be missing. Callers only ever see `Busy`.
//! * **The broker never learns about users.** Queues and bindings are a function of nodes and
//!   shards.

/// Subject, Pattern: parsed and validated once.
mod subject;

/// Envelope and its bytes.
mod envelope;

/// All exchanges and queues; per lane its queue, priority, ttl, prefetch.
mod topology;

/// What waits for a plain subscriber.
mod mailbox;

/// What is unconfirmed, what gathers meanwhile.
mod batch;

/// Which deliveries are finished.
mod ledger;

/// What waits in the lanes, looked at from outside.
mod depth;

/// The same promises in one process.
mod memory;

/// The same promises over RabbitMQ: the only place that says `lapin`.
mod rabbit;

/// What an operator sees: depths, quarantine, replay.
mod look;

/// The names of everything measured here.
mod metrics;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

pub use self::depth::{LaneSeen, LaneWatch};
pub use self::envelope::{BadEnvelope, Envelope};
pub use self::look::{Depths, Held, LaneDepth, LaneView, Quarantined, Replayed, RungDepth, Which};
pub use self::subject::{BadSubject, Pattern, Subject};
use protocol::ids::NodeId;
use protocol::{Lane, TraceContext};

/// Which kind the durable queues are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// One node.
    Classic,
    /// A cluster: replicated.
    Quorum,
}

/// How to reach RabbitMQ.
#[derive(Clone)]
pub struct BusConfig {
    /// `amqp://user:password@host:port/vhost`; several nodes of one cluster comma-separated.
    pub url: String,
    /// Prefix of every exchange and queue.
    pub prefix: String,
    /// Kind of the durable queues.
    pub queues: QueueKind,
    /// Authorities in PEM that are trusted beside the machine's, for `amqps://`.
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusConfig")
            .field("prefix", &self.prefix)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

/// The handle for publishing and subscribing on subjects. Cheap to clone; the bus lives as long as
/// a clone or something that was subscribed with one.
#[derive(Clone)]
pub struct Bus(Backend);

#[derive(Clone)]
enum Backend {
    Memory(memory::MemoryBus),
    Rabbit(rabbit::RabbitBus),
}

/// What became of a publish. Called exactly once, on a task of the bus: quick, never blocking.
pub type Receipt = Box<dyn FnOnce(Result<(), PublishError>) + Send>;

/// Why an envelope was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The broker is away, blocks or is slow, or the window is full.
    #[error("the broker is away, blocked or slow")]
    Busy,
    /// Nobody is there: the node's queue is gone.
    #[error("nobody listens on the subject")]
    NoRoute,
    /// Over [`ENVELOPE_BYTES_MAX`](crate::limits::ENVELOPE_BYTES_MAX).
    #[error("the envelope is too large")]
    TooLarge,
    /// The bus drains.
    #[error("the bus is closed")]
    Closed,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody serves the subject; known within milliseconds.
    #[error("nobody serves the subject")]
    NoResponders,
    /// No answer within the deadline.
    #[error("no answer in time")]
    Timeout,
    /// The broker is away or blocks.
    #[error("the broker is away, blocked or slow")]
    Busy,
    /// Over [`ENVELOPE_BYTES_MAX`](crate::limits::ENVELOPE_BYTES_MAX).
    #[error("the request is too large")]
    TooLarge,
    /// The bus drains.
    #[error("the bus is closed")]
    Closed,
}

/// A fault of the bus itself.
#[derive(Debug, thiserror::Error)]
#[error("the bus: {0}")]
pub struct BusError(pub anyhow::Error);

/// Whether publishing can work now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Up,
    /// The broker refuses publishes (a resource alarm).
    Blocked,
    /// There is no connection.
    Down,
}

/// What became of a failed envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes again, after a delay.
    Delayed {
        /// Attempts so far.
        attempt: u8,
    },
    /// It was set aside for a person.
    Quarantined,
}

/// What a subscriber hears.
#[derive(Debug)]
pub enum Arrival {
    /// In the batch in which they travelled.
    Envelopes(Vec<Envelope>),
    /// The subscription was rebuilt: something may be missing.
    Lapse,
}

/// A subscription; every subscriber gets every envelope. Dropping it ends it.
pub struct Subscription {
    reader: mailbox::Reader,
    _bus: Bus,
}

/// A member of a queue group; one member gets each envelope.
pub struct GroupSubscription {
    member: GroupMember,
    _bus: Bus,
}

enum GroupMember {
    Memory(memory::Member),
    Rabbit(rabbit::Member),
}

/// An envelope for a member of a queue group, to be acknowledged or answered. Dropped without
/// either, it goes to another member.
pub struct GroupDelivery {
    /// The envelope.
    pub envelope: Envelope,
    ticket: GroupTicket,
}

enum GroupTicket {
    Memory(memory::GroupTicket),
    Rabbit(rabbit::GroupTicket),
}

/// A consumer of one lane.
pub struct LaneConsumer {
    lane: Lane,
    place: LanePlace,
    _bus: Bus,
}

enum LanePlace {
    Memory(memory::Consumer),
    Rabbit(rabbit::Consumer),
}

/// Envelopes of one shard of a lane.
pub struct LaneBatch {
    /// The lane.
    pub lane: Lane,
    /// The shard; 0 on the low lane.
    pub shard: u16,
    /// In order.
    pub envelopes: Vec<LaneEnvelope>,
    /// It was handed out before, here or to another consumer, and not acknowledged: what it asks
    /// for may have been done already, in whole or in part.
    pub redelivered: bool,
    /// None once it was acknowledged or released.
    ticket: Option<LaneTicket>,
}

enum LaneTicket {
    Memory(memory::LaneTicket),
    Rabbit(rabbit::LaneTicket),
}

/// An envelope on a lane, with how often it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneEnvelope {
    /// The envelope.
    pub envelope: Envelope,
    /// Failed attempts so far; 0 at first.
    pub attempt: u8,
}

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
        Ok(Subscription { reader, _bus: self.clone() })
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
        Ok(GroupSubscription { member, _bus: self.clone() })
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
        metrics::request_seconds(&answer).record(asked.elapsed());
        answer
    }

    /// Takes envelopes off a lane.
    pub async fn consume(&self, lane: Lane) -> Result<LaneConsumer, BusError> {
        let place = match &self.0 {
            Backend::Memory(bus) => LanePlace::Memory(bus.consume(lane)),
            Backend::Rabbit(bus) => LanePlace::Rabbit(bus.consume(lane).await?),
        };
        Ok(LaneConsumer { lane, place, _bus: self.clone() })
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

impl Subscription {
    /// The next arrival; None when drained. Safe to cancel.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.reader.next().await
    }
}

impl GroupSubscription {
    /// The next envelope; None when drained. Safe to cancel.
    pub async fn next(&mut self) -> Option<GroupDelivery> {
        match &mut self.member {
            GroupMember::Memory(member) => member.next_delivery().await,
            GroupMember::Rabbit(member) => member.next().await,
        }
    }
}

impl GroupDelivery {
    /// Whether somebody waits for an answer.
    pub fn wants_reply(&self) -> bool {
        match &self.ticket {
            GroupTicket::Memory(ticket) => ticket.wants_reply(),
            GroupTicket::Rabbit(ticket) => ticket.wants_reply(),
        }
    }

    /// Acknowledges without an answer.
    pub fn ack(self) {
        match self.ticket {
            GroupTicket::Memory(ticket) => ticket.finish(None),
            GroupTicket::Rabbit(ticket) => ticket.finish(None),
        }
    }

    /// Answers and acknowledges.
    pub fn reply(self, body: Bytes) {
        match self.ticket {
            GroupTicket::Memory(ticket) => ticket.finish(Some(body)),
            GroupTicket::Rabbit(ticket) => ticket.finish(Some(body)),
        }
    }
}

impl LaneConsumer {
    /// Which shards this consumer should be first in line for. It stays in line for all. Call it
    /// again from time to time: a shard that reaches it meanwhile is given up once per call.
    ///
    /// Giving a shard up: batches handed out become revoked, what was not handed out goes back;
    /// when all were acked or released the shard passes on. Order holds across it.
    pub fn hold(&self, shards: &[u16]) {
        match &self.place {
            LanePlace::Memory(consumer) => consumer.hold(shards),
            LanePlace::Rabbit(consumer) => consumer.hold(shards),
        }
    }

    /// The next batch, in order within a shard; None when drained. Safe to cancel.
    pub async fn next(&mut self) -> Option<LaneBatch> {
        match &mut self.place {
            LanePlace::Memory(consumer) => consumer.next_batch(self.lane).await,
            LanePlace::Rabbit(consumer) => consumer.next_batch().await,
        }
    }
}

impl LaneBatch {
    /// Done with all of it.
    pub fn ack(mut self) {
        self.finish(true);
    }

    /// All of it is kept where it survives a crash of anything, though it is not acknowledged yet.
    /// A bus that keeps nothing itself tells its publishers now. Envelopes given to
    /// [`Bus::retry`] before are not meant.
    pub fn kept(&self) {
        // RabbitMQ has told its publishers long ago: it keeps by itself.
        if let Some(LaneTicket::Memory(ticket)) = &self.ticket {
            ticket.keep(None);
        }
    }

    /// The same of one of its envelopes, by its place.
    pub fn kept_one(&self, at: usize) {
        if let Some(LaneTicket::Memory(ticket)) = &self.ticket {
            ticket.keep(Some(at));
        }
    }

    /// Gives it back, to be delivered again in the same order; later batches of the shard become
    /// revoked, and the shard rests until they are back too. Dropping does the same.
    pub fn release(self) {}

    /// The shard was given up or the connection lost: release it unless it is already being worked on.
    pub fn is_revoked(&self) -> bool {
        match &self.ticket {
            Some(LaneTicket::Memory(ticket)) => ticket.is_revoked(),
            Some(LaneTicket::Rabbit(ticket)) => ticket.is_revoked(),
            None => true,
        }
    }

    fn finish(&mut self, acked: bool) {
        match self.ticket.take() {
            Some(LaneTicket::Memory(ticket)) => ticket.finish(acked),
            Some(LaneTicket::Rabbit(ticket)) => ticket.finish(acked),
            None => {}
        }
    }
}

impl Drop for LaneBatch {
    fn drop(&mut self) {
        self.finish(false);
    }
}
