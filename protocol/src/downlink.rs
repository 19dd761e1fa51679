//! Worker to gateway: one encoded event for many sockets.

use serde::{Deserialize, Serialize};

use super::{Origin, Timestamp, TraceContext};
use crate::ids::{LoginId, SocketId, UserId};

/// The body of an envelope on `deliver.<node>`. The event is encoded once, by the worker; the
/// gateway wraps the bytes in each wire form once and shares them among its sockets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Downlink<'a> {
    /// Whose sockets on this node.
    pub to: Recipients,
    /// Not to this one (the socket that typed).
    pub except: Option<SocketId>,
    /// Which wire forms want it.
    pub audience: Audience,
    /// What may happen to it on the way.
    pub urgency: Urgency,
    /// The event's name on the wire.
    pub event: &'a str,
    /// The JSON of the event's data.
    pub data: &'a str,
    /// When a gateway accepted the event that it comes of, by that gateway's clock. None: it comes
    /// of none.
    pub since: Option<Timestamp>,
    /// The chat message that it shows or refuses. None: there is none, or nobody wants to know.
    pub origin: Option<Origin>,
    /// The recorded trace of the chat message that it shows.
    pub context: Option<TraceContext>,
}

/// Whose sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recipients {
    /// Every socket of each of these users on the node.
    Users(Vec<UserId>),
    /// One socket, by its serial on the node.
    Socket(u64),
}

/// Which wire forms an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// All sockets.
    All,
    /// Socket.IO sockets: events only the original's clients need.
    SocketIo,
}

/// What may happen to an event while it waits for a slow socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Urgency {
    /// It is written, or the socket is cut.
    Keep,
    /// It may be shed; a newer one under the same key takes its place (typing, previews).
    Latest(u64),
}

/// The body of an envelope on `control.gateways`: for every gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// A login ended: close its sockets, refuse its tokens until they expire by themselves.
    EndLogin {
        /// Whose.
        user: UserId,
        /// Which.
        login: LoginId,
    },
}
