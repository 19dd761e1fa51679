//! Chat messages: saving a batch under locks; the counters of conversations.
//!
//! Invariants, kept by [`Store::save_messages`] and by the owner (`conversation/`), and by nothing else:
//!  * the seqs of a conversation are 1, 2, 3, ... without a gap, in the order of the batch;
//!  * one row for each (conversation, sender, guid), for ever;
//!  * the newest seq is `conversations.head_seq`, in the same transaction.

use std::collections::HashMap;

use protocol::ids::{ConversationId, MessageId, UserId};
use protocol::{Reject, Timestamp};

use crate::conversation::{NewMessage, Saved, SavedMessage};
use crate::features::accounts::in_good_standing;
use crate::store::rows::{moment, unsigned};
use crate::store::{Json, Result, Row, Statement, Store, ToSql, statement};

/// The counters of a conversation. Only the primary knows them, and only members get them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The newest seq.
    pub head: u64,
    /// The number of changes of messages.
    pub change_seq: u64,
    /// Increments with every change of members, roles, blocks or names.
    pub version: i64,
    /// The last seq that this member has read.
    pub read: u64,
}

/// What a member has missed in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The conversation.
    pub conversation: ConversationId,
    /// The last seq that the member holds.
    pub seq: u64,
    /// The last change that the member has received.
    pub change_seq: u64,
    /// The counters of the conversation.
    pub standing: Standing,
}

/// The read position of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The seq of the message named.
    pub seq: u64,
    /// The time when it was recorded.
    pub at: Timestamp,
    /// False: the user had read as much before.
    pub advanced: bool,
}

pub(crate) const STATEMENTS: &[Statement] = &[SAVE, LOCK, STANDINGS];

/// Runs below [`LOCK`]. `fresh` numbers the new messages whose sender may still write: a sender who was
/// removed or blocked while this waited for the lock is refused. `heads` hands out the seqs.
const SAVE: Statement = statement(
    "save_messages",
    "
with wanted as materialized (
    select *
      from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                  $8::jsonb[]) with ordinality
           as w (conversation_id, sender_id, guid, message_type, content, call_type, call_status,
                 attachments, place)
), known as materialized (
    select w.place, m.id, m.seq, m.created_at
      from wanted w
      cross join lateral (
          select m.id, m.seq, m.created_at from messages m
           where m.conversation_id = w.conversation_id and m.sender_id = w.sender_id and m.guid = w.guid
           limit 1
      ) m
), fresh as materialized (
    select w.*, nextval('message_ids') as id,
           row_number() over (partition by w.conversation_id order by w.place) as nth
      from wanted w
     where w.place not in (select place from known)
       and exists (
           select from participants p join users u on u.id = p.user_id
            where p.conversation_id = w.conversation_id and p.user_id = w.sender_id
              and p.status = 'VERIFIED' and u.is_active and not u.is_blocked)
       and not exists (
           select from participants o
             join blocks b on (b.user_id, b.blocked_id) in ((o.user_id, w.sender_id), (w.sender_id, o.user_id))
            where o.conversation_id = w.conversation_id and o.user_id <> w.sender_id and o.status = 'VERIFIED'
              and 2 = (select count(*) from participants all_of
                        where all_of.conversation_id = w.conversation_id and all_of.status = 'VERIFIED'))
), counts as materialized (
    select conversation_id, count(*) as n from fresh group by conversation_id
), locked as materialized (
    select c.id as conversation_id, counts.n
      from counts join conversations c on c.id = counts.conversation_id
     where c.deleted_at is null
     order by c.id
       for no key update of c
), heads as (
    update conversations c
       set head_seq = c.head_seq + locked.n, updated_at = greatest(c.updated_at, clock_timestamp())
      from locked
     where c.id = locked.conversation_id
 returning c.id as conversation_id, c.head_seq - locked.n as base, c.updated_at as at
), inserted as (
    insert into messages (id, conversation_id, seq, sender_id, guid, message_type, content, created_at,
                          call_type, call_status, attachments)
    select f.id, f.conversation_id, h.base + f.nth, f.sender_id, f.guid, f.message_type, f.content, h.at,
           f.call_type, f.call_status, f.attachments
      from fresh f join heads h on h.conversation_id = f.conversation_id
)
select f.place, f.id, h.base + f.nth as seq, h.at as created_at, true as new
  from fresh f join heads h on h.conversation_id = f.conversation_id
union all
select place, id, seq, created_at, false from known",
);

/// Every transaction that inserts into a conversation, or changes its members, locks its row. So once these rows
/// are locked, the other transactions have committed, a statement that begins now sees their changes, and it
/// cannot collide. Locked in the order of ids, so that two workers never deadlock.
const LOCK: Statement = statement(
    "save_messages",
    "select from conversations where id = any($1::bigint[]) order by id for no key update",
);

