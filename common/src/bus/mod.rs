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

/// The address of RabbitMQ.
mod config;

/// The results of operations on the bus.
mod outcome;

/// What the bus hands out.
mod arrival;

/// The operator's view: depths, quarantine.
mod inspect;

/// The names of everything measured here.
mod metrics;

/// All exchanges and queues; per lane its queue, priority, ttl, prefetch.
mod topology;

/// The queue of one plain subscriber.
mod mailbox;

/// Unconfirmed batches, and the envelopes that gather meanwhile.
mod batch;

/// The finished deliveries of a channel.
mod ledger;

/// The same promises in one process.
mod memory;

/// The same promises over RabbitMQ: the only place that uses `lapin`.
mod rabbit;

/// One of the two.
mod backend;

/// Subscribers and members of queue groups.
mod subscription;

/// Consumers of lanes.
mod lane;

/// The handle.
mod handle;

/// The operator's questions.
mod operator;

/// The backlog of the lanes, measured from outside.
mod depth;

pub use self::arrival::{Arrival, LaneEnvelope};
pub use self::config::{BusConfig, QueueKind};
pub use self::depth::LaneWatch;
pub use self::envelope::{BadEnvelope, Envelope};
pub use self::handle::Bus;
pub use self::inspect::{Depths, Holding, LaneDepth, LaneSeen, Quarantined, Replayed, RungDepth, Which};
pub use self::lane::{LaneBatch, LaneConsumer, LaneView};
pub use self::outcome::{BusError, Fate, Health, PublishError, Receipt, RequestError};
pub use self::subject::{BadSubject, Pattern, Subject};
pub use self::subscription::{GroupDelivery, GroupSubscription, Subscription};
