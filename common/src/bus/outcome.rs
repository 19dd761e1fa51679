//! The results of operations on the bus.

/// The receipt of a publish. Called exactly once, on a task of the bus: quick, never blocking.
pub type Receipt = Box<dyn FnOnce(Result<(), PublishError>) + Send>;

/// Why an envelope was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The broker is away, blocks or is slow, or the window is full.
    #[error("the broker is away, blocked or slow")]
    Busy,
    /// The node's queue is gone.
    #[error("nobody listens on the subject")]
    NoRoute,
    /// Over [`ENVELOPE_BYTES_MAX`](crate::limits::ENVELOPE_BYTES_MAX).
    #[error("the envelope is too large")]
    TooLarge,
    /// The bus drains.
    #[error("the bus is closed")]
    Closed,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No program serves the subject. The asker knows within milliseconds; with replicated queues only
    /// from 5 s after the last program has left.
    #[error("nobody serves the subject")]
    NoResponders,
    /// No answer within the deadline.
    #[error("no answer in time")]
    Timeout,
    /// The broker is away or blocks.
    #[error("the broker is away, blocked or slow")]
    Busy,
    /// Over [`ENVELOPE_BYTES_MAX`](crate::limits::ENVELOPE_BYTES_MAX).
    #[error("the request is too large")]
    TooLarge,
    /// The bus drains.
    #[error("the bus is closed")]
    Closed,
}

/// A fault of the bus itself.
#[derive(Debug, thiserror::Error)]
#[error("the bus: {0}")]
pub struct BusError(pub anyhow::Error);

/// Whether publishing can work now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Up,
    /// The broker refuses publishes (a resource alarm).
    Blocked,
    /// The connection is lost.
    Down,
}

/// The fate of a failed envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes again, after a delay.
    Delayed {
        /// Attempts so far.
        attempt: u8,
    },
    /// It was set aside for a person.
    Quarantined,
}
