//! Chat messages: send, read, histories, `sync`.

mod answers;
mod changes;
mod columns;
mod events;
mod history;
mod pages;
mod reads;
mod rest;
mod store;
mod sync;

use protocol::events::message::{MessageRead, SendMessage};
use protocol::events::sync::Sync;

pub use self::answers::{Answers, SendOutcome};
pub(crate) use self::columns::message_columns;
pub(crate) use self::history::maybe_message_view;
pub use self::history::{History, HistoryPage};
pub use self::reads::{ReadMark, ReadMarks};
pub use self::store::{Missing, Read, Standing};
pub use crate::conversation::{Members, NewMessage, Saved, SavedMessage};
use crate::feature::{Feature, asked, on};
use crate::rest::route::{Class, get, post};

/// Chat messages.
///
/// `GET /chat/messages/:id` has two meanings: the original's message by its id, and in the seed's list
/// the messages of a conversation. With paging in the query (`page`, `limit`, `size`, `before`) it
/// is the seed's, without it the original's.
pub const FEATURE: Feature = Feature {
    events: &[on!(SendMessage => events::send), on!(MessageRead => reads::read)],
    requests: &[asked!(Sync => sync::missed)],
    routes: &[
        get("/conversations/{id}/message", |call| Box::pin(rest::history(call))).heavy().limited(Class::Page),
        get("/chat/conversations/{id}/messages", |call| Box::pin(rest::chat_history(call)))
            .heavy()
            .limited(Class::Page),
        get("/chat/messages/{id}", |call| Box::pin(rest::one_or_history(call))).heavy().limited(Class::Page),
        post("/chat/messages", |call| Box::pin(rest::send(call))).limited(Class::Send),
    ],
    statements: &[
        store::STATEMENTS,
        reads::STATEMENTS,
        history::STATEMENTS,
        pages::STATEMENTS,
        changes::STATEMENTS,
    ],
    hears: &[|ctx, downlink| ctx.own::<Answers>().hear(downlink)],
    ..Feature::named("messages")
};
