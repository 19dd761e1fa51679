//! What happened to messages after they were written.
//!
//! A conversation counts it (`change_seq`), and keeps the latest change of each message: who was away
//! hears of a thousand edits of one message once, with what it is now.

use protocol::Timestamp;
use protocol::ids::ConversationId;
use serde_json::Value;

use crate::store::rows::{moment, signed, unsigned};
use crate::store::{Result, Row, Statement, Store, statement};

/// The latest thing that happened to a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where.
    pub conversation: ConversationId,
    /// Which message.
    pub seq: u64,
    /// The how manyeth change of its conversation it is.
    pub change_seq: u64,
    /// When.
    pub at: Timestamp,
    /// What happened, as the feature that did it writes it.
    pub what: Value,
}

pub(crate) const STATEMENTS: &[Statement] = &[RECORD, CHANGES];

/// The conversation's row is locked before the change is written: changes are counted without a gap,
/// and a replica that has the counter has the change.
const RECORD: Statement = statement(
    "record_change",
    "
with moved as (
    update conversations c set change_seq = c.change_seq + 1
     where c.id = $1 and c.deleted_at is null and $2::bigint between 1 and c.head_seq
 returning c.id, c.change_seq
)
insert into message_changes as m (conversation_id, seq, change_seq, at, what)
select moved.id, $2, moved.change_seq, clock_timestamp(), $3 from moved
    on conflict (conversation_id, seq)
    do update set change_seq = excluded.change_seq, at = excluded.at, what = excluded.what
returning change_seq",
);

const CHANGES: Statement = statement(
    "changes_after",
    "
select m.conversation_id, m.seq, m.change_seq, m.at, m.what
  from message_changes m
 where m.conversation_id = $1 and m.change_seq > $2
 order by m.change_seq limit $3",
);

impl Store {
    /// Records what happened to a message, in the place of what happened to it before. Answers which
    /// change of the conversation it is; None: there is no such message.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn record_change(
        &self,
        conversation: ConversationId,
        seq: u64,
        what: &Value,
    ) -> Result<Option<u64>> {
        let rows = self.query(&RECORD, &[&conversation.0, &signed(seq), &what]).await?;
        Ok(rows.first().map(|row| unsigned(row.get(0))))
    }

    /// What happened after the change of this number, oldest first. Who may know was decided before.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn changes_after(
        &self,
        conversation: ConversationId,
        change_seq: u64,
        limit: i64,
    ) -> Result<Vec<Change>> {
        let rows = self.query(&CHANGES, &[&conversation.0, &signed(change_seq), &limit]).await?;
        let change = |row: &Row| Change {
            conversation: ConversationId(row.get("conversation_id")),
            seq: unsigned(row.get("seq")),
            change_seq: unsigned(row.get("change_seq")),
            at: moment(row, "at"),
            what: row.get("what"),
        };
        Ok(rows.iter().map(change).collect())
    }
}
