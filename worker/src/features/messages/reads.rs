//! Read positions.
//!
//! Nearly always read marks take one cheap statement: folded, by seq, checked against the remembered version
//! of the conversation. Marks that it does not move (repeated, from a non-member, of a message that does not
//! exist, or in a conversation that changed) go through the slow statement, which returns the reason.

use std::collections::BTreeMap;
use std::collections::HashMap;

use common::lanes::{Effects, Outcomes, Request};
use protocol::events::message::{MessageRead, ReadReceipt};
use protocol::ids::{ConversationId, UserId};
use protocol::{Person, Reject, Timestamp};

use super::store::{Read, place};
use crate::conversation::{People, everyone};
use crate::ctx::Ctx;
use crate::store::rows::{moment, signed, unsigned};
use crate::store::{Result, Statement, Store, statement};

pub(crate) const STATEMENTS: &[Statement] = &[SEQS, ADVANCE, MARK_READ];

/// The seqs of messages for which a client sent only the id.
const SEQS: Statement = statement(
    "seqs_of_messages",
    "
select w.place, m.seq
  from unnest($1::bigint[], $2::bigint[]) with ordinality as w (conversation_id, message_id, place)
 cross join lateral (
       select m.seq from messages m
        where m.id = w.message_id and m.conversation_id = w.conversation_id limit 1
 ) m",
);

/// Needs no check of the account: while the version is as remembered, the remembered members are in good standing.
const ADVANCE: Statement = statement(
    "advance_reads",
    "
update participants p set read_seq = w.seq, read_at = clock_timestamp()
  from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
       as w (conversation_id, user_id, seq, message_id, version)
  join conversations c on c.id = w.conversation_id and c.version = w.version and c.deleted_at is null
 where p.conversation_id = w.conversation_id and p.user_id = w.user_id
   and p.status = 'VERIFIED' and p.read_seq < w.seq
   and exists (select from messages m
                where m.conversation_id = w.conversation_id and m.seq = w.seq and m.id = w.message_id)
returning p.conversation_id, p.user_id, p.read_at as at",
);

const MARK_READ: Statement = statement(
    "mark_read",
    "
with wanted as materialized (
    select w.*, m.seq
      from unnest($1::bigint[], $2::bigint[], $3::bigint[]) with ordinality
           as w (user_id, conversation_id, message_id, place)
     cross join lateral (
          select m.seq from messages m
           where m.id = w.message_id and m.conversation_id = w.conversation_id limit 1
     ) m
), tops as materialized (
    select user_id, conversation_id, max(seq) as seq from wanted group by user_id, conversation_id
), locked as materialized (
    select p.id, p.read_seq, p.read_at, tops.seq, p.user_id, p.conversation_id
      from tops join participants p using (conversation_id, user_id)
     where p.status = 'VERIFIED'
       and exists (select 1 from users s where s.id = p.user_id and s.is_active and not s.is_blocked)
     order by p.id
       for no key update of p
), moved as (
    update participants p set read_seq = locked.seq, read_at = clock_timestamp()
      from locked
     where p.conversation_id = locked.conversation_id and p.user_id = locked.user_id and p.read_seq < locked.seq
 returning p.id, p.read_at
)
select w.place, w.seq, coalesce(moved.read_at, locked.read_at, clock_timestamp()) as at,
       w.seq > locked.read_seq as advanced
  from wanted w
  join locked using (conversation_id, user_id)
  left join moved on moved.id = locked.id",
);

/// The furthest read mark of one user in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadMark {
    /// The user has read up to this seq.
    pub seq: u64,
    /// The event that marks the message with this seq.
    pub event: MessageRead,
    /// The version of the conversation in which the user is a member.
    pub version: i64,
}

/// One mark for each user and conversation.
pub type ReadMarks = BTreeMap<(ConversationId, UserId), ReadMark>;

