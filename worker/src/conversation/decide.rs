//! Decides which messages of a piece are new, repeated or refused. Pure: memory in, seqs and refusals out.

use std::collections::{BTreeMap, HashMap};

use protocol::Reject;
use protocol::ids::ConversationId;

use super::audience::admit;
use super::memory::Remembered;
use super::message::{SavedMessage, Wanted};

/// The decision on one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The sender may not write there.
    Refused(Reject),
    /// The message already exists, as this row.
    Known(SavedMessage),
    /// The message is new and gets this seq.
    New(u64),
    /// The message repeats an earlier one of the piece, at this index.
    Same(usize),
}

/// The decision on a piece.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// One ruling for each message, in the order of the piece.
    pub verdicts: Vec<Ruling>,
    /// The new head of each conversation that gets new messages.
    pub heads: BTreeMap<ConversationId, u64>,
}

/// Decides a piece from the copies of its conversations and from `rows`: the existing row of a message, by
/// the message's index in the piece.
pub(super) fn decide(
    remembered: &HashMap<ConversationId, Remembered>,
    rows: &HashMap<usize, SavedMessage>,
    piece: &[Wanted],
) -> Decision {
    let mut decision = Decision { verdicts: Vec::with_capacity(piece.len()), heads: BTreeMap::new() };
    let mut seen = HashMap::with_capacity(piece.len());
    for (at, wanted) in piece.iter().enumerate() {
        let new = &wanted.new;
        let conversation = new.event.conversation;
        let copy = remembered.get(&conversation);
        let verdict = match (admit(copy.map(|copy| &*copy.audience), new.sender), copy) {
            (Err(reject), _) => Ruling::Refused(reject),
            (Ok(_), None) => Ruling::Refused(Reject::NotAMember),
            (Ok(_), Some(copy)) => match seen.get(&(conversation, new.sender, &new.guid)) {
                Some(first) => Ruling::Same(*first),
                None => {
                    seen.insert((conversation, new.sender, &new.guid), at);
                    rows.get(&at).map_or_else(
                        || {
                            let head = decision.heads.entry(conversation).or_insert(copy.head);
                            *head += 1;
                            Ruling::New(*head)
                        },
                        |row| Ruling::Known(*row),
                    )
                }
            },
        };
        decision.verdicts.push(verdict);
    }
    decision
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::events::message::{CallStatus, CallType, MessageType, SendMessage};
    use protocol::ids::{Guid, MessageId, UserId};
    use protocol::{Person, Timestamp};

    use super::super::{Members, NewMessage, everyone, kind};
    use super::*;

    fn remembered(head: u64, members: &[i64], blocked: &[(i64, i64)]) -> Remembered {
        let person = |id: &i64| Person {
            id: UserId(*id),
            first_name: String::new(),
            last_name: String::new(),
            email: String::new(),
        };
        let audience = Members {
            kind: kind(members.len() as i64),
            members: members.iter().map(person).collect(),
            blocked: blocked.iter().map(|(one, other)| (UserId(*one), UserId(*other))).collect(),
        };
        let room = everyone(&audience);
        Remembered { audience: Arc::new(audience), room, head, version: 1, updated_at: Timestamp(0) }
    }

    fn wanted(conversation: i64, sender: i64, guid: &str) -> Wanted {
        let event = SendMessage {
            conversation: ConversationId(conversation),
            guid: None,
            message_type: MessageType::Text,
            content: String::new(),
            call_type: CallType::Voice,
            call_status: CallStatus::Ended,
            attachments: vec![],
            context: None,
        };
        let guid = Guid::new(guid).unwrap();
        Wanted { new: NewMessage { sender: UserId(sender), event, guid }, again: false }
    }

    #[test]
    fn seqs_follow_the_heads_in_the_order_of_the_piece() {
        let copies = [(1, remembered(7, &[1, 2], &[])), (2, remembered(0, &[1, 2, 3], &[(2, 1)]))]
            .map(|(id, copy)| (ConversationId(id), copy))
            .into();
        let there = SavedMessage { message: MessageId(5), seq: 3, created_at: Timestamp(0) };
        let piece = [
            wanted(1, 1, "a"),
            wanted(2, 1, "a"),
            wanted(1, 2, "a"),
            wanted(1, 1, "a"),
            wanted(1, 1, "old"),
            wanted(1, 9, "stranger"),
            wanted(3, 1, "nowhere"),
            wanted(1, 1, "old"),
        ];
        let decision = decide(&copies, &[(4, there)].into(), &piece);
        let expect = [
            Ruling::New(8),
            Ruling::New(1),
            Ruling::New(9),
            Ruling::Same(0),
            Ruling::Known(there),
            Ruling::Refused(Reject::NotAMember),
            Ruling::Refused(Reject::NotAMember),
            Ruling::Same(4),
        ];
        assert_eq!(decision.verdicts, expect);
        assert_eq!(decision.heads, [(ConversationId(1), 9), (ConversationId(2), 1)].into());
    }

    #[test]
    fn a_block_stops_two_and_no_group() {
        let copies = [(1, remembered(0, &[1, 2], &[(2, 1)])), (2, remembered(0, &[1, 2, 3], &[]))]
            .map(|(id, copy)| (ConversationId(id), copy))
            .into();
        let decision = decide(&copies, &HashMap::new(), &[wanted(1, 1, "a"), wanted(2, 1, "a")]);
        assert_eq!(decision.verdicts, [Ruling::Refused(Reject::Blocked), Ruling::New(1)]);
    }
}
