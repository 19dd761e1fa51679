//! One client: everything that exists once per socket.

/// The task of one socket: does all of its I/O.
pub(crate) mod task;

/// The decisions of one socket: no I/O, no clock, returns actions.
pub mod session;

/// The part of a socket that other tasks may touch.
pub(crate) mod slot;

/// Bounded bytes per socket: replace, shed, or cut.
pub(crate) mod outbox;

/// Rate limits in eight bytes each.
pub mod rate;

/// One wheel for all heartbeats.
pub(crate) mod heartbeat;
