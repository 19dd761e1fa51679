//! This node among the others.

/// What all parts of one gateway share.
pub mod node;

/// Whose trace a message belongs to, and whether it is recorded.
pub mod sampling;

/// Accepted event to envelope to bus, and what its receipt answers.
pub mod uplink;

/// `deliver.<node>` and `control.gateways` to the hub.
pub mod downlink;

/// The sockets of this node by serial and by user; sharded.
pub mod hub;

/// Which users are here, as the directory knows it.
pub mod seats;

/// Logins that ended before their tokens.
pub mod logins;

/// What an operator asks of this gateway.
pub mod operator;

/// Leaving socket by socket, within a budget and a deadline.
pub mod drain;
