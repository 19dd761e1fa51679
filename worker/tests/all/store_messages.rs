//! Saving, reading and marking chat messages, on a real PostgreSQL.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::support::postgres::{Database, open, text};
use protocol::Reject;
use protocol::events::message::{Attachment, ConversationKind, MessageRead};
use protocol::ids::{ConversationId, MessageId, UserId};
use worker::features::messages::{HistoryPage, Missing, ReadMark, Saved, SavedMessage};
use worker::store::Store;

fn row(saved: &Saved) -> SavedMessage {
    match saved {
        Saved::New(row) | Saved::Repeat(row) => *row,
        Saved::Refused(reject) => panic!("{reject}"),
    }
}

#[tokio::test]
async fn a_batch_gets_gapless_seqs_in_its_order() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let (one, two) = (db.conversation(&[alice, bob]).await, db.conversation(&[bob, alice]).await);

    let batch = [text(alice, one, "a"), text(bob, two, "a"), text(bob, one, "a"), text(alice, one, "b")];
    let saved = db.store.save_messages(&batch).await.unwrap();
    assert!(saved.iter().all(|one| matches!(one, Saved::New(_))), "{saved:?}");
    let seqs: Vec<u64> = saved.iter().map(|one| row(one).seq).collect();
    assert_eq!(seqs, [1, 1, 2, 3]);
    let ids: HashSet<MessageId> = saved.iter().map(|one| row(one).message).collect();
    assert_eq!(ids.len(), 4);

    assert_eq!(db.say(alice, one, "c").await.seq, 4);
    let standings = db.store.standings(alice, &[one, two, ConversationId(99)]).await.unwrap();
    let heads = standings.into_iter().map(|(id, standing)| (id, standing.head));
    assert_eq!(heads.collect::<HashMap<_, _>>(), [(one, 4), (two, 1)].into());
    assert!(db.store.save_messages(&[]).await.unwrap().is_empty());
    db.finish().await;
}

#[tokio::test]
async fn a_repeat_gives_back_the_first_row() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let talk = db.conversation(&[alice, bob]).await;
    let first = db.say(alice, talk, "a").await;

    // Twice before, twice within the batch, and by another sender.
    let batch = [
        text(alice, talk, "a"),
        text(alice, talk, "b"),
        text(alice, talk, "b"),
        text(bob, talk, "a"),
        text(alice, talk, "a"),
    ];
    let saved = db.store.save_messages(&batch).await.unwrap();
    assert_eq!(saved[0], Saved::Repeat(first));
    assert_eq!(saved[4], Saved::Repeat(first));
    assert!(matches!(saved[1], Saved::New(b) if b.seq == 2));
    assert_eq!(saved[2], Saved::Repeat(row(&saved[1])));
    assert!(matches!(saved[3], Saved::New(b) if b.seq == 3));
    assert_eq!(db.count("select count(*) from messages").await, 3);
    db.finish().await;
}

#[tokio::test]
async fn what_has_no_conversation_is_refused_and_its_neighbours_are_kept() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let (talk, gone) = (db.conversation(&[alice]).await, db.conversation(&[alice]).await);
    db.client.execute("update conversations set deleted_at = now() where id = $1", &[&gone.0]).await.unwrap();

    let batch = [text(alice, ConversationId(99), "a"), text(alice, talk, "b"), text(alice, gone, "c")];
    let saved = db.store.save_messages(&batch).await.unwrap();
    assert_eq!(saved[0], Saved::Refused(Reject::NotAMember));
    assert!(matches!(saved[1], Saved::New(b) if b.seq == 1));
    assert_eq!(saved[2], Saved::Refused(Reject::NotAMember));
    db.finish().await;
}

