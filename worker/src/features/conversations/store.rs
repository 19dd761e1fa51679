//! Conversations and their participants.

use common::limits::{
    CONVERSATIONS_MADE_MAX, PAGE_SIZE_MAX, PARTICIPANTS_LISTED_MAX, PARTICIPANTS_SHOWN_MAX, UNREAD_OWN_MAX,
};
use protocol::events::message::{ConversationKind, MessageView};
use protocol::ids::{ConversationId, UserId};
use protocol::{Reject, Timestamp};
use serde::{Deserialize, Serialize};

use super::cursor::ListCursor;
use crate::conversation::kind;
use crate::features::accounts::in_good_standing;
use crate::features::messages::{maybe_message_view, message_columns};
use crate::store::rows::{maybe_moment, moment, unsigned};
use crate::store::{Json, Params, Result, Row, Statement, Store, statement};

/// A conversation as one of its members sees it.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ConversationRow {
    pub id: ConversationId,
    pub title: String,
    pub creator: Option<UserId>,
    pub channel_id: i64,
    pub avatar_url: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    pub kind: ConversationKind,
    /// The newest seq.
    pub head: u64,
    /// The number of changes of messages.
    pub change_seq: u64,
    /// The last seq that this member has read. A member who sends a message has read up to it.
    pub read: u64,
    /// The number of verified participants.
    pub verified: i64,
    /// The first verified participants: at most [`PARTICIPANTS_SHOWN_MAX`], in lists [`PARTICIPANTS_LISTED_MAX`].
    pub participants: Vec<ParticipantRow>,
    pub last_message: Option<MessageView>,
}

/// A participant, in the form that clients read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct ParticipantRow {
    /// The id of the participation, not of the user.
    pub id: i64,
    pub user_id: UserId,
    #[serde(rename = "type")]
    pub participant_type: ParticipantType,
    pub user: ParticipantUser,
}

/// The person behind a participation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct ParticipantUser {
    pub id: UserId,
    pub first_name: String,
    pub last_name: String,
    /// Always empty: members see each other's names, never their addresses.
    pub email: String,
    pub is_active: bool,
}

/// The role of a participant. Lower case for clients, upper case in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParticipantType {
    /// The lead, who may remove members and delete the conversation.
    Lead,
    /// An ordinary member.
    Member,
}

impl ParticipantType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lead => "LEAD",
            Self::Member => "MEMBER",
        }
    }
}

/// A conversation to create.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NewConversation<'a> {
    pub title: &'a str,
    pub creator: UserId,
    pub channel_id: i64,
    pub avatar_url: &'a str,
    /// The participants, each once, the creator included.
    pub participants: Vec<NewParticipant>,
}

/// A user to add, verified from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NewParticipant {
    pub user: UserId,
    pub participant_type: ParticipantType,
}

/// A page of a user's conversations.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationPage {
    /// The number of all matching conversations of the user.
    pub total: u64,
    /// The conversations of the page.
    pub conversations: Vec<ConversationRow>,
    /// Conversations that moved to the top while the client paged through the list by cursor.
    pub moved: Vec<ConversationRow>,
    /// The database's clock.
    pub now: Timestamp,
}

/// A conversation, for `page`, as the user $1 sees it.
macro_rules! page_columns {
    () => {
        "c.id as c_id, c.title, c.creator_id, c.channel_id, c.avatar_url, c.created_at as c_created_at, \
         c.updated_at as c_updated_at, c.deleted_at as c_deleted_at, c.head_seq, c.change_seq, p.read_seq"
    };
}

/// `page` names the conversations; this adds their participants ($2 at most), their last message,
/// and how far the user $1 has read: to a message of its own, if that is one of the newest $3.
macro_rules! dressed {
    () => {
        concat!(
            "page.*, m.*,
            greatest(page.read_seq, coalesce((
                select s.seq from messages s
                 where s.conversation_id = page.c_id and s.sender_id = $1
                   and s.seq > greatest(page.read_seq, page.head_seq - $3)
                 order by s.seq desc limit 1), 0)) as read_up_to,
            (select count(*) from participants q
              where q.conversation_id = page.c_id and q.status = 'VERIFIED') as verified,
            (select jsonb_agg(jsonb_build_object(
                        'id', q.id, 'userId', q.user_id, 'type', lower(q.type),
                        'user', jsonb_build_object('id', u.id, 'firstName', u.first_name,
                            'lastName', u.last_name, 'email', '', 'isActive', u.is_active))
                    order by q.id)
               from (select id, user_id, type from participants
                      where conversation_id = page.c_id and status = 'VERIFIED'
                      order by user_id limit $2) q
               join users u on u.id = q.user_id) as participants"
        )
    };
}
macro_rules! last_message_join {
    () => {
        concat!(
            " left join lateral (
                select ",
            message_columns!(),
            " from messages m join users u on u.id = m.sender_id
                 where m.conversation_id = page.c_id and m.deleted_at is null
                 order by m.seq desc limit 1
            ) m on true "
        )
    };
}

