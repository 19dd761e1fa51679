//! What clients say. Names and fields of both dialects of the original are accepted here, and
//! nowhere else.

use serde::{Deserialize, Serialize};

use super::{Lane, Reject, TraceContext};
use crate::ids::{ConversationId, Guid, MessageId};
use crate::limits::{ATTACHMENTS_MAX, CONTENT_CHARS_MAX, SYNC_CONVERSATIONS_MAX, URL_BYTES_MAX};

/// An event from a client, checked. Variants are only ever appended (see [`super::encode`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientEvent {
    /// `sendMessage`
    SendMessage(SendMessage),
    /// `messageRead`
    MessageRead(MessageRead),
    /// `typing`
    Typing(Typing),
    /// `sync`: answered by a request, on no lane.
    Sync(Sync),
    /// `ping`: answered by the session; a heartbeat that waits in a queue measures the queue.
    Ping,
    /// `getOnlineUsers`: who of one's contacts is online.
    GetOnlineUsers,
}

/// A chat message to keep and to tell the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendMessage {
    /// Where to.
    pub conversation: ConversationId,
    /// The client's name for it; the session makes one up when the client gave none.
    pub guid: Option<Guid>,
    /// What kind of content.
    pub message_type: MessageType,
    /// The text; up to [`CONTENT_CHARS_MAX`] characters, kept as it is.
    pub content: String,
    /// For messages that record a call.
    pub call_type: CallType,
    /// For messages that record a call.
    pub call_status: CallStatus,
    /// Links to uploaded things.
    pub attachments: Vec<Attachment>,
    /// The client's trace that it belongs to. From a client it may be [`TraceContext::INVALID`].
    pub context: Option<TraceContext>,
}

/// Everything up to a message was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRead {
    /// The conversation.
    pub conversation: ConversationId,
    /// The last message read.
    pub message: MessageId,
}

/// Somebody types, or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// The conversation.
    pub conversation: ConversationId,
    /// False: stopped.
    pub is_typing: bool,
}

/// The last seq the client holds of each conversation; it wants what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// Conversation and last seq held (0: nothing yet).
    pub held: Vec<(ConversationId, u64)>,
}

/// A link to an uploaded thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Small picture of it.
    #[serde(rename = "thumbUrl", default)]
    pub thumb_url: String,
    /// The thing.
    #[serde(rename = "fileUrl")]
    pub file_url: String,
}

/// Kind of content of a chat message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum MessageType {
    #[default]
    Text,
    Image,
    File,
    Video,
    Call,
}

/// Kind of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CallType {
    #[default]
    Voice,
    Video,
}

/// How far a call got. Plain messages carry `ENDED`, as in the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum CallStatus {
    Invited,
    Missed,
    Ongoing,
    #[default]
    Ended,
}

macro_rules! text_enum {
    ($name:ident { $($variant:ident = $text:literal,)* }) => {
        impl $name {
            /// As the protocol and the database write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
        impl std::str::FromStr for $name {
            type Err = Reject;
            fn from_str(text: &str) -> Result<Self, Reject> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(Reject::Invalid) }
            }
        }
    };
}

text_enum!(MessageType { Text = "TEXT", Image = "IMAGE", File = "FILE", Video = "VIDEO", Call = "CALL", });
text_enum!(CallType { Voice = "VOICE", Video = "VIDEO", });
text_enum!(CallStatus { Invited = "INVITED", Missed = "MISSED", Ongoing = "ONGOING", Ended = "ENDED", });

