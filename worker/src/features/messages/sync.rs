//! `sync`: what a client missed, conversation by conversation.
//!
//! Where the conversations stand is one statement of the store, which answers for members only. A
//! stranger hears `unknown`, as if there were no such conversation, however well it guesses a seq.
//! Heads that the directory has lost are given back to it.

use std::collections::HashMap;

use common::lanes::Halt;
use common::limits::{ENVELOPE_BYTES_MAX, SYNC_MESSAGES_MAX, SYNC_TOTAL_MESSAGES_MAX};
use protocol::events::ServerEvent;
use protocol::events::message::MessageView;
use protocol::events::sync::{Gap, MissedMessages, Sync, Synced};
use protocol::ids::ConversationId;
use protocol::{Reject, Sender};
use tracing::warn;

use super::store::Standing;
use crate::ctx::Ctx;
use crate::metrics;

/// What the answer may take, beside what carries it.
const SYNCED_BYTES_MAX: usize = ENVELOPE_BYTES_MAX - 64 * 1024;

/// The JSON of the data of `synced`.
pub(crate) async fn missed(ctx: &Ctx, from: &Sender, event: &Sync) -> Result<String, Reject> {
    match look(ctx, from, event).await {
        Ok(synced) => {
            metrics::synced(&synced);
            Ok(ServerEvent::from(synced).data().to_owned())
        }
        Err(Halt::Away(peer, err)) => {
            warn!(peer = peer.name(), "A sync was not answered: {err:#}");
            metrics::sync_ended("busy");
            Err(Reject::Busy)
        }
        Err(Halt::Stuck(cause, err)) => {
            warn!(cause = cause.name(), "A sync was not answered: {err:#}");
            metrics::sync_ended("busy");
            Err(Reject::Busy)
        }
        Err(Halt::Fault(err)) => {
            warn!("A sync failed: {err:#}");
            metrics::sync_ended("failed");
            Err(Reject::Failed)
        }
    }
}

async fn look(ctx: &Ctx, from: &Sender, event: &Sync) -> Result<Synced, Halt> {
    let mut synced = Synced::default();
    let all: Vec<ConversationId> = event.held.iter().map(|(conversation, _)| *conversation).collect();
    if all.is_empty() {
        return Ok(synced);
    }
    let heads = ctx.directory.heads(&all).await?;
    let stored = ctx.store.standings(from.user, &all).await?;
    let held = event.held.iter().zip(heads);
    let behind: Vec<_> = held.map(|((conversation, held), head)| (*conversation, *held, head)).collect();
    // Heads that the directory has lost, or never had.
    let lost = behind.iter().filter_map(|(conversation, _, head)| {
        let stored = stored.get(conversation)?.head;
        (*head != Some(stored)).then_some((*conversation, stored))
    });
    let refill: Vec<_> = lost.collect();
    if !refill.is_empty() {
        ctx.directory.raise_heads(&refill).await?;
    }

    let sorted = sort(&behind, &stored, &mut synced);
    if sorted.is_empty() {
        return Ok(synced);
    }
    let messages = ctx.store.messages_after(&sorted, SYNC_MESSAGES_MAX).await?;
    fill(sorted, messages, SYNCED_BYTES_MAX, &mut synced);
    Ok(synced)
}

/// Sorts out what needs no messages: strangers, those who miss nothing, those who miss too much.
/// What remains is (conversation, seq held, where it stands).
fn sort(
    behind: &[(ConversationId, u64, Option<u64>)],
    stored: &HashMap<ConversationId, Standing>,
    synced: &mut Synced,
) -> Vec<(ConversationId, u64, Standing)> {
    let mut wanted = Vec::new();
    let mut messages = 0;
    for (conversation, held, _) in behind {
        let Some(standing) = stored.get(conversation) else {
            synced.unknown.push(*conversation);
            continue;
        };
        let head = standing.head;
        match usize::try_from(head.wrapping_sub(*held)) {
            Ok(0) => synced.current.push(*conversation),
            Ok(missing)
                if *held < head
                    && missing <= SYNC_MESSAGES_MAX
                    && messages + missing <= SYNC_TOTAL_MESSAGES_MAX =>
            {
                messages += missing;
                wanted.push((*conversation, *held, *standing));
            }
            // Too much; or the client is ahead of us, and its history is not ours.
            _ => synced.gaps.push(Gap { conversation_id: *conversation, head }),
        }
    }
    wanted
}

