//! The address of RabbitMQ.

use std::path::PathBuf;

/// The kind of the durable queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// One node.
    Classic,
    /// A cluster: replicated.
    Quorum,
}

/// The address of RabbitMQ.
#[derive(Clone)]
pub struct BusConfig {
    /// `amqp://user:password@host:port/vhost`; several nodes of one cluster comma-separated.
    pub url: String,
    /// Prefix of every exchange and queue.
    pub prefix: String,
    /// Kind of the durable queues.
    pub queues: QueueKind,
    /// Authorities in PEM that are trusted beside the machine's, for `amqps://`.
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusConfig")
            .field("prefix", &self.prefix)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
