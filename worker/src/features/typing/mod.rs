//! The typing indicator.
//!
//! An indicator is worthless after 5 s, so the worker may use members that it read a moment ago
//! ([`TYPING_AUDIENCE_MS_MAX`]). Clients send it with every key press; of a batch only each user's last
//! state is announced, and the same state is not announced again within [`TYPING_REPEAT_MS_MIN`].

use std::sync::Arc;
use std::time::Duration;

use common::lanes::{Effects, Outcomes, Request, latest_key};
use common::limits::{LOW_LANE_TTL_MS, TYPING_AUDIENCE_MS_MAX, TYPING_AUDIENCES_MAX, TYPING_REPEAT_MS_MIN};
use foldhash::{HashMap, HashMapExt};
use parking_lot::Mutex;
use protocol::events::typing::{Typing, TypingView};
use protocol::ids::{ConversationId, UserId};
use protocol::{Forms, Reject, Timestamp};
use tokio::time::Instant;

use crate::conversation::{Members, admit, others};
use crate::ctx::Ctx;
use crate::feature::{Feature, on};
use crate::metrics;
use crate::store::StoreError;

/// The members of recent conversations, and what was last announced to them. Cheap to clone; all clones
/// share it. Each worker has its own: two workers may announce the same state twice.
#[derive(Clone, Default)]
pub struct RecentMembers(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    audiences: HashMap<ConversationId, Recent>,
    told: HashMap<(ConversationId, UserId), Told>,
}

struct Told {
    until: Instant,
    is_typing: bool,
}

impl Told {
    fn covers(&self, is_typing: bool, now: Instant) -> bool {
        self.until > now && self.is_typing == is_typing
    }
}

#[derive(Clone)]
struct Recent {
    until: Instant,
    /// The members; None: the conversation does not exist.
    audience: Option<Arc<Members>>,
}

/// The typing indicator.
pub const FEATURE: Feature = Feature { events: &[on!(Typing => relay)], ..Feature::named("typing") };

