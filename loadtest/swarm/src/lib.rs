//! The load generator that also judges: plays correct clients against a cluster, and at the end
//! compares what was acknowledged with what is in the history and what every member saw.
//!
//! It speaks the protocol with its own code and shares nothing with the gateway that it tests,
//! except the names of the token's claims.

/// Options from the command line.
pub mod options;

/// The observations of a run, in the form that the judge reads.
pub mod evidence;

/// Evidence in, verdict out.
pub mod judge;

/// Counts and latencies.
pub mod tally;

/// The printed report of a run.
pub mod report;

/// RFC 6455 as a client speaks it.
pub mod frame;

/// The two wire forms as a client speaks them.
pub mod form;

/// The server's events.
mod heard;

/// Unacknowledged messages of one sender in one conversation.
mod backlog;

/// Decides when a player sends `sync`.
mod asking;

/// The plan of a player: its load and its conversations.
pub mod plan;

/// The guids of a run.
pub mod guid;

/// One user as a correct client plays it.
pub mod player;

/// One socket: does all the I/O.
pub mod socket;

/// A small REST client.
pub mod rest;

/// Accounts, conversations, histories over REST.
pub mod setup;

/// The conductor of a run, from set-up to verdict.
pub mod run;
