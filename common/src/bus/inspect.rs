//! The operator's view of the bus: depths, quarantine, results of a replay.

use std::time::Duration;

use super::envelope::Envelope;
use super::outcome::BusError;
use protocol::{Lane, Timestamp};

/// An envelope set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Quarantined {
    /// Its lane; high, when it came from a queue group.
    pub lane: Lane,
    pub envelope: Envelope,
    pub attempts: u8,
    pub reason: String,
    /// The time. None: the program that set it aside did not write one.
    pub set_aside: Option<Timestamp>,
}

/// The envelopes to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one in this place, counted from 1 as [`quarantined`](super::Bus::quarantined) shows them.
    Nth(usize),
    /// Everything that is there when it begins.
    All,
}

/// The result of a replay.
#[derive(Debug, Default)]
pub struct Replayed {
    /// On their lanes again, and not in quarantine any more.
    pub done: Vec<Quarantined>,
    /// Still in quarantine: damaged, or on no lane, so that no consumer could take them.
    pub kept: Vec<Quarantined>,
    /// Why it ended before its end. What is in neither list is still in quarantine.
    pub failed: Option<BusError>,
}

/// Depths, counted in batches: a batch is one AMQP message of one or more envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depths {
    /// Every shard of every lane.
    pub lanes: Vec<LaneDepth>,
    /// The rungs of the retry ladder, all lanes together.
    pub retries: Vec<RungDepth>,
    /// Set aside.
    pub quarantine: u32,
}

/// A shard of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneDepth {
    /// The lane.
    pub lane: Lane,
    /// The shard.
    pub shard: u16,
    /// Batches that no consumer holds yet.
    pub waiting: u32,
    /// In line for it; where order is kept, one of them is active.
    pub consumers: u32,
}

/// A rung of the retry ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RungDepth {
    /// For how long an envelope stays on it.
    pub delay_ms: u32,
    /// Envelopes there.
    pub waiting: u32,
}

/// What one consumer holds of one shard, neither acknowledged nor given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The shard.
    pub shard: u16,
    /// Batches.
    pub unacked: u32,
    /// The first envelope of the oldest of them. None: it is on its way back.
    pub oldest: Option<Envelope>,
}

/// The measured state of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneSeen {
    /// Waiting, in no worker's hands.
    pub batches: u64,
    /// For how long one of its queues was never seen empty.
    pub backlog: Duration,
    /// Workers in line, of the queue that has the fewest.
    pub consumers: u32,
}

/// Whether a replay takes the envelope at this place of the quarantine.
pub(super) fn chosen(which: Which, place: usize) -> bool {
    match which {
        Which::Nth(nth) => nth == place,
        Which::All => true,
    }
}
