//! The client's own session: opening, heartbeat, refusals, close.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::row::{Acknowledged, ClientRow, Judged, ServerEvent, Way};
use crate::downlink::MessageOutcome;
use crate::ids::{ConversationId, Guid, MessageId, SocketId, UserId};
use crate::reject::Reject;
use crate::time::Timestamp;
use crate::{client_events, server_events};

/// `ping`: the session answers it at once, because a heartbeat that waits in a queue measures the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping;

client_events! {
    Ping = "ping" {
        way: Way::Session,
        acknowledged: Acknowledged::Answered,
        refusal: None,
        judged: |_| Judged::default(),
    }
}

impl Ping {
    fn read(_data: &str) -> Result<Self, Reject> {
        Ok(Self)
    }
}

/// `ready`: the socket is authenticated and deliverable (native form; Socket.IO has CONNECT).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "PROTOCOL.md explains each field")]
pub struct Ready {
    pub protocol: u32,
    pub user_id: UserId,
    #[serde(serialize_with = "display")]
    pub socket_id: SocketId,
    pub heartbeat_ms: u64,
    pub frame_bytes_max: usize,
}

/// `pong`: the answer to `ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// The time.
    pub timestamp: Timestamp,
    /// The user who asked.
    pub user_id: UserId,
}

/// `server.going_away`: the client reconnects after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GoingAway {
    /// Milliseconds until the socket is closed.
    pub in_ms: u64,
}

/// `server.lapsed`: deliveries to this socket may have been lost: `sync` now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lapsed {}

// `exception`: no event could be read, or the event refused has no error event of its own. Never
// `error`: the original's client logs out on it.
server_events! {
    Ready = "ready", None;
    Pong = "pong", None;
    GoingAway = "server.going_away", None;
    Lapsed = "server.lapsed", None;
    "exception" => EXCEPTION, None;
}

/// A refused event: the client learns what was refused and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalBody {
    /// The reason.
    pub reject: Reject,
    /// The guid of the message that it was about.
    pub guid: Option<Guid>,
    /// The conversation that it was about.
    pub conversation: Option<ConversationId>,
    /// The stored message that it was about.
    pub message: Option<MessageId>,
    /// Milliseconds after which a repeat may succeed. None: a repeat does not help.
    pub retry_in_ms: Option<u64>,
}

impl RefusalBody {
    /// Refuses for this reason, without further details.
    pub const fn of(reject: Reject) -> Self {
        Self { reject, guid: None, conversation: None, message: None, retry_in_ms: None }
    }

    /// Refuses what was judged so.
    pub fn about(reject: Reject, judged: Judged) -> Self {
        let Judged { guid, conversation, message, .. } = judged;
        Self { reject, guid, conversation, message, retry_in_ms: None }
    }

    /// The event that a client hears. `event`: the row of what was refused, if its name could be read.
    pub fn into_event(self, event: Option<&'static ClientRow>) -> ServerEvent {
        let row = event.and_then(|row| row.refusal).unwrap_or(EXCEPTION);
        let outcome = Some(MessageOutcome::Refused(self.reject));
        ServerEvent::of(row, &Written { refusal: &self, event }, outcome)
    }
}

struct Written<'a> {
    refusal: &'a RefusalBody,
    event: Option<&'static ClientRow>,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let RefusalBody { reject, guid, conversation, message, retry_in_ms } = self.refusal;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", "error")?;
        map.serialize_entry("code", reject.code())?;
        map.serialize_entry("message", reject.sentence())?;
        if let Some(event) = self.event {
            map.serialize_entry("event", event.name)?;
        }
        if let Some(guid) = guid {
            map.serialize_entry("guid", guid)?;
            map.serialize_entry("tempId", guid)?;
        }
        if let Some(conversation) = conversation {
            map.serialize_entry("conversationId", conversation)?;
        }
        if let Some(message) = message {
            map.serialize_entry("messageId", message)?;
        }
        if let Some(ms) = retry_in_ms {
            map.serialize_entry("retryInMs", ms)?;
        }
        map.end()
    }
}

fn display<T: std::fmt::Display, S: Serializer>(thing: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(thing)
}

#[cfg(test)]
mod tests {
    use super::super::message::SendMessage;
    use super::super::row::ClientEvent as _;
    use super::super::typing::Typing;
    use super::*;

    #[test]
    fn a_refusal_names_what_was_refused() {
        let refusal = RefusalBody {
            guid: Some(Guid::new("g-1").unwrap()),
            retry_in_ms: Some(1_000),
            ..RefusalBody::of(Reject::Busy)
        };
        let event = refusal.into_event(Some(SendMessage::ROW));
        assert_eq!(event.name(), "sendMessageError");
        assert_eq!(
            event.data(),
            r#"{"status":"error","code":"busy","message":"The server is busy. Repeat under the same guid.","event":"sendMessage","guid":"g-1","tempId":"g-1","retryInMs":1000}"#,
        );
        assert_eq!(event.outcome(), Some(MessageOutcome::Refused(Reject::Busy)));
    }

    #[test]
    fn an_event_without_an_error_event_of_its_own_is_an_exception() {
        let judged = Judged { conversation: Some(ConversationId(7)), ..Judged::default() };
        let event = RefusalBody::about(Reject::NotAMember, judged).into_event(Some(Typing::ROW));
        assert_eq!(event.name(), "exception");
        assert!(event.data().ends_with(r#""event":"typing","conversationId":7}"#), "{}", event.data());
        let event = RefusalBody::of(Reject::Malformed).into_event(None);
        assert_eq!(
            event.data(),
            r#"{"status":"error","code":"malformed","message":"The frame is not understood."}"#
        );
    }

    #[test]
    fn nothing_is_an_object_all_the_same() {
        assert_eq!(ServerEvent::from(Lapsed {}).data(), "{}");
    }
}