/// The conversations of $1 whose title contains $4.
macro_rules! mine {
    () => {
        concat!(
            "with mine as materialized (
        select ",
            page_columns!(),
            " from participants p join conversations c on c.id = p.conversation_id
         where p.user_id = $1 and p.status = 'VERIFIED' and c.deleted_at is null
           and ($4 = '' or position(lower($4) in lower(c.title)) > 0)
    )"
        )
    };
}

pub(crate) const STATEMENTS: &[Statement] = &[LIST, FROM, ONE, CREATE, MADE];

const LIST: Statement = statement(
    "conversations_of",
    concat!(
        mine!(),
        ", page as materialized (
        select * from mine
         order by case when $5 then c_updated_at end, case when not $5 then c_updated_at end desc, c_id desc
         limit $6 offset $7
    )
    select total.total, clock_timestamp() as now, ",
        dressed!(),
        " from (select count(*) as total from mine) total
      left join page on true ",
        last_message_join!(),
        " where ",
        in_good_standing!("$1"),
        " order by case when $5 then c_updated_at end, case when not $5 then c_updated_at end desc, c_id desc"
    ),
);

/// The conversations below the last one of the page before ($5, $6), and, marked, those that moved to the top
/// since ($7), except those already told of this time ($9, $10): at most $8 of the former, $11 of the latter.
const FROM: Statement = statement(
    "conversations_from",
    concat!(
        mine!(),
        ", page as materialized (
        (select mine.*, false as moved from mine
          where (c_updated_at, c_id) < ($5::timestamptz, $6::bigint)
          order by c_updated_at desc, c_id desc limit $8)
        union all
        (select mine.*, true as moved from mine
          where c_updated_at >= $7::timestamptz
            and not exists (select from unnest($9::bigint[], $10::timestamptz[]) as t (id, at)
                             where t.id = c_id and t.at = c_updated_at)
          order by c_updated_at, c_id limit $11)
    )
    select total.total, clock_timestamp() as now, ",
        dressed!(),
        " from (select count(*) as total from mine) total
      left join page on true ",
        last_message_join!(),
        " where ",
        in_good_standing!("$1"),
        " order by moved, c_updated_at desc, c_id desc"
    ),
);

const ONE: Statement = statement(
    "conversation",
    concat!(
        "with page as materialized (
        select ",
        page_columns!(),
        " from participants p join conversations c on c.id = p.conversation_id
         where p.user_id = $1 and p.conversation_id = $4 and p.status = 'VERIFIED' and c.deleted_at is null
           and ",
        in_good_standing!("p.user_id"),
        "
    )
    select ",
        dressed!(),
        " from page ",
        last_message_join!()
    ),
);

/// Creates nothing unless every named user may be a member: an account in good standing that has not
/// blocked the creator.
const CREATE: Statement = statement(
    "create_conversation",
    "
with wanted as materialized (
    select * from unnest($5::bigint[], $6::text[]) as w (user_id, type)
), good as materialized (
    select w.user_id, w.type
      from wanted w join users u on u.id = w.user_id
     where u.is_active and not u.is_blocked
       and not exists (select 1 from blocks b where b.user_id = w.user_id and b.blocked_id = $2)
), made as (
    insert into conversations (title, creator_id, channel_id, avatar_url)
    select $1, $2, $3, $4
     where (select count(*) from good) = (select count(*) from wanted)
 returning id
), added as (
    insert into participants (conversation_id, user_id, type, status)
    select made.id, good.user_id, good.type, 'VERIFIED' from made cross join good
)
select id from made",
);

const MADE: Statement = statement(
    "conversations_made",
    "select count(*) from (select from conversations where creator_id = $1 and deleted_at is null limit $2) made",
);

