//! Chat messages: sent, queued, processed, coming, read. Names and fields of both dialects of the
//! original are accepted here, and nowhere else.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::row::{Acknowledged, Judged, Payload, ServerRow, Way, about_conversation, read_json};
use crate::account::Person;
use crate::context::TraceContext;
use crate::downlink::MessageOutcome;
use crate::ids::{ConversationId, Guid, MessageId};
use crate::lane::Lane;
use crate::limits::{ATTACHMENTS_MAX, CONTENT_CHARS_MAX, URL_BYTES_MAX};
use crate::reject::Reject;
use crate::time::Timestamp;
use crate::{client_events, server_events};

/// `sendMessage`: a chat message to store and to deliver to the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// The conversation to send to.
    #[serde(rename = "conversationId")]
    pub conversation: ConversationId,
    /// The client's id for the message; the session makes one when the client gave none.
    pub guid: Option<Guid>,
    /// What kind of content.
    pub message_type: MessageType,
    /// The text; up to [`CONTENT_CHARS_MAX`] characters, kept as it is.
    pub content: String,
    /// For messages that record a call.
    pub call_type: CallType,
    /// For messages that record a call.
    pub call_status: CallStatus,
    /// Links to uploaded files.
    pub attachments: Vec<Attachment>,
    /// The client's trace that it belongs to. From a client it may be [`TraceContext::INVALID`].
    #[serde(rename = "traceparent")]
    pub context: Option<TraceContext>,
}

/// `messageRead`: the user has read everything up to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRead {
    /// The conversation.
    pub conversation: ConversationId,
    /// The last message read.
    pub message: MessageId,
    /// Its seq, if the client sends it: it saves a search by id.
    pub seq: Option<u64>,
}

client_events! {
    SendMessage = "sendMessage" {
        way: Way::Lane(Lane::High),
        acknowledged: Acknowledged::MessageQueued,
        refusal: Some(SEND_MESSAGE_ERROR),
        judged: |event| Judged {
            conversation: Some(event.conversation),
            guid: event.guid.clone(),
            context: event.context,
            ..Judged::default()
        },
    }
    MessageRead = "messageRead" {
        way: Way::Lane(Lane::Medium),
        acknowledged: Acknowledged::Queued,
        refusal: Some(MESSAGE_READ_ERROR),
        judged: |event| Judged {
            conversation: Some(event.conversation),
            message: Some(event.message),
            ..Judged::default()
        },
    }
}

/// A link to an uploaded file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// A small picture of the file.
    #[serde(rename = "thumbUrl", default)]
    pub thumb_url: String,
    /// The file.
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

/// The state of a call. Plain messages carry `ENDED`, as in the original.
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
            /// The name in the protocol and in the database.
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

impl Attachment {
    fn is_safe(&self) -> bool {
        is_link(&self.file_url) && (self.thumb_url.is_empty() || is_link(&self.thumb_url))
    }
}

/// Whether a browser fetches this link without executing it: `https:`, `http:`, or a path of this server.
pub fn is_link(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_web = matches!(scheme.as_deref(), Some("https" | "http"));
    let is_ours = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    url.len() <= URL_BYTES_MAX && !url.contains(char::is_control) && (is_web || is_ours)
}

impl SendMessage {
    fn read(data: &str) -> Result<Self, Reject> {
        about_conversation! { struct Input {
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
            #[serde(default)]
            guid: Option<String>,
            // All that we send has both names; a client may give back what it got.
            #[serde(rename = "tempId", default)]
            temp: Option<String>,
        } }
        let input: Input = read_json(data)?;
        let conversation = input.conversation();
        let content = input.content.unwrap_or_default();
        let attachments = input.attachments.unwrap_or_default();
        // Bytes bound characters from above: most messages need no counting.
        let too_long = content.len() > CONTENT_CHARS_MAX && content.chars().count() > CONTENT_CHARS_MAX;
        if too_long || attachments.len() > ATTACHMENTS_MAX {
            return Err(Reject::TooLarge);
        }
        // PostgreSQL text holds no NUL.
        if (content.is_empty() && attachments.is_empty()) || content.contains('\0') {
            return Err(Reject::Invalid);
        }
        if !attachments.iter().all(Attachment::is_safe) {
            return Err(Reject::Invalid);
        }
        let named = |text: Option<String>| text.filter(|text| !text.is_empty());
        let guid = named(input.guid).or_else(|| named(input.temp)).map(|text| Guid::new(&text));
        Ok(Self {
            conversation: conversation?,
            guid: guid.transpose().map_err(|_| Reject::Invalid)?,
            message_type: input.message_type.unwrap_or_default(),
            content,
            call_type: input.call_type.unwrap_or_default(),
            call_status: input.call_status.unwrap_or_default(),
            attachments,
            context: input.context,
        })
    }
}

