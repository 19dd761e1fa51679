//! What ours is held against, in the same run.

/// Bare lapin on the same RabbitMQ.
pub mod lapin;

/// A bare accept and handshake loop.
pub mod accept;

/// Node's `ws` and `socket.io`.
pub mod node;

/// RabbitMQ's management API.
pub mod broker;

/// A smaller Redis Cluster than the one of the peers.
pub mod redis;