/// A removal and a block that are under way when a message comes are waited for, and stop it.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_while_a_message_waited_for_the_lock_is_refused() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob, carol) = (db.user("alice").await, db.user("bob").await, db.user("carol").await);
    let (group, pair) = (db.conversation(&[alice, bob, carol]).await, db.conversation(&[alice, bob]).await);
    let mut client = open(&db.url).await;
    let change = client.transaction().await.unwrap();
    let removed = "delete from participants where conversation_id = $1 and user_id = $2";
    change.execute(removed, &[&group.0, &alice.0]).await.unwrap();
    change
        .execute("insert into blocks (user_id, blocked_id) values ($1, $2)", &[&bob.0, &alice.0])
        .await
        .unwrap();

    let store = db.store.clone();
    let batch = [text(alice, group, "a"), text(alice, pair, "b"), text(carol, group, "c")];
    let saving = tokio::spawn(async move { store.save_messages(&batch).await.unwrap() });
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
    while db.count(waiting).await == 0 {
        tokio::task::yield_now().await;
    }
    change.commit().await.unwrap();
    let saved = saving.await.unwrap();
    assert_eq!(saved[..2], [Saved::Refused(Reject::NotAMember); 2]);
    assert!(matches!(saved[2], Saved::New(c) if c.seq == 1), "{saved:?}");
    assert_eq!(db.count("select count(*) from messages").await, 1);
    db.finish().await;
}

/// Two stores, each with its connections, save the same guids into the same conversations in
/// different orders and batch sizes: one row each, no gap, the same answer for all.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_race_write_one_row_each_without_gaps() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let mut talks = Vec::new();
    for _ in 0..4 {
        talks.push(db.conversation(&[alice]).await);
    }
    let other = Store::connect(&db.url, 4).await.unwrap();
    let guids: Vec<String> = (0..120).map(|n| format!("g{n}")).collect();

    let mut workers = Vec::new();
    for (at, store) in [db.store.clone(), other.clone(), db.store.clone(), other].into_iter().enumerate() {
        let every = talks.iter().flat_map(|talk| guids.iter().map(|guid| text(alice, *talk, guid)));
        let mut batch: Vec<_> = every.collect();
        batch.rotate_left(at * 97);
        let size = [7, 16, 31, 64][at];
        workers.push(tokio::spawn(async move {
            let mut answers = BTreeMap::new();
            for part in batch.chunks(size) {
                let saved = store.save_messages(part).await.unwrap();
                for (new, saved) in part.iter().zip(saved) {
                    let saved = row(&saved);
                    answers.insert((new.event.conversation, new.guid.clone()), (saved.seq, saved.message));
                }
            }
            answers
        }));
    }
    let mut answers = Vec::new();
    for worker in workers {
        answers.push(worker.await.unwrap());
    }
    assert!(answers.iter().all(|one| *one == answers[0]), "everybody was told the same rows");
    assert_eq!(db.count("select count(*) from messages").await, 480);
    let gapless = "select count(*) from (
        select conversation_id from messages group by conversation_id
        having min(seq) = 1 and max(seq) = count(*) and count(*) = 120) x";
    assert_eq!(db.count(gapless).await, 4);
    assert_eq!(db.count("select count(*) from conversations where head_seq = 120").await, 4);
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_guid_a_thousand_times_is_one_row() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    let mut workers = Vec::new();
    for _ in 0..8 {
        let store = db.store.clone();
        workers.push(tokio::spawn(async move {
            let mut rows = HashSet::new();
            for _ in 0..125 {
                let saved = store.save_messages(&[text(alice, talk, "once")]).await.unwrap();
                rows.insert((row(&saved[0]).message, row(&saved[0]).seq, matches!(saved[0], Saved::New(_))));
            }
            rows
        }));
    }
    let mut rows = HashSet::new();
    for worker in workers {
        rows.extend(worker.await.unwrap());
    }
    assert_eq!(rows.iter().filter(|(_, _, new)| *new).count(), 1);
    assert_eq!(rows.iter().map(|(id, seq, _)| (id, seq)).collect::<HashSet<_>>().len(), 1);
    assert_eq!(db.count("select head_seq from conversations").await, 1);
    db.finish().await;
}

