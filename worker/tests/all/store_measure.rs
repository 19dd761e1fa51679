//! Not a check: prints what inserting costs, by form. Run it alone, in release:
//! `cargo test --release -p chatchit-worker --test all store_measure -- --ignored --nocapture`
//!
//! Time says little on a shared machine; the processor time of PostgreSQL's processes says more.

use crate::support::postgres::{Database, text};
use protocol::ids::{ConversationId, UserId};
use tokio::time::Instant;
use tokio_postgres::{Client, Statement};
use worker::conversation::{NewMessage, Owner, Wanted};

/// Rows of a whole measurement, for each size of batch.
const ROWS: usize = 8_192;

/// One table instead of eight partitions.
const PLAIN: &str = "
    create table plain (like messages including defaults including constraints);
    drop table messages;
    alter table plain rename to messages;
    alter table messages add primary key (conversation_id, seq),
        add constraint messages_guid unique (conversation_id, sender_id, guid);
    create index on messages (id);";

/// The foreign keys that `messages` does not have.
const KEYS: &str = "
    alter table messages add foreign key (conversation_id) references conversations on delete cascade,
        add foreign key (sender_id) references users;";

/// The other form: lock and look in one statement, insert in the next, in a transaction.
const LOOK: &str = "
    select c.id, c.head_seq from conversations c
     where c.id = any($1::bigint[]) order by c.id for no key update";
const KNOWN: &str = "
    select w.place, m.id, m.seq from unnest($1::bigint[], $2::bigint[], $3::text[]) with ordinality
           as w (conversation_id, sender_id, guid, place)
     cross join lateral (select m.id, m.seq from messages m where m.conversation_id = w.conversation_id
            and m.sender_id = w.sender_id and m.guid = w.guid limit 1) m";
const INSERT: &str = "
    with w as (
        select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
            as w (conversation_id, sender_id, guid, content, seq)
    ), heads as (
        update conversations c set head_seq = h.seq, updated_at = clock_timestamp()
          from unnest($6::bigint[], $7::bigint[]) as h (id, seq) where c.id = h.id
    )
    insert into messages (conversation_id, seq, sender_id, guid, message_type, content, created_at,
                          call_type, call_status)
    select conversation_id, seq, sender_id, guid, 'TEXT', content, clock_timestamp(), 'VOICE', 'ENDED'
      from w returning id, seq";

fn batch(sender: UserId, talks: &[ConversationId], rows: usize, round: usize) -> Vec<NewMessage> {
    let one = |n: usize| {
        let guid = format!("guid-of-36-characters-{round:06}-{n:06}");
        let mut new = text(sender, talks[(round * 31 + n) % talks.len()], &guid);
        new.event.content = "a message of the length that people write in a chat, sixty".into();
        new
    };
    (0..rows).map(one).collect()
}

/// Milliseconds of processor time of all processes on this database so far.
async fn processor_ms(db: &Database) -> u64 {
    let pids = "select array_agg(pid) from pg_stat_activity where datname = current_database()";
    let pids: Vec<i32> = db.client.query_one(pids, &[]).await.unwrap().get(0);
    let ticks = pids.iter().filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    let ticks = ticks.map(|stat| {
        let after = stat.rsplit(')').next().unwrap_or_default();
        after.split_whitespace().skip(11).take(2).map(|one| one.parse::<u64>().unwrap_or(0)).sum::<u64>()
    });
    ticks.sum::<u64>() * 10
}

