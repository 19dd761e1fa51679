//! Reading chat messages: a history, what was missed, one by its id.
//!
//! Pages are ranges of seqs: a deep one costs as much as the first. Deleted messages are left out.

use common::ids::{ConversationId, Guid, MessageId, UserId};
use common::protocol::{MessageView, Person};
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::messages::{kind, signed, unsigned};
use super::{Result, Store, StoreError, maybe_moment, moment};

/// Which part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryPage {
    /// The newest `limit` messages with a seq below `before`.
    Before {
        /// A seq; [`u64::MAX`] for the newest.
        before: u64,
        /// How many.
        limit: u32,
    },
    /// The contract's pages, counted from 1, from the newest or from the oldest. A page is a range
    /// of seqs, so a deep page costs as much as the first; deleted messages leave it shorter.
    Page {
        /// From 1.
        page: u32,
        /// Seqs in a page.
        size: u32,
        /// Counted from the newest.
        from_newest: bool,
    },
}

/// A part of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The newest seq of the conversation: how many messages it has ever had.
    pub head: u64,
    /// Oldest first.
    pub messages: Vec<MessageView>,
}

/// A message as [`message_view`] reads it; `kind` needs the number of verified participants.
macro_rules! message_columns {
    () => {
        "m.id, m.conversation_id, m.seq, m.guid, m.message_type, m.content, m.created_at, m.deleted_at, \
         m.call_type, m.call_status, m.message_status, m.attachments, m.sender_id, \
         u.first_name, u.last_name, u.email"
    };
}
pub(super) use message_columns;

/// How many are verified.
macro_rules! heads_counted {
    ($conversation:literal) => {
        concat!(
            "(select count(*) from participants q where q.conversation_id = ",
            $conversation,
            " and q.status = 'VERIFIED')"
        )
    };
}

impl Store {
    /// What follows these seqs, oldest first, at most `limit` for each conversation. Who may read
    /// them was decided before.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn messages_after(
        &self,
        wanted: &[(ConversationId, u64)],
        limit: usize,
    ) -> Result<Vec<MessageView>> {
        let conversations: Vec<i64> = wanted.iter().map(|(id, _)| id.0).collect();
        let seqs: Vec<i64> = wanted.iter().map(|(_, seq)| signed(*seq)).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query("messages_after", AFTER, &[&conversations, &seqs, &limit]).await?;
        rows.iter().map(message_view).collect()
    }

    /// A part of a conversation's history, as one of its members may see it. None: the user is not
    /// a member, or there is no such conversation.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        page: HistoryPage,
    ) -> Result<Option<History>> {
        // Seqs in (low, high], counted down from the head when `from_newest`.
        let (mode, at, limit) = match page {
            HistoryPage::Before { before, limit } => ("before", signed(before), i64::from(limit)),
            HistoryPage::Page { page, size, from_newest } => {
                // Far beyond any seq, and far from where the statement's sums end.
                let passed = i64::from(page.saturating_sub(1)).saturating_mul(i64::from(size)).min(1 << 53);
                (if from_newest { "newest" } else { "oldest" }, passed, i64::from(size))
            }
        };
        let rows = self.query("history", HISTORY, &[&conversation.0, &user.0, &mode, &at, &limit]).await?;
        let Some(first) = rows.first() else { return Ok(None) };
        let head = unsigned(first.get("head_seq"));
        let present = rows.iter().filter_map(|row| maybe_message_view(row).transpose());
        let mut messages = present.collect::<Result<Vec<_>>>()?;
        messages.sort_unstable_by_key(|message| message.seq);
        Ok(Some(History { head, messages }))
    }

    /// A message, as a member of its conversation may see it. None: there is no such message, it
    /// was deleted, or the user is not a member.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn message(&self, user: UserId, message: MessageId) -> Result<Option<MessageView>> {
        let rows = self.query("message", MESSAGE, &[&message.0, &user.0]).await?;
        rows.first().map(message_view).transpose()
    }
}

const AFTER: &str = concat!(
    "select ",
    message_columns!(),
    ", w.verified
  from (select conversation_id, seq, place, ",
    heads_counted!("w.conversation_id"),
    " as verified
          from unnest($1::bigint[], $2::bigint[]) with ordinality as w (conversation_id, seq, place)
       ) w
 cross join lateral (
      select * from messages m
       where m.conversation_id = w.conversation_id and m.seq > w.seq and m.deleted_at is null
       order by m.seq limit $3
 ) m
  join users u on u.id = m.sender_id
 order by w.place, m.seq"
);

const HISTORY: &str = concat!(
    "select c.head_seq, ",
    heads_counted!("c.id"),
    " as verified, m.*
  from participants p
  join conversations c on c.id = p.conversation_id
  left join lateral (
      select ",
    message_columns!(),
    "
        from messages m join users u on u.id = m.sender_id
       where m.conversation_id = $1 and m.deleted_at is null
         and m.seq > case $3 when 'oldest' then $4 when 'newest' then c.head_seq - $4 - $5 else 0 end
         and m.seq < case $3 when 'oldest' then $4 + $5 + 1 when 'newest' then c.head_seq - $4 + 1 else $4 end
       order by m.seq desc limit $5
  ) m on true
 where p.conversation_id = $1 and p.user_id = $2 and p.status = 'VERIFIED' and c.deleted_at is null"
);

const MESSAGE: &str = concat!(
    "select ",
    message_columns!(),
    ", ",
    heads_counted!("m.conversation_id"),
    " as verified
  from messages m
  join conversations c on c.id = m.conversation_id
  join participants p on p.conversation_id = m.conversation_id and p.user_id = $2
  join users u on u.id = m.sender_id
 where m.id = $1 and m.deleted_at is null and c.deleted_at is null and p.status = 'VERIFIED'"
);

/// A message from a row that may hold none.
pub(super) fn maybe_message_view(row: &Row) -> Result<Option<MessageView>> {
    row.get::<_, Option<i64>>("id").map(|_| message_view(row)).transpose()
}

fn message_view(row: &Row) -> Result<MessageView> {
    let damaged = |_| StoreError::Fault(anyhow::anyhow!("a message's row is not what its table allows"));
    let attachments: Option<Json<_>> = row.get("attachments");
    Ok(MessageView {
        id: MessageId(row.get("id")),
        guid: Guid::new(row.get("guid")).map_err(|err| StoreError::Fault(err.into()))?,
        conversation: ConversationId(row.get("conversation_id")),
        kind: kind(row.get("verified")),
        seq: unsigned(row.get("seq")),
        sender: person(row, "sender_id"),
        message_type: row.get::<_, &str>("message_type").parse().map_err(damaged)?,
        content: row.get("content"),
        created_at: moment(row, "created_at"),
        deleted_at: maybe_moment(row, "deleted_at"),
        call_type: row.get::<_, &str>("call_type").parse().map_err(damaged)?,
        call_status: row.get::<_, &str>("call_status").parse().map_err(damaged)?,
        status: match row.get("message_status") {
            "DELIVERED" => "DELIVERED",
            "READ" => "READ",
            _ => "SENT",
        },
        attachments: attachments.map(|Json(list)| list).unwrap_or_default(),
    })
}

pub(super) fn person(row: &Row, id: &str) -> Person {
    Person {
        id: UserId(row.get(id)),
        first_name: row.get("first_name"),
        last_name: row.get("last_name"),
        email: row.get("email"),
    }
}
