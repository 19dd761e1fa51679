//! Which users see each other's presence: those who share a conversation that is not too large.

use common::limits::{PRESENCE_CONVERSATIONS_MAX, PRESENCE_PARTICIPANTS_MAX};
use protocol::ids::{ConversationId, UserId};

use crate::store::{Result, Statement, Store, statement};

/// One conversation as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The user.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The other members, whom the user sees and who see the user.
    pub others: Vec<UserId>,
}

pub(crate) const STATEMENTS: &[Statement] = &[CIRCLES];

/// $2 conversations of each user, and $3 others of each: first those the user made, reads or writes in,
/// then the last active. So conversations that strangers make hide no contact. Two users do not see each other when
/// one has blocked the other.
const CIRCLES: Statement = statement(
    "circles",
    "
select mine.user_id, mine.conversation_id,
       array(select o.user_id from participants o
              where o.conversation_id = mine.conversation_id
                and o.status = 'VERIFIED' and o.user_id <> mine.user_id
              limit $3) as others,
       array(select b.blocked_id from blocks b where b.user_id = mine.user_id
             union all
             select b.user_id from blocks b where b.blocked_id = mine.user_id) as blocked
  from unnest($1::bigint[]) as wanted (id)
 cross join lateral (
       select p.user_id, p.conversation_id
         from participants p join conversations c on c.id = p.conversation_id
        where p.user_id = wanted.id and p.status = 'VERIFIED' and c.deleted_at is null
        order by (p.read_seq > 0 or c.creator_id = p.user_id
                  or c.head_seq > 0 and exists (
                      select from messages m where m.conversation_id = c.id and m.sender_id = p.user_id)) desc,
                 c.updated_at desc, c.id desc
        limit $2) mine",
);

impl Store {
    /// The conversations through which these users and others see each other's presence. Conversations with
    /// more than [`PRESENCE_PARTICIPANTS_MAX`] members, or without another member, are excluded.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn circles(&self, users: &[UserId]) -> Result<Vec<Circle>> {
        let ids: Vec<i64> = users.iter().map(|user| user.0).collect();
        let conversations = i64::try_from(PRESENCE_CONVERSATIONS_MAX).unwrap_or(i64::MAX);
        let others = i64::try_from(PRESENCE_PARTICIPANTS_MAX).unwrap_or(i64::MAX);
        let rows = self.query(&CIRCLES, &[&ids, &conversations, &others]).await?;
        let circles = rows.iter().filter_map(|row| {
            let others: Vec<i64> = row.get("others");
            // That many others, and the user, are one member too many.
            if others.len() >= PRESENCE_PARTICIPANTS_MAX {
                return None;
            }
            let blocked: Vec<i64> = row.get("blocked");
            let seen = others.into_iter().filter(|other| !blocked.contains(other));
            let circle = Circle {
                user: UserId(row.get("user_id")),
                conversation: ConversationId(row.get("conversation_id")),
                others: seen.map(UserId).collect(),
            };
            (!circle.others.is_empty()).then_some(circle)
        });
        Ok(circles.collect())
    }
}
