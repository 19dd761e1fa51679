//! Consumers of lanes, and the batches that they are handed.

use std::time::Duration;

use super::arrival::{Handout, LaneEnvelope};
use super::backend::Backend;
use super::inspect::Holding;
use super::{memory, rabbit};
use protocol::Lane;

/// A consumer of one lane.
pub struct LaneConsumer {
    pub(super) lane: Lane,
    pub(super) member: LaneMember,
    pub(super) _bus: Backend,
}

/// Of which bus.
pub(super) enum LaneMember {
    Memory(memory::MemoryConsumer),
    Rabbit(rabbit::RabbitConsumer),
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
    Memory(memory::MemoryLaneTicket),
    Rabbit(rabbit::RabbitLaneTicket),
}

/// A look at what a lane consumer holds, for as long as the consumer lives.
pub struct LaneView {
    lane: Lane,
    view: View,
}

enum View {
    Memory(memory::MemoryView),
    Rabbit(rabbit::RabbitView),
}

impl LaneConsumer {
    /// Which shards this consumer should be first in line for. It stays in line for all. Call it
    /// again from time to time: a shard that reaches it meanwhile is given up once per call.
    ///
    /// Giving a shard up: batches handed out become revoked, what was not handed out goes back;
    /// when all were acked or released the shard passes on. Order holds across it.
    pub fn hold(&self, shards: &[u16]) {
        match &self.member {
            LaneMember::Memory(consumer) => consumer.hold(shards),
            LaneMember::Rabbit(consumer) => consumer.hold(shards),
        }
    }

    /// The next batch, in order within a shard; None when drained. Safe to cancel.
    pub async fn next(&mut self) -> Option<LaneBatch> {
        match &mut self.member {
            LaneMember::Memory(consumer) => {
                consumer.next().await.map(|handout| LaneBatch::of(handout, LaneTicket::Memory))
            }
            LaneMember::Rabbit(consumer) => {
                consumer.next().await.map(|handout| LaneBatch::of(handout, LaneTicket::Rabbit))
            }
        }
    }
}

impl LaneBatch {
    fn of<T>(handout: Handout<T>, ticket_of: impl FnOnce(T) -> LaneTicket) -> Self {
        let Handout { lane, shard, envelopes, redelivered, ticket } = handout;
        Self { lane, shard, envelopes, redelivered, ticket: Some(ticket_of(ticket)) }
    }

    /// Done with all of it.
    pub fn ack(mut self) {
        self.finish(true);
    }

    /// Marks the whole batch as kept: it survives any crash, though it is not acknowledged yet.
    /// A bus that keeps nothing itself tells its publishers now. Envelopes given to
    /// [`Bus::retry`](super::Bus::retry) before are excluded.
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

impl LaneConsumer {
    /// A look at what it holds.
    pub fn view(&self) -> LaneView {
        let view = match &self.member {
            LaneMember::Memory(consumer) => View::Memory(consumer.view()),
            LaneMember::Rabbit(consumer) => View::Rabbit(consumer.view()),
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
    pub fn held(&self) -> Vec<Holding> {
        match &self.view {
            View::Memory(view) => view.held(),
            View::Rabbit(view) => view.held(),
        }
    }
}

impl LaneView {
    /// Shards that the consumer should be in line for, but has not been for `time` or longer: perhaps no
    /// consumer takes what waits there. The bus of one process has none.
    pub fn astray(&self, time: Duration) -> Vec<u16> {
        match &self.view {
            View::Memory(_) => Vec::new(),
            View::Rabbit(view) => view.astray(time),
        }
    }
}
