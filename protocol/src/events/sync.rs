//! What a client missed while it was away.

use serde::{Deserialize, Serialize};

use super::message::MessageView;
use super::row::{Acknowledged, Judged, Way, conversation_id, read_json};
use crate::ids::ConversationId;
use crate::limits::SYNC_CONVERSATIONS_MAX;
use crate::reject::Reject;
use crate::{client_events, server_events};

/// `sync`: the last seq the client holds of each conversation; it wants what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// Conversation and last seq held (0: nothing yet).
    pub held: Vec<(ConversationId, u64)>,
}

client_events! {
    Sync = "sync" {
        way: Way::Request { subject: "api.sync", answer: "synced" },
        acknowledged: Acknowledged::Answered,
        refusal: Some(SYNC_ERROR),
        judged: |_| Judged::default(),
    }
}

impl Sync {
    fn read(data: &str) -> Result<Self, Reject> {
        #[derive(Deserialize)]
        struct Input {
            conversations: std::collections::BTreeMap<String, u64>,
        }
        let input: Input = read_json(data)?;
        if input.conversations.len() > SYNC_CONVERSATIONS_MAX {
            return Err(Reject::TooLarge);
        }
        let held = input.conversations.into_iter().map(|(id, seq)| {
            let id = id.parse().map_err(|_| Reject::Invalid)?;
            Ok((conversation_id(id)?, seq.min(i64::MAX as u64)))
        });
        Ok(Self { held: held.collect::<Result<_, Reject>>()? })
    }
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

/// `synced`: the answer to `sync`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    /// Nothing was missed here.
    pub current: Vec<ConversationId>,
    /// Here is exactly what was missed, oldest first.
    pub missed: Vec<MissedMessages>,
    /// More than [`SYNC_MESSAGES_MAX`](crate::limits::SYNC_MESSAGES_MAX) was missed.
    pub gaps: Vec<Gap>,
    /// Not a member (any more), or no such conversation.
    pub unknown: Vec<ConversationId>,
}

server_events! { Synced = "synced", None; }

/// Refuses `sync`.
const SYNC_ERROR: &super::row::ServerRow = &super::row::ServerRow::refusal("syncError", None);

/// What clients hear.
pub const SERVER: &[&super::row::ServerRow] = &[<Synced as super::row::Payload>::ROW, SYNC_ERROR];

#[cfg(test)]
mod tests {
    use super::super::row::ClientEvent as _;
    use super::*;

    #[test]
    fn what_is_held_is_read_by_conversation() {
        let held = vec![(ConversationId(3), 0), (ConversationId(7), 41)];
        assert_eq!(Sync::parse(r#"{"conversations":{"7":41,"3":0}}"#), Ok(Sync { held }));
        assert_eq!(Sync::parse(r#"{"conversations":{"x":1}}"#), Err(Reject::Invalid));
        assert_eq!(Sync::parse("{}"), Err(Reject::Invalid));
    }
}
