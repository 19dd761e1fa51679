//! What clients hear. Shapes are the superset of both dialects of the original; a field is never
//! taken away.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::{Attachment, CallStatus, CallType, Lane, MessageType, Reject, Timestamp, TraceContext};
use crate::ids::{ConversationId, Guid, MessageId, SocketId, UserId};

/// An event for clients.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerEvent {
    /// `ready`: the socket is authenticated and deliverable (native form; Socket.IO has CONNECT).
    Ready(Ready),
    /// `messageQueued`: the broker has it; it survives a crash from here on.
    MessageQueued {
        /// The client's name for the message, or ours when it gave none.
        guid: Guid,
        /// When.
        at: Timestamp,
    },
    /// `messageProcessed`: the database has it.
    MessageProcessed {
        /// The name told in `messageQueued`.
        guid: Guid,
        /// The row.
        message: MessageId,
        /// Its place in the conversation.
        seq: u64,
        /// The conversation.
        conversation: ConversationId,
    },
    /// `messageComing`: a chat message, to every socket of every member.
    MessageComing(Box<MessageView>),
    /// `loadLastMessage`: previews changed (Socket.IO form only).
    LoadLastMessage(ConversationId),
    /// `messageRead`: somebody read up to here.
    MessageRead(ReadReceipt),
    /// `typing`
    Typing(TypingView),
    /// `synced`: the answer to `sync`.
    Synced(Synced),
    /// `pong`: the answer to the event `ping`.
    Pong {
        /// When.
        at: Timestamp,
        /// Who asked.
        user: UserId,
    },
    /// `userOnline`: a contact has come.
    UserOnline {
        /// Who.
        user: UserId,
        /// When it was noticed.
        at: Timestamp,
    },
    /// `userOffline`: a contact has been gone for [`crate::limits::PRESENCE_GRACE_MS`].
    UserOffline {
        /// Who.
        user: UserId,
        /// When it was noticed.
        at: Timestamp,
    },
    /// `onlineUsers`: the answer to `getOnlineUsers`.
    OnlineUsers(Vec<UserId>),
    /// `listOnline`: the recipient's conversations in which somebody else is online (Socket.IO
    /// form only).
    ListOnline(Vec<ConversationId>),
    /// `server.going_away`: reconnect within so many milliseconds.
    GoingAway {
        /// When the socket will be closed.
        in_ms: u64,
    },
    /// `server.lapsed`: deliveries to this socket may have been lost: `sync` now.
    Lapsed,
    /// `sendMessageError` for `sendMessage`, `<event>Error` for the others, `exception` when no
    /// event could be read. Never `error`: the original's client logs out on it.
    Rejected {
        /// The event refused, if its name could be read.
        event: Option<&'static str>,
        /// Why.
        reject: Reject,
        /// The message it was about.
        guid: Option<Guid>,
        /// When to repeat.
        retry_in_ms: Option<u64>,
    },
}

/// The first event on a native socket.
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

/// A person as other members of a conversation see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct Person {
    pub id: UserId,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
}

/// `conversationType`: 0 is a group, 1 is two people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversationKind {
    /// 0
    Group,
    /// 1
    Friend,
}

impl Serialize for ConversationKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Self::Group => 0,
            Self::Friend => 1,
        })
    }
}

/// A chat message as clients see it, live, in history and after `sync`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct MessageView {
    pub id: MessageId,
    pub guid: Guid,
    pub conversation: ConversationId,
    pub kind: ConversationKind,
    pub seq: u64,
    pub sender: Person,
    pub message_type: MessageType,
    pub content: String,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    pub call_type: CallType,
    pub call_status: CallStatus,
    pub status: &'static str,
    pub attachments: Vec<Attachment>,
    /// Of a sampled trace, and only where the message is told as it comes.
    pub traceparent: Option<TraceContext>,
}

impl Serialize for MessageView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("guid", &self.guid)?;
        map.serialize_entry("tempId", &self.guid)?;
        map.serialize_entry("conversationId", &self.conversation)?;
        map.serialize_entry("conversationType", &self.kind)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("senderId", &self.sender.id)?;
        map.serialize_entry("messageType", &self.message_type)?;
        map.serialize_entry("content", &self.content)?;
        map.serialize_entry("createdAt", &self.created_at)?;
        map.serialize_entry("timestamp", &self.created_at)?;
        map.serialize_entry("deletedAt", &self.deleted_at)?;
        map.serialize_entry("callType", &self.call_type)?;
        map.serialize_entry("callStatus", &self.call_status)?;
        map.serialize_entry("status", self.status)?;
        map.serialize_entry("sender", &self.sender)?;
        map.serialize_entry("user", &self.sender)?;
        map.serialize_entry("attachments", &self.attachments)?;
        // Nothing is written for nearly all messages: their bytes are as ever.
        if let Some(context) = &self.traceparent {
            map.serialize_entry("traceparent", context)?;
        }
        map.end()
    }
}

