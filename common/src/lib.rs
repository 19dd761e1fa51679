//! The language the programs share.
//!
//! Code lives here when two programs *must agree* on it, not because two programs
//! happen to use it. The messages between them are the crate `protocol`. Modules in reading order.

/// Every bound in the system, with its unit and its reason.
pub mod limits;

/// The version and commit of this build.
pub mod version;

/// Randomness of the operating system.
pub mod random;

/// The numbers that a program's health is told from.
pub mod vitals;

/// Subjects over RabbitMQ: publish, subscribe, lanes, request and reply.
pub mod bus;

/// The machinery of a lane: consume, schedule, handle, deliver, acknowledge.
pub mod lanes;

/// The directory: sessions, presence, ended logins, rate limits.
pub mod directory;

/// Tokens: the only place that uses `jsonwebtoken`.
pub mod auth;

/// Reading the environment once, at the edge.
pub mod config;

/// Command lines, and how a program ends that does not understand its own.
pub mod arguments;

/// Logging and the Prometheus exporter.
pub mod telemetry;

/// The health of a program: its parts, its score, the numbers behind it.
pub mod health;

/// The admin port: probes, health, metrics.
pub mod ops;

/// Signals, draining, tracked tasks.
pub mod lifecycle;

/// An operator's questions to all programs, asked and answered over the bus.
pub mod control;

/// The state of the peers that every program has, for the admin port.
pub mod peers;

/// The running programs, and whether they sign with the same secret.
pub mod roster;

/// The recent path of chat messages through this program.
pub mod recorder;

/// Spans of recorded messages, for a collector (feature `otlp`).
pub mod spans;
