//! A row of the table of events, and what makes one: written once, beside its payload, by
//! [`client_events!`](crate::client_events) or [`server_events!`](crate::server_events).

use serde::{Deserialize, Serialize};

use crate::context::TraceContext;
use crate::downlink::MessageOutcome;
use crate::ids::{ConversationId, Guid, MessageId};
use crate::lane::Lane;
use crate::reject::Reject;

/// The destination of an event from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Onto this lane, in the order of its conversation.
    Lane(Lane),
    /// To a worker as a request on this subject; its answer is this event. One at a time per socket.
    Request {
        /// The bus's subject.
        subject: &'static str,
        /// The name of the event that answers.
        answer: &'static str,
    },
    /// No program: the session answers.
    Session,
}

impl Way {
    /// The lane, if it is one.
    pub const fn lane(self) -> Option<Lane> {
        if let Self::Lane(lane) = self { Some(lane) } else { None }
    }
}

/// When the gateway acknowledges an event to a Socket.IO client that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// When the bus has it, with `{"status":"queued"}`.
    Queued,
    /// When the bus has it, with `messageQueued`, which every form hears.
    MessageQueued,
    /// With the event that answers it.
    Answered,
}

/// One row of the table: an event of clients.
#[derive(Debug)]
pub struct ClientRow {
    /// The name on the wire.
    pub name: &'static str,
    /// Its destination.
    pub way: Way,
    /// When the gateway acknowledges it.
    pub acknowledged: Acknowledged,
    /// The event of its refusal. None: `exception`.
    pub refusal: Option<&'static ServerRow>,
    /// Checks the JSON of its data.
    pub judge: fn(&str) -> Result<Judged, Reject>,
}

/// What a gateway must know of an event to forward it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The conversation whose order the event belongs to.
    pub conversation: Option<ConversationId>,
    /// The client's id for the message that it sends.
    pub guid: Option<Guid>,
    /// The stored message that it is about.
    pub message: Option<MessageId>,
    /// The client's trace. May be [`TraceContext::INVALID`].
    pub context: Option<TraceContext>,
    /// Consecutive events of one socket with the same number: the gateway forwards one within
    /// [`TYPING_MS_MIN`](crate::limits::TYPING_MS_MIN).
    pub fold: Option<u32>,
}

/// The payload of an event of clients.
pub trait ClientEvent: Sized {
    /// Its row.
    const ROW: &'static ClientRow;

    /// Reads and checks the JSON of its data.
    ///
    /// # Errors
    /// [`Reject::Malformed`] when the data is not JSON, [`Reject::Invalid`] when a field is missing,
    /// of the wrong type or out of range, [`Reject::TooLarge`] when it exceeds a limit.
    fn parse(data: &str) -> Result<Self, Reject>;

    /// What a gateway must know of it to forward it.
    fn judged(&self) -> Judged {
        Judged::default()
    }
}

/// One row of the table: an event to clients.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerRow {
    /// The name on the wire.
    pub name: &'static str,
    /// The lane of the event that it answers or announces. None: it belongs to no lane.
    pub lane: Option<Lane>,
    /// It shows a chat message, which `trace` and spans follow.
    pub shows_message: bool,
}

impl ServerRow {
    /// The row of an event that refuses another event.
    pub const fn refusal(name: &'static str, lane: Option<Lane>) -> Self {
        Self { name, lane, shows_message: false }
    }
}

/// The payload of an event to clients.
pub trait Payload: Serialize {
    /// Its row.
    const ROW: &'static ServerRow;

    /// Its outcome, so that no program has to parse its JSON.
    fn outcome(&self) -> Option<MessageOutcome> {
        None
    }
}

/// An event for clients, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    row: &'static ServerRow,
    data: Box<str>,
    outcome: Option<MessageOutcome>,
}

impl<P: Payload> From<P> for ServerEvent {
    fn from(payload: P) -> Self {
        Self { row: P::ROW, data: to_json(&payload), outcome: payload.outcome() }
    }
}

impl ServerEvent {
    /// An event with the row of another payload: a refusal.
    pub(super) fn of<T: Serialize>(
        row: &'static ServerRow,
        payload: &T,
        outcome: Option<MessageOutcome>,
    ) -> Self {
        Self { row, data: to_json(payload), outcome }
    }

    /// The event's name on the wire.
    pub const fn name(&self) -> &'static str {
        self.row.name
    }

    /// Its row of the table.
    pub const fn row(&self) -> &'static ServerRow {
        self.row
    }

    /// The JSON of its data.
    pub const fn data(&self) -> &str {
        &self.data
    }

    /// Its outcome, for programs.
    pub const fn outcome(&self) -> Option<MessageOutcome> {
        self.outcome
    }
}

/// A size that the data of nearly every event fits.
const DATA_BYTES_USUAL: usize = 1_024;

fn to_json<T: Serialize>(payload: &T) -> Box<str> {
    // Growing by doubling would copy a chat message three times.
    let mut text = Vec::with_capacity(DATA_BYTES_USUAL);
    serde_json::to_writer(&mut text, payload).expect("plain data always encodes");
    String::from_utf8(text).expect("JSON is text").into_boxed_str()
}

