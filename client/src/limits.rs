//! Limits of time and size.

/// Time for a connection, the upgrade of a socket, or a REST request with its answer: longer than a gateway
/// ever takes.
pub const ANSWER_MS_MAX: u64 = 15_000;

/// The largest answer, and the largest event: a page of history is far smaller.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a socket may be silent: three pings of a gateway, which come every 25 s.
pub const SILENCE_MS_MAX: u64 = 75_000;
