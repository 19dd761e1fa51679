//! This node among the others.

/// What all parts of one gateway share.
pub mod node;

/// The two clocks of a node.
pub mod clock;

/// Whose trace a message belongs to, and whether it is recorded.
pub mod sampling;

/// Where each event goes on the bus.
pub mod subjects;

/// Accepted event to envelope to bus, and what its receipt answers.
pub mod uplink;

/// `deliver.<node>` to the hub.
pub mod downlink;

/// The sockets of this node by serial and by user; sharded.
pub mod hub;

/// Users whose seat may be wrong.
pub mod seats;

/// Writing seats to the directory, and the lease they hang on.
pub mod seating;

/// Logins that are known to have ended.
pub mod login_ends;

/// The end of a login, however it is learned.
pub mod logins;

/// What an operator asks of this gateway.
pub mod operator;

/// Leaving socket by socket, within a budget and a deadline.
pub mod drain;