/// The events of clients, by name.
#[derive(Debug)]
pub struct Events(Vec<&'static ClientRow>);

impl Events {
    /// A table of these rows.
    ///
    /// # Panics
    /// When two rows have one name.
    pub fn of(nouns: &[&[&'static ClientRow]]) -> Self {
        let mut rows = nouns.concat();
        rows.sort_unstable_by_key(|row| row.name);
        assert!(rows.windows(2).all(|two| two[0].name != two[1].name), "two events have one name");
        Self(rows)
    }

    /// The row of an event. None: the event does not exist.
    pub fn find(&self, name: &str) -> Option<&'static ClientRow> {
        self.0.binary_search_by_key(&name, |row| row.name).ok().map(|at| self.0[at])
    }

    /// All rows, by name.
    pub fn rows(&self) -> &[&'static ClientRow] {
        &self.0
    }
}

/// Rows of events of clients, and their list `CLIENT`. A payload has `fn read(data: &str) ->
/// Result<Self, Reject>`, which reads and checks the JSON of its data; `judged` returns what a gateway must
/// know of it.
#[macro_export]
macro_rules! client_events {
    ($($(#[$doc:meta])* $payload:ty = $name:literal {
        way: $way:expr, acknowledged: $acknowledged:expr, refusal: $refusal:expr, judged: $judged:expr $(,)?
    })*) => {
        $(impl $crate::events::row::ClientEvent for $payload {
            const ROW: &'static $crate::events::row::ClientRow = &$crate::events::row::ClientRow {
                name: $name,
                way: $way,
                acknowledged: $acknowledged,
                refusal: $refusal,
                judge: |data| Ok($crate::events::row::ClientEvent::judged(&<$payload>::read(data)?)),
            };

            fn parse(data: &str) -> Result<Self, $crate::reject::Reject> {
                <$payload>::read(data)
            }

            fn judged(&self) -> $crate::events::row::Judged {
                let judged: fn(&Self) -> $crate::events::row::Judged = $judged;
                judged(self)
            }
        })*

        /// The events of clients.
        pub const CLIENT: &[&$crate::events::row::ClientRow] =
            &[$(<$payload as $crate::events::row::ClientEvent>::ROW,)*];
    };
}

/// Rows of events to clients, and their list `SERVER`: payloads by their names; then refusals,
/// which have no payload of their own, by a name for [`ClientRow::refusal`]; then, behind `@`, payloads
/// whose row is written by hand.
#[macro_export]
macro_rules! server_events {
    (
        $($payload:ty = $name:literal, $lane:expr;)*
        $($refused:literal => $refusal:ident, $refused_lane:expr;)*
        $(@$other:ty;)*
    ) => {
        $(impl $crate::events::row::Payload for $payload {
            const ROW: &'static $crate::events::row::ServerRow =
                &$crate::events::row::ServerRow { name: $name, lane: $lane, shows_message: false };
        })*

        $(const $refusal: &$crate::events::row::ServerRow =
            &$crate::events::row::ServerRow::refusal($refused, $refused_lane);)*

        /// The events to clients.
        pub const SERVER: &[&$crate::events::row::ServerRow] = &[
            $(<$payload as $crate::events::row::Payload>::ROW,)*
            $($refusal,)*
            $(<$other as $crate::events::row::Payload>::ROW,)*
        ];
    };
}

/// The input of an event about a conversation: these fields, and the conversation's id under each of its
/// names. The first name listed counts; a client may give several. No `flatten`: it would copy every field.
macro_rules! about_conversation {
    (struct $input:ident { $($fields:tt)* }) => {
        #[derive(serde::Deserialize)]
        struct $input {
            #[serde(rename = "conversationId", default)]
            conversation: Option<i64>,
            #[serde(rename = "conversation_id", default)]
            conversation_snake: Option<i64>,
            #[serde(rename = "otherId", default)]
            conversation_other: Option<i64>,
            $($fields)*
        }

        impl $input {
            fn conversation(&self) -> Result<$crate::ids::ConversationId, $crate::reject::Reject> {
                let id = self.conversation.or(self.conversation_snake).or(self.conversation_other);
                $crate::events::row::conversation_id(id.ok_or($crate::reject::Reject::Invalid)?)
            }
        }
    };
}
pub(super) use about_conversation;

/// Reads the JSON of an event's data.
///
/// # Errors
/// [`Reject::Malformed`]: the text is not JSON. [`Reject::Invalid`]: it is other JSON than expected.
pub fn read_json<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Reject> {
    serde_json::from_str(data).map_err(|err| {
        let is_json = || serde_json::from_str::<&serde_json::value::RawValue>(data).is_ok();
        // A text with half of a surrogate pair is JSON, and no text.
        if err.is_data() || is_json() { Reject::Invalid } else { Reject::Malformed }
    })
}

/// A conversation's id as clients write it.
///
/// # Errors
/// [`Reject::Invalid`]: the number is below 1, or beyond 2^53, which a JavaScript number holds.
pub fn conversation_id(id: i64) -> Result<ConversationId, Reject> {
    if (1..=1 << 53).contains(&id) { Ok(ConversationId(id)) } else { Err(Reject::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_is_a_wrong_field_of_a_frame_that_is_understood() {
        assert_eq!(read_json::<String>(r#""\ud83d""#), Err(Reject::Invalid));
        assert_eq!(read_json::<serde_json::Value>("{"), Err(Reject::Malformed));
        assert_eq!(read_json::<String>("7"), Err(Reject::Invalid));
    }
}
