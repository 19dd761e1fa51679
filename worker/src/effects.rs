//! What a handler wants to happen, as data. Pure: `fanout` makes it happen.

use std::sync::Arc;

use protocol::ids::{ConversationId, SocketId, UserId};
use protocol::{Audience, Origin, Sender, ServerEvent, Timestamp, Urgency};

/// The consequences of one event, in the order in which they shall be seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Who hears what.
    pub told: Vec<Told>,
    /// A conversation's head to raise before anybody hears of it.
    pub head: Option<(ConversationId, u64)>,
    /// When a gateway accepted the event they come of. None: they come of none.
    pub since: Option<Timestamp>,
    /// The chat message they come of. None: of none, or nobody wants to know.
    pub origin: Option<Origin>,
}

/// One event for some sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Whose sockets.
    pub to: To,
    /// Which wire forms want it.
    pub audience: Audience,
    /// What may happen to it on the way.
    pub urgency: Urgency,
    /// What they hear.
    pub event: ServerEvent,
}

/// Whose sockets.
#[derive(Clone, Debug, PartialEq)]
pub enum To {
    /// Every socket of these users. Shared: effects with the same list are routed once.
    Users(Arc<[UserId]>),
    /// One socket.
    Socket(SocketId),
}

impl Effects {
    /// An answer to the socket that the event came from; nothing when it came without one.
    pub fn reply(mut self, from: &Sender, event: ServerEvent) -> Self {
        if let Some(socket) = from.socket {
            self.told.push(Told {
                to: To::Socket(socket),
                audience: Audience::All,
                urgency: Urgency::Keep,
                event,
            });
        }
        self
    }

    /// An event for every socket of these users.
    pub fn broadcast(mut self, users: &Arc<[UserId]>, event: ServerEvent) -> Self {
        self.told.push(Told {
            to: To::Users(Arc::clone(users)),
            audience: Audience::All,
            urgency: Urgency::Keep,
            event,
        });
        self
    }

    /// An event of which only the newest under `key` matters, for these users.
    pub fn broadcast_latest(
        mut self,
        users: &Arc<[UserId]>,
        audience: Audience,
        key: u64,
        event: ServerEvent,
    ) -> Self {
        let urgency = Urgency::Latest(key);
        self.told.push(Told { to: To::Users(Arc::clone(users)), audience, urgency, event });
        self
    }

    /// The conversation reached this seq.
    pub fn head(mut self, conversation: ConversationId, seq: u64) -> Self {
        self.head = Some((conversation, seq));
        self
    }
}

/// The key of a conversation's preview, for [`Urgency::Latest`].
pub fn preview_key(conversation: ConversationId) -> u64 {
    mix(conversation.0.cast_unsigned(), 1)
}

/// The key of what a person types in a conversation, for [`Urgency::Latest`].
pub fn typing_key(conversation: ConversationId, user: UserId) -> u64 {
    mix(mix(conversation.0.cast_unsigned(), 2), user.0.cast_unsigned())
}

/// The key of a person's coming and going, for [`Urgency::Latest`].
pub fn presence_key(user: UserId) -> u64 {
    mix(user.0.cast_unsigned(), 3)
}

/// The key of what a person sees of others' presence, for [`Urgency::Latest`].
pub fn online_key(user: UserId) -> u64 {
    mix(user.0.cast_unsigned(), 4)
}

/// Two numbers to one, the same in every process (splitmix64's finalizer). Two keys that meet by
/// accident (1 in 2^64) would replace each other in one outbox, once.
pub(crate) fn mix(one: u64, other: u64) -> u64 {
    let mut z = one.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ other.rotate_left(32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_things_differ() {
        let keys = [
            preview_key(ConversationId(1)),
            preview_key(ConversationId(2)),
            typing_key(ConversationId(1), UserId(2)),
            typing_key(ConversationId(2), UserId(1)),
            typing_key(ConversationId(1), UserId(1)),
            presence_key(UserId(1)),
            online_key(UserId(1)),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
    }

    #[test]
    fn an_event_without_a_socket_is_answered_to_nobody() {
        let from = Sender { user: UserId(1), socket: None };
        let effects = Effects::default().reply(&from, ServerEvent::LoadLastMessage(ConversationId(7)));
        assert_eq!(effects, Effects::default());
    }
}
