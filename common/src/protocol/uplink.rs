//! Gateway to worker: an event with its sender.

use serde::{Deserialize, Serialize};

use super::{ClientEvent, Timestamp};
use crate::ids::{SocketId, UserId};

/// Who sent an event, as the gateway knows from the token. Never from the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The account.
    pub user: UserId,
    /// The socket that answers go to. None: the event came over REST.
    pub socket: Option<SocketId>,
}

/// The body of an envelope on a lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uplink {
    /// Who.
    pub from: Sender,
    /// When the gateway accepted it.
    pub at: Timestamp,
    /// What.
    pub event: ClientEvent,
}
