//! A gateway with nobody behind it: what it answers by itself, and bytes of every wrong kind.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

/// One gateway, and clients of it.
#[path = "../support/mod.rs"]
mod support;

/// Frames by hand.
#[path = "../support/raw.rs"]
mod raw;

/// Upgrades, refusals, limits of HTTP, cross-origin rules.
mod handshake;

/// What a request may be, who may ask how much, and what a browser is told.
mod edge;

/// Deadlines of HTTP: for a head, for the next request, for an answer to be read.
mod deadlines;

/// What it answers an operator.
mod operator;

/// The Autobahn fuzzing client's cases.
mod autobahn;

/// Bad input of five kinds, in tables.
mod bad_input;