#[tokio::test]
async fn an_audience_is_the_verified_members_in_good_standing() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob, carol) = (db.user("alice").await, db.user("bob").await, db.user("carol").await);
    let (pair, group) = (db.conversation(&[alice, bob]).await, db.conversation(&[alice, bob, carol]).await);
    db.client.execute("insert into blocks values ($1, $2)", &[&bob.0, &alice.0]).await.unwrap();
    let unverify = "update participants set status = 'UNVERIFIED' where user_id = $1";
    db.client.execute(unverify, &[&carol.0]).await.unwrap();

    let audiences = db.store.audiences(&[pair, group, ConversationId(99)]).await.unwrap();
    assert_eq!(audiences.len(), 2);
    let members = |id| audiences[&id].members.iter().map(|one| one.id).collect::<Vec<UserId>>();
    assert_eq!(members(pair), [alice, bob]);
    assert_eq!(members(group), [alice, bob]);
    assert_eq!(audiences[&pair].kind, ConversationKind::Friend);
    assert_eq!(audiences[&pair].blocked, [(bob, alice)]);
    assert!(audiences[&pair].is_blocked_between(alice, bob));
    assert!(!audiences[&pair].is_blocked_between(alice, carol));
    // Members see each other's names, never their addresses.
    let names = audiences[&pair].member(bob).unwrap();
    assert_eq!((names.first_name.as_str(), names.email.as_str()), ("bob", ""));
    assert_eq!(audiences[&group].member(carol), None);

    db.client.execute("update users set is_blocked = true where id = $1", &[&bob.0]).await.unwrap();
    let audiences = db.store.audiences(&[pair]).await.unwrap();
    assert_eq!(audiences[&pair].members.len(), 1);
    assert_eq!(audiences[&pair].kind, ConversationKind::Friend, "still the two of them");
    db.finish().await;
}

/// Rows that the plan of a statement with these parameters touches, in all its nodes.
async fn rows_touched(db: &Database, sql: &str, ids: &[i64]) -> i64 {
    let given = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let session = "set plan_cache_mode = force_generic_plan; set random_page_cost = 1.1;
                   set enable_seqscan = off; set enable_mergejoin = off; set jit = off";
    db.client.batch_execute(session).await.unwrap();
    db.client.batch_execute(&format!("prepare touched as {sql}")).await.unwrap();
    let explain = format!("explain (analyze, format json) execute touched(array[{given}]::bigint[])");
    let row = db.client.query_one(&explain, &[]).await.unwrap();
    db.client.batch_execute("deallocate touched").await.unwrap();
    fn sum(node: &serde_json::Value) -> i64 {
        let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
        let here = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter"].map(number);
        let here = here.iter().sum::<f64>() * number("Actual Loops");
        here as i64 + node["Plans"].as_array().into_iter().flatten().map(sum).sum::<i64>()
    }
    sum(&row.get::<_, serde_json::Value>(0)[0]["Plan"])
}

/// `blocks` is empty and was never analyzed, and the statistics of `participants` know pairs only, as in
/// a young database. The work for a group grows with its members, not with their square.
#[tokio::test]
async fn the_audience_of_a_group_of_thousands_costs_what_its_members_cost() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let fill = format!(
        "alter table participants set (autovacuum_enabled = false);
         alter table blocks set (autovacuum_enabled = false);
         insert into users (email, phone, password, first_name)
             select 'u' || n || '@example.com', 'u' || n, '-', '' from generate_series(1, 3000) n;
         insert into conversations (title, creator_id) select 'pair', {alice} from generate_series(1, 2000);
         insert into participants (conversation_id, user_id, status)
             select c.id, {alice} + d, 'VERIFIED' from conversations c, generate_series(0, 1) d;
         analyze participants; analyze users; analyze conversations"
    );
    db.client.batch_execute(&fill).await.unwrap();
    let group = db.conversation(&[alice]).await;
    let join = "insert into participants (conversation_id, user_id, status)
                select $1, id, 'VERIFIED' from users where id <> $2";
    db.client.execute(join, &[&group.0, &alice.0]).await.unwrap();

    let audience = db.store.audiences(&[group]).await.unwrap().remove(&group).unwrap();
    assert_eq!((audience.members.len(), audience.kind), (3_001, ConversationKind::Group));
    let all = worker::features::statements();
    let sql = all.iter().find(|one| one.name == "audiences").unwrap().sql;
    let touched = rows_touched(&db, sql, &[group.0]).await;
    assert!(touched < 20 * 3_001, "{touched} rows for 3,001 members");
    db.finish().await;
}

