//! A client of ChatChit, as small as a correct one can be: REST and native sockets, plain or over
//! TLS. The demo's people and the canary use it.
//!
//! It knows what PROTOCOL.md says and nothing else: no crate of the programs, no secret of the
//! cluster. Nothing here waits without a deadline.
//!
//! Not here: reconnecting, repeating, `sync`. What a good client does beyond one request and one
//! socket is decided by its caller.

/// Where to connect: a gateway, or what stands in front of all of them.
mod site;

/// Whom to trust over TLS.
mod trust;

/// One request, one answer.
mod rest;

/// One socket.
mod socket;

pub use self::rest::Refusal;
pub use self::site::Site;
pub use self::socket::{Closed, Socket};

/// A connection, the upgrade of a socket, or a REST request with its answer: longer than a gateway
/// takes to answer anything.
pub const ANSWER_MS_MAX: u64 = 15_000;

/// The largest answer, and the largest event: a page of history is far smaller.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a socket may be silent: three pings of a gateway, which come every 25 s.
pub const SILENCE_MS_MAX: u64 = 75_000;
