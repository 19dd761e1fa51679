//! Gateway to worker: an event with its sender.

use serde::{Deserialize, Serialize};

use xxhash_rust::xxh3::xxh3_64;

use super::{ClientEvent, Timestamp, TraceContext};
use crate::ids::{ConversationId, Guid, SocketId, UserId};

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

impl Uplink {
    /// Which chat message it brings. None: it is another event.
    pub fn origin(&self) -> Option<Origin> {
        let ClientEvent::SendMessage(message) = &self.event else { return None };
        let guid = Origin::hash(message.guid.as_ref()?);
        Some(Origin { guid, sender: self.from.user, conversation: message.conversation })
    }

    /// The trace that it belongs to.
    pub fn context(&self) -> Option<TraceContext> {
        if let ClientEvent::SendMessage(message) = &self.event { message.context } else { None }
    }
}

/// Which chat message something is about, in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// [`Origin::hash`] of its guid.
    pub guid: u64,
    /// Who sent it.
    pub sender: UserId,
    /// Where to.
    pub conversation: ConversationId,
}

impl Origin {
    /// The same in every program and version.
    pub fn hash(guid: &Guid) -> u64 {
        xxh3_64(guid.as_str().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_guid_never_changes() {
        let hash = |text| Origin::hash(&Guid::new(text).unwrap());
        assert_eq!([hash("g-1"), hash("0d5c")], [8_797_309_664_067_016_039, 5_304_205_430_070_349_661]);
    }
}
