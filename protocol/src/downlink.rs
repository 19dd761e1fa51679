//! Worker to gateway: one encoded event for many sockets.

use serde::{Deserialize, Serialize};

use crate::context::TraceContext;
use crate::ids::{LoginId, MessageId, UserId};
use crate::lane::Lane;
use crate::origin::Origin;
use crate::reject::Reject;
use crate::tag::Tag;
use crate::time::Timestamp;

/// The body of an envelope on `deliver.<node>`. The event is encoded once, by the worker; the
/// gateway wraps the bytes in each wire form once and shares them among its sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Downlink<'a> {
    /// The users or the socket on this node that get it.
    #[serde(rename = "r")]
    pub to: Recipients,
    /// The wire forms that get it.
    #[serde(rename = "f", default, skip_serializing_if = "Forms::is_all")]
    pub forms: Forms,
    /// What the gateway may do with it when a socket is slow.
    #[serde(rename = "u", default, skip_serializing_if = "Urgency::is_keep")]
    pub urgency: Urgency,
    /// The event's name on the wire.
    #[serde(rename = "e")]
    pub event: &'a str,
    /// The JSON of the event's data.
    #[serde(rename = "d")]
    pub data: &'a str,
    /// The lane of the event that it answers or announces.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// The time when a gateway accepted the event that caused it, by that gateway's clock. None: no
    /// event caused it.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The chat message that it shows or refuses. None: it is about no message, or `trace` is off.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Its outcome, for programs: no program parses the JSON.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<MessageOutcome>,
    /// The sampled trace of the chat message that it shows.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub context: Option<TraceContext>,
    /// The tag by which the client recognizes it as the answer to its event.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

/// The recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recipients {
    /// Every socket of each of these users on the node.
    #[serde(rename = "u")]
    Users(Vec<UserId>),
    /// One socket, by its serial on the node.
    #[serde(rename = "s")]
    Socket(u64),
}

/// Which wire forms an event is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forms {
    /// All sockets.
    #[default]
    #[serde(rename = "a")]
    All,
    /// Socket.IO sockets: events only the original's clients need.
    #[serde(rename = "s")]
    SocketIo,
}

impl Forms {
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// What the gateway may do with an event that waits for a slow socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Urgency {
    /// The gateway writes it, or closes the socket.
    #[default]
    #[serde(rename = "k")]
    Keep,
    /// The gateway may shed it, and replaces it by a newer one with the same key (typing, previews).
    #[serde(rename = "l")]
    Latest(u64),
}

impl Urgency {
    fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

/// The outcome of the event that it answers or announces, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageOutcome {
    /// The chat message is stored as this row.
    #[serde(rename = "k")]
    Kept(MessageId),
    /// The event was refused.
    #[serde(rename = "r")]
    Refused(Reject),
    /// The message is shown.
    #[serde(rename = "s")]
    Shown,
}

/// The body of an envelope on `control.gateways`: for every gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// A login ended: close its sockets, refuse its tokens until they expire by themselves.
    EndLogin {
        /// The user.
        user: UserId,
        /// The login.
        login: LoginId,
    },
}
