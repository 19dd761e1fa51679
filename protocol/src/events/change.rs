//! A message that was changed after it was written.

use serde::Serialize;
use serde_json::Value;

use super::message::MessageView;
use crate::ids::ConversationId;
use crate::lane::Lane;
use crate::server_events;
use crate::time::Timestamp;

/// `messageChanged`: what a message is now, live and after `sync`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedMessage {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which message.
    pub seq: u64,
    /// The number of this change among all changes of the conversation.
    pub change_seq: u64,
    /// When.
    pub changed_at: Timestamp,
    /// What happened last; `kind` names it.
    pub what: Value,
    /// The message as it is now, after all of its changes.
    pub message: MessageView,
}

server_events! { ChangedMessage = "messageChanged", Some(Lane::High); }