/// Puts messages into the answer for as long as it fits; what does not fit is a gap.
fn fill(
    wanted: Vec<(ConversationId, u64, Standing)>,
    messages: Vec<MessageView>,
    bytes_max: usize,
    synced: &mut Synced,
) {
    let mut by_conversation: HashMap<ConversationId, Vec<MessageView>> = HashMap::with_capacity(wanted.len());
    for message in messages {
        by_conversation.entry(message.conversation).or_default().push(message);
    }
    let mut bytes = 0;
    for (conversation_id, _, Standing { head, .. }) in wanted {
        let mut messages = by_conversation.remove(&conversation_id).unwrap_or_default();
        // Somebody may have written since the head was read.
        let head = messages.last().map_or(head, |last| last.seq.max(head));
        messages.sort_unstable_by_key(|message| message.seq);
        let missed = MissedMessages { conversation_id, head, messages };
        // Not a hot path: encoded once to learn its size, and once more with the rest.
        let size = serde_json::to_vec(&missed).map_or(usize::MAX, |json| json.len());
        if size <= bytes_max - bytes {
            bytes += size;
            synced.missed.push(missed);
        } else {
            synced.gaps.push(Gap { conversation_id, head });
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::events::message::{CallStatus, CallType, ConversationKind, MessageType};
    use protocol::ids::{Guid, MessageId, UserId};
    use protocol::{Person, Timestamp};

    use super::*;

    fn message(conversation: i64, seq: u64, content: &str) -> MessageView {
        let person = Person {
            id: UserId(1),
            first_name: "A".into(),
            last_name: "B".into(),
            email: "a@example.org".into(),
        };
        MessageView {
            id: MessageId(seq.cast_signed()),
            guid: Guid::new("g").unwrap(),
            conversation: ConversationId(conversation),
            kind: ConversationKind::Friend,
            seq,
            sender: person,
            message_type: MessageType::Text,
            content: content.into(),
            created_at: Timestamp(0),
            deleted_at: None,
            call_type: CallType::Voice,
            call_status: CallStatus::Ended,
            status: "SENT",
            attachments: vec![],
            traceparent: None,
        }
    }

    fn standing(head: u64) -> Standing {
        Standing { head, change_seq: 0, verified: 2 }
    }

    #[test]
    fn only_what_is_missing_and_not_too_much_is_read() {
        let behind: Vec<_> = [(1, 5), (2, 10), (3, 0), (4, 11), (5, 0)]
            .map(|(conversation, held)| (ConversationId(conversation), held, None))
            .into();
        let stored = [(1, 9), (2, 10), (3, 201), (4, 10)]
            .map(|(conversation, head)| (ConversationId(conversation), standing(head)))
            .into_iter()
            .collect();
        let mut synced = Synced::default();
        assert_eq!(sort(&behind, &stored, &mut synced), [(ConversationId(1), 5, standing(9))]);
        assert_eq!(synced.current, [ConversationId(2)]);
        assert_eq!(synced.unknown, [ConversationId(5)]);
        let gaps: Vec<_> = synced.gaps.iter().map(|gap| (gap.conversation_id.0, gap.head)).collect();
        assert_eq!(gaps, [(3, 201), (4, 10)]);
    }

    #[test]
    fn all_conversations_together_have_a_limit_too() {
        let behind: Vec<_> = (1..=4).map(|id| (ConversationId(id), 0, None)).collect();
        let stored = (1..=4).map(|id| (ConversationId(id), standing(200))).collect();
        let mut synced = Synced::default();
        assert_eq!(sort(&behind, &stored, &mut synced).len(), SYNC_TOTAL_MESSAGES_MAX / 200);
        assert_eq!(synced.gaps.len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_a_gap() {
        let long = "x".repeat(6_000);
        let wanted =
            [(1, 2), (2, 1), (3, 1)].map(|(id, head)| (ConversationId(id), 0, standing(head))).to_vec();
        let messages = vec![message(1, 1, "a"), message(1, 3, "b"), message(2, 1, &long), message(3, 1, "c")];
        let mut synced = Synced::default();
        fill(wanted, messages, 5_000, &mut synced);
        let missed: Vec<_> = synced.missed.iter().map(|one| (one.conversation_id.0, one.head)).collect();
        assert_eq!(missed, [(1, 3), (3, 1)]);
        assert_eq!(synced.gaps, [Gap { conversation_id: ConversationId(2), head: 1 }]);
    }
}
