//! The statement that writes a piece and checks the remembered heads and versions.
//!
//! One statement moves the heads of all conversations of a piece, if each head and version is as remembered,
//! and inserts the messages under the seqs that were decided. If one conversation differs, the statement
//! divides by zero, which undoes everything. It returns nothing but success.

use protocol::Timestamp;
use protocol::events::message::{CallStatus, CallType, MessageType};
use protocol::ids::{ConversationId, MessageId};

use super::message::{NewMessage, SavedMessage};
use crate::store::rows::{moment, signed, unsigned};
use crate::store::{Json, Result, Row, Statement, Store, ToSql, collided, conflict, has_moved, statement};

/// Messages to write, and the state that their conversations must be in.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// The heads to move, ordered by conversation.
    pub heads: Vec<Move>,
    /// The new messages and their rows, in the order of their seqs.
    pub messages: Vec<(&'a NewMessage, SavedMessage)>,
    /// The time of all messages of the piece.
    pub at: Timestamp,
}

/// Moves a conversation's head from `expected` to `head`, if its `version` is as remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub conversation: ConversationId,
    pub expected: u64,
    pub head: u64,
    pub version: i64,
}

/// The outcome of writing a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// The piece is committed.
    Kept,
    /// Nothing was written: a conversation differs from what is remembered, or the server is another one.
    Moved,
    /// Nothing was written: a message with the same conversation, sender and guid exists.
    Repeated,
}

pub(super) const STATEMENTS: &[Statement] = &[APPEND, APPEND_ANY, KNOWN, IDS];

macro_rules! append {
    ($columns:literal, $values:literal) => {
        concat!(
            "
with moved as (
    update conversations c set head_seq = h.head, updated_at = $6
      from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
           as h (conversation_id, expected, head, version)
     where c.id = h.conversation_id and c.head_seq = h.expected and c.version = h.version
       and c.deleted_at is null
 returning c.id
), inserted as (
    insert into messages (created_at, id, conversation_id, seq, sender_id, guid, content, ",
            $columns,
            ")
    select $6, unnest($7::bigint[]), unnest($8::bigint[]), unnest($9::bigint[]), unnest($10::bigint[]),
           unnest($11::text[]), unnest($12::text[]), ",
            $values,
            "
)
select 1 / (case when count(*) = $5::bigint then 1 else 0 end) from moved"
        )
    };
}

/// Inserts plain texts; most pieces have nothing else.
const APPEND: Statement = statement("append", append!("message_type", "'TEXT'"));

/// Inserts messages of any kind.
const APPEND_ANY: Statement = statement(
    "append_any",
    append!(
        "message_type, call_type, call_status, attachments",
        "unnest($13::text[]), unnest($14::text[]), unnest($15::text[]), unnest($16::jsonb[])"
    ),
);

const KNOWN: Statement = statement(
    "known_messages",
    "
select w.place, m.id, m.seq, m.created_at
  from unnest($1::bigint[], $2::bigint[], $3::text[]) with ordinality
       as w (conversation_id, sender_id, guid, place)
 cross join lateral (
       select m.id, m.seq, m.created_at from messages m
        where m.conversation_id = w.conversation_id and m.sender_id = w.sender_id and m.guid = w.guid
        limit 1
 ) m",
);

const IDS: Statement =
    statement("message_ids", "select nextval('message_ids') from generate_series(1, $1::bigint)");

impl Store {
    /// Writes a piece, if PostgreSQL is still the server of `epoch`.
    pub(super) async fn append(&self, epoch: u64, piece: &Piece<'_>) -> Result<Appended> {
        let conversations: Vec<i64> = piece.heads.iter().map(|one| one.conversation.0).collect();
        let expected: Vec<i64> = piece.heads.iter().map(|one| signed(one.expected)).collect();
        let heads: Vec<i64> = piece.heads.iter().map(|one| signed(one.head)).collect();
        let versions: Vec<i64> = piece.heads.iter().map(|one| one.version).collect();
        let count = i64::try_from(piece.heads.len()).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(piece.at.0).unwrap_or(jiff::Timestamp::MAX);

        let all = &piece.messages;
        let ids: Vec<i64> = all.iter().map(|(_, row)| row.message.0).collect();
        let places: Vec<i64> = all.iter().map(|(new, _)| new.event.conversation.0).collect();
        let seqs: Vec<i64> = all.iter().map(|(_, row)| signed(row.seq)).collect();
        let senders: Vec<i64> = all.iter().map(|(new, _)| new.sender.0).collect();
        let guids: Vec<&str> = all.iter().map(|(new, _)| new.guid.as_str()).collect();
        let contents: Vec<&str> = all.iter().map(|(new, _)| new.event.content.as_str()).collect();
        let plain: [&(dyn ToSql + Sync); 12] = [
            &conversations,
            &expected,
            &heads,
            &versions,
            &count,
            &at,
            &ids,
            &places,
            &seqs,
            &senders,
            &guids,
            &contents,
        ];
        let outcome = if all.iter().all(|(new, _)| is_plain(new)) {
            self.query_on(epoch, &APPEND, &plain).await
        } else {
            let types: Vec<&str> = all.iter().map(|(new, _)| new.event.message_type.as_str()).collect();
            let calls: Vec<&str> = all.iter().map(|(new, _)| new.event.call_type.as_str()).collect();
            let states: Vec<&str> = all.iter().map(|(new, _)| new.event.call_status.as_str()).collect();
            let files: Vec<Option<Json<_>>> = all
                .iter()
                .map(|(new, _)| Some(&new.event.attachments).filter(|list| !list.is_empty()).map(Json))
                .collect();
            let more: [&(dyn ToSql + Sync); 4] = [&types, &calls, &states, &files];
            self.query_on(epoch, &APPEND_ANY, &[&plain[..], &more[..]].concat()).await
        };
        match outcome {
            Ok(_) => Ok(Appended::Kept),
            Err(err) if has_moved(&err) => {
                collided();
                Ok(Appended::Moved)
            }
            Err(err) if conflict(&err).is_some_and(|name| name.starts_with("messages_")) => {
                collided();
                Ok(Appended::Repeated)
            }
            Err(err) => Err(err),
        }
    }

    /// Finds those of the messages that already exist: the index of each in `asked`, and its row.
    pub(super) async fn known_messages(&self, asked: &[&NewMessage]) -> Result<Vec<(usize, SavedMessage)>> {
        let conversations: Vec<i64> = asked.iter().map(|one| one.event.conversation.0).collect();
        let senders: Vec<i64> = asked.iter().map(|one| one.sender.0).collect();
        let guids: Vec<&str> = asked.iter().map(|one| one.guid.as_str()).collect();
        let rows = self.query(&KNOWN, &[&conversations, &senders, &guids]).await?;
        let read = |row: &Row| {
            let place = usize::try_from(row.get::<_, i64>("place") - 1).unwrap_or(usize::MAX);
            let created_at = moment(row, "created_at");
            let seq = unsigned(row.get("seq"));
            (place, SavedMessage { message: MessageId(row.get("id")), seq, created_at })
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Reserves `count` message ids from the sequence.
    pub(super) async fn message_ids(&self, count: usize) -> Result<Vec<i64>> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let rows = self.query(&IDS, &[&count]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// Whether the table's defaults suit all columns that [`APPEND`] does not write.
fn is_plain(new: &NewMessage) -> bool {
    let event = &new.event;
    event.message_type == MessageType::Text
        && event.call_type == CallType::Voice
        && event.call_status == CallStatus::Ended
        && event.attachments.is_empty()
}
