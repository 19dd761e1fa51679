//! A client of ChatChit, as small as a correct one can be: REST and native sockets, plain or over
//! TLS. The demo and the canary use it.
//!
//! It knows only PROTOCOL.md: no crate of the programs, no secret of the
//! cluster. Every wait has a deadline.
//!
//! Not here: reconnecting, repeating, `sync`. The caller decides what a good client does beyond one
//! request and one socket.

/// Limits of time and size.
mod limits;

/// Where to connect: a gateway, or what stands in front of all of them.
mod site;

/// The certificate authorities to trust.
mod trust;

/// One request, one answer.
mod rest;

/// One socket.
mod socket;

pub use self::limits::{ANSWER_BYTES_MAX, ANSWER_MS_MAX, SILENCE_MS_MAX};
pub use self::rest::RefusedRequest;
pub use self::site::Site;
pub use self::socket::{Closed, Socket};
