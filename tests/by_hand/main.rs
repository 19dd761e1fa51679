//! The commands, and what `deploy/` says of the programs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

/// `make run`, from outside.
mod one_process;

/// The same on a disk that is full.
mod full_disk;

/// Killed again and again.
mod killed;

/// Variables, defaults, versions.
mod deploy;

/// The operator's commands.
mod tool;

/// Where is my message?
mod trace;
