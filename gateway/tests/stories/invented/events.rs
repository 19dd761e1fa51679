//! Someone raises a hand in a conversation. (Of a feature of the product: `protocol/src/events/<noun>.rs`.)

use protocol::events::row::{Acknowledged, Judged, Way, conversation_id, read_json};
use protocol::ids::ConversationId;
use protocol::{Lane, Person, Reject, Timestamp, client_events, server_events};
use serde::{Deserialize, Serialize};

/// `raiseHand`: the sender raises a hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaiseHand {
    pub conversation: ConversationId,
}

client_events! {
    RaiseHand = "raiseHand" {
        way: Way::Lane(Lane::Medium),
        acknowledged: Acknowledged::Queued,
        refusal: Some(RAISE_HAND_ERROR),
        judged: |event| Judged { conversation: Some(event.conversation), ..Judged::default() },
    }
}

impl RaiseHand {
    fn read(data: &str) -> Result<Self, Reject> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Input {
            conversation_id: i64,
        }
        let input: Input = read_json(data)?;
        Ok(Self { conversation: conversation_id(input.conversation_id)? })
    }
}

/// `handRaised`: a member of a conversation raised a hand.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandRaised {
    pub conversation_id: ConversationId,
    pub user: Person,
    pub timestamp: Timestamp,
}

server_events! {
    HandRaised = "handRaised", Some(Lane::Medium);
    "raiseHandError" => RAISE_HAND_ERROR, Some(Lane::Medium);
}
