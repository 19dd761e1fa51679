//! What the tests of several crates share: a migrated database for each test, the bus, directory and store of one system apart
//! from all others on the same peers, and what becomes of a test that cannot run here.
//!
//! Part of no program that runs for users.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// A test that cannot run here.
mod left_out;

/// A migrated database for each test.
mod database;

/// Bus, directory and store of one system.
mod world;

pub use self::database::{Database, connect};
pub use self::left_out::{is_left_out, left_out, variable};
pub use self::world::{Kind, World};
