//! The rows of the table, each with its peers in the same passes.

/// Memory per idle socket, and upgrades per core-second.
pub mod sockets;

/// One event to many local sockets.
pub mod fanout;

/// The way in: frames accepted and durably confirmed.
pub mod accepted;

/// The whole chain: persisted, routed, delivered.
pub mod chain;

/// What it costs to remember the way of messages.
pub mod trace;

/// What it costs to be many programs instead of few, and what it gains.
pub mod scale;

/// Tokens of users that exist only for the gateway.
pub fn tokens(from: usize, count: usize) -> Vec<String> {
    (from..from + count)
        .map(|at| swarm::setup::token(crate::cluster::SECRET, 1_000_000 + at as i64))
        .collect()
}
