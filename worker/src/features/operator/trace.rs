//! The database's knowledge of a message whose guid an operator has. Never its contents.
//!
//! There is no index on guids alone, because every insert would pay for it. So the conversation or the
//! sender must be known, from the programs that remember the message, or from the operator.

use common::limits::TRACE_PLACES_MAX;
use protocol::Timestamp;
use protocol::ids::{ConversationId, Guid, MessageId, UserId};

use crate::store::rows::{moment, unsigned};
use crate::store::{Result, Row, Statement, Store, statement};

/// A message as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// The sender.
    pub sender: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The id of its row.
    pub message: MessageId,
    /// Its seq in the conversation.
    pub seq: u64,
    /// The time when it was saved, by the database's clock.
    pub created_at: Timestamp,
    /// The number of members of its conversation now, without the sender.
    pub others: u32,
    /// The number of other members who have read it.
    pub read: u32,
}

pub(crate) const STATEMENTS: &[Statement] = &[KEPT, OF_SENDER, OF_CONVERSATION];

const KEPT: Statement = statement(
    "kept_messages",
    "
select w.conversation_id, w.sender_id, m.id, m.seq, m.created_at, r.others, r.read
  from unnest($1::bigint[], $2::bigint[]) as w (conversation_id, sender_id)
  -- With a limit it is one look into an index for each place, whatever the planner believes.
 cross join lateral (
      select m.id, m.seq, m.created_at from messages m
       where m.conversation_id = w.conversation_id and m.sender_id = w.sender_id and m.guid = $3
       limit 1
 ) m
 cross join lateral (
      select count(*) as others, count(*) filter (where p.read_seq >= m.seq) as read
        from participants p
       where p.conversation_id = w.conversation_id and p.user_id <> w.sender_id and p.status = 'VERIFIED'
 ) r
 order by m.created_at",
);

const OF_SENDER: Statement = statement(
    "places_of_sender",
    "select p.conversation_id, p.user_id from participants p where p.user_id = $1
      order by p.conversation_id desc limit $2",
);

const OF_CONVERSATION: Statement = statement(
    "places_of_conversation",
    "select p.conversation_id, p.user_id from participants p where p.conversation_id = $1 limit $2",
);

impl Store {
    /// The messages of this guid in these conversations, by these senders.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn kept_messages(
        &self,
        guid: &Guid,
        places: &[(ConversationId, UserId)],
    ) -> Result<Vec<KeptMessage>> {
        let mut places = places.to_vec();
        places.sort_unstable();
        places.dedup();
        let (conversations, senders): (Vec<i64>, Vec<i64>) =
            places.iter().map(|(conversation, sender)| (conversation.0, sender.0)).unzip();
        let rows = self.query(&KEPT, &[&conversations, &senders, &guid.as_str()]).await?;
        let kept = |row: &Row| KeptMessage {
            sender: UserId(row.get("sender_id")),
            conversation: ConversationId(row.get("conversation_id")),
            message: MessageId(row.get("id")),
            seq: unsigned(row.get("seq")),
            created_at: moment(row, "created_at"),
            others: count(row, "others"),
            read: count(row, "read"),
        };
        Ok(rows.iter().map(kept).collect())
    }

    /// The conversations that this user may have written to: the newest ones with this user.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn places_of_sender(&self, user: UserId) -> Result<Vec<(ConversationId, UserId)>> {
        Ok(places(&self.query(&OF_SENDER, &[&user.0, &TRACE_PLACES_MAX]).await?))
    }

    /// The possible senders in this conversation.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn places_of_conversation(
        &self,
        conversation: ConversationId,
    ) -> Result<Vec<(ConversationId, UserId)>> {
        Ok(places(&self.query(&OF_CONVERSATION, &[&conversation.0, &TRACE_PLACES_MAX]).await?))
    }
}

fn places(rows: &[Row]) -> Vec<(ConversationId, UserId)> {
    rows.iter().map(|row| (ConversationId(row.get(0)), UserId(row.get(1)))).collect()
}

fn count(row: &Row, column: &str) -> u32 {
    u32::try_from(row.get::<_, i64>(column)).unwrap_or(u32::MAX)
}
