//! People who talk through a whole in-process cluster: two gateways, a worker, PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

/// Chat messages: sent, queued, kept, delivered, repeated, refused.
mod messages;

/// Typing, receipts, who is where.
mod presence;

/// What was missed.
mod sync;

/// Tokens, logouts, silence, slowness, drains.
mod sockets;

/// REST: the same flow.
mod rest;

/// A feature that the product does not know.
mod invented;

/// What a collector of spans is told.
#[cfg(feature = "otlp")]
mod spans;