impl Store {
    /// The number of existing conversations that a user has created, counted no further than
    /// [`CONVERSATIONS_MADE_MAX`].
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn conversations_made(&self, user: UserId) -> Result<i64> {
        let rows = self.query(&MADE, &[&user.0, &CONVERSATIONS_MADE_MAX]).await?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    /// A user's conversations, the last active first (`oldest_first`: last). `search`: a part of the title,
    /// ignoring case.
    ///
    /// # Errors
    /// The store has no answer; [`Reject::Unauthorized`]: the account is blocked.
    pub async fn conversations_of(
        &self,
        user: UserId,
        search: &str,
        oldest_first: bool,
        limit: i64,
        offset: i64,
    ) -> Result<ConversationPage> {
        let (shown, looked) = (PARTICIPANTS_LISTED_MAX, UNREAD_OWN_MAX);
        let params: Params<'_> = &[&user.0, &shown, &looked, &search, &oldest_first, &limit, &offset];
        page(&self.query(&LIST, params).await?, |_| false)
    }

    /// Like [`Self::conversations_of`], from a cursor on, the last active first: the conversations that follow it,
    /// and those that moved meanwhile.
    ///
    /// # Errors
    /// As [`Self::conversations_of`].
    pub async fn conversations_from(
        &self,
        user: UserId,
        search: &str,
        cursor: &ListCursor,
        limit: i64,
    ) -> Result<ConversationPage> {
        let (shown, looked) = (PARTICIPANTS_LISTED_MAX, UNREAD_OWN_MAX);
        let at = |at: Timestamp| jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::MIN);
        let (last_at, since) = (at(cursor.last_at), at(cursor.since));
        let told: Vec<i64> = cursor.told.keys().map(|id| id.0).collect();
        let told_at: Vec<_> = cursor.told.values().map(|told| at(*told)).collect();
        let (last, moved) = (cursor.last.0, PAGE_SIZE_MAX);
        let params: Params<'_> =
            &[&user.0, &shown, &looked, &search, &last_at, &last, &since, &limit, &told, &told_at, &moved];
        page(&self.query(&FROM, params).await?, |row| row.get("moved"))
    }

    /// A conversation, as one of its members may see it. None: the user is not a member, or the conversation
    /// does not exist.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn conversation(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<ConversationRow>> {
        let shown = PARTICIPANTS_SHOWN_MAX;
        let rows = self.query(&ONE, &[&user.0, &shown, &UNREAD_OWN_MAX, &conversation.0]).await?;
        rows.first().map(conversation_row).transpose()
    }

    /// Creates a conversation. None: a named user does not exist, may not log in, or has blocked
    /// the creator (the creator does not learn which).
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn create_conversation(&self, new: &NewConversation<'_>) -> Result<Option<ConversationId>> {
        let users: Vec<i64> = new.participants.iter().map(|one| one.user.0).collect();
        let types: Vec<&str> = new.participants.iter().map(|one| one.participant_type.as_str()).collect();
        let rows = self
            .query(&CREATE, &[&new.title, &new.creator.0, &new.channel_id, &new.avatar_url, &users, &types])
            .await?;
        Ok(rows.first().map(|row| ConversationId(row.get(0))))
    }
}

fn page(rows: &[Row], has_moved: impl Fn(&Row) -> bool) -> Result<ConversationPage> {
    // Even without conversations there is a row, unless the account is blocked.
    let first = rows.first().ok_or(Reject::Unauthorized)?;
    let (total, now) = (unsigned(first.get("total")), moment(first, "now"));
    let mut page = ConversationPage { total, now, conversations: Vec::new(), moved: Vec::new() };
    for row in rows.iter().filter(|row| row.get::<_, Option<i64>>("c_id").is_some()) {
        let list = if has_moved(row) { &mut page.moved } else { &mut page.conversations };
        list.push(conversation_row(row)?);
    }
    Ok(page)
}

fn conversation_row(row: &Row) -> Result<ConversationRow> {
    let verified: i64 = row.get("verified");
    let participants: Option<Json<_>> = row.get("participants");
    Ok(ConversationRow {
        id: ConversationId(row.get("c_id")),
        title: row.get("title"),
        creator: row.get::<_, Option<i64>>("creator_id").map(UserId),
        channel_id: row.get("channel_id"),
        avatar_url: row.get("avatar_url"),
        created_at: moment(row, "c_created_at"),
        updated_at: moment(row, "c_updated_at"),
        deleted_at: maybe_moment(row, "c_deleted_at"),
        kind: kind(verified),
        head: unsigned(row.get("head_seq")),
        change_seq: unsigned(row.get("change_seq")),
        read: unsigned(row.get("read_up_to")),
        verified,
        participants: participants.map(|Json(list)| list).unwrap_or_default(),
        last_message: maybe_message_view(row)?,
    })
}
