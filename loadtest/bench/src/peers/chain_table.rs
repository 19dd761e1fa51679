//! The bare chain's part of the database: the product's tables, and the statement that inserts a batch
//! and moves the heads of its conversations, with nothing checked.

use anyhow::Context;
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::chain::Record;

/// As the product's connections: one plan for all batches, by the index.
const OPTIONS: &str = "-c plan_cache_mode=force_generic_plan -c random_page_cost=1.1 -c enable_seqscan=off \
                       -c enable_mergejoin=off -c jit=off -c timezone=UTC";
/// Message ids reserved at once.
const IDS: i64 = 4_096;

const INSERT: &str = "
with moved as (
    update conversations c set head_seq = h.head, updated_at = clock_timestamp()
      from unnest($1::bigint[], $2::bigint[]) as h (id, head)
     where c.id = h.id
)
insert into messages (created_at, id, conversation_id, seq, sender_id, guid, content, message_type)
select clock_timestamp(), unnest($3::bigint[]), unnest($4::bigint[]), unnest($5::bigint[]), 1,
       unnest($6::text[]), unnest($7::text[]), 'TEXT'";

/// The conversations of one line, and its connection.
pub struct Table {
    client: Client,
    insert: Statement,
    conversations: Vec<i64>,
    heads: Vec<i64>,
    ids: Vec<i64>,
}

impl Table {
    /// Connects, and creates this many conversations without members.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub async fn open(url: &str, conversations: usize) -> anyhow::Result<Self> {
        let mut config: Config = url.parse()?;
        let (client, connection) = config.options(OPTIONS).connect(NoTls).await?;
        // It ends with the client, which says what is wrong.
        tokio::spawn(connection);
        let insert = client.prepare(INSERT).await?;
        let make = "insert into conversations (title) select 'bare chain' from generate_series(1, $1::bigint) returning id";
        let rows = client.query(make, &[&i64::try_from(conversations)?]).await?;
        let conversations: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        let heads = vec![0; conversations.len()];
        Ok(Self { client, insert, conversations, heads, ids: vec![] })
    }

    /// Inserts a batch, and commits.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub async fn insert(&mut self, records: &[Record<'_>]) -> anyhow::Result<()> {
        if self.ids.len() < records.len() {
            let take = "select nextval('message_ids') from generate_series(1, $1::bigint)";
            let rows = self.client.query(take, &[&IDS.max(i64::try_from(records.len())?)]).await?;
            self.ids = rows.iter().rev().map(|row| row.get(0)).collect();
        }
        let ids = self.ids.split_off(self.ids.len() - records.len());
        let (mut places, mut seqs) = (vec![], vec![]);
        let mut moved = std::collections::BTreeMap::new();
        for record in records {
            let head = self.heads.get_mut(record.conversation).context("a conversation of this line")?;
            *head += 1;
            let conversation = self.conversations[record.conversation];
            places.push(conversation);
            seqs.push(*head);
            moved.insert(conversation, *head);
        }
        let (moved, heads): (Vec<i64>, Vec<i64>) = moved.into_iter().unzip();
        let guids: Vec<&str> = records.iter().map(|record| record.guid).collect();
        let contents: Vec<&str> = records.iter().map(|record| record.content).collect();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&moved, &heads, &ids, &places, &seqs, &guids, &contents];
        self.client.execute(&self.insert, &params).await?;
        Ok(())
    }
}
