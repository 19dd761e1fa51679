//! Reading chat messages: a history, the messages that a client missed, one by its id.
//!
//! Pages are ranges of seqs: a deep one costs as much as the first. Deleted messages are left out.
//! With a replica that is up to date, the messages come from it; the primary always
//! decides who may read them.

use std::collections::HashMap;

use protocol::events::message::MessageView;
use protocol::ids::{ConversationId, Guid, MessageId, UserId};

use super::columns::{counted, message_columns};
use super::store::Missing;
use crate::conversation::{kind, person};
use crate::features::accounts::in_good_standing;
use crate::store::rows::{maybe_moment, moment, signed, unsigned};
use crate::store::{Json, Params, Result, Row, Statement, Store, StoreError, statement};

/// The requested part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryPage {
    /// The newest `limit` messages with a seq below `before`.
    Before {
        /// A seq, excluded; [`u64::MAX`] for the newest messages.
        before: u64,
        /// The number of messages.
        limit: u32,
    },
    /// The oldest `limit` seqs above `after`.
    After {
        /// A seq, excluded.
        after: u64,
        /// The number of messages.
        limit: u32,
    },
    /// The contract's pages, counted from 1, from the newest or from the oldest. A page is a range
    /// of seqs, so a deep page costs as much as the first; deleted messages leave it shorter.
    Page {
        /// The number of the page, from 1.
        page: u32,
        /// The number of seqs in a page.
        size: u32,
        /// True: pages are counted from the newest message. False: from the oldest.
        from_newest: bool,
    },
}

/// A part of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The newest seq of the conversation: the number of messages that it has ever had.
    pub head: u64,
    /// The messages are as of this change of the conversation, or newer.
    pub change_seq: u64,
    /// The messages, oldest first.
    pub messages: Vec<MessageView>,
}

impl Store {
    /// The messages after these seqs, oldest first, at most `limit` for each conversation. Permission
    /// was checked before: only members get a [`Standing`].
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn messages_after(&self, wanted: &[Missing], limit: usize) -> Result<Vec<MessageView>> {
        let conversations: Vec<i64> = wanted.iter().map(|one| one.conversation.0).collect();
        let seqs: Vec<i64> = wanted.iter().map(|one| signed(one.seq)).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let params: Params<'_> = &[&conversations, &seqs, &limit];

        let mut rows = None;
        if let Some(replica) = self.replica() {
            rows = replica.read(&REPLICA_AFTER, params, |rows| has_all(rows, wanted)).await;
        }
        let rows = match rows {
            Some(rows) => rows,
            None => self.query(&AFTER, params).await?,
        };
        rows.iter().filter_map(|row| maybe_message_view(row).transpose()).collect()
    }

    /// A part of a conversation's history, as one of its members may see it. None: the user is not
    /// a member, or the conversation does not exist.
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
            HistoryPage::After { after, limit } => ("oldest", signed(after), i64::from(limit)),
            HistoryPage::Page { page, size, from_newest } => {
                // Far above any seq, and far below an overflow of the statement's sums.
                let passed = i64::from(page.saturating_sub(1)).saturating_mul(i64::from(size)).min(1 << 53);
                (if from_newest { "newest" } else { "oldest" }, passed, i64::from(size))
            }
        };
        if let Some(replica) = self.replica() {
            let standings = self.standings(user, &[conversation]).await?;
            let Some(standing) = standings.get(&conversation) else { return Ok(None) };
            let params: Params<'_> = &[&conversation.0, &mode, &at, &limit];
            let wanted = [Missing { conversation, seq: 0, change_seq: 0, standing: *standing }];
            let rows = replica.read(&REPLICA_HISTORY, params, |rows| has_all(rows, &wanted)).await;
            if let Some(rows) = rows {
                return read_history(&rows);
            }
        }
        read_history(&self.query(&HISTORY, &[&conversation.0, &mode, &at, &limit, &user.0]).await?)
    }

    /// A message, as a member of its conversation may see it. None: the message does not exist, it
    /// was deleted, or the user is not a member.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn message(&self, user: UserId, message: MessageId) -> Result<Option<MessageView>> {
        let rows = self.query(&MESSAGE, &[&message.0, &user.0]).await?;
        rows.first().map(message_view).transpose()
    }

    /// Like [`Self::message`] when the conversation is known: it reads one partition only.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn message_of(
        &self,
        user: UserId,
        conversation: ConversationId,
        message: MessageId,
    ) -> Result<Option<MessageView>> {
        let rows = self.query(&MESSAGE_OF, &[&message.0, &user.0, &conversation.0]).await?;
        rows.first().map(message_view).transpose()
    }
}

pub(crate) const STATEMENTS: &[Statement] =
    &[AFTER, REPLICA_AFTER, HISTORY, REPLICA_HISTORY, MESSAGE, MESSAGE_OF];

