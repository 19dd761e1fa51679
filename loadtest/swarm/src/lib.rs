//! The load generator that also judges: plays correct clients against a cluster, and at the end
//! compares what was acknowledged with what is in the history and what every member saw.
//!
//! It speaks the protocol with its own code and shares nothing with the gateway that it tests,
//! except the names of the token's claims.

/// Options from the command line.
pub mod options;

/// What was seen, in the shape the judge reads.
pub mod evidence;

/// Evidence in, verdict out.
pub mod judge;

/// Counts and latencies.
pub mod tally;

/// The printed report of a run.
pub mod report;

/// RFC 6455 as a client speaks it.
pub mod frame;

/// The two wire forms.
pub mod form;

/// The server's events.
mod heard;

/// Unacknowledged messages of one sender in one conversation.
mod backlog;

/// When a player asks with `sync`.
mod asking;

/// What a player is to do.
pub mod plan;

/// Names of messages.
pub mod guid;

/// One user as a correct client plays it.
pub mod player;

/// One socket: all the I/O.
pub mod socket;

/// REST client.
pub mod rest;

/// Accounts, conversations, histories over REST.
pub mod setup;

/// The conductor.
pub mod run;
