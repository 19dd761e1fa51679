//! `sync`: what a client missed, conversation by conversation.
//!
//! One statement reads the counters of the conversations, and returns those of members only. A non-member
//! gets `unknown`, as if there were no such conversation, whatever seq it guesses. A client that missed nothing
//! costs that one statement; otherwise there is one more for messages and one for changes.

use std::collections::HashMap;

use common::lanes::Halt;
use common::limits::{
    ENVELOPE_BYTES_MAX, SYNC_CHANGES_MAX, SYNC_MESSAGES_MAX, SYNC_TOTAL_CHANGES_MAX, SYNC_TOTAL_MESSAGES_MAX,
};
use protocol::events::change::ChangedMessage;
use protocol::events::message::MessageView;
use protocol::events::sync::{Gap, Held, MissedMessages, ReadUpTo, Sync, Synced};
use protocol::ids::ConversationId;
use protocol::{Reject, Sender};
use tracing::warn;

use super::store::{Missing, Standing};
use crate::ctx::Ctx;
use crate::metrics;

/// Most bytes of the answer, without its envelope.
const SYNCED_BYTES_MAX: usize = ENVELOPE_BYTES_MAX - 64 * 1024;

/// `sync`: returns what the client missed since the positions that it sent.
pub(super) async fn missed(ctx: &Ctx, from: &Sender, event: &Sync) -> Result<Synced, Reject> {
    match look(ctx, from, event).await {
        Ok(synced) => {
            metrics::synced(&synced);
            Ok(synced)
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
    let all: Vec<ConversationId> = event.held.iter().map(|held| held.conversation).collect();
    if all.is_empty() {
        return Ok(synced);
    }
    let standings = ctx.store.standings(from.user, &all).await?;
    let sorted = sort(&event.held, &standings, &mut synced);
    let behind = |is_behind: fn(&Missing) -> bool| -> Vec<Missing> {
        sorted.iter().copied().filter(is_behind).collect()
    };
    let without_messages = behind(|one| one.seq < one.standing.head);
    let without_changes = behind(|one| one.change_seq < one.standing.change_seq);
    let mut found = Found::default();
    // Invariant: the counters were read before what they count, so nothing that is told under them is older.
    if !without_messages.is_empty() {
        found.messages = ctx.store.messages_after(&without_messages, SYNC_MESSAGES_MAX).await?;
    }
    if !without_changes.is_empty() {
        found.changes = ctx.store.changes_after(&without_changes, SYNC_CHANGES_MAX + 1).await?;
    }
    fill(sorted, found, SYNCED_BYTES_MAX, &mut synced);
    Ok(synced)
}

/// Sorts out the conversations that need no reading: of non-members, without missed messages, with too many missed.
/// The others remain to be read.
fn sort(held: &[Held], standings: &HashMap<ConversationId, Standing>, synced: &mut Synced) -> Vec<Missing> {
    let mut wanted = Vec::new();
    let (mut messages, mut changes) = (0, 0);
    for Held { conversation, seq, change_seq, read_seq } in held.iter().copied() {
        let Some(standing) = standings.get(&conversation).copied() else {
            synced.unknown.push(conversation);
            continue;
        };
        if read_seq.is_some_and(|known| known < standing.read) {
            synced.reads.push(ReadUpTo { conversation_id: conversation, read_seq: standing.read });
        }
        let change_seq = change_seq.unwrap_or(standing.change_seq);
        if (seq, change_seq) == (standing.head, standing.change_seq) {
            synced.current.push(conversation);
            continue;
        }
        let missing = standing.head.checked_sub(seq).and_then(|missing| usize::try_from(missing).ok());
        // An upper bound of the changed messages: ten thousand changes may belong to one message.
        let changed = standing.change_seq.checked_sub(change_seq);
        let changed = changed.map(|changed| usize::try_from(changed).unwrap_or(usize::MAX));
        let one = Missing { conversation, seq, change_seq, standing };
        match (missing, changed.map(|changed| changed.min(SYNC_CHANGES_MAX + 1))) {
            (Some(missing), Some(changed))
                if missing <= SYNC_MESSAGES_MAX
                    && messages + missing <= SYNC_TOTAL_MESSAGES_MAX
                    && changes + changed <= SYNC_TOTAL_CHANGES_MAX =>
            {
                messages += missing;
                changes += changed;
                wanted.push(one);
            }
            // Too many; or the client is ahead of the database, so its history is a different one.
            _ => synced.gaps.push(gap(&one, standing.head)),
        }
    }
    wanted
}

fn gap(one: &Missing, head: u64) -> Gap {
    let Missing { conversation: conversation_id, seq, change_seq, standing } = *one;
    let changed = change_seq != standing.change_seq || seq > standing.head;
    Gap { conversation_id, head, change_seq: standing.change_seq, changed }
}

/// The messages and changes that were read.
#[derive(Default)]
struct Found {
    messages: Vec<MessageView>,
    changes: Vec<ChangedMessage>,
}

/// Adds the conversations that were read to the answer while they fit; the others become gaps.
fn fill(wanted: Vec<Missing>, found: Found, bytes_max: usize, synced: &mut Synced) {
    let mut messages = by_conversation(found.messages, |message| message.conversation);
    let mut changes = by_conversation(found.changes, |change| change.conversation_id);
    let mut bytes = 0;
    for one in wanted {
        let conversation_id = one.conversation;
        let mut messages = messages.remove(&conversation_id).unwrap_or_default();
        let changes = changes.remove(&conversation_id).unwrap_or_default();
        messages.sort_unstable_by_key(|message| message.seq);
        // A user may have written since the head was read.
        let head = messages.last().map_or(one.standing.head, |last| last.seq.max(one.standing.head));
        let too_many = changes.len() > SYNC_CHANGES_MAX;
        let change_seq = one.standing.change_seq;
        let missed = MissedMessages { conversation_id, head, change_seq, messages, changes };
        // Not a hot path: encoded once to learn its size, and once more with the rest.
        let size = serde_json::to_vec(&missed).map_or(usize::MAX, |json| json.len());
        if !too_many && size <= bytes_max - bytes {
            bytes += size;
            synced.missed.push(missed);
        } else {
            synced.gaps.push(gap(&one, head));
        }
    }
}

fn by_conversation<T>(all: Vec<T>, of: impl Fn(&T) -> ConversationId) -> HashMap<ConversationId, Vec<T>> {
    let mut sorted: HashMap<ConversationId, Vec<T>> = HashMap::new();
    for one in all {
        sorted.entry(of(&one)).or_default().push(one);
    }
    sorted
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

    fn standing(head: u64, change_seq: u64) -> Standing {
        Standing { head, change_seq, version: 0, read: 5 }
    }

    fn held(id: i64, seq: u64, change_seq: Option<u64>) -> Held {
        Held { conversation: ConversationId(id), seq, change_seq, read_seq: None }
    }

    fn missing(id: i64, seq: u64, change_seq: u64, standing: Standing) -> Missing {
        Missing { conversation: ConversationId(id), seq, change_seq, standing }
    }

    fn change(conversation: i64, seq: u64, change_seq: u64) -> ChangedMessage {
        ChangedMessage {
            conversation_id: ConversationId(conversation),
            seq,
            change_seq,
            changed_at: Timestamp(0),
            what: serde_json::json!({ "kind": "redacted" }),
            message: message(conversation, seq, ""),
        }
    }

    fn gaps(synced: &Synced) -> Vec<(i64, u64, u64, bool)> {
        let gap = |gap: &Gap| (gap.conversation_id.0, gap.head, gap.change_seq, gap.changed);
        synced.gaps.iter().map(gap).collect()
    }

    #[test]
    fn only_what_is_missing_and_not_too_much_is_read() {
        let behind = [(1, 5), (2, 10), (3, 0), (4, 11), (5, 0)].map(|(id, seq)| held(id, seq, None));
        let stored = [(1, 9), (2, 10), (3, 201), (4, 10)]
            .map(|(id, head)| (ConversationId(id), standing(head, 7)))
            .into_iter()
            .collect();
        let mut synced = Synced::default();
        assert_eq!(sort(&behind, &stored, &mut synced), [missing(1, 5, 7, standing(9, 7))]);
        assert_eq!(synced.current, [ConversationId(2)]);
        assert_eq!(synced.unknown, [ConversationId(5)]);
        assert_eq!(gaps(&synced), [(3, 201, 7, false), (4, 10, 7, true)]);
    }

    #[test]
    fn a_client_that_is_behind_in_either_counter_misses_something() {
        let asked = [held(1, 9, Some(2)), held(2, 9, Some(1)), held(3, 8, Some(2)), held(4, 9, Some(3))];
        let stored = (1..=4).map(|id| (ConversationId(id), standing(9, 2))).collect();
        let mut synced = Synced::default();
        let of = standing(9, 2);
        assert_eq!(sort(&asked, &stored, &mut synced), [missing(2, 9, 1, of), missing(3, 8, 2, of)]);
        assert_eq!(synced.current, [ConversationId(1)]);
        assert_eq!(gaps(&synced), [(4, 9, 2, true)], "a client that is ahead has another history");
    }

    #[test]
    fn how_far_the_user_has_read_is_told_to_a_device_that_knows_less() {
        let asked = [(1, Some(4)), (2, Some(5)), (3, None)]
            .map(|(id, read_seq)| Held { read_seq, ..held(id, 9, None) });
        let stored = (1..=3).map(|id| (ConversationId(id), standing(9, 0))).collect();
        let mut synced = Synced::default();
        assert_eq!(sort(&asked, &stored, &mut synced), []);
        assert_eq!(synced.reads, [ReadUpTo { conversation_id: ConversationId(1), read_seq: 5 }]);
        assert_eq!(synced.current.len(), 3);
    }

    #[test]
    fn all_conversations_together_have_a_limit_too() {
        let behind: Vec<_> = (1..=4).map(|id| held(id, 0, None)).collect();
        let stored = (1..=4).map(|id| (ConversationId(id), standing(200, 0))).collect();
        let mut synced = Synced::default();
        assert_eq!(sort(&behind, &stored, &mut synced).len(), SYNC_TOTAL_MESSAGES_MAX / 200);
        assert_eq!(synced.gaps.len(), 2);

        let changed: Vec<_> = (1..=20).map(|id| held(id, 200, Some(0))).collect();
        let stored = (1..=20).map(|id| (ConversationId(id), standing(200, 1 << 40))).collect();
        let mut synced = Synced::default();
        let read = sort(&changed, &stored, &mut synced).len();
        assert_eq!(read, SYNC_TOTAL_CHANGES_MAX / (SYNC_CHANGES_MAX + 1));
        assert!(synced.gaps.len() == 20 - read && synced.gaps.iter().all(|gap| gap.changed));
    }

    #[test]
    fn what_does_not_fit_is_a_gap() {
        let long = "x".repeat(6_000);
        let of = |head| standing(head, 3);
        let wanted = [(1, 2), (2, 1), (3, 1)].map(|(id, head)| missing(id, 0, 3, of(head)));
        let messages = vec![message(1, 1, "a"), message(1, 3, "b"), message(2, 1, &long), message(3, 1, "c")];
        let mut synced = Synced::default();
        fill(wanted.to_vec(), Found { messages, ..Found::default() }, 5_000, &mut synced);
        let missed: Vec<_> = synced.missed.iter().map(|one| (one.conversation_id.0, one.head)).collect();
        assert_eq!(missed, [(1, 3), (3, 1)]);
        assert_eq!(gaps(&synced), [(2, 1, 3, false)]);
    }

    #[test]
    fn too_many_changed_messages_are_a_gap_that_says_so() {
        let most = SYNC_CHANGES_MAX as u64;
        let wanted = [1, 2].map(|id| missing(id, most + 1, 0, standing(most + 1, most + 1)));
        let mut changes: Vec<_> = (1..=most + 1).map(|seq| change(1, seq, seq)).collect();
        changes.push(change(2, 7, most + 1));
        let mut synced = Synced::default();
        fill(wanted.to_vec(), Found { changes, ..Found::default() }, usize::MAX, &mut synced);
        assert_eq!(gaps(&synced), [(1, most + 1, most + 1, true)]);
        let [missed] = &synced.missed[..] else { panic!("{synced:?}") };
        assert_eq!((missed.change_seq, missed.changes.len()), (most + 1, 1), "many changes of one message");
    }
}
