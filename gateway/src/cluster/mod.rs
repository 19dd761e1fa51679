//! This node among the others.

/// The state that all parts of one gateway share.
pub mod node;

/// The two clocks of a node.
pub mod clock;

/// The trace of a message, and whether it is sampled.
pub mod sampling;

/// The subject of each event on the bus.
pub mod subjects;

/// From an accepted event to an envelope on the bus, and the answer to its receipt.
pub mod uplink;

/// From `deliver.<node>` to the sockets of the hub.
pub mod downlink;

/// The sockets of this node by serial and by user; sharded.
pub mod hub;

/// Users whose seat may be wrong.
pub mod seats;

/// Writes seats to the directory, under the node's lease.
pub mod seating;

/// Logins that are known to have ended.
pub mod login_ends;

/// The end of a login, in whichever way the gateway learns of it.
pub mod logins;

/// The operator's questions to this gateway.
pub mod operator;

/// The drain: socket by socket, within a budget and a deadline.
pub mod drain;