impl Store {
    /// Moves the read marks forward whose conversation has the expected version and whose user has read less.
    /// Returns those that moved, and when.
    ///
    /// # Errors
    /// The store has no answer; nothing was recorded.
    pub async fn advance_reads(
        &self,
        epoch: u64,
        marks: &ReadMarks,
    ) -> Result<HashMap<(ConversationId, UserId), Timestamp>> {
        if marks.is_empty() {
            return Ok(HashMap::new());
        }
        let conversations: Vec<i64> = marks.keys().map(|(conversation, _)| conversation.0).collect();
        let users: Vec<i64> = marks.keys().map(|(_, user)| user.0).collect();
        let seqs: Vec<i64> = marks.values().map(|mark| signed(mark.seq)).collect();
        let messages: Vec<i64> = marks.values().map(|mark| mark.event.message.0).collect();
        let versions: Vec<i64> = marks.values().map(|mark| mark.version).collect();
        let rows =
            self.query_on(epoch, &ADVANCE, &[&conversations, &users, &seqs, &messages, &versions]).await?;
        let moved = rows.iter().map(|row| {
            let of = (ConversationId(row.get("conversation_id")), UserId(row.get("user_id")));
            (of, moment(row, "at"))
        });
        Ok(moved.collect())
    }

    /// The seqs of these messages; None: that conversation has no such message.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn seqs_of_messages(&self, asked: &[MessageRead]) -> Result<Vec<Option<u64>>> {
        let mut seqs: Vec<_> = asked.iter().map(|event| event.seq).collect();
        let unknown: Vec<usize> = (0..asked.len()).filter(|at| seqs[*at].is_none()).collect();
        if unknown.is_empty() {
            return Ok(seqs);
        }
        let conversations: Vec<i64> = unknown.iter().map(|at| asked[*at].conversation.0).collect();
        let messages: Vec<i64> = unknown.iter().map(|at| asked[*at].message.0).collect();
        for row in self.query(&SEQS, &[&conversations, &messages]).await? {
            if let Some(at) = unknown.get(place(&row)) {
                seqs[*at] = Some(unsigned(row.get("seq")));
            }
        }
        Ok(seqs)
    }

    /// Records how far users have read, in order. Read positions never move back.
    /// [`Reject::NotAMember`]: not a member, or no such message in that conversation.
    ///
    /// # Errors
    /// The store has no answer; nothing was recorded.
    pub async fn mark_read(
        &self,
        batch: &[(UserId, MessageRead)],
    ) -> Result<Vec<std::result::Result<Read, Reject>>> {
        let users: Vec<i64> = batch.iter().map(|(user, _)| user.0).collect();
        let conversations: Vec<i64> = batch.iter().map(|(_, event)| event.conversation.0).collect();
        let messages: Vec<i64> = batch.iter().map(|(_, event)| event.message.0).collect();
        let rows = self.query(&MARK_READ, &[&users, &conversations, &messages]).await?;
        let mut outcome = vec![Err(Reject::NotAMember); batch.len()];
        for row in &rows {
            if let Some(slot) = outcome.get_mut(place(row)) {
                *slot = Ok(Read {
                    seq: unsigned(row.get("seq")),
                    at: moment(row, "at"),
                    advanced: row.get("advanced"),
                });
            }
        }
        Ok(outcome)
    }
}

