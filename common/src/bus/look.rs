//! What an operator sees of the bus: how much waits, and what was set aside. Looking changes
//! nothing; [`Bus::replay`] is the one that does.

use std::time::Duration;

use super::rabbit::RabbitBus;
use super::{Backend, Bus, BusConfig, BusError, Envelope, LaneConsumer, LanePlace, memory, rabbit};
use protocol::ids::NodeId;
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
    /// The one in this place, counted from 1 as [`Bus::quarantined`] shows them.
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
    /// Batches nobody has been given yet.
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
pub struct Held {
    /// The shard.
    pub shard: u16,
    /// Batches.
    pub unacked: u32,
    /// The first envelope of the oldest of them. None: it is on its way back.
    pub oldest: Option<Envelope>,
}

/// A look at what a lane consumer holds, for as long as the consumer lives.
pub struct LaneView {
    lane: Lane,
    view: View,
}

enum View {
    Memory(memory::View),
    Rabbit(rabbit::View),
}

impl Bus {
    /// Connects to a broker that others have prepared, and declares nothing: somebody who only
    /// looks, perhaps under the wrong prefix, leaves nothing behind. A fault when there is nothing.
    pub async fn visit(config: BusConfig, node: NodeId) -> Result<Self, BusError> {
        Ok(Self(Backend::Rabbit(RabbitBus::visit(config, node).await.map_err(BusError)?)))
    }

    /// How much waits.
    pub async fn depths(&self) -> Result<Depths, BusError> {
        match &self.0 {
            Backend::Memory(bus) => Ok(bus.depths()),
            Backend::Rabbit(bus) => bus.depths().await,
        }
    }

    /// Looks at what was set aside; it stays there.
    pub async fn quarantined(&self, limit: usize) -> Result<Vec<Quarantined>, BusError> {
        match &self.0 {
            Backend::Memory(bus) => Ok(bus.quarantined(limit)),
            Backend::Rabbit(bus) => bus.quarantined(limit).await,
        }
    }

    /// Puts what was set aside back on its lane, unchanged, at the end, with all its attempts
    /// before it. It leaves the quarantine only after the broker has confirmed: a replay that is
    /// broken off leaves it in both places, and its guid makes that harmless.
    pub async fn replay(&self, which: Which) -> Replayed {
        match &self.0 {
            Backend::Memory(bus) => bus.replay(which),
            Backend::Rabbit(bus) => bus.replay(which).await,
        }
    }
}

impl LaneConsumer {
    /// A look at what it holds.
    pub fn view(&self) -> LaneView {
        let view = match &self.place {
            LanePlace::Memory(consumer) => View::Memory(consumer.view()),
            LanePlace::Rabbit(consumer) => View::Rabbit(consumer.view()),
        };
        LaneView { lane: self.lane, view }
    }
}

impl LaneView {
    /// The lane.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// What is held; shards of which nothing is held are left out.
    pub fn held(&self) -> Vec<Held> {
        match &self.view {
            View::Memory(view) => view.held(),
            View::Rabbit(view) => view.held(),
        }
    }
}

impl LaneView {
    /// Shards that the consumer should be in line for and is not, for so long or longer: what is on
    /// them may wait for nobody. In one process there are none.
    pub fn astray(&self, time: Duration) -> Vec<u16> {
        match &self.view {
            View::Memory(_) => Vec::new(),
            View::Rabbit(view) => view.astray(time),
        }
    }
}

/// The places that a replay takes, of so many.
pub(super) fn chosen(which: Which, place: usize) -> bool {
    match which {
        Which::Nth(nth) => nth == place,
        Which::All => true,
    }
}
