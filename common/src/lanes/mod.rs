//! The machinery of a lane: envelopes in, effects out, delivered to the recipients, acknowledged.
//!
//! It knows no noun: the program that runs the lanes provides a [`Handle`]. Promises: batches
//! of a shard are handled one at a time and in order; an acknowledged event was handled and delivered, or
//! set aside; an event that can never be handled ends up alone.

/// The inputs and results of handlers.
pub mod work;

/// The effects that a handler wants, as data.
pub mod effects;

/// Which shards of a lane a program takes, from the set of live workers.
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

/// The spans of a piece of work.
mod work_spans;

/// The metrics of lanes.
mod metrics;

pub use self::apart::Apart;
pub use self::attempt::{Engine, Handle};
pub use self::consumer::Consumer;
pub use self::effects::{Effects, To, Told, latest_key};
pub use self::fanout::Fanout;
pub use self::work::{Cause, Halt, LaneEvent, Outcomes, Peer, Request};