/// Somebody read up to a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct ReadReceipt {
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    pub read_by: Person,
    pub read_at: Timestamp,
}

/// Somebody types.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TypingView {
    pub conversation: ConversationId,
    pub kind: ConversationKind,
    pub is_typing: bool,
    pub user: Person,
    pub at: Timestamp,
}

/// What was missed of one conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct MissedMessages {
    pub conversation_id: ConversationId,
    pub head: u64,
    pub messages: Vec<MessageView>,
}

/// Too much was missed to send: fetch the history over REST from `head` down.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct Gap {
    pub conversation_id: ConversationId,
    pub head: u64,
}

/// The answer to `sync`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    /// Nothing was missed here.
    pub current: Vec<ConversationId>,
    /// Here is exactly what was missed, oldest first.
    pub missed: Vec<MissedMessages>,
    /// More than [`crate::limits::SYNC_MESSAGES_MAX`] was missed.
    pub gaps: Vec<Gap>,
    /// Not a member (any more), or no such conversation.
    pub unknown: Vec<ConversationId>,
}

impl ServerEvent {
    /// The names on the wire; PROTOCOL.md lists each.
    pub const NAMES: [&'static str; 20] = [
        "ready",
        "messageQueued",
        "messageProcessed",
        "messageComing",
        "loadLastMessage",
        "messageRead",
        "typing",
        "synced",
        "pong",
        "userOnline",
        "userOffline",
        "onlineUsers",
        "listOnline",
        "server.going_away",
        "server.lapsed",
        "sendMessageError",
        "messageReadError",
        "syncError",
        "getOnlineUsersError",
        "exception",
    ];

    /// The lane of the client's event that it answers or tells of, by its name on the wire. None: it
    /// comes from no lane.
    pub fn lane_of(name: &str) -> Option<Lane> {
        match name {
            "messageQueued" | "messageProcessed" | "messageComing" | "loadLastMessage"
            | "sendMessageError" => Some(Lane::High),
            "messageRead" | "messageReadError" => Some(Lane::Medium),
            "typing"
            | "userOnline"
            | "userOffline"
            | "onlineUsers"
            | "listOnline"
            | "getOnlineUsersError" => Some(Lane::Low),
            _ => None,
        }
    }

    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::MessageQueued { .. } => "messageQueued",
            Self::MessageProcessed { .. } => "messageProcessed",
            Self::MessageComing(_) => "messageComing",
            Self::LoadLastMessage(_) => "loadLastMessage",
            Self::MessageRead(_) => "messageRead",
            Self::Typing(_) => "typing",
            Self::Synced(_) => "synced",
            Self::Pong { .. } => "pong",
            Self::UserOnline { .. } => "userOnline",
            Self::UserOffline { .. } => "userOffline",
            Self::OnlineUsers(_) => "onlineUsers",
            Self::ListOnline(_) => "listOnline",
            Self::GoingAway { .. } => "server.going_away",
            Self::Lapsed => "server.lapsed",
            Self::Rejected { event: Some("sendMessage"), .. } => "sendMessageError",
            Self::Rejected { event: Some("messageRead"), .. } => "messageReadError",
            Self::Rejected { event: Some("sync"), .. } => "syncError",
            Self::Rejected { event: Some("getOnlineUsers"), .. } => "getOnlineUsersError",
            Self::Rejected { .. } => "exception",
        }
    }

    /// The JSON of the event's data.
    pub fn data(&self) -> String {
        // Growing by doubling would copy a chat message three times.
        let mut text = Vec::with_capacity(DATA_BYTES_USUAL);
        serde_json::to_writer(&mut text, &Data(self)).expect("plain data always encodes");
        String::from_utf8(text).expect("JSON is text")
    }
}

/// What nearly every event's data fits into.
const DATA_BYTES_USUAL: usize = 1_024;