async fn in_two_statements(
    client: &Client,
    [look, known, insert]: &[Statement; 3],
    batch: &[NewMessage],
    next: &mut Vec<i64>,
) {
    let conversations: Vec<i64> = batch.iter().map(|one| one.event.conversation.0).collect();
    let senders: Vec<i64> = batch.iter().map(|one| one.sender.0).collect();
    let guids: Vec<&str> = batch.iter().map(|one| one.guid.as_str()).collect();
    let contents: Vec<&str> = batch.iter().map(|one| one.event.content.as_str()).collect();
    let start = Instant::now();
    // Pipelined: one round trip to look, one to write.
    let looked: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&conversations];
    let asked: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&conversations, &senders, &guids];
    let (_, heads, _) = tokio::join!(
        client.batch_execute("begin"),
        client.query(look, &looked),
        client.query(known, &asked),
    );
    let mut heads: std::collections::BTreeMap<i64, i64> =
        heads.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut seqs = Vec::new();
    for conversation in &conversations {
        let head = heads.get_mut(conversation).unwrap();
        *head += 1;
        seqs.push(*head);
    }
    let (ids, tops): (Vec<i64>, Vec<i64>) = heads.into_iter().unzip();
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&conversations, &senders, &guids, &contents, &seqs, &ids, &tops];
    let (rows, _) = tokio::join!(client.query(insert, &params), client.batch_execute("commit"));
    assert_eq!(rows.unwrap().len(), batch.len());
    next.push(i64::try_from(start.elapsed().as_micros()).unwrap());
}

/// How a batch is written.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// `save_messages`.
    Saved,
    /// Who may is read first.
    Asked,
    /// By the owner, from memory.
    Owned,
    /// In two statements.
    Two,
}

async fn measure(form: &str, change: &str, how: How) {
    let two = how == How::Two;
    let owner = Owner::default();
    let Some(db) = Database::fresh().await else { return };
    db.client.batch_execute(change).await.unwrap();
    let session = "set plan_cache_mode = force_generic_plan; set random_page_cost = 1.1;
                   set enable_seqscan = off; set enable_mergejoin = off; set jit = off";
    db.client.batch_execute(session).await.unwrap();
    let alice = db.user("alice").await;
    let mut talks = Vec::new();
    for _ in 0..200 {
        talks.push(db.conversation(&[alice]).await);
    }
    let c = &db.client;
    let statements =
        [c.prepare(LOOK).await.unwrap(), c.prepare(KNOWN).await.unwrap(), c.prepare(INSERT).await.unwrap()];
    let mut round = 0;
    for rows in [1, 16, 64, 256] {
        let rounds = (ROWS / rows).min(2_000);
        let before = processor_ms(&db).await;
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            round += 1;
            let batch = batch(alice, &talks, rows, round);
            if two {
                in_two_statements(&db.client, &statements, &batch, &mut times).await;
            } else {
                let start = Instant::now();
                if how == How::Owned {
                    let piece: Vec<_> = batch.into_iter().map(|new| Wanted { new, again: false }).collect();
                    owner.keep(&db.store, &piece).await.unwrap();
                } else {
                    if how == How::Asked {
                        let mut asked: Vec<_> = batch.iter().map(|new| new.event.conversation).collect();
                        asked.sort_unstable();
                        asked.dedup();
                        db.store.audiences(&asked).await.unwrap();
                    }
                    db.store.save_messages(&batch).await.unwrap();
                }
                times.push(i64::try_from(start.elapsed().as_micros()).unwrap());
            }
        }
        times.sort_unstable();
        let cpu = (processor_ms(&db).await - before) as f64 * 1_000.0 / (rounds * rows) as f64;
        let p50 = times[rounds / 2];
        let row = p50 as f64 / rows as f64;
        println!(
            "{form:28} {rows:4} rows: {p50:6} us a batch, {row:7.1} us a row; {cpu:6.1} us of processor a row"
        );
    }
    if how == How::Saved {
        let again = batch(alice, &talks, 256, round);
        let start = Instant::now();
        for _ in 0..20 {
            db.store.save_messages(&again).await.unwrap();
        }
        println!("{form:28}  256 repeats: {} us", start.elapsed().as_micros() / 20);
    }
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_saving_costs() {
    for _ in 0..2 {
        measure("asked, then one statement", "", How::Asked).await;
        measure("owned: one lean statement", "", How::Owned).await;
    }
    measure("one statement, 8 partitions", "", How::Saved).await;
    measure("one statement, one table", PLAIN, How::Saved).await;
    measure("one statement, foreign keys", KEYS, How::Saved).await;
    measure("two statements, 8 partitions", "", How::Two).await;
}