#[tokio::test]
async fn reading_only_moves_forward_and_only_for_members() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob, eve) = (db.user("alice").await, db.user("bob").await, db.user("eve").await);
    let (talk, other) = (db.conversation(&[alice, bob]).await, db.conversation(&[alice, bob]).await);
    let first = db.say(alice, talk, "a").await;
    let second = db.say(alice, talk, "b").await;
    let elsewhere = db.say(alice, other, "a").await;
    let up_to =
        |conversation, row: SavedMessage| MessageRead { conversation, message: row.message, seq: None };

    let batch = [
        (bob, up_to(talk, second)),
        (bob, up_to(talk, first)),
        (eve, up_to(talk, second)),
        (bob, up_to(talk, elsewhere)),
        (bob, up_to(other, elsewhere)),
    ];
    let read = db.store.mark_read(&batch).await.unwrap();
    let seqs: Vec<_> = read.iter().map(|one| one.map(|read| (read.seq, read.advanced))).collect();
    let stranger = Err(Reject::NotAMember);
    assert_eq!(seqs, [Ok((2, true)), Ok((1, true)), stranger, stranger, Ok((1, true))]);

    let again = db.store.mark_read(&batch[1..2]).await.unwrap();
    assert!(!again[0].unwrap().advanced);
    assert_eq!(db.count("select max(read_seq) from participants").await, 2);
    db.finish().await;
}

/// The lean way: a mark moves when everything is as remembered, and otherwise nothing does.
#[tokio::test]
async fn a_read_mark_is_checked_by_the_statement_that_moves_it() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob, eve) = (db.user("alice").await, db.user("bob").await, db.user("eve").await);
    let (talk, other) = (db.conversation(&[alice, bob]).await, db.conversation(&[alice, bob]).await);
    let rows = [db.say(alice, talk, "a").await, db.say(alice, talk, "b").await];
    let version = db.store.standings(bob, &[talk]).await.unwrap()[&talk].version;
    let advance = async |user, conversation, seq: u64, message: SavedMessage, version| {
        let event = MessageRead { conversation, message: message.message, seq: Some(seq) };
        let marks = [((conversation, user), ReadMark { seq, event, version })].into();
        !db.store.advance_reads(db.store.epoch(), &marks).await.unwrap().is_empty()
    };
    assert!(!advance(bob, talk, 2, rows[1], version - 1).await, "somebody came or went");
    assert!(!advance(eve, talk, 2, rows[1], version).await, "a stranger");
    assert!(!advance(bob, talk, 2, rows[0], version).await, "that seq is another message");
    assert!(!advance(bob, other, 2, rows[1], version).await, "it is elsewhere");
    assert!(!advance(bob, talk, 3, rows[1], version).await, "there is no such seq");
    assert!(advance(bob, talk, 2, rows[1], version).await);
    assert!(!advance(bob, talk, 1, rows[0], version).await, "what was read stays read");
    assert_eq!(db.store.standings(bob, &[talk]).await.unwrap()[&talk].read, 2);

    let named =
        |message: SavedMessage, seq| MessageRead { conversation: talk, message: message.message, seq };
    let asked = [named(rows[1], None), named(rows[0], Some(9)), named(rows[0], None)];
    let elsewhere = MessageRead { conversation: other, ..asked[0] };
    let seqs = db.store.seqs_of_messages(&[asked[0], asked[1], elsewhere, asked[2]]).await.unwrap();
    assert_eq!(seqs, [Some(2), Some(9), None, Some(1)], "looked up by id where the client did not say it");
    db.finish().await;
}

