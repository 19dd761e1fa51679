//! Programs and their peers are broken, and everything is accounted for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

/// Killed under load.
mod failures;

/// Sockets lose their gateway.
mod resume;

/// What contacts see of a gateway that was killed.
mod presence;

/// One peer is away: the table of the runbook, cell by cell.
mod brownout;

/// A peer that stands still.
mod frozen;

/// A hundred thousand typing events.
mod lanes;
