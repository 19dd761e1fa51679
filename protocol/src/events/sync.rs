//! What a client missed while it was away.

use serde::{Deserialize, Serialize};

use super::change::ChangedMessage;
use super::message::MessageView;
use super::row::{Acknowledged, Judged, Way, conversation_id, read_json};
use crate::ids::ConversationId;
use crate::limits::SYNC_CONVERSATIONS_MAX;
use crate::reject::Reject;
use crate::{client_events, server_events};

/// `sync`: what the client holds of each conversation. The answer brings what it missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// One entry for each conversation.
    pub held: Vec<Held>,
}

/// What a client holds of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The conversation.
    pub conversation: ConversationId,
    /// The last seq held (0: nothing yet).
    pub seq: u64,
    /// The last change known (0: none). None: the client does not ask for changes.
    pub change_seq: Option<u64>,
    /// The last seq that the client knows its user has read. None: it does not ask.
    pub read_seq: Option<u64>,
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
            conversations: std::collections::BTreeMap<String, Far>,
        }
        /// A client that asks for messages only sends their seq alone.
        #[derive(Deserialize)]
        #[serde(untagged, rename_all_fields = "camelCase")]
        enum Far {
            Seq(u64),
            All {
                seq: u64,
                #[serde(default)]
                change_seq: Option<u64>,
                #[serde(default)]
                read_seq: Option<u64>,
            },
        }
        let input: Input = read_json(data)?;
        if input.conversations.len() > SYNC_CONVERSATIONS_MAX {
            return Err(Reject::TooLarge);
        }
        let bounded = |seq: u64| seq.min(i64::MAX as u64);
        let held = input.conversations.into_iter().map(|(id, far)| {
            let conversation = conversation_id(id.parse().map_err(|_| Reject::Invalid)?)?;
            let (seq, change_seq, read_seq) = match far {
                Far::Seq(seq) => (seq, None, None),
                Far::All { seq, change_seq, read_seq } => (seq, change_seq, read_seq),
            };
            let change_seq = change_seq.map(bounded);
            Ok(Held { conversation, seq: bounded(seq), change_seq, read_seq })
        });
        Ok(Self { held: held.collect::<Result<_, Reject>>()? })
    }
}

/// What the client missed in one conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct MissedMessages {
    pub conversation_id: ConversationId,
    pub head: u64,
    pub change_seq: u64,
    pub messages: Vec<MessageView>,
    /// Changes of messages that the client held already, oldest first, each message once.
    pub changes: Vec<ChangedMessage>,
}

/// The client missed more than `sync` returns: it fetches the history over REST from `head` down.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct Gap {
    pub conversation_id: ConversationId,
    pub head: u64,
    pub change_seq: u64,
    /// Messages that the client holds have changed as well: it fetches them again.
    pub changed: bool,
}

/// The last seq that the user has read on any device.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct ReadUpTo {
    pub conversation_id: ConversationId,
    pub read_seq: u64,
}

/// `synced`: the answer to `sync`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    /// Conversations in which the client missed nothing.
    pub current: Vec<ConversationId>,
    /// Exactly what the client missed, oldest first.
    pub missed: Vec<MissedMessages>,
    /// The client missed more than [`SYNC_MESSAGES_MAX`](crate::limits::SYNC_MESSAGES_MAX) messages or
    /// [`SYNC_CHANGES_MAX`](crate::limits::SYNC_CHANGES_MAX) changed ones.
    pub gaps: Vec<Gap>,
    /// The user is not a member (any more), or the conversation does not exist.
    pub unknown: Vec<ConversationId>,
    /// Conversations in which the user has read further than the client knew.
    pub reads: Vec<ReadUpTo>,
}

server_events! {
    Synced = "synced", None;
    "syncError" => SYNC_ERROR, None;
}

#[cfg(test)]
mod tests {
    use super::super::row::ClientEvent as _;
    use super::*;

    #[test]
    fn what_is_held_is_read_by_conversation() {
        let seq_of =
            |id, seq| Held { conversation: ConversationId(id), seq, change_seq: None, read_seq: None };
        let held = vec![seq_of(3, 0), seq_of(7, 41)];
        assert_eq!(Sync::parse(r#"{"conversations":{"7":41,"3":0}}"#), Ok(Sync { held }));
        let held = vec![
            seq_of(3, 0),
            Held { change_seq: Some(2), read_seq: Some(40), ..seq_of(7, 41) },
            Held { change_seq: Some(i64::MAX as u64), ..seq_of(8, 1) },
        ];
        let mixed = format!(
            r#"{{"conversations":{{"7":{{"seq":41,"changeSeq":2,"readSeq":40,"new":[]}},"3":{{"seq":0}},"8":{{"seq":1,"changeSeq":{}}}}}}}"#,
            u64::MAX
        );
        assert_eq!(Sync::parse(&mixed), Ok(Sync { held }));
        for bad in [r#"{"x":1}"#, r#"{"7":"1"}"#, r#"{"7":{"changeSeq":1}}"#, r#"{"7":{"seq":-1}}"#] {
            assert_eq!(Sync::parse(&format!(r#"{{"conversations":{bad}}}"#)), Err(Reject::Invalid), "{bad}");
        }
        assert_eq!(Sync::parse("{}"), Err(Reject::Invalid));
    }
}
