//! Gateway to worker: an event with its sender.

use serde::{Deserialize, Serialize};

use crate::context::TraceContext;
use crate::events::row::{ClientEvent, ClientRow, Judged};
use crate::ids::{ConversationId, Guid, SocketId, UserId};
use crate::origin::Origin;
use crate::reject::Reject;
use crate::tag::Tag;
use crate::time::Timestamp;

/// The sender of an event, taken from the token, never from the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The account.
    #[serde(rename = "u")]
    pub user: UserId,
    /// The socket that answers go to. None if the event came over REST.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<SocketId>,
}

/// The body of an envelope on a lane. The client's JSON travels unchanged: a gateway has checked it,
/// a worker reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The sender.
    #[serde(rename = "f")]
    pub from: Sender,
    /// When the gateway accepted it.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The event's name.
    #[serde(rename = "e")]
    pub event: Box<str>,
    /// The JSON of its data.
    #[serde(rename = "d")]
    pub data: Box<str>,
    /// The conversation whose order the event belongs to.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// The guid of the chat message that it brings: the client's, or one that the gateway made.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<Guid>,
    /// The trace that it belongs to, if there is one.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub context: Option<TraceContext>,
    /// The tag by which the client recognizes the answer: JSON, returned on the answer.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

impl Uplink {
    /// An event that the gateway has checked.
    pub fn new(row: &ClientRow, from: Sender, at: Timestamp, data: &str, judged: Judged) -> Self {
        let Judged { conversation, guid, context, .. } = judged;
        Self { from, at, event: row.name.into(), data: data.into(), conversation, guid, context, tag: None }
    }

    /// An event of this kind, checked here.
    ///
    /// # Errors
    /// As [`ClientEvent::parse`].
    pub fn of<E: ClientEvent>(from: Sender, at: Timestamp, data: &str) -> Result<Self, Reject> {
        Ok(Self::new(E::ROW, from, at, data, (E::ROW.judge)(data)?))
    }

    /// The chat message that it brings. None for other events.
    pub fn origin(&self) -> Option<Origin> {
        let guid = Origin::hash(self.guid.as_ref()?);
        Some(Origin { guid, sender: self.from.user, conversation: self.conversation? })
    }

    /// The key whose order its lane keeps.
    pub fn key(&self) -> u64 {
        self.conversation.map_or(0, |conversation| conversation.0.unsigned_abs())
    }
}
