//! One client: everything that exists once per socket.

/// The task of one socket: does all of its I/O.
pub(crate) mod task;

/// Memory of a thread, lent to the socket whose turn it is.
pub(crate) mod scratch;

/// The decisions of one socket: no I/O, no clock, returns actions.
pub mod session;

/// The part of a socket that other tasks may touch.
pub(crate) mod slot;

/// Bounded bytes per socket: replace, shed, or cut.
pub(crate) mod outbox;

/// The bytes in all outboxes, and the resulting limit of each.
pub(crate) mod allowance;

/// Rate limits in eight bytes each.
pub mod rate;

/// Sockets whose tokens end soon.
pub(crate) mod expiries;

/// One wheel for all heartbeats.
pub(crate) mod heartbeat;
