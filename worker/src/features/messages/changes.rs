//! Changes of messages after they were sent.
//!
//! Each conversation counts its changes (`change_seq`) and keeps the latest change of each message: after a
//! thousand changes to one message, a client that was away gets it once, in its latest form.
//!
//! Invariant: every change of a message is one statement that locks the conversation's row
//! first, increments `change_seq` and upserts `message_changes`. So changes are counted without a gap, and a
//! replica that has the counter has the change.

use protocol::events::change::ChangedMessage;
use protocol::ids::ConversationId;

use super::columns::{counted, message_columns};
use super::history::{has_all, maybe_message_view};
use super::store::Missing;
use crate::store::rows::{moment, signed, unsigned};
use crate::store::{Params, Result, Row, Statement, Store, statement};

pub(crate) const STATEMENTS: &[Statement] = &[REDACT, CHANGES, REPLICA_CHANGES];

/// Empties the content and the attachments of a message; its seq, sender and time stay.
const REDACT: Statement = statement(
    "redact_message",
    r#"
with moved as (
    update conversations c set change_seq = c.change_seq + 1
     where c.id = $1 and c.deleted_at is null and $2::bigint between 1 and c.head_seq
 returning c.id, c.change_seq
), changed as (
    update messages m set content = '', attachments = null
      from moved where m.conversation_id = $1 and m.seq = $2 and m.conversation_id = moved.id
)
insert into message_changes as m (conversation_id, seq, change_seq, at, what)
select moved.id, $2, moved.change_seq, clock_timestamp(), '{"kind": "redacted"}'::jsonb from moved
    on conflict (conversation_id, seq)
    do update set change_seq = excluded.change_seq, at = excluded.at, what = excluded.what
returning change_seq"#,
);

/// Changes of messages that the client holds: a newer message is sent in its latest form anyway. One row per
/// change, and one for a conversation without changes, to carry its counters. At most $4 of each conversation.
macro_rules! changes {
    () => {
        concat!(
            "select pg_is_in_recovery() as follows, c.head_seq, c.change_seq, c.version, w.conversation_id as of,
       n.verified, x.*
  from unnest($1::bigint[], $2::bigint[], $3::bigint[]) with ordinality
       as w (conversation_id, seq, change_seq, place)
  join conversations c on c.id = w.conversation_id
 cross join lateral (select ",
            counted!("w.conversation_id"),
            " as verified) n
  left join lateral (
      select h.change_seq as nth, h.at as changed_at, h.what, ",
            message_columns!(),
            "
        from message_changes h
        join messages m on m.conversation_id = h.conversation_id and m.seq = h.seq
        join users u on u.id = m.sender_id
       where h.conversation_id = w.conversation_id and m.conversation_id = w.conversation_id
         and h.change_seq > w.change_seq and h.seq <= w.seq
       order by h.change_seq limit $4
  ) x on true
 order by w.place, x.nth"
        )
    };
}
const CHANGES: Statement = statement("changes_after", changes!());
const REPLICA_CHANGES: Statement = statement("replica_changes_after", changes!());

impl Store {
    /// Empties a message. Returns the number of this change in its conversation; None: the message does not
    /// exist. A repeat is one more change with the same outcome.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn redact_message(&self, conversation: ConversationId, seq: u64) -> Result<Option<u64>> {
        let rows = self.query(&REDACT, &[&conversation.0, &signed(seq)]).await?;
        Ok(rows.first().map(|row| unsigned(row.get(0))))
    }

    /// Changes of the messages that a client holds, oldest first, at most `limit` for each
    /// conversation. Permission was checked before: only members get a `Standing`.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn changes_after(&self, wanted: &[Missing], limit: usize) -> Result<Vec<ChangedMessage>> {
        let conversations: Vec<i64> = wanted.iter().map(|one| one.conversation.0).collect();
        let seqs: Vec<i64> = wanted.iter().map(|one| signed(one.seq)).collect();
        let changes: Vec<i64> = wanted.iter().map(|one| signed(one.change_seq)).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let params: Params<'_> = &[&conversations, &seqs, &changes, &limit];
        let mut rows = None;
        if let Some(replica) = self.replica() {
            rows = replica.read(&REPLICA_CHANGES, params, |rows| has_all(rows, wanted)).await;
        }
        let rows = match rows {
            Some(rows) => rows,
            None => self.query(&CHANGES, params).await?,
        };
        rows.iter().filter_map(|row| changed(row).transpose()).collect()
    }
}

/// Reads a changed message; None: the row only carries the counters of a conversation without changes.
fn changed(row: &Row) -> Result<Option<ChangedMessage>> {
    let Some(message) = maybe_message_view(row)? else { return Ok(None) };
    Ok(Some(ChangedMessage {
        conversation_id: message.conversation,
        seq: message.seq,
        change_seq: unsigned(row.get("nth")),
        changed_at: moment(row, "changed_at"),
        what: row.get("what"),
        message,
    }))
}
