//! Loads the conversations that are not in memory.

use std::collections::HashMap;

use protocol::ids::{ConversationId, UserId};
use protocol::{Person, Timestamp};

use super::audience::{Members, kind};
use crate::store::rows::{moment, unsigned};
use crate::store::{Result, Row, Statement, Store, statement};

/// A conversation as one statement saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub audience: Members,
    /// The seq of its newest message; 0 if it has none.
    pub head: u64,
    /// Rises with every change of anything remembered besides the head.
    pub version: i64,
    /// The time when its last message was written.
    pub updated_at: Timestamp,
    /// The database's clock at the time of reading.
    pub now: Timestamp,
}

pub(super) const STATEMENTS: &[Statement] = &[AUDIENCES, VERSIONS];

/// Reads blocks in conversations of two only: for each member of a group the planner would scan all
/// members again, and a group of thousands could not be written to.
const AUDIENCES: Statement = statement(
    "audiences",
    "
select p.conversation_id, p.user_id, u.first_name, u.last_name,
       u.is_active and not u.is_blocked as good,
       count(*) over (partition by p.conversation_id) as verified,
       case when count(*) over (partition by p.conversation_id) = 2 then
           (select array_agg(b.blocked_id)
              from blocks b
              join participants o on o.conversation_id = p.conversation_id and o.user_id = b.blocked_id
             where b.user_id = p.user_id and o.status = 'VERIFIED')
       end as blocked,
       c.head_seq, c.version, c.updated_at, clock_timestamp() as now
  from participants p
  join conversations c on c.id = p.conversation_id
  join users u on u.id = p.user_id
 where p.conversation_id = any($1::bigint[]) and p.status = 'VERIFIED' and c.deleted_at is null
 order by p.conversation_id, p.user_id",
);

const VERSIONS: Statement = statement(
    "versions",
    "select id, version from conversations where id = any($1::bigint[]) and deleted_at is null",
);

impl Store {
    /// The members of these conversations; those that do not exist are absent from the map.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn audiences(
        &self,
        conversations: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Members>> {
        let loaded = self.load(conversations).await?;
        Ok(loaded.into_iter().map(|(id, loaded)| (id, loaded.audience)).collect())
    }

    /// Like [`Self::audiences`], with head and version, all from one snapshot.
    pub(crate) async fn load(
        &self,
        conversations: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Loaded>> {
        let ids: Vec<i64> = conversations.iter().map(|id| id.0).collect();
        let rows = self.query(&AUDIENCES, &[&ids]).await?;
        let mut all: HashMap<ConversationId, Loaded> = HashMap::with_capacity(ids.len());
        for row in &rows {
            let conversation = ConversationId(row.get("conversation_id"));
            let Loaded { audience, .. } = all.entry(conversation).or_insert_with(|| empty(row));
            if row.get("good") {
                let person = person(row, "user_id");
                let blocked: Option<Vec<i64>> = row.get("blocked");
                let blocked = blocked.into_iter().flatten();
                audience.blocked.extend(blocked.map(|blocked| (person.id, UserId(blocked))));
                audience.members.push(person);
            }
        }
        Ok(all)
    }

    /// The versions of these conversations; those that do not exist are absent from the map.
    pub(super) async fn versions(
        &self,
        conversations: &[ConversationId],
    ) -> Result<HashMap<ConversationId, i64>> {
        let ids: Vec<i64> = conversations.iter().map(|id| id.0).collect();
        let rows = self.query(&VERSIONS, &[&ids]).await?;
        Ok(rows.iter().map(|row| (ConversationId(row.get(0)), row.get(1))).collect())
    }
}

fn empty(row: &Row) -> Loaded {
    let audience = Members { kind: kind(row.get("verified")), members: Vec::new(), blocked: Vec::new() };
    Loaded {
        audience,
        head: unsigned(row.get("head_seq")),
        version: row.get("version"),
        updated_at: moment(row, "updated_at"),
        now: moment(row, "now"),
    }
}

/// Reads a person from a row with their names; `id` is the column of their id.
pub(crate) fn person(row: &Row, id: &str) -> Person {
    Person {
        id: UserId(row.get(id)),
        first_name: row.get("first_name"),
        last_name: row.get("last_name"),
        // Members see each other's names, never their addresses.
        email: String::new(),
    }
}
