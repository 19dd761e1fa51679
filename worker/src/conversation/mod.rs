//! The owner of a conversation: what a worker remembers of it, and the statement that checks it.
//!
//! A conversation's shard has one worker at a time, so that worker knows its head, its members and
//! who blocks whom without asking. What it remembers is a copy, never a truth:
//!
//! 1. A copy is believed only together with a write that checks it. Nothing is told before the commit.
//! 2. A refusal or an answer that writes nothing is checked as well: by `version`, before it is given.
//! 3. Whoever changes members, roles, blocks, names or deletes raises `version` in the same transaction
//!    (triggers of the schema), so no change can be missed.
//! 4. After any outcome but success the conversations of the piece are forgotten.
//! 5. A new server, an empty memory: what came from another server, or from before its restart, is
//!    forgotten with the first connection that says so.
//! 6. One piece of a conversation is under way at a time (the schedule's rule). Two do no harm: the
//!    statement of the second finds another head.
//! 7. A message is never older than the one before it: its time is the later of now, by the database's
//!    clock, and what is remembered.
//!
//! A write that finds another head or version is undone as a whole: forgotten, loaded, looked up,
//! decided once more. The second time in a row the conversations are locked first, as those do who
//! remember nothing; that always succeeds, so rival owners cannot starve each other.

/// Who is in a conversation, and who may write.
mod audience;

/// A message to keep, and what became of it.
mod message;

/// What is remembered, and its bounds.
mod memory;

/// What becomes of each message of a piece. Pure.
mod decide;

/// Reading what is not remembered.
mod load;

/// The statement that writes and checks.
mod append;

/// The way of a piece: recall, decide, write, and again.
mod keep;

use crate::store::Statement;

pub(crate) use self::audience::kind;
pub use self::audience::{Members, admit, everyone, others};
pub use self::keep::{Kept, People};
pub(crate) use self::load::person;
pub use self::memory::Owner;
pub use self::message::{NewMessage, Saved, SavedMessage, Wanted};

/// What is asked here, file by file.
pub(crate) const STATEMENTS: &[&[Statement]] = &[load::STATEMENTS, append::STATEMENTS];
