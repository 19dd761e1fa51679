//! Somebody types.
//!
//! Worthless in five seconds, so it may be judged by a membership that was read a moment ago
//! ([`TYPING_AUDIENCE_MS_MAX`]), and only the last thing that somebody did in a batch is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::ids::ConversationId;
use common::limits::{LOW_LANE_TTL_MS, TYPING_AUDIENCE_MS_MAX, TYPING_AUDIENCES_MAX};
use common::protocol::{self, Reject, ServerEvent, Timestamp, Typing, TypingView};
use foldhash::{HashMap, HashMapExt};
use tokio::time::Instant;

use super::message::admit;
use super::others;
use crate::ctx::Ctx;
use crate::dispatch::{Asked, Outcomes};
use crate::effects::{Effects, typing_key};
use crate::metrics;
use crate::store::{Audience, StoreError};

/// Who is in a conversation, as known a moment ago. Cheap to clone; all clones share it.
#[derive(Clone, Default)]
pub struct RecentAudiences(Arc<Mutex<HashMap<ConversationId, Recent>>>);

#[derive(Clone)]
struct Recent {
    until: Instant,
    /// None: there is no such conversation.
    audience: Option<Arc<Audience>>,
}

/// `typing`: show the others of the conversation that somebody types, or stopped.
pub(crate) async fn relay(ctx: &Ctx, batch: &[Asked<'_, Typing>]) -> Outcomes {
    let now = Timestamp::now();
    let mut last = HashMap::with_capacity(batch.len());
    for (at, one) in batch.iter().enumerate() {
        last.insert((one.event.conversation, one.from.user), at);
    }
    metrics::shed("typing", "superseded", batch.len() - last.len());
    let stale = |one: &Asked<'_, Typing>| now.0.saturating_sub(one.at.0) > i64::from(LOW_LANE_TTL_MS);
    let (mut told, mut shed) = (vec![false; batch.len()], 0);
    for at in last.into_values() {
        told[at] = !stale(&batch[at]);
        shed += usize::from(!told[at]);
    }
    metrics::shed("typing", "stale", shed);

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
            conversation,
            kind: audience.kind,
            is_typing: one.event.is_typing,
            user: typist.clone(),
            at: one.at,
        };
        let key = typing_key(conversation, typist.id);
        Ok(Effects::default().broadcast_latest(
            &others(audience, typist.id),
            protocol::Audience::All,
            key,
            ServerEvent::Typing(view),
        ))
    });
    Ok(outcomes.collect::<Vec<Result<Effects, Reject>>>())
}

/// The audiences of these conversations: what is known, and one statement for the rest.
async fn audiences(
    ctx: &Ctx,
    wanted: impl Iterator<Item = ConversationId>,
) -> Result<HashMap<ConversationId, Option<Arc<Audience>>>, StoreError> {
    let now = Instant::now();
    let mut found = HashMap::new();
    let mut missing = Vec::new();
    {
        let recent = ctx.typing.0.lock().unwrap_or_else(PoisonError::into_inner);
        for conversation in wanted {
            match recent.get(&conversation).filter(|recent| recent.until > now) {
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
    let mut recent = ctx.typing.0.lock().unwrap_or_else(PoisonError::into_inner);
    if recent.len() + missing.len() > TYPING_AUDIENCES_MAX {
        recent.retain(|_, recent| recent.until > now);
    }
    if recent.len() + missing.len() > TYPING_AUDIENCES_MAX {
        recent.clear();
    }
    let until = now + Duration::from_millis(TYPING_AUDIENCE_MS_MAX);
    for conversation in missing {
        let audience = read.remove(&conversation).map(Arc::new);
        recent.insert(conversation, Recent { until, audience: audience.clone() });
        found.insert(conversation, audience);
    }
    Ok(found)
}
