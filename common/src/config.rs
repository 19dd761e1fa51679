//! Reading the environment once, at the edge.
//!
//! [`Env`] collects every problem and reports them together, so that an operator fixes a
//! configuration in one go; the mains print the report and exit with [`EXIT_CONFIG`]. What several
//! programs read alike is a section here ([`Peers`], [`AuthConfig`]); what one program reads is in
//! its own `config.rs`.
//!
//! * `NAME_FILE` names a file that holds the value of `NAME`, for secrets mounted as files.
//! * An empty value is an absent one: compose files pass `NAME=`.
//! * Secrets are [`Secret`]s from here on, and no report repeats their text.

/// Variables, and what is wrong with them.
mod env;

/// Tokens.
mod auth;

/// Where RabbitMQ, Redis and PostgreSQL are.
mod peers;

pub use self::auth::{AuthConfig, SECRET_BYTES_MIN};
pub use self::env::{ConfigError, EXIT_CONFIG, Env, Secret};
pub use self::peers::Peers;
