//! Chat messages: send, read, histories, `sync`.

mod answers;
mod changes;
mod events;
mod history;
mod rest;
mod store;
pub(crate) mod sync;

use protocol::events::message::{MessageRead, SendMessage};

use crate::dispatch::on;
use crate::features::Feature;

/// Chat messages.
pub const FEATURE: Feature = Feature {
    name: "messages",
    events: &[on!(SendMessage => events::send), on!(MessageRead => events::read)],
};

pub use self::answers::{Answer, Answers};
pub use self::changes::Change;
pub(crate) use self::changes::STATEMENTS as CHANGE_STATEMENTS;
pub(crate) use self::events::admit;
pub(crate) use self::history::STATEMENTS as HISTORY_STATEMENTS;
pub use self::history::{History, HistoryPage};
pub(crate) use self::history::{maybe_message_view, message_columns};
pub(crate) use self::rest::{chat_history, history as history_page, one as message, send as send_over_rest};
pub use self::store::{Audience, NewMessage, Read, Saved, SavedMessage, Standing};
pub(crate) use self::store::{STATEMENTS, kind, others};
