//! Someone raises a hand in a conversation. (Of a feature of the product: `protocol/src/events/<noun>.rs`.)

use protocol::events::row::{Acknowledged, Judged, Way, conversation_id, read_json};
use protocol::ids::{ConversationId, UserId};
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
    GetHands = "getHands" {
        way: Way::Request { subject: "api.hands", answer: "hands" },
        acknowledged: Acknowledged::Answered,
        refusal: Some(GET_HANDS_ERROR),
        judged: |_| Judged::default(),
    }
}

/// `getHands`: the sender asks which users have a hand up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetHands {
    pub conversation: ConversationId,
}

/// The conversation that both events name.
fn conversation(data: &str) -> Result<ConversationId, Reject> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        conversation_id: i64,
    }
    let input: Input = read_json(data)?;
    conversation_id(input.conversation_id)
}

impl RaiseHand {
    fn read(data: &str) -> Result<Self, Reject> {
        Ok(Self { conversation: conversation(data)? })
    }
}

impl GetHands {
    fn read(data: &str) -> Result<Self, Reject> {
        Ok(Self { conversation: conversation(data)? })
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

/// `hands`: the users who have a hand up.
#[derive(Clone, Debug, Serialize)]
pub struct Hands {
    pub users: Vec<UserId>,
}

/// `handsLowered`: every member had a hand up, and the server lowered all hands.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandsLowered {
    pub conversation_id: ConversationId,
}

server_events! {
    HandRaised = "handRaised", Some(Lane::Medium);
    HandsLowered = "handsLowered", None;
    Hands = "hands", None;
    "getHandsError" => GET_HANDS_ERROR, None;
    "raiseHandError" => RAISE_HAND_ERROR, Some(Lane::Medium);
}