impl ClientEvent {
    /// The events a client may send, by their names on the wire.
    pub const NAMES: [&'static str; 6] =
        ["sendMessage", "messageRead", "typing", "sync", "ping", "getOnlineUsers"];

    /// The event's name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SendMessage(_) => "sendMessage",
            Self::MessageRead(_) => "messageRead",
            Self::Typing(_) => "typing",
            Self::Sync(_) => "sync",
            Self::Ping => "ping",
            Self::GetOnlineUsers => "getOnlineUsers",
        }
    }

    /// The one table of event to lane. None: the event travels on no lane.
    pub const fn lane(&self) -> Option<Lane> {
        match self {
            Self::SendMessage(_) => Some(Lane::High),
            Self::MessageRead(_) => Some(Lane::Medium),
            Self::Typing(_) | Self::GetOnlineUsers => Some(Lane::Low),
            Self::Sync(_) | Self::Ping => None,
        }
    }

    /// The conversation whose order the event belongs to.
    pub const fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::SendMessage(event) => Some(event.conversation),
            Self::MessageRead(event) => Some(event.conversation),
            Self::Typing(event) => Some(event.conversation),
            Self::Sync(_) | Self::Ping | Self::GetOnlineUsers => None,
        }
    }

    /// Reads an event from its name and the JSON of its data.
    ///
    /// # Errors
    /// [`Reject::UnknownEvent`], [`Reject::Malformed`] when the data is no JSON object,
    /// [`Reject::Invalid`] when a field is missing, of the wrong type or out of range,
    /// [`Reject::TooLarge`] when content, attachments or conversations are too many.
    pub fn parse(name: &str, data: &str) -> Result<Self, Reject> {
        match name {
            "sendMessage" => read::<SendMessageInput>(data)?.check().map(Self::SendMessage),
            "messageRead" => read::<MessageReadInput>(data)?.check().map(Self::MessageRead),
            "typing" => read::<TypingInput>(data)?.check().map(Self::Typing),
            "sync" => read::<SyncInput>(data)?.check().map(Self::Sync),
            "ping" => Ok(Self::Ping),
            "getOnlineUsers" => Ok(Self::GetOnlineUsers),
            _ => Err(Reject::UnknownEvent),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Reject> {
    serde_json::from_str(data).map_err(|err| match err.classify() {
        serde_json::error::Category::Data => Reject::Invalid,
        _ => Reject::Malformed,
    })
}

fn conversation(id: i64) -> Result<ConversationId, Reject> {
    // 2^53: what a JavaScript number holds.
    if (1..=1 << 53).contains(&id) { Ok(ConversationId(id)) } else { Err(Reject::Invalid) }
}

#[derive(Deserialize)]
struct SendMessageInput {
    #[serde(rename = "conversationId", alias = "conversation_id", alias = "otherId")]
    conversation: i64,
    #[serde(alias = "tempId", default)]
    guid: Option<String>,
    #[serde(rename = "messageType", alias = "message_type", default)]
    message_type: Option<MessageType>,
    #[serde(default)]
    content: Option<String>,
    #[serde(rename = "callType", default)]
    call_type: Option<CallType>,
    #[serde(rename = "callStatus", default)]
    call_status: Option<CallStatus>,
    #[serde(default)]
    attachments: Option<Vec<Attachment>>,
    #[serde(rename = "traceparent", default)]
    context: Option<TraceContext>,
}

impl SendMessageInput {
    fn check(self) -> Result<SendMessage, Reject> {
        let content = self.content.unwrap_or_default();
        let attachments = self.attachments.unwrap_or_default();
        // Bytes bound characters from above: most messages need no counting.
        let too_long = content.len() > CONTENT_CHARS_MAX && content.chars().count() > CONTENT_CHARS_MAX;
        if too_long || attachments.len() > ATTACHMENTS_MAX {
            return Err(Reject::TooLarge);
        }
        // PostgreSQL text holds no NUL.
        if (content.is_empty() && attachments.is_empty()) || content.contains('\0') {
            return Err(Reject::Invalid);
        }
        for url in attachments.iter().flat_map(|one| [&one.file_url, &one.thumb_url]) {
            if url.len() > URL_BYTES_MAX || url.contains('\0') {
                return Err(Reject::Invalid);
            }
        }
        let guid = match self.guid.as_deref() {
            None | Some("") => None,
            Some(text) => Some(Guid::new(text).map_err(|_| Reject::Invalid)?),
        };
        Ok(SendMessage {
            conversation: conversation(self.conversation)?,
            guid,
            message_type: self.message_type.unwrap_or_default(),
            content,
            call_type: self.call_type.unwrap_or_default(),
            call_status: self.call_status.unwrap_or_default(),
            attachments,
            context: self.context,
        })
    }
}

#[derive(Deserialize)]
struct MessageReadInput {
    #[serde(rename = "conversationId", alias = "conversation_id", alias = "otherId")]
    conversation: i64,
    #[serde(rename = "messageId", alias = "message_id")]
    message: i64,
}

impl MessageReadInput {
    fn check(self) -> Result<MessageRead, Reject> {
        if self.message < 1 {
            return Err(Reject::Invalid);
        }
        Ok(MessageRead { conversation: conversation(self.conversation)?, message: MessageId(self.message) })
    }
}

#[derive(Deserialize)]
struct TypingInput {
    // Dialect F says `otherId`, and some clients say both: the explicit name wins.
    #[serde(rename = "conversationId", alias = "conversation_id", default)]
    conversation: Option<i64>,
    #[serde(rename = "otherId", default)]
    other: Option<i64>,
    #[serde(rename = "isTyping", default)]
    is_typing: Option<bool>,
}

impl TypingInput {
    fn check(self) -> Result<Typing, Reject> {
        let id = self.conversation.or(self.other).ok_or(Reject::Invalid)?;
        Ok(Typing { conversation: conversation(id)?, is_typing: self.is_typing.unwrap_or(true) })
    }
}

#[derive(Deserialize)]
struct SyncInput {
    conversations: std::collections::BTreeMap<String, u64>,
}

impl SyncInput {
    fn check(self) -> Result<Sync, Reject> {
        if self.conversations.len() > SYNC_CONVERSATIONS_MAX {
            return Err(Reject::TooLarge);
        }
        let held = self.conversations.into_iter().map(|(id, seq)| {
            let id = id.parse().map_err(|_| Reject::Invalid)?;
            Ok((conversation(id)?, seq.min(i64::MAX as u64)))
        });
        Ok(Sync { held: held.collect::<Result<_, Reject>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, data: &str, expect: Result<ClientEvent, Reject>) {
        assert_eq!(ClientEvent::parse(name, data), expect, "{name} {data}");
    }

    fn text(conversation: i64, guid: Option<&str>, content: &str) -> ClientEvent {
        ClientEvent::SendMessage(SendMessage {
            conversation: ConversationId(conversation),
            guid: guid.map(|guid| Guid::new(guid).unwrap()),
            message_type: MessageType::Text,
            content: content.into(),
            call_type: CallType::Voice,
            call_status: CallStatus::Ended,
            attachments: vec![],
            context: None,
        })
    }

    #[test]
    fn both_dialects_are_understood() {
        let dialect_f = r#"{"conversationId":7,"messageType":"TEXT","content":"xin chào"}"#;
        check("sendMessage", dialect_f, Ok(text(7, None, "xin chào")));
        let dialect_h = r#"{"conversationId":7,"conversationType":0,"guid":"g-1","messageType":"TEXT","content":"a","status":"READ"}"#;
        check("sendMessage", dialect_h, Ok(text(7, Some("g-1"), "a")));
        let typing = Typing { conversation: ConversationId(7), is_typing: true };
        check("typing", r#"{"otherId":7}"#, Ok(ClientEvent::Typing(typing)));
        let both = r#"{"conversationId":7,"otherId":9,"isTyping":true}"#;
        check("typing", both, Ok(ClientEvent::Typing(typing)));
        check("ping", "null", Ok(ClientEvent::Ping));
        check("getOnlineUsers", "{}", Ok(ClientEvent::GetOnlineUsers));
        let held = vec![(ConversationId(3), 0), (ConversationId(7), 41)];
        check("sync", r#"{"conversations":{"7":41,"3":0}}"#, Ok(ClientEvent::Sync(Sync { held })));
    }

    #[test]
    fn bad_input_has_a_typed_reject() {
        check("nope", "{}", Err(Reject::UnknownEvent));
        check("sendMessage", "{", Err(Reject::Malformed));
        check("sendMessage", "[]", Err(Reject::Invalid));
        check("sendMessage", r#"{"conversationId":"7","content":"a"}"#, Err(Reject::Invalid));
        check("sendMessage", r#"{"conversationId":0,"content":"a"}"#, Err(Reject::Invalid));
        check("sendMessage", r#"{"conversationId":7}"#, Err(Reject::Invalid));
        check("sendMessage", r#"{"conversationId":7,"content":"a\u0000"}"#, Err(Reject::Invalid));
        check("sendMessage", r#"{"conversationId":7,"content":"a","guid":"a b"}"#, Err(Reject::Invalid));
        check("sendMessage", r#"{"conversationId":7,"content":"a","messageType":"X"}"#, Err(Reject::Invalid));
        let long = format!(r#"{{"conversationId":7,"content":"{}"}}"#, "é".repeat(CONTENT_CHARS_MAX + 1));
        check("sendMessage", &long, Err(Reject::TooLarge));
        check("messageRead", r#"{"conversationId":7,"messageId":-1}"#, Err(Reject::Invalid));
        check("typing", "{}", Err(Reject::Invalid));
        check("sync", r#"{"conversations":{"x":1}}"#, Err(Reject::Invalid));
    }

    #[test]
    fn an_event_travels_between_programs_unchanged() {
        let event = text(7, Some("g"), "xin chào");
        assert_eq!(super::super::decode::<ClientEvent>(&super::super::encode(&event)), Ok(event));
    }
}
