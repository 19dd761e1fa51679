//! People who talk through a whole in-process cluster: two gateways, a worker, PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

/// Chat messages: sent, queued, kept, delivered, repeated, refused.
#[path = "stories/messages.rs"]
mod messages;

/// Typing, receipts, who is where.
#[path = "stories/presence.rs"]
mod presence;

/// What was missed.
#[path = "stories/sync.rs"]
mod sync;

/// Tokens, logouts, silence, slowness, drains.
#[path = "stories/sockets.rs"]
mod sockets;

/// REST: the same flow.
#[path = "stories/rest.rs"]
mod rest;
