//! A chat message on its way into a conversation, and the outcome of saving it.

use protocol::events::message::SendMessage;
use protocol::ids::{Guid, MessageId, UserId};
use protocol::{Reject, Timestamp};

/// A chat message to save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The user who sends it.
    pub sender: UserId,
    /// The content and the conversation.
    pub event: SendMessage,
    /// The client's name for it, unique per conversation and sender; `event.guid` is ignored.
    pub guid: Guid,
}

/// The outcome of saving a [`NewMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// A new row was written.
    New(SavedMessage),
    /// The message already existed, as this row.
    Repeat(SavedMessage),
    /// There is no such conversation (any more), or the sender may not write there. Nothing was written for
    /// this message.
    Refused(Reject),
}

/// The row of a saved message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedMessage {
    /// The id of the row.
    pub message: MessageId,
    /// The position in the conversation, counted from 1 without gaps.
    pub seq: u64,
    /// The time of saving; never earlier than that of the message before it.
    pub created_at: Timestamp,
}

/// A message to save, and whether it may exist already.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The message to save.
    pub new: NewMessage,
    /// True: it may exist already, because a worker may have died after saving it.
    pub again: bool,
}