/// One row per message, and one for a conversation without messages, to carry its head. On
/// the replica the first two columns show how current its rows are.
macro_rules! after {
    () => {
        concat!(
            "select pg_is_in_recovery() as follows, c.head_seq, c.change_seq, c.version, w.conversation_id as of,
       n.verified, m.*
  from unnest($1::bigint[], $2::bigint[]) with ordinality as w (conversation_id, seq, place)
  join conversations c on c.id = w.conversation_id
 cross join lateral (select ",
            counted!("w.conversation_id"),
            " as verified) n
  left join lateral (
      select ",
            message_columns!(),
            "
        from messages m join users u on u.id = m.sender_id
       where m.conversation_id = w.conversation_id and m.seq > w.seq and m.deleted_at is null
       order by m.seq limit $3
  ) m on true
 order by w.place, m.seq"
        )
    };
}
const AFTER: Statement = statement("messages_after", after!());
const REPLICA_AFTER: Statement = statement("replica_messages_after", after!());

/// The messages of a page of the conversation $1, whose head is `c.head_seq`.
macro_rules! page {
    () => {
        concat!(
            "left join lateral (
      select ",
            message_columns!(),
            "
        from messages m join users u on u.id = m.sender_id
       where m.conversation_id = $1 and m.deleted_at is null
         and m.seq > case $2 when 'oldest' then $3 when 'newest' then c.head_seq - $3 - $4 else 0 end
         and m.seq < case $2 when 'oldest' then $3 + $4 + 1 when 'newest' then c.head_seq - $3 + 1 else $3 end
       order by m.seq desc limit $4
  ) m on true "
        )
    };
}

const HISTORY: Statement = statement(
    "history",
    concat!(
        "select c.head_seq, c.change_seq, ",
        counted!("c.id"),
        " as verified, m.*
  from participants p
  join conversations c on c.id = p.conversation_id
  ",
        page!(),
        "where p.conversation_id = $1 and p.user_id = $5 and p.status = 'VERIFIED' and c.deleted_at is null
   and ",
        in_good_standing!("p.user_id")
    ),
);

/// Runs on the replica after the primary has confirmed the membership. Pages are counted from the replica's
/// own head, which may be newer, so that all rows are from one snapshot.
const REPLICA_HISTORY: Statement = statement(
    "replica_history",
    concat!(
        "select pg_is_in_recovery() as follows, c.head_seq, c.change_seq, c.version, c.id as of, ",
        counted!("c.id"),
        " as verified, m.*
  from conversations c
  ",
        page!(),
        "where c.id = $1"
    ),
);

macro_rules! message {
    ($where:literal) => {
        concat!(
            "select ",
            message_columns!(),
            ", ",
            counted!("m.conversation_id"),
            " as verified
  from messages m
  join conversations c on c.id = m.conversation_id
  join participants p on p.conversation_id = m.conversation_id and p.user_id = $2
  join users u on u.id = m.sender_id
 where m.id = $1 and m.deleted_at is null and c.deleted_at is null and p.status = 'VERIFIED' and ",
            in_good_standing!("p.user_id"),
            $where
        )
    };
}
const MESSAGE: Statement = statement("message", message!(""));
const MESSAGE_OF: Statement = statement("message_of", message!(" and m.conversation_id = $3"));

/// Whether the server of these rows has, in each conversation, everything that the primary has:
/// messages, their changes, and members.
pub(super) fn has_all(rows: &[Row], wanted: &[Missing]) -> bool {
    let counters = |row: &Row| {
        (unsigned(row.get("head_seq")), unsigned(row.get("change_seq")), row.get::<_, i64>("version"))
    };
    let there: HashMap<i64, _> = rows.iter().map(|row| (row.get("of"), counters(row))).collect();
    wanted.iter().all(|Missing { conversation, standing, .. }| {
        there.get(&conversation.0).is_some_and(|(head, changes, version)| {
            *head >= standing.head && *changes >= standing.change_seq && *version >= standing.version
        })
    })
}

/// Reads a history; None: there are no rows, because the user may not read it.
fn read_history(rows: &[Row]) -> Result<Option<History>> {
    let Some(first) = rows.first() else { return Ok(None) };
    let (head, change_seq) = (unsigned(first.get("head_seq")), unsigned(first.get("change_seq")));
    let present = rows.iter().filter_map(|row| maybe_message_view(row).transpose());
    let mut messages = present.collect::<Result<Vec<_>>>()?;
    messages.sort_unstable_by_key(|message| message.seq);
    Ok(Some(History { head, change_seq, messages }))
}

/// Reads a message from a row that may hold none.
pub(crate) fn maybe_message_view(row: &Row) -> Result<Option<MessageView>> {
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
        traceparent: None,
    })
}
