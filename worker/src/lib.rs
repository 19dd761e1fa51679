//! The worker: what happens, and which users must know?
//!
//! Events come off the lanes in batches, become rows, and leave as deliveries. REST is the same
//! flow over requests. Modules in the order in which a message passes them.

/// The worker's configuration.
pub mod config;

/// The handles that every handler and every route gets.
pub mod ctx;

/// Start, run, drain.
mod run;

/// The state of the peers, for the readiness report.
mod peers;

/// Announces this worker, and hears the others.
mod roll_call;

/// The vocabulary of features.
pub mod feature;

/// The table of event to handler.
mod dispatch;

/// The owner of a conversation: what is remembered of it, and the statement that checks it.
pub mod conversation;

/// The features, one folder per noun.
pub mod features;

/// Requests of the group `api`, bounded.
mod requests;

/// REST over the bus: router, input, response. Knows no noun.
pub mod rest;

/// The operator's questions to this worker.
mod operator;

/// PostgreSQL: pool, replica, failures, migrations. Knows no noun.
pub mod store;

/// The names of everything measured here.
mod metrics;

pub use self::config::WorkerConfig;
pub use self::ctx::Ctx;
pub use self::run::Worker;
