//! From TCP to a checked request.

/// Accept, HTTP, routes: `/ws`, `/socket.io/` and the few others.
pub mod server;

/// The stream of one HTTP connection, with its deadlines.
pub mod stream;

/// The client's address, through trusted proxies.
pub mod address;

/// The share of each address: lines, upgrades, answers.
pub mod shares;

/// Whether the gateway accepts one more upgrade now.
pub mod admission;

/// Pieces of HTTP that the others share.
pub mod http;

/// The check of an upgrade request: token, origin, versions.
pub mod handshake;

/// An HTTP request becomes a bus request, its answer an HTTP response.
pub mod rest;