impl MessageRead {
    fn read(data: &str) -> Result<Self, Reject> {
        about_conversation! { struct Input {
            #[serde(rename = "messageId", default)]
            message: Option<i64>,
            #[serde(rename = "message_id", default)]
            snake_message: Option<i64>,
            #[serde(default)]
            seq: Option<u64>,
        } }
        let input: Input = read_json(data)?;
        let conversation = input.conversation()?;
        let message = input.message.or(input.snake_message).filter(|id| *id >= 1).ok_or(Reject::Invalid)?;
        Ok(Self { conversation, message: MessageId(message), seq: input.seq })
    }
}

/// The guid in data that is refused, so that the client learns which message it was.
pub fn guid_in(data: &str) -> Option<Guid> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        guid: Option<serde_json::Value>,
        #[serde(rename = "tempId", default)]
        temp: Option<serde_json::Value>,
    }
    let Named { guid, temp } = serde_json::from_str(data).ok()?;
    let text = |value: &serde_json::Value| Guid::new(value.as_str()?).ok();
    guid.as_ref().and_then(text).or_else(|| temp.as_ref().and_then(text))
}

/// `messageQueued`: the bus has the message; it survives a crash from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageQueued {
    /// The client's id for the message, or ours when the client gave none.
    pub guid: Guid,
    /// The time.
    pub at: Timestamp,
}

impl Serialize for MessageQueued {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("guid", &self.guid)?;
        map.serialize_entry("tempId", &self.guid)?;
        map.serialize_entry("status", "queued")?;
        map.serialize_entry("timestamp", &self.at)?;
        map.end()
    }
}

/// `messageProcessed`: the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageProcessed {
    /// The guid of `messageQueued`.
    pub guid: Guid,
    /// The id of the row.
    pub message: MessageId,
    /// Its `seq` in the conversation.
    pub seq: u64,
    /// The conversation.
    pub conversation: ConversationId,
}

impl Serialize for MessageProcessed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("guid", &self.guid)?;
        map.serialize_entry("tempId", &self.guid)?;
        map.serialize_entry("messageId", &self.message)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("conversationId", &self.conversation)?;
        map.serialize_entry("status", "success")?;
        map.end()
    }
}

impl Payload for MessageProcessed {
    const ROW: &'static ServerRow =
        &ServerRow { name: "messageProcessed", lane: Some(Lane::High), shows_message: false };

    fn outcome(&self) -> Option<MessageOutcome> {
        Some(MessageOutcome::Kept(self.message))
    }
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
    /// The sampled trace; only in the live event.
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

/// `messageComing`: a chat message, to every socket of every member.
impl Payload for MessageView {
    const ROW: &'static ServerRow =
        &ServerRow { name: "messageComing", lane: Some(Lane::High), shows_message: true };
}

/// `loadLastMessage`: previews changed (Socket.IO form only).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadLastMessage {
    /// The conversation.
    pub conversation_id: ConversationId,
}

/// `messageRead`: a member has read up to a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct ReadReceipt {
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    /// The message's `seq`: everything up to it was read.
    pub seq: u64,
    pub read_by: Person,
    pub read_at: Timestamp,
}

server_events! {
    MessageQueued = "messageQueued", Some(Lane::High);
    LoadLastMessage = "loadLastMessage", Some(Lane::High);
    ReadReceipt = "messageRead", Some(Lane::Medium);
    "sendMessageError" => SEND_MESSAGE_ERROR, Some(Lane::High);
    "messageReadError" => MESSAGE_READ_ERROR, Some(Lane::Medium);
    @MessageProcessed;
    @MessageView;
}

#[cfg(test)]
mod tests;
