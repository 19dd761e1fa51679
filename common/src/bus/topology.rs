//! The one table of what exists on the broker, and of what of it each lane uses. Pure.
//!
//! Everything here is a function of lanes, shards, groups and nodes; never of users. Arguments
//! are valid on RabbitMQ 3.10 to 4.x: `x-queue-type` always given, no transient queue that is not
//! exclusive, no lazy mode, no global qos.
//!
//! ```text
//! (default exchange) ─▶ <p>.lane.high.0 … 7, <p>.lane.medium.0 … 7     durable, one active consumer
//!                    ─▶ <p>.lane.low                                   bounded, oldest go first
//!                    ─▶ <p>.deliver.<node>, <p>.inbox.<node>           exclusive to the node
//!                    ─▶ <p>.quarantine
//! <p>.topic          ─▶ <p>.group.<group>                              durable
//!                    ─▶ <p>.sub.<node>.<n>                             exclusive to the node
//! <p>.ask            ─▶ <p>.ask.<group>                                gone with the last member, or 5 s after it
//! <p>.retry.<rung>   ─▶ <p>.retry.<rung>  ── after its ttl ──▶ (default exchange), same routing key
//! ```

use xxhash_rust::xxh3::xxh3_64;

use super::envelope::Envelope;
use super::subject::Subject;
use crate::limits::{
    BATCHES_UNCONFIRMED_MAX, LANE_PREFETCH, LANE_SHARDS, LOW_LANE_BATCHES_MAX, LOW_LANE_TTL_MS,
};
use protocol::Lane;
use protocol::ids::NodeId;

/// Prefetch of the low lane, which keeps no order and may be large.
const LOW_LANE_PREFETCH: u16 = 64;

/// Batches a node's own queues hold before the oldest go.
pub(super) const NODE_QUEUE_BATCHES_MAX: u32 = 20_000;

/// Messages in the quarantine, beyond which setting aside is refused (and tried again).
pub(super) const QUARANTINE_MAX: u32 = 100_000;

/// How long the requests of a group without members wait after the broker itself restarted.
pub(super) const ASK_EXPIRES_MS: u32 = 60_000;

/// How long a replicated queue of requests stays when the last member has left; callers get `NoResponders` only
/// from then on, and wait for their deadline until then.
pub(super) const ASK_EXPIRES_QUORUM_MS: u32 = 5_000;

/// What a lane is on the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneRow {
    pub lane: Lane,
    /// Queues; more than one only where order is kept.
    pub shards: u16,
    /// AMQP priority of its messages: shown to operators, used by nothing (each lane has its own
    /// queues).
    pub priority: u8,
    /// Batches a consumer may hold per shard.
    pub prefetch: u16,
    /// Written to disk, confirmed, and consumed by one worker at a time.
    pub durable: bool,
    /// None: no limit.
    pub ttl_ms: Option<u32>,
    /// Messages at most; the oldest go first.
    pub length_max: Option<u32>,
}

/// The table.
pub(super) const LANES: [LaneRow; 3] = [
    LaneRow {
        lane: Lane::High,
        shards: LANE_SHARDS,
        priority: 9,
        prefetch: LANE_PREFETCH,
        durable: true,
        ttl_ms: None,
        length_max: None,
    },
    LaneRow {
        lane: Lane::Medium,
        shards: LANE_SHARDS,
        priority: 5,
        prefetch: LANE_PREFETCH,
        durable: true,
        ttl_ms: None,
        length_max: None,
    },
    LaneRow {
        lane: Lane::Low,
        shards: 1,
        priority: 2,
        prefetch: LOW_LANE_PREFETCH,
        durable: false,
        ttl_ms: Some(LOW_LANE_TTL_MS),
        length_max: Some(LOW_LANE_BATCHES_MAX),
    },
];

impl LaneRow {
    pub(super) const fn of(lane: Lane) -> Self {
        LANES[lane as usize]
    }

    /// The shard of a key. It never changes: it decides which queue a conversation is in.
    pub(super) fn shard(&self, key: u64) -> u16 {
        (xxh3_64(&key.to_le_bytes()) % u64::from(self.shards)) as u16
    }
}

const _: () = {
    assert!(LaneRow::of(Lane::High).priority > LaneRow::of(Lane::Medium).priority);
    assert!(LaneRow::of(Lane::Medium).priority > LaneRow::of(Lane::Low).priority);
};

/// The destination of an envelope, and the promises for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Destination {
    /// To the queue of a shard.
    Lane(Lane, u16),
    /// To the queue of one node; a missing queue is reported.
    Deliver(Subject),
    /// To all current subscribers.
    Control(Subject),
    /// To queue groups and subscribers, persistent.
    Topic(Subject),
}

impl Destination {
    pub(super) fn of(envelope: &Envelope) -> Self {
        if let Some(lane) = envelope.subject.lane() {
            return Self::Lane(lane, LaneRow::of(lane).shard(envelope.key));
        }
        let subject = envelope.subject.clone();
        match subject.head() {
            "deliver" => Self::Deliver(subject),
            "control" => Self::Control(subject),
            _ => Self::Topic(subject),
        }
    }

    pub(super) fn lane(&self) -> Option<Lane> {
        match self {
            Self::Lane(lane, _) => Some(*lane),
            _ => None,
        }
    }