/// `typing`: tells the other members that a user types, or has stopped.
pub(crate) async fn relay(ctx: &Ctx, batch: &[Request<'_, Typing>]) -> Outcomes {
    let told = ctx.own::<RecentMembers>().select(batch, Timestamp::now(), Instant::now());
    let wanted = batch.iter().zip(&told).filter(|(_, told)| **told).map(|(one, _)| one.event.conversation);
    let audiences = audiences(ctx, wanted).await?;
    let outcomes = batch.iter().zip(told).map(|(one, told)| {
        if !told {
            return Ok(Effects::default());
        }
        let conversation = one.event.conversation;
        let audience = audiences.get(&conversation).and_then(Option::as_deref);
        let (audience, typist) = admit(audience, one.from.user)?;
        let view = TypingView {
            conversation_id: conversation,
            other_id: conversation,
            conversation_type: audience.kind,
            is_typing: one.event.is_typing,
            user: typist.clone(),
            timestamp: one.at,
        };
        let key = typing_key(conversation, typist.id);
        Ok(Effects::default().broadcast_latest(&others(audience, typist.id), Forms::All, key, view))
    });
    Ok(outcomes.collect::<Vec<Result<Effects, Reject>>>())
}

/// The key of what a person types in a conversation, for [`Urgency::Latest`].
fn typing_key(conversation: ConversationId, user: UserId) -> u64 {
    latest_key("typing", &[conversation.0, user.0])
}

impl RecentMembers {
    /// The events of a batch that are announced. The others are counted, with the reason.
    fn select(&self, batch: &[Request<'_, Typing>], wall: Timestamp, now: Instant) -> Vec<bool> {
        let mut last = HashMap::with_capacity(batch.len());
        for (at, one) in batch.iter().enumerate() {
            last.insert((one.event.conversation, one.from.user), at);
        }
        let mut worth = vec![false; batch.len()];
        let (mut stale, mut repeated) = (0, 0);
        let superseded = batch.len() - last.len();
        let until = now + Duration::from_millis(TYPING_REPEAT_MS_MIN);
        let mut memory = self.0.lock();
        make_room(&mut memory.told, last.len(), |told| told.until > now);
        for (key, at) in last {
            let one = &batch[at];
            let is_typing = one.event.is_typing;
            if wall.0.saturating_sub(one.at.0) > i64::from(LOW_LANE_TTL_MS) {
                stale += 1;
            } else if !one.again && memory.told.get(&key).is_some_and(|told| told.covers(is_typing, now)) {
                repeated += 1;
            } else {
                memory.told.insert(key, Told { until, is_typing });
                worth[at] = true;
            }
        }
        metrics::shed("typing", "superseded", superseded);
        metrics::shed("typing", "stale", stale);
        metrics::shed("typing", "repeated", repeated);
        worth
    }
}

/// Keeps a map within [`TYPING_AUDIENCES_MAX`]: removes outdated entries first, then all entries.
fn make_room<K, V>(map: &mut HashMap<K, V>, more: usize, current: impl Fn(&V) -> bool)
where
    K: Eq + std::hash::Hash,
{
    if map.len() + more > TYPING_AUDIENCES_MAX {
        map.retain(|_, value| current(value));
    }
    if map.len() + more > TYPING_AUDIENCES_MAX {
        map.clear();
    }
}

/// The members of these conversations: from memory, and the others with one statement.
async fn audiences(
    ctx: &Ctx,
    wanted: impl Iterator<Item = ConversationId>,
) -> Result<HashMap<ConversationId, Option<Arc<Members>>>, StoreError> {
    let (now, recent) = (Instant::now(), ctx.own::<RecentMembers>());
    let mut found = HashMap::new();
    let mut missing = Vec::new();
    {
        let memory = recent.0.lock();
        for conversation in wanted {
            match memory.audiences.get(&conversation).filter(|recent| recent.until > now) {
                Some(recent) => drop(found.insert(conversation, recent.audience.clone())),
                None => missing.push(conversation),
            }
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    missing.sort_unstable();
    missing.dedup();
    let mut read = ctx.store.audiences(&missing).await?;
    let mut memory = recent.0.lock();
    make_room(&mut memory.audiences, missing.len(), |recent| recent.until > now);
    let until = now + Duration::from_millis(TYPING_AUDIENCE_MS_MAX);
    for conversation in missing {
        let audience = read.remove(&conversation).map(Arc::new);
        memory.audiences.insert(conversation, Recent { until, audience: audience.clone() });
        found.insert(conversation, audience);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use protocol::Sender;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_new_is_told() {
        let (memory, start, wall) = (RecentMembers::default(), Instant::now(), Timestamp(1_000_000));
        let check = |after_ms, events: &[(i64, bool, i64)], expect: &[bool]| {
            let senders: Vec<_> =
                events.iter().map(|(user, ..)| Sender { user: UserId(*user), socket: None }).collect();
            let typing = |is_typing| Typing { conversation: ConversationId(7), is_typing };
            let typings: Vec<_> = events.iter().map(|(_, is_typing, _)| typing(*is_typing)).collect();
            let batch =
                events.iter().zip(&senders).zip(&typings).map(|(((.., age_ms), from), event)| Request {
                    from,
                    at: Timestamp(wall.0 - age_ms),
                    event,
                    again: from.user == UserId(9),
                    origin: None,
                    guid: None,
                    context: None,
                    tag: None,
                });
            let now = start + Duration::from_millis(after_ms);
            assert_eq!(memory.select(&batch.collect::<Vec<_>>(), wall, now), expect, "{events:?}");
        };
        check(0, &[(1, true, 0), (1, true, 0), (2, true, 0), (3, true, 6_000)], &[false, true, true, false]);
        check(500, &[(1, true, 0), (2, false, 0)], &[false, true]);
        check(600, &[(9, true, 0)], &[true]);
        // Held and retried: it has not been announced yet.
        check(700, &[(9, true, 0)], &[true]);
        check(TYPING_REPEAT_MS_MIN, &[(1, true, 0)], &[true]);
    }

    #[test]
    fn each_typist_of_each_conversation_has_a_key() {
        let places = [(1, 2), (2, 1), (1, 1), (2, 2)];
        let mut keys =
            places.map(|(talk, user)| super::typing_key(ConversationId(talk), UserId(user))).to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), places.len());
    }
}