/// `messageRead`: stores how far a user has read, and tells the members of the conversation, including the
/// reader's own sockets.
///
/// Idempotent: read positions never move back, and only new ones are announced.
pub(crate) async fn read(ctx: &Ctx, batch: &[Request<'_, MessageRead>]) -> Outcomes {
    let events: Vec<MessageRead> = batch.iter().map(|one| *one.event).collect();
    let seqs = ctx.store.seqs_of_messages(&events).await?;
    let known = ctx.owner.people(&ctx.store, &conversations(events.iter())).await?;
    let marks = fold(batch, &seqs, &known.people);
    let moved = ctx.store.advance_reads(known.epoch, &marks).await?;

    let mut outcomes = Vec::with_capacity(batch.len());
    let mut careful = Vec::new();
    for (at, one) in batch.iter().enumerate() {
        let of = (one.event.conversation, one.from.user);
        let mark = marks.get(&of).filter(|_| !one.again);
        let (Some(mark), Some(moved), Some((people, _))) = (mark, moved.get(&of), known.people.get(&of.0))
        else {
            careful.push(at);
            outcomes.push(Ok(Effects::default()));
            continue;
        };
        // The announcement of the furthest mark also covers those folded into it.
        let is_told = mark.event == *one.event
            && !batch[..at].iter().any(|before| before.from.user == of.1 && before.event == one.event);
        let reader = people.audience.member(of.1).filter(|_| is_told);
        let told =
            reader.map(|reader| Effects::default().broadcast(&people.room, receipt(mark, reader, *moved)));
        outcomes.push(Ok(told.unwrap_or_default()));
    }
    if !careful.is_empty() {
        // The copies of these conversations may be outdated.
        ctx.owner.forget(careful.iter().map(|at| batch[*at].event.conversation));
        let again: Vec<_> = careful.iter().map(|at| batch[*at]).collect();
        for (at, outcome) in careful.into_iter().zip(carefully(ctx, &again).await?) {
            outcomes[at] = outcome;
        }
    }
    Ok(outcomes)
}

/// The last mark of each member in each conversation. Marks that may have been announced before are
/// excluded: they are announced again whether they move or not.
fn fold(
    batch: &[Request<'_, MessageRead>],
    seqs: &[Option<u64>],
    people: &HashMap<ConversationId, (People, i64)>,
) -> ReadMarks {
    let mut marks = ReadMarks::new();
    for (one, seq) in batch.iter().zip(seqs) {
        let of = (one.event.conversation, one.from.user);
        let Some((people, version)) = people.get(&of.0) else { continue };
        let Some(seq) = seq.filter(|_| !one.again && people.audience.member(of.1).is_some()) else {
            continue;
        };
        let mark = ReadMark { seq, event: *one.event, version: *version };
        marks.entry(of).and_modify(|top| *top = if seq > top.seq { mark } else { *top }).or_insert(mark);
    }
    marks
}

fn receipt(mark: &ReadMark, reader: &Person, at: Timestamp) -> ReadReceipt {
    ReadReceipt {
        message_id: mark.event.message,
        conversation_id: mark.event.conversation,
        seq: mark.seq,
        read_by: reader.clone(),
        read_at: at,
    }
}

/// Records marks with the slow statement, which tells why a mark does not move.
async fn carefully(ctx: &Ctx, batch: &[Request<'_, MessageRead>]) -> Outcomes {
    let audiences = ctx.store.audiences(&conversations(batch.iter().map(|one| one.event))).await?;
    let wanted: Vec<_> = batch.iter().map(|one| (one.from.user, *one.event)).collect();
    let reads = ctx.store.mark_read(&wanted).await?;

    let mut told = HashMap::with_capacity(batch.len());
    let outcomes = batch.iter().zip(reads).map(|(one, read)| {
        let audience = audiences.get(&one.event.conversation).ok_or(Reject::NotAMember)?;
        let reader = audience.member(one.from.user).ok_or(Reject::NotAMember)?;
        // A member was refused: the message is not in this conversation.
        let read = read.map_err(|_| Reject::NotFound)?;
        let furthest = told.entry((one.event.conversation, reader.id)).or_insert(0);
        if read.seq <= *furthest || (!read.advanced && !one.again) {
            return Ok(Effects::default());
        }
        *furthest = read.seq;
        let mark = ReadMark { seq: read.seq, event: *one.event, version: 0 };
        Ok(Effects::default().broadcast(&everyone(audience), receipt(&mark, reader, read.at)))
    });
    Ok(outcomes.collect())
}

fn conversations<'a>(all: impl Iterator<Item = &'a MessageRead>) -> Vec<ConversationId> {
    let mut conversations: Vec<_> = all.map(|event| event.conversation).collect();
    conversations.sort_unstable();
    conversations.dedup();
    conversations
}
