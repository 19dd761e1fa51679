//! What an operator sees of the bus: how much waits, what was set aside, what became of a replay.

use std::time::Duration;

use super::envelope::Envelope;
use super::outcome::BusError;
use protocol::{Lane, Timestamp};

/// An envelope set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Quarantined {
    /// Where it came from; high, when it came from a queue group.
    pub lane: Lane,
    pub envelope: Envelope,
    pub attempts: u8,
    pub reason: String,
    /// When. None: it was set aside by a program that did not write it down.
    pub set_aside: Option<Timestamp>,
}

/// Which of what was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one in this place, counted from 1 as [`quarantined`](super::Bus::quarantined) shows them.
    Nth(usize),
    /// Everything that is there when it begins.
    All,
}

/// What came of a replay.
#[derive(Debug, Default)]
pub struct Replayed {
    /// On their lanes again, and not in quarantine any more.
    pub done: Vec<Quarantined>,
    /// Still in quarantine: damaged, or on no lane, so that no consumer could take them.
    pub kept: Vec<Quarantined>,
    /// Why it ended before its end. What is in neither list is still in quarantine.
    pub failed: Option<BusError>,
}

/// How much waits. Counted in batches: a batch is what travels together, one envelope or more.
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

/// What a look at a lane found.
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
