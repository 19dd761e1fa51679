//! Skeleton.

/// Bytes to events and back, in both wire forms.
pub mod wire;

/// The decisions of one socket: no I/O, no clock, returns actions.
pub mod session;

/// Rate limits in eight bytes each.
pub mod rate;