/// Writes an event's data as PROTOCOL.md shows it.
struct Data<'a>(&'a ServerEvent);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ServerEvent as E;
        let mut map = match self.0 {
            E::Ready(ready) => return ready.serialize(serializer),
            E::MessageComing(view) => return view.serialize(serializer),
            E::MessageRead(receipt) => return receipt.serialize(serializer),
            E::Synced(synced) => return synced.serialize(serializer),
            _ => serializer.serialize_map(None)?,
        };
        match self.0 {
            E::Ready(_) | E::MessageComing(_) | E::MessageRead(_) | E::Synced(_) | E::Lapsed => {}
            E::MessageQueued { guid, at } => {
                map.serialize_entry("guid", guid)?;
                map.serialize_entry("tempId", guid)?;
                map.serialize_entry("status", "queued")?;
                map.serialize_entry("timestamp", at)?;
            }
            E::MessageProcessed { guid, message, seq, conversation } => {
                map.serialize_entry("guid", guid)?;
                map.serialize_entry("tempId", guid)?;
                map.serialize_entry("messageId", message)?;
                map.serialize_entry("seq", seq)?;
                map.serialize_entry("conversationId", conversation)?;
                map.serialize_entry("status", "success")?;
            }
            E::LoadLastMessage(conversation) => map.serialize_entry("conversationId", conversation)?,
            E::Typing(view) => {
                map.serialize_entry("conversationId", &view.conversation)?;
                map.serialize_entry("otherId", &view.conversation)?;
                map.serialize_entry("conversationType", &view.kind)?;
                map.serialize_entry("isTyping", &view.is_typing)?;
                map.serialize_entry("user", &view.user)?;
                map.serialize_entry("timestamp", &view.at)?;
            }
            E::Pong { at, user } => {
                map.serialize_entry("timestamp", at)?;
                map.serialize_entry("userId", user)?;
            }
            E::UserOnline { user, at } | E::UserOffline { user, at } => {
                map.serialize_entry("userId", user)?;
                map.serialize_entry("timestamp", at)?;
            }
            E::OnlineUsers(users) => map.serialize_entry("users", users)?,
            E::ListOnline(conversations) => map.serialize_entry("listOnline", conversations)?,
            E::GoingAway { in_ms } => map.serialize_entry("in_ms", in_ms)?,
            E::Rejected { event, reject, guid, retry_in_ms } => {
                map.serialize_entry("status", "error")?;
                map.serialize_entry("code", reject.code())?;
                map.serialize_entry("message", reject.sentence())?;
                if let Some(event) = event {
                    map.serialize_entry("event", event)?;
                }
                if let Some(guid) = guid {
                    map.serialize_entry("guid", guid)?;
                    map.serialize_entry("tempId", guid)?;
                }
                if let Some(ms) = retry_in_ms {
                    map.serialize_entry("retryInMs", ms)?;
                }
            }
        }
        map.end()
    }
}

fn display<T: std::fmt::Display, S: Serializer>(thing: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(thing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: ServerEvent, name: &str, data: &str) {
        assert!(ServerEvent::NAMES.contains(&event.name()));
        assert_eq!((event.name(), event.data().as_str()), (name, data));
    }

    #[test]
    fn events_are_written_as_both_dialects_expect() {
        let guid = Guid::new("g-1").unwrap();
        check(
            ServerEvent::MessageQueued { guid: guid.clone(), at: Timestamp(0) },
            "messageQueued",
            r#"{"guid":"g-1","tempId":"g-1","status":"queued","timestamp":"1970-01-01T00:00:00.000Z"}"#,
        );
        check(
            ServerEvent::Rejected {
                event: Some("sendMessage"),
                reject: Reject::Busy,
                guid: Some(guid),
                retry_in_ms: Some(1_000),
            },
            "sendMessageError",
            r#"{"status":"error","code":"busy","message":"The server is busy. Repeat under the same guid.","event":"sendMessage","guid":"g-1","tempId":"g-1","retryInMs":1000}"#,
        );
        check(ServerEvent::LoadLastMessage(ConversationId(7)), "loadLastMessage", r#"{"conversationId":7}"#);
        check(
            ServerEvent::UserOffline { user: UserId(7), at: Timestamp(0) },
            "userOffline",
            r#"{"userId":7,"timestamp":"1970-01-01T00:00:00.000Z"}"#,
        );
        check(ServerEvent::ListOnline(vec![ConversationId(7)]), "listOnline", r#"{"listOnline":[7]}"#);
    }
}
