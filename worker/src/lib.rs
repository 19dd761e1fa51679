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

/// Keys whose events wait apart, because the store ends every statement that names them.
mod apart;

/// One piece of work, from decoding to acknowledging: hold, bisect, set aside.
mod attempt;

/// What a piece of work says to the traces of the messages in it.
mod traced;

/// What handlers are given and what they answer.
pub(crate) mod work;

/// The table of event to handler.
mod dispatch;

/// What happens, one folder per noun.
pub mod features;

/// What a handler wants to happen, as data.
pub mod effects;

/// Effects to one delivery per node: the only place that publishes.
mod fanout;

/// Requests of the group `api`, bounded.
mod requests;

/// REST over the bus: router, input, response. Knows no noun.
pub mod rest;

/// What an operator asks of this worker.
mod operator;

/// PostgreSQL: pool, replica, failures, migrations. Knows no noun.
pub mod store;

/// The names of everything measured here.
mod metrics;

pub use self::config::Config;
pub use self::ctx::Ctx;
pub use self::run::Worker;
