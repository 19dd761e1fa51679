//! A client of ChatChit, as small as a correct one can be: REST and native sockets, plain or over
//! TLS. The demo's people and the canary use it.
//!
//! It knows what PROTOCOL.md says and nothing else: no crate of the programs, no secret of the
//! cluster. Nothing here waits without a deadline.
//!
//! Not here: reconnecting, repeating, `sync`. What a good client does beyond one request and one
//! socket is decided by its caller.

/// How long and how large things may be.
mod limits;

/// Where to connect: a gateway, or what stands in front of all of them.
mod site;

/// Whom to trust over TLS.
mod trust;

/// One request, one answer.
mod rest;

/// One socket.
mod socket;

pub use self::limits::{ANSWER_BYTES_MAX, ANSWER_MS_MAX, SILENCE_MS_MAX};
pub use self::rest::RefusedRequest;
pub use self::site::Site;
pub use self::socket::{Closed, Socket};
