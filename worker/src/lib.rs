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

/// How the peers are, for the readiness report.
mod peers;

/// Says that this worker is there, and hears who else is.
mod roll_call;

/// What a feature is made of.
pub mod feature;

/// The table of event to handler.
mod dispatch;

/// The owner of a conversation: what is remembered of it, and the statement that checks it.
pub mod conversation;

/// What happens, one folder per noun.
pub mod features;

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

pub use self::config::WorkerConfig;
pub use self::ctx::Ctx;
pub use self::run::Worker;
