//! What the bus hands out.

use super::envelope::Envelope;
use protocol::Lane;

/// What a subscriber receives.
#[derive(Debug)]
pub enum Arrival {
    /// In the batch in which they travelled.
    Envelopes(Vec<Envelope>),
    /// The subscription was rebuilt: something may be missing.
    Lapse,
}

/// An envelope on a lane, with how often it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneEnvelope {
    /// The envelope.
    pub envelope: Envelope,
    /// Failed attempts so far; 0 at first.
    pub attempt: u8,
}

/// Envelopes of one shard of a lane, with what the backend needs to get them back.
pub(super) struct Handout<T> {
    pub lane: Lane,
    pub shard: u16,
    pub envelopes: Vec<LaneEnvelope>,
    pub redelivered: bool,
    pub ticket: T,
}
