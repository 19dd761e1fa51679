//! The worker: what happens, and who must know?
//!
//! Events come off the lanes in batches, become rows, and leave as deliveries. REST is the same
//! flow over requests. Modules in the order in which a message passes them.

/// What the worker reads from the environment.
pub mod config;

/// What every handler and every route is given.
pub mod ctx;

/// Start, run, drain.
mod run;

/// Which shards of a lane this worker takes, from who is alive.
pub mod share;

/// Which waiting batch is worked on next: weights, ageing, one at a time per shard.
pub mod schedule;

/// Takes batches off the lanes, and acknowledges: the only place that does.
mod consumer;

/// One piece of work, from decoding to acknowledging: hold, bisect, set aside.
mod attempt;

/// What a piece of work says to the traces of the messages in it.
mod traced;

/// The table of event to handler.
mod dispatch;

/// What happens, one file per noun.
pub mod handlers;

/// What a handler wants to happen, as data.
pub mod effects;

/// Effects to one delivery per node: the only place that publishes.
mod fanout;

/// Who came and who went, told to those who see it.
mod presence;

/// `sync`: what a client missed.
mod sync;

/// Requests of the group `api`, bounded.
mod requests;

/// What an operator asks of this worker.
mod asked;

/// REST over the bus.
pub mod api;

/// Password hashes, a few at a time.
pub mod passwords;

/// PostgreSQL, through functions named after what the domain does.
pub mod store;

/// The names of everything measured here.
mod metrics;

pub use self::config::Config;
pub use self::ctx::Ctx;
pub use self::run::Worker;
