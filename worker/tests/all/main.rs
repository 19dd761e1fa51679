//! The worker on a real PostgreSQL, and on the peers it lives with: one program, so that it is linked once.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

/// Workers, and listeners in the place of gateways.
mod cluster;

/// A database for each test, and who asks the API.
mod support {
    pub mod client;
    pub mod postgres;
}

/// What happens, and who must know: each event.
mod handlers;

/// What a worker promises when something goes wrong.
mod consumer;

/// Register, log in, refresh, log out.
mod api_auth;

/// Conversations and messages over the API.
mod api_talk;

/// Lists of conversations over the API.
mod api_lists;

/// The table of routes.
mod routes;

/// What only an operator asks of the store.
mod operator;

/// Saving, reading and marking chat messages.
mod store_messages;

/// What is remembered of conversations is never believed without a check.
mod owner;

/// The counters of a conversation, and what happened to its messages.
mod store_changes;

/// A database that goes away and comes back.
mod store_away;

/// Nothing waits for PostgreSQL without an end.
mod store_limits;

/// TLS to PostgreSQL.
mod store_tls;

/// Histories from a streaming replica.
mod store_replica;

/// The schema and the statements under Citus's rules.
mod store_citus;

/// What inserting costs; printed, when asked for.
mod store_measure;
