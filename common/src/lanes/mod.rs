//! The machinery of a lane: envelopes in, effects out, told to those who must know, acknowledged.
//!
//! It knows no noun: what happens is a [`Handle`] of the program that runs the lanes. Promises: batches
//! of a shard are worked on one at a time and in order; what is acknowledged was handled and told, or
//! set aside; an event that can never be handled stands alone in the end.

/// What handlers are given and what they answer.
pub mod work;

/// What a handler wants to happen, as data.
pub mod effects;

/// Which shards of a lane a program takes, from who is alive.
pub mod share;

/// Which waiting batch is worked on next: weights, ageing, one at a time per shard.
pub mod schedule;

/// Takes batches off the lanes, and acknowledges: the only place that does.
mod consumer;

/// Keys whose events wait apart, because the store ends every statement that names them.
mod apart;

/// One piece of work, from decoding to acknowledging: hold, bisect, set aside.
mod attempt;

/// Effects to one delivery per node: the only place that publishes what clients hear.
pub mod fanout;

/// What a piece of work says to the traces of the messages in it.
mod traced;

/// The names of everything measured here.
mod metrics;

pub use self::apart::Apart;
pub use self::attempt::{Engine, Handle};
pub use self::consumer::Consumer;
pub use self::effects::{Effects, To, Told, mix};
pub use self::fanout::Fanout;
pub use self::work::{Cause, Halt, LaneEvent, Outcomes, Peer, Request};
