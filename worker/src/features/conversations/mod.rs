//! Conversations: list, one, create.

mod rest;
mod store;

pub(crate) use self::rest::{create, list, one};
pub(crate) use self::store::STATEMENTS;
pub use self::store::{
    ConversationPage, ConversationRow, NewConversation, NewParticipant, ParticipantRow, ParticipantType,
    ParticipantUser,
};