#[tokio::test]
async fn history_pages_by_seq_from_either_end() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, eve) = (db.user("alice").await, db.user("eve").await);
    let talk = db.conversation(&[alice]).await;
    let batch: Vec<_> = (1..=25).map(|n| text(alice, talk, &format!("m{n}"))).collect();
    db.store.save_messages(&batch).await.unwrap();
    db.client.execute("update messages set deleted_at = now() where seq = 24", &[]).await.unwrap();

    let page = |page, size, from_newest| HistoryPage::Page { page, size, from_newest };
    let cases = [
        (HistoryPage::Before { before: u64::MAX, limit: 3 }, vec![22, 23, 25]),
        (HistoryPage::Before { before: 22, limit: 3 }, vec![19, 20, 21]),
        (HistoryPage::Before { before: 1, limit: 3 }, vec![]),
        (page(1, 5, true), vec![21, 22, 23, 25]),
        (page(3, 10, true), vec![1, 2, 3, 4, 5]),
        (page(2, 10, false), (11..=20).collect()),
        (page(9, 10, true), vec![]),
        (page(u32::MAX, u32::MAX, true), vec![]),
        (page(u32::MAX, u32::MAX, false), vec![]),
        (page(u32::MAX, 1_000, false), vec![]),
    ];
    for (page, expect) in cases {
        let history = db.store.history(alice, talk, page).await.unwrap().unwrap();
        let seqs: Vec<u64> = history.messages.iter().map(|one| one.seq).collect();
        assert_eq!(seqs, expect, "{page:?}");
        assert_eq!(history.head, 25);
    }
    let newest = HistoryPage::Before { before: u64::MAX, limit: 3 };
    assert_eq!(db.store.history(eve, talk, newest).await.unwrap(), None);

    let standing = db.store.standings(alice, &[talk]).await.unwrap()[&talk];
    assert_eq!((standing.head, standing.change_seq, standing.read), (25, 0, 0));
    let wanted = [(talk, 21), (ConversationId(99), 0), (talk, 25)].map(|(conversation, seq)| Missing {
        conversation,
        seq,
        change_seq: 0,
        standing,
    });
    let after = db.store.messages_after(&wanted, 2).await.unwrap();
    assert_eq!(after.iter().map(|one| one.seq).collect::<Vec<_>>(), [22, 23]);
    assert!(db.store.standings(eve, &[talk]).await.unwrap().is_empty());
    db.finish().await;
}

#[tokio::test]
async fn a_message_comes_back_as_it_was_sent_and_only_to_members() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, eve) = (db.user("alice").await, db.user("eve").await);
    let talk = db.conversation(&[alice]).await;
    let mut new = text(alice, talk, "g");
    new.event.content = "xin chào 👋 <b>'; drop table users; --".into();
    new.event.attachments =
        vec![Attachment { thumb_url: String::new(), file_url: "https://example.com/a".into() }];
    let id = row(&db.store.save_messages(std::slice::from_ref(&new)).await.unwrap()[0]).message;

    let view = db.store.message(alice, id).await.unwrap().unwrap();
    assert_eq!((&view.content, &view.attachments), (&new.event.content, &new.event.attachments));
    assert_eq!((&view.guid, view.seq, view.sender.id, view.status), (&new.guid, 1, alice, "SENT"));
    assert_eq!(view.kind, ConversationKind::Group, "alone is no pair");
    assert_eq!(db.store.message(eve, id).await.unwrap(), None);
    assert_eq!(db.store.message_of(alice, talk, id).await.unwrap().as_ref(), Some(&view));
    assert_eq!(db.store.message_of(eve, talk, id).await.unwrap(), None);
    assert_eq!(db.store.message_of(alice, ConversationId(talk.0 + 1), id).await.unwrap(), None);
    assert_eq!(db.store.message(alice, MessageId(id.0 + 1)).await.unwrap(), None);
    db.finish().await;
}