    /// Persistent messages.
    pub(super) fn durable(&self) -> bool {
        match self {
            Self::Lane(lane, _) => LaneRow::of(*lane).durable,
            Self::Topic(_) => true,
            Self::Deliver(_) | Self::Control(_) => false,
        }
    }

    /// Whether the broker confirms. Deliveries are confirmed too, because only a confirm tells
    /// that a message was *not* returned.
    pub(super) fn confirmed(&self) -> bool {
        self.durable() || matches!(self, Self::Deliver(_))
    }

    /// Whether callers repeat what was not taken. A delivery that outlived its connection in a
    /// window would arrive after later deliveries of another worker.
    pub(super) fn repeated_by_caller(&self) -> bool {
        matches!(self, Self::Deliver(_) | Self::Control(_))
    }

    /// Largest number of unconfirmed batches. One per shard: envelopes that arrive meanwhile make the next one
    /// larger, and the broker's cost is per batch. A delivery goes alone because, when several are
    /// confirmed at once, the client library cannot say which of them was returned.
    pub(super) fn unconfirmed_max(&self) -> usize {
        match self {
            Self::Lane(lane, _) if LaneRow::of(*lane).durable => 1,
            Self::Deliver(_) => 1,
            _ => BATCHES_UNCONFIRMED_MAX,
        }
    }
}

/// Names of exchanges and queues under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(super) fn lane(&self, lane: Lane, shard: u16) -> String {
        match LaneRow::of(lane).shards {
            1 => format!("{}.lane.{lane}", self.prefix),
            _ => format!("{}.lane.{lane}.{shard}", self.prefix),
        }
    }

    /// The queue of a literal `deliver.<node>` subject.
    pub(super) fn deliver(&self, subject: &str) -> String {
        format!("{}.{subject}", self.prefix)
    }

    pub(super) fn inbox(&self, node: NodeId) -> String {
        format!("{}.inbox.{node}", self.prefix)
    }

    pub(super) fn subscription(&self, node: NodeId, serial: u64) -> String {
        format!("{}.sub.{node}.{serial}", self.prefix)
    }

    pub(super) fn topic_exchange(&self) -> String {
        format!("{}.topic", self.prefix)
    }

    pub(super) fn ask_exchange(&self) -> String {
        format!("{}.ask", self.prefix)
    }

    pub(super) fn group(&self, group: &str) -> String {
        format!("{}.group.{group}", self.prefix)
    }

    pub(super) fn ask_group(&self, group: &str) -> String {
        format!("{}.ask.{group}", self.prefix)
    }

    /// Exchange and queue of a rung have the same name.
    pub(super) fn rung(&self, rung: usize) -> String {
        format!("{}.retry.{rung}", self.prefix)
    }

    pub(super) fn quarantine(&self) -> String {
        format!("{}.quarantine", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn each_lane_has_its_row() {
        for lane in Lane::ALL {
            assert_eq!(LaneRow::of(lane).lane, lane);
        }
    }

    /// A change here moves conversations to other queues while their envelopes wait in the old.
    #[test]
    fn the_shard_of_a_key_never_changes() {
        let row = LaneRow::of(Lane::High);
        let shards: Vec<u16> = [0, 1, 2, 7, 1_000, u64::MAX].map(|key| row.shard(key)).into();
        assert_eq!(shards, [1, 6, 3, 7, 5, 3]);
        assert_eq!(LaneRow::of(Lane::Low).shard(7), 0);
    }

    #[test]
    fn keys_spread_evenly_over_shards() {
        let row = LaneRow::of(Lane::High);
        let mut counts = [0; LANE_SHARDS as usize];
        for key in 0..8_000 {
            counts[usize::from(row.shard(key))] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    #[test]
    fn subjects_are_routed_by_their_head() {
        let route = |subject: &str| {
            let subject = Subject::new(subject).unwrap();
            Destination::of(&Envelope { subject, key: 7, body: Bytes::new() })
        };
        assert_eq!(route("high.sendMessage"), Destination::Lane(Lane::High, 7));
        assert_eq!(route("low.typing"), Destination::Lane(Lane::Low, 0));
        assert!(matches!(route("deliver.0000000000000abc"), Destination::Deliver(_)));
        assert!(matches!(route("control.gateways"), Destination::Control(_)));
        assert!(matches!(route("api.auth"), Destination::Topic(_)));
        assert!(!route("low.typing").durable() && !route("low.typing").confirmed());
        assert!(!route("deliver.a").durable() && route("deliver.a").confirmed());
        assert!(route("medium.messageRead").durable() && !route("medium.messageRead").repeated_by_caller());
        assert!(route("deliver.a").repeated_by_caller());
    }

    #[test]
    fn names_are_stable() {
        let names = Names::new("chatchit");
        assert_eq!(names.lane(Lane::High, 3), "chatchit.lane.high.3");
        assert_eq!(names.lane(Lane::Low, 0), "chatchit.lane.low");
        assert_eq!(names.deliver("deliver.0abc"), "chatchit.deliver.0abc");
        assert_eq!(names.inbox(NodeId(1)), "chatchit.inbox.0000000000000001");
    }
}
