//! Changes of messages after they were sent.

use serde::Serialize;
use serde_json::Value;

use super::message::MessageView;
use crate::ids::ConversationId;
use crate::lane::Lane;
use crate::server_events;
use crate::time::Timestamp;

/// `messageChanged`: the latest form of a message, live and after `sync`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedMessage {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The `seq` of the message.
    pub seq: u64,
    /// The number of this change among all changes of the conversation.
    pub change_seq: u64,
    /// The time of the change.
    pub changed_at: Timestamp,
    /// The last change; `kind` names it.
    pub what: Value,
    /// The latest form of the message, after all changes.
    pub message: MessageView,
}

server_events! { ChangedMessage = "messageChanged", Some(Lane::High); }
