//! A chat message on its way into a conversation, and what became of it.

use protocol::events::message::SendMessage;
use protocol::ids::{Guid, MessageId, UserId};
use protocol::{Reject, Timestamp};

/// A chat message to keep. Who may send it was decided before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// From whom.
    pub sender: UserId,
    /// What and where to.
    pub event: SendMessage,
    /// Under which name; `event.guid` is not looked at.
    pub guid: Guid,
}

/// What became of a [`NewMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// A new row.
    New(SavedMessage),
    /// It was there already: the row that the first time wrote.
    Repeat(SavedMessage),
    /// There is no such conversation (any more). Nothing was written for this one.
    Refused(Reject),
}

/// Where a chat message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedMessage {
    /// Its row.
    pub message: MessageId,
    /// Its place in the conversation.
    pub seq: u64,
    /// When; never earlier than the message before it.
    pub created_at: Timestamp,
}

/// A message that somebody wants to be kept.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The message.
    pub new: NewMessage,
    /// It may be there already: a worker may have died over it.
    pub again: bool,
}