impl Store {
    /// Saves a batch, in its order, below the locks of its conversations: safe under any number of
    /// workers, and always successful. Repeats, also within the batch, give back the first row.
    /// [`Saved::Refused`]: no such conversation, or its sender may not write there any more.
    ///
    /// # Errors
    /// Nothing of the batch was saved.
    pub async fn save_messages(&self, batch: &[NewMessage]) -> Result<Vec<Saved>> {
        let (firsts, first_of) = fold_repeats(batch);
        let saved = self.save_distinct(&firsts).await?;
        let mut told = vec![false; firsts.len()];
        let saved = first_of.into_iter().map(|at| match saved[at] {
            Saved::New(row) if std::mem::replace(&mut told[at], true) => Saved::Repeat(row),
            saved => saved,
        });
        Ok(saved.collect())
    }

    async fn save_distinct(&self, batch: &[&NewMessage]) -> Result<Vec<Saved>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let conversations: Vec<i64> = batch.iter().map(|one| one.event.conversation.0).collect();
        let senders: Vec<i64> = batch.iter().map(|one| one.sender.0).collect();
        let guids: Vec<&str> = batch.iter().map(|one| one.guid.as_str()).collect();
        let types: Vec<&str> = batch.iter().map(|one| one.event.message_type.as_str()).collect();
        let contents: Vec<&str> = batch.iter().map(|one| one.event.content.as_str()).collect();
        let call_types: Vec<&str> = batch.iter().map(|one| one.event.call_type.as_str()).collect();
        let call_statuses: Vec<&str> = batch.iter().map(|one| one.event.call_status.as_str()).collect();
        let attachments: Vec<Option<Json<_>>> = batch
            .iter()
            .map(|one| Some(&one.event.attachments).filter(|list| !list.is_empty()).map(Json))
            .collect();

        let params: &[&(dyn ToSql + Sync)] =
            &[&conversations, &senders, &guids, &types, &contents, &call_types, &call_statuses, &attachments];
        let rows = self.query_locked((&LOCK, &[&conversations]), &SAVE, params).await?;
        Ok(read_saved(batch.len(), &rows))
    }

    /// The counters of those conversations in which the user is a verified participant; the others are absent
    /// from the map. Reads the primary; later reads may go to a replica.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn standings(
        &self,
        user: UserId,
        conversations: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Standing>> {
        let rows = self.query(&STANDINGS, &[&user.0, &ids(conversations)]).await?;
        let standing = |row: &Row| Standing {
            head: unsigned(row.get(1)),
            change_seq: unsigned(row.get(2)),
            version: row.get(3),
            read: unsigned(row.get(4)),
        };
        Ok(rows.iter().map(|row| (ConversationId(row.get(0)), standing(row))).collect())
    }
}

const STANDINGS: Statement = statement(
    "standings",
    concat!(
        "select c.id, c.head_seq, c.change_seq, c.version, p.read_seq
  from participants p join conversations c on c.id = p.conversation_id
 where p.user_id = $1 and p.conversation_id = any($2::bigint[])
   and p.status = 'VERIFIED' and c.deleted_at is null and ",
        in_good_standing!("p.user_id")
    ),
);

/// The distinct messages of a batch, and for each message of the batch its index among those.
fn fold_repeats(batch: &[NewMessage]) -> (Vec<&NewMessage>, Vec<usize>) {
    let mut firsts = Vec::with_capacity(batch.len());
    let mut seen = HashMap::with_capacity(batch.len());
    let first_of = batch.iter().map(|one| {
        *seen.entry((one.event.conversation, one.sender, &one.guid)).or_insert_with(|| {
            firsts.push(one);
            firsts.len() - 1
        })
    });
    let first_of = first_of.collect();
    (firsts, first_of)
}

fn read_saved(len: usize, rows: &[Row]) -> Vec<Saved> {
    // No row: there is no such conversation, or the sender may not write there.
    let mut saved = vec![Saved::Refused(Reject::NotAMember); len];
    for row in rows {
        let message = SavedMessage {
            message: MessageId(row.get("id")),
            seq: unsigned(row.get("seq")),
            created_at: moment(row, "created_at"),
        };
        if let Some(slot) = saved.get_mut(place(row)) {
            *slot = if row.get("new") { Saved::New(message) } else { Saved::Repeat(message) };
        }
    }
    saved
}

fn ids(conversations: &[ConversationId]) -> Vec<i64> {
    conversations.iter().map(|id| id.0).collect()
}

/// Reads the index of an element from the column `place`; `with ordinality` counts from 1.
pub(super) fn place(row: &Row) -> usize {
    usize::try_from(row.get::<_, i64>("place") - 1).unwrap_or(usize::MAX)
}
