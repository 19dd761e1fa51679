//! The typing indicator.

use serde::Serialize;

use super::message::ConversationKind;
use super::row::{Acknowledged, Judged, Way, about_conversation, read_json};
use crate::account::Person;
use crate::ids::ConversationId;
use crate::lane::Lane;
use crate::reject::Reject;
use crate::time::Timestamp;
use crate::{client_events, server_events};

/// `typing`: the sender types, or has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typing {
    /// The conversation.
    pub conversation: ConversationId,
    /// False: the user has stopped.
    pub is_typing: bool,
}

client_events! {
    Typing = "typing" {
        way: Way::Lane(Lane::Low),
        acknowledged: Acknowledged::Queued,
        refusal: None,
        judged: |typing| Judged {
            conversation: Some(typing.conversation),
            fold: Some(typing.fold()),
            ..Judged::default()
        },
    }
}

impl Typing {
    fn read(data: &str) -> Result<Self, Reject> {
        about_conversation! { struct Input {
            #[serde(rename = "isTyping", default)]
            is_typing: Option<bool>,
        } }
        let input: Input = read_json(data)?;
        Ok(Self { conversation: input.conversation()?, is_typing: input.is_typing.unwrap_or(true) })
    }

    /// Never 0. A rare collision costs one announcement of typing.
    fn fold(self) -> u32 {
        let id = self.conversation.0.cast_unsigned();
        ((id ^ (id >> 32)) as u32) << 2 | 2 | u32::from(self.is_typing)
    }
}

/// `typing`: a member of a conversation types, or has stopped.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "PROTOCOL.md explains each field")]
pub struct TypingView {
    pub conversation_id: ConversationId,
    /// The same id under the name of the second dialect.
    pub other_id: ConversationId,
    pub conversation_type: ConversationKind,
    pub is_typing: bool,
    pub user: Person,
    pub timestamp: Timestamp,
}

server_events! { TypingView = "typing", Some(Lane::Low); }

#[cfg(test)]
mod tests {
    use super::super::row::ClientEvent as _;
    use super::*;

    #[test]
    fn the_explicit_name_of_a_conversation_wins() {
        let typing = Typing { conversation: ConversationId(7), is_typing: true };
        for data in [
            r#"{"otherId":7}"#,
            r#"{"conversation_id":7,"isTyping":null}"#,
            r#"{"conversationId":7,"otherId":9,"isTyping":true}"#,
            r#"{"conversation_id":7,"otherId":9}"#,
        ] {
            assert_eq!(Typing::parse(data), Ok(typing), "{data}");
        }
        assert_eq!(Typing::parse("{}"), Err(Reject::Invalid));
        assert_eq!(Typing::parse(r#"{"conversationId":0}"#), Err(Reject::Invalid));
    }

    #[test]
    fn starting_and_stopping_do_not_fold_together() {
        let fold = |id, is_typing| Typing { conversation: ConversationId(id), is_typing }.fold();
        assert_ne!(fold(7, true), fold(7, false));
        assert_ne!(fold(7, true), fold(8, true));
        assert_ne!(fold(0, false), 0);
    }
}
