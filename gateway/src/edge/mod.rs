//! From TCP to a judged request.

/// Accept, HTTP, routes: `/ws`, `/socket.io/` and the few others.
pub mod server;

/// The stream of one HTTP connection, with its deadlines.
pub mod stream;

/// Where a request came from: proxies that are believed.
pub mod address;

/// What one address holds and takes: lines, upgrades, answers.
pub mod shares;

/// Whether one more upgrade is tried now.
pub mod admission;

/// Pieces of HTTP that the others share.
pub mod http;

/// An upgrade request is judged: token, origin, versions.
pub mod handshake;

/// An HTTP request becomes a bus request, its answer an HTTP response.
pub mod rest;
