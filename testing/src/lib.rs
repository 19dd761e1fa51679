//! What the tests of several crates share, and `loadtest/chaos`: a migrated database for each test, the bus, directory and store of one system apart
//! from all others on the same peers, and what becomes of a test that cannot run here.
//!
//! Part of no program that runs for users.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// A test that cannot run here.
mod left_out;

/// A migrated database for each test.
mod template;

/// Bus, directory and store of one system.
mod world;

/// People: REST and native sockets, blocking.
#[expect(missing_docs, reason = "the names say it")]
pub mod person;

/// What is empty as long as all is well.
pub mod faults;

use std::time::Instant;

pub use self::left_out::{is_left_out, left_out, variable};
pub use self::template::{Database, connect};
pub use self::world::{Kind, World};

/// Tests of processes run in real time.
#[expect(clippy::disallowed_methods, reason = "processes do not share our clock")]
pub fn now() -> Instant {
    Instant::now()
}
