//! Subscribers, and members of queue groups.

use bytes::Bytes;

use super::arrival::Arrival;
use super::backend::Backend;
use super::envelope::Envelope;
use super::{mailbox, memory, rabbit};

/// A subscription; every subscriber gets every envelope. Dropping it ends it.
pub struct Subscription {
    pub(super) reader: mailbox::MailboxReader,
    pub(super) _bus: Backend,
}

/// A member of a queue group; one member gets each envelope.
pub struct GroupSubscription {
    pub(super) member: GroupMember,
    pub(super) _bus: Backend,
}

/// Of which bus.
pub(super) enum GroupMember {
    Memory(memory::MemoryMember),
    Rabbit(rabbit::RabbitMember),
}

/// An envelope for a member of a queue group, to be acknowledged or answered. Dropped without
/// either, it goes to another member.
pub struct GroupDelivery {
    /// The envelope.
    pub envelope: Envelope,
    ticket: GroupTicket,
}

enum GroupTicket {
    Memory(memory::MemoryGroupTicket),
    Rabbit(rabbit::RabbitGroupTicket),
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
            GroupMember::Memory(member) => {
                let (envelope, ticket) = member.next().await?;
                Some(GroupDelivery { envelope, ticket: GroupTicket::Memory(ticket) })
            }
            GroupMember::Rabbit(member) => {
                let (envelope, ticket) = member.next().await?;
                Some(GroupDelivery { envelope, ticket: GroupTicket::Rabbit(ticket) })
            }
        }
    }
}

impl GroupDelivery {
    /// Whether the sender waits for an answer.
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
