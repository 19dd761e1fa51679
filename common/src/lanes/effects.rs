//! The effects that a handler wants, as data. Pure: `fanout` executes them.

use std::sync::Arc;

use protocol::events::session::RefusalBody;
use protocol::events::{Events, Judged, ServerEvent};
use protocol::ids::{SocketId, UserId};
use protocol::{Forms, Origin, Reject, Sender, Tag, Timestamp, TraceContext, Uplink, Urgency};

/// The effects of one event, in the order in which clients see them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// The deliveries to clients.
    pub told: Vec<Told>,
    /// The time when a gateway accepted the event that caused them. None: no event caused them.
    pub since: Option<Timestamp>,
    /// The chat message that caused them. None: no message did, or `trace` is off.
    pub origin: Option<Origin>,
    /// The trace they belong to.
    pub context: Option<TraceContext>,
    /// The key whose order they keep on the way to a gateway.
    pub key: u64,
}

/// One event for some sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The sockets that get it.
    pub to: To,
    /// The wire forms that get it.
    pub forms: Forms,
    /// What a gateway may do with it when a socket is slow.
    pub urgency: Urgency,
    /// The event.
    pub event: ServerEvent,
    /// The tag by which the client recognizes it as the answer to its event.
    pub tag: Option<Tag>,
}

/// The recipients.
#[derive(Clone, Debug, PartialEq)]
pub enum To {
    /// Every socket of these users. Shared: effects with the same list are routed once.
    Users(Arc<[UserId]>),
    /// One socket.
    Socket(SocketId),
}

impl Effects {
    /// Adds an event for the socket that the event came from; adds nothing if it came without one.
    pub fn reply(mut self, from: &Sender, event: impl Into<ServerEvent>) -> Self {
        if let Some(socket) = from.socket {
            self.told.push(Told {
                to: To::Socket(socket),
                forms: Forms::All,
                urgency: Urgency::Keep,
                event: event.into(),
                tag: None,
            });
        }
        self
    }

    /// Adds the answer that the event asked for; the client recognizes it by the tag.
    pub fn answer(self, from: &Sender, tag: Option<&Tag>, event: impl Into<ServerEvent>) -> Self {
        let mut effects = self.reply(from, event);
        if let Some(told) = effects.told.last_mut().filter(|_| from.socket.is_some()) {
            told.tag = tag.cloned();
        }
        effects
    }

    /// Only the refusal, for the sender of a refused event.
    pub fn refused(events: &Events, uplink: &Uplink, reject: Reject) -> Self {
        let row = events.find(&uplink.event);
        let judged = row.and_then(|row| (row.judge)(&uplink.data).ok()).unwrap_or_default();
        let judged = Judged { guid: uplink.guid.clone(), conversation: uplink.conversation, ..judged };
        let event = RefusalBody::about(reject, judged).into_event(row);
        let effects = Self::default().answer(&uplink.from, uplink.tag.as_ref(), event);
        Self { origin: uplink.origin(), key: uplink.key(), ..effects }
    }

    /// Adds an event for every socket of these users.
    pub fn broadcast(mut self, users: &Arc<[UserId]>, event: impl Into<ServerEvent>) -> Self {
        self.told.push(Told {
            to: To::Users(Arc::clone(users)),
            forms: Forms::All,
            urgency: Urgency::Keep,
            event: event.into(),
            tag: None,
        });
        self
    }

    /// Adds an event for these users, of which only the newest under `key` matters.
    pub fn broadcast_latest(
        mut self,
        users: &Arc<[UserId]>,
        forms: Forms,
        key: u64,
        event: impl Into<ServerEvent>,
    ) -> Self {
        let urgency = Urgency::Latest(key);
        self.told.push(Told {
            to: To::Users(Arc::clone(users)),
            forms,
            urgency,
            event: event.into(),
            tag: None,
        });
        self
    }
}

/// A key for [`Urgency::Latest`]: `thing` is a word of its own for all that replace each other, `ids` say which one it
/// is. The same in every process. Two keys that meet by accident (1 in 2^64) would replace each other in one outbox, once.
pub fn latest_key(thing: &str, ids: &[i64]) -> u64 {
    let words = thing.bytes().map(u64::from).chain(ids.iter().map(|id| id.cast_unsigned()));
    words.fold(0, mix)
}

/// Two numbers to one (splitmix64's finalizer).
pub(super) fn mix(one: u64, other: u64) -> u64 {
    let mut z = one.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ other.rotate_left(32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use protocol::events::message::{LoadLastMessage, MessageRead};
    use protocol::ids::{ConversationId, NodeId};

    use super::*;

    #[test]
    fn keys_of_different_things_differ() {
        let keys = [
            latest_key("preview", &[1]),
            latest_key("preview", &[2]),
            latest_key("presence", &[1]),
            latest_key("typing", &[1, 2]),
            latest_key("typing", &[2, 1]),
            latest_key("typing", &[1, 1]),
            latest_key("typing", &[1]),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
    }

    #[test]
    fn an_event_without_a_socket_is_answered_to_nobody() {
        let from = Sender { user: UserId(1), socket: None };
        let preview = LoadLastMessage { conversation_id: ConversationId(7) };
        assert_eq!(Effects::default().answer(&from, Some(&Tag::Ack(1)), preview), Effects::default());
    }

    #[test]
    fn a_refusal_says_what_it_was_about_and_carries_the_tag() {
        let from = Sender { user: UserId(1), socket: Some(SocketId { node: NodeId(1), serial: 2 }) };
        let data = r#"{"conversationId":7,"messageId":9}"#;
        let tag = Some(Tag::Id("8".into()));
        let uplink =
            Uplink { tag: tag.clone(), ..Uplink::of::<MessageRead>(from, Timestamp(0), data).unwrap() };
        let effects = Effects::refused(&Events::default(), &uplink, Reject::NotFound);
        let [told] = &effects.told[..] else { panic!("{effects:?}") };
        assert_eq!((told.event.name(), &told.tag), ("messageReadError", &tag));
        assert!(told.event.data().contains(r#""conversationId":7,"messageId":9"#), "{}", told.event.data());
    }
}
