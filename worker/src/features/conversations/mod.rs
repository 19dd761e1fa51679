//! Conversations: list, one, create.

mod cursor;
mod rest;
mod store;

pub use self::cursor::ListCursor;
pub use self::store::{
    ConversationPage, ConversationRow, NewConversation, NewParticipant, ParticipantRow, ParticipantType,
    ParticipantUser,
};

use crate::feature::Feature;
use crate::rest::route::{Class, get, post};

/// Conversations and their participants.
pub const FEATURE: Feature = Feature {
    routes: &[
        get("/conversations", |call| Box::pin(rest::list(call))).heavy().limited(Class::Page),
        get("/chat/conversations", |call| Box::pin(rest::list(call))).heavy().limited(Class::Page),
        get("/conversations/{id}", |call| Box::pin(rest::one(call))),
        post("/conversations/create", |call| Box::pin(rest::create(call))).heavy(),
        post("/chat/conversations", |call| Box::pin(rest::create(call))).heavy(),
    ],
    statements: &[store::STATEMENTS],
    ..Feature::named("conversations")
};
