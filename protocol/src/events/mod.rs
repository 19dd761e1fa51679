//! The events of clients and to clients: one file per noun, and the table made from them.
//!
//! Each row is written once, by [`client_events!`](crate::client_events) or [`server_events!`](crate::server_events)
//! beside its payload; a missing column does not compile. Programs look rows up by name and know no noun: a gateway
//! checks a client's event with [`ClientRow::judge`] and forwards its JSON unchanged, a worker reads it with
//! [`ClientEvent::parse`].

/// A row of the table, and what makes one.
pub mod row;

/// A client's own session: opening, heartbeat, refusals, leaving.
pub mod session;

/// Chat messages: send, queued, processed, coming, read.
pub mod message;

/// Changes of messages after they were sent.
pub mod change;

/// The typing indicator.
pub mod typing;

/// Presence: online and offline.
pub mod presence;

/// What a client missed.
pub mod sync;

pub use self::row::{
    Acknowledged, ClientEvent, ClientRow, Events, Judged, Payload, ServerEvent, ServerRow, Way,
    conversation_id, read_json,
};

impl Default for Events {
    fn default() -> Self {
        Self::of(CLIENT)
    }
}

/// The events of clients, noun by noun.
pub const CLIENT: &[&[&ClientRow]] =
    &[session::CLIENT, message::CLIENT, typing::CLIENT, presence::CLIENT, sync::CLIENT];

/// The events to clients, noun by noun.
pub const SERVER: &[&[&ServerRow]] =
    &[session::SERVER, message::SERVER, change::SERVER, typing::SERVER, presence::SERVER, sync::SERVER];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_by_its_name_and_nothing_else_is() {
        let events = Events::default();
        for row in CLIENT.concat() {
            assert_eq!(events.find(row.name).unwrap().name, row.name);
        }
        for name in ["", "nope", "SendMessage", "sendmessage", "auth"] {
            assert!(events.find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn no_two_server_events_have_one_name_and_none_is_called_error() {
        let mut names: Vec<&str> = SERVER.concat().iter().map(|row| row.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        // The original's client logs out on it.
        assert!(!names.contains(&"error"));
    }
}
