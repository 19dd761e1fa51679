//! The owner of a conversation: what a worker remembers of it, and the statement that checks it.
//!
//! Each shard of conversations has one worker at a time, so that worker knows a conversation's head, members
//! and blocks without querying PostgreSQL. What it remembers is a copy (a cache), never the truth:
//!
//! 1. The worker trusts a copy only together with a write that checks it. It announces nothing before the commit.
//! 2. A refusal, or an answer that writes nothing, is checked as well: by `version`, before it is given.
//! 3. Every change of members, roles, blocks or names, and every deletion, raises `version` in the same
//!    transaction (by triggers of the schema), so the worker cannot miss a change.
//! 4. After any outcome but success the worker forgets the conversations of the piece.
//! 5. A new server, an empty memory: once a connection finds another server, or the same one after a restart,
//!    everything read before is forgotten.
//! 6. At most one piece of a conversation is in progress at a time (the schedule's rule). Two would do no
//!    harm: the statement of the second finds another head.
//! 7. A message is never older than the one before it: its time is the later of the database's current
//!    time and the time of the last message remembered.
//!
//! A piece is a list of messages that the worker saves together. If its statement finds another head or
//! version, nothing is written; the worker forgets the conversations, loads them, looks up the messages and
//! decides again. After a second failure in a row it locks the conversations first, as a worker without
//! memory would; that always succeeds, so rival owners cannot starve each other.

/// The members of a conversation, and the check whether a user may write.
mod audience;

/// A message to save, and the outcome of saving it.
mod message;

/// The memory of a worker, and its bounds.
mod memory;

/// Decides which messages of a piece are new, repeated or refused. Pure.
mod decide;

/// Loads the conversations that are not in memory.
mod load;

/// The statement that writes a piece and checks the remembered heads and versions.
mod append;

/// The steps of saving a piece: recall, decide, write, retry.
mod keep;

use crate::store::Statement;

pub(crate) use self::audience::kind;
pub use self::audience::{Members, admit, everyone, others};
pub use self::keep::{Kept, People};
pub(crate) use self::load::person;
pub use self::memory::Owner;
pub use self::message::{NewMessage, Saved, SavedMessage, Wanted};

/// The statements of this folder, file by file.
pub(crate) const STATEMENTS: &[&[Statement]] = &[load::STATEMENTS, append::STATEMENTS];
