//! The owner of conversations on a real PostgreSQL: what is remembered is never believed without a
//! check, and rivals cost nothing but time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::postgres::{Database, text};
use protocol::Reject;
use protocol::ids::{ConversationId, UserId};
use tokio::sync::watch;
use worker::conversation::{Kept, NewMessage, Owner, Saved, SavedMessage, Wanted};
use worker::store::{Store, StoreError};

fn wanted(new: NewMessage, again: bool) -> Wanted {
    Wanted { new, again }
}

/// Keeps a piece as a worker would.
async fn keep(store: &Store, owner: &Owner, piece: &[NewMessage]) -> Vec<Saved> {
    let piece: Vec<_> = piece.iter().map(|new| wanted(new.clone(), false)).collect();
    owner.keep(store, &piece).await.unwrap().saved
}

fn row(saved: &Saved) -> SavedMessage {
    match saved {
        Saved::New(row) | Saved::Repeat(row) => *row,
        Saved::Refused(reject) => panic!("{reject}"),
    }
}

/// Every conversation has seqs 1, 2, 3, ... and its head is the last.
async fn is_gapless(db: &Database) {
    let gaps = "select count(*) from conversations c
                  left join (select conversation_id, count(*) n, min(seq) low, max(seq) high, count(distinct id) ids
                               from messages group by conversation_id) m on m.conversation_id = c.id
                 where c.head_seq <> coalesce(m.n, 0) or coalesce(m.low, 1) <> 1
                    or coalesce(m.high, 0) <> c.head_seq or coalesce(m.ids, 0) <> c.head_seq";
    assert_eq!(db.count(gaps).await, 0, "a head that is not where its messages end");
    assert_eq!(db.count("select count(*) - count(distinct id) from messages").await, 0, "an id twice");
}

#[tokio::test]
async fn a_piece_is_kept_in_its_order_and_the_next_goes_on_from_memory() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob, eve) = (db.user("alice").await, db.user("bob").await, db.user("eve").await);
    let (one, two) = (db.conversation(&[alice, bob]).await, db.conversation(&[bob, alice]).await);
    let owner = Owner::default();
    let piece = [
        text(alice, one, "a"),
        text(bob, two, "a"),
        text(eve, one, "e"),
        text(alice, one, "a"),
        text(bob, one, "a"),
        text(alice, ConversationId(99), "n"),
    ];
    let saved = keep(&db.store, &owner, &piece).await;
    assert!(matches!(saved[0], Saved::New(row) if row.seq == 1));
    assert!(matches!(saved[1], Saved::New(row) if row.seq == 1));
    assert_eq!(saved[2], Saved::Refused(Reject::NotAMember));
    assert_eq!(saved[3], Saved::Repeat(row(&saved[0])));
    assert!(matches!(saved[4], Saved::New(row) if row.seq == 2));
    assert_eq!(saved[5], Saved::Refused(Reject::NotAMember));

    // In a later piece: remembered, and by another worker, who has to find it.
    let again = [text(alice, one, "a"), text(alice, one, "b")];
    for owner in [&owner, &Owner::default(), &owner] {
        let saved = keep(&db.store, owner, &again).await;
        assert_eq!(row(&saved[0]).seq, 1);
        assert!(matches!(saved[0], Saved::Repeat(_)));
        assert_eq!(row(&saved[1]).seq, 3);
    }
    // A batch that a worker died over comes again, with something new in it.
    let redelivered = [wanted(text(alice, one, "b"), true), wanted(text(alice, one, "c"), true)];
    let Kept { saved, .. } = Owner::default().keep(&db.store, &redelivered).await.unwrap();
    assert!(matches!((saved[0], saved[1]), (Saved::Repeat(b), Saved::New(c)) if (b.seq, c.seq) == (3, 4)));
    is_gapless(&db).await;
    let times = "select count(*) from messages m join messages n using (conversation_id)
                  where n.seq = m.seq + 1 and n.created_at < m.created_at";
    assert_eq!(db.count(times).await, 0, "no message is older than the one before it");
    db.finish().await;
}

/// Three owners of the same conversations, as when shards move again and again: no gap, no double, no
/// loss, no deadlock, and each is told the same rows.
#[tokio::test(flavor = "multi_thread")]
async fn rival_owners_lose_and_double_nothing() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let mut talks = Vec::new();
    for _ in 0..10 {
        talks.push(db.conversation(&[alice]).await);
    }
    let mut rivals = Vec::new();
    for rival in 0..3_usize {
        let (store, talks) = (db.store.clone(), talks.clone());
        rivals.push(tokio::spawn(async move {
            let owner = Owner::default();
            let mut told = BTreeMap::new();
            for round in 0..40_usize {
                // Some guids are everybody's, some are its own.
                let piece: Vec<_> = (0..12)
                    .map(|n| {
                        let talk = talks[(n * (rival + 1) + round) % talks.len()];
                        let guid = if n % 3 == 0 {
                            format!("all-{round}-{n}")
                        } else {
                            format!("{rival}-{round}-{n}")
                        };
                        text(alice, talk, &guid)
                    })
                    .collect();
                for (new, saved) in piece.iter().zip(keep(&store, &owner, &piece).await) {
                    let place = (new.event.conversation, new.guid.clone());
                    let row = row(&saved);
                    assert_eq!(*told.entry(place).or_insert(row), row, "one message, one row");
                }
            }
            told
        }));
    }
    let mut told = BTreeMap::new();
    for rival in rivals {
        for (place, row) in rival.await.unwrap() {
            assert_eq!(told.entry(place).or_insert(row).seq, row.seq, "everybody is told the same");
        }
    }
    assert_eq!(db.count("select count(*) from messages").await, told.len() as i64);
    is_gapless(&db).await;
    db.finish().await;
}

/// A kick races with sends, again and again: what is told to somebody was committed while they were in.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_to_whoever_was_kicked() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let talk = db.conversation(&[alice, bob]).await;
    let over = Arc::new(AtomicBool::new(false));
    let (store, ended) = (db.store.clone(), over.clone());
    let sending = tokio::spawn(async move {
        let (owner, mut told, mut refused, mut n) = (Owner::default(), BTreeMap::new(), BTreeSet::new(), 0);
        while !ended.load(Ordering::Acquire) {
            n += 1;
            let piece = [("a", alice), ("b", bob)]
                .map(|(of, user)| wanted(text(user, talk, &format!("{of}{n}")), false));
            let Kept { people, saved } = owner.keep(&store, &piece).await.unwrap();
            for saved in saved {
                match saved {
                    Saved::New(row) => drop(told.insert(row.seq, people[&talk].room.contains(&bob))),
                    Saved::Repeat(_) => panic!("nothing is repeated"),
                    Saved::Refused(_) => drop(refused.insert(n)),
                }
            }
        }
        (told, refused)
    });
    // [from, to]: while bob was out, no message may get a seq in it and be told to him, or be his.
    let mut away = Vec::new();
    for _ in 0..25 {
        let kick = "with gone as (delete from participants where conversation_id = $1 and user_id = $2)
                    select 1";
        db.client.query(kick, &[&talk.0, &bob.0]).await.unwrap();
        let head = format!("select head_seq from conversations where id = {talk}");
        let from = db.count(&head).await;
        while db.count(&head).await < from + 5 {
            tokio::task::yield_now().await;
        }
        let to = db.count(&head).await;
        let join = "insert into participants (conversation_id, user_id, status) values ($1, $2, 'VERIFIED')";
        db.client.execute(join, &[&talk.0, &bob.0]).await.unwrap();
        away.push((from.cast_unsigned(), to.cast_unsigned()));
        let back = db.count(&head).await;
        while db.count(&head).await < back + 5 {
            tokio::task::yield_now().await;
        }
    }
    over.store(true, Ordering::Release);
    let (told, refused) = sending.await.unwrap();
    let in_vain = |seq: &u64| away.iter().any(|(from, to)| (*from + 1..=*to).contains(seq));
    for (seq, to_bob) in &told {
        assert!(!(*to_bob && in_vain(seq)), "{seq} was told to bob, who was out during {away:?}");
    }
    assert!(told.values().any(|to_bob| *to_bob) && !refused.is_empty(), "he was in and out");
    let his = format!("select seq from messages where sender_id = {bob}");
    for row in db.client.query(&his, &[]).await.unwrap() {
        assert!(!in_vain(&row.get::<_, i64>(0).cast_unsigned()), "what he said while he was out was kept");
    }
    is_gapless(&db).await;
    db.finish().await;
}

/// A refusal writes nothing, so nothing would check it: whoever was let in a moment ago may write.
#[tokio::test]
async fn a_refusal_is_checked_before_it_is_given() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob, eve) = (db.user("alice").await, db.user("bob").await, db.user("eve").await);
    let pair = db.conversation(&[alice, bob]).await;
    let owner = Owner::default();
    let refused = |saved: &[Saved], reject| assert_eq!(saved, [Saved::Refused(reject)]);
    let say = async |user: UserId, guid: &str| keep(&db.store, &owner, &[text(user, pair, guid)]).await;
    assert!(matches!(say(alice, "a").await[0], Saved::New(_)));
    refused(&say(eve, "e").await, Reject::NotAMember);
    db.client.execute("insert into blocks values ($1, $2)", &[&bob.0, &alice.0]).await.unwrap();
    refused(&say(alice, "b").await, Reject::Blocked);
    db.client.batch_execute("delete from blocks").await.unwrap();
    assert!(matches!(say(alice, "b").await[0], Saved::New(row) if row.seq == 2));
    let join = "insert into participants (conversation_id, user_id, status) values ($1, $2, 'VERIFIED')";
    db.client.execute(join, &[&pair.0, &eve.0]).await.unwrap();
    assert!(matches!(say(eve, "e").await[0], Saved::New(row) if row.seq == 3));
    db.client.batch_execute("update conversations set deleted_at = now()").await.unwrap();
    refused(&say(eve, "late").await, Reject::NotAMember);
    is_gapless(&db).await;
    db.finish().await;
}

/// What is remembered of one server is not believed of another, also where ids, head and version are
/// the same by accident, as after a failover that lost the last messages.
#[tokio::test]
async fn a_new_server_finds_an_empty_memory() {
    let (Some(one), Some(two)) = (Database::fresh().await, Database::fresh().await) else { return };
    let mut talks = Vec::new();
    for db in [&one, &two] {
        let (alice, bob) = (db.user("alice").await, db.user("bob").await);
        talks.push((db.conversation(&[alice, bob]).await, alice, bob));
    }
    assert_eq!(talks[0], talks[1], "the same ids, heads and versions");
    let (talk, alice, bob) = talks[0];
    let owner = Owner::default();
    keep(&one.store, &owner, &[text(alice, talk, "a")]).await;
    two.say(alice, talk, "other").await;
    let block = "insert into blocks values ($1, $2); ";
    two.client.execute(block.trim_end_matches("; "), &[&bob.0, &alice.0]).await.unwrap();
    two.client.batch_execute("update conversations set version = version - 1").await.unwrap();

    let saved = keep(&two.store, &owner, &[text(alice, talk, "a")]).await;
    assert_eq!(saved, [Saved::Refused(Reject::Blocked)], "neither the guid nor the members are believed");
    two.client.batch_execute("delete from blocks").await.unwrap();
    let saved = keep(&two.store, &owner, &[text(alice, talk, "a")]).await;
    assert!(matches!(saved[0], Saved::New(row) if row.seq == 2), "{saved:?}");
    is_gapless(&two).await;
    one.finish().await;
    two.finish().await;
}

/// Connections that end in the middle of pieces: an outcome that is unknown is found out, never guessed.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_looked_up() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    let store = db.store.clone();
    let (done, mut progress) = watch::channel(0);
    let saving = tokio::spawn(async move {
        let (owner, mut away, mut rows) = (Owner::default(), 0, BTreeMap::new());
        for part in 0..120 {
            let mut piece: Vec<_> =
                (0..8).map(|n| wanted(text(alice, talk, &format!("{part}-{n}")), false)).collect();
            let Kept { saved, .. } = loop {
                match owner.keep(&store, &piece).await {
                    Ok(kept) => break kept,
                    Err(StoreError::Unavailable(_)) => away += 1,
                    Err(other) => panic!("{other}"),
                }
                piece.iter_mut().for_each(|wanted| wanted.again = true);
            };
            for saved in saved {
                assert_eq!(rows.insert(row(&saved).seq, row(&saved).message), None);
            }
            done.send_replace(part);
        }
        (away, rows)
    });
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
    let mut ended = 0;
    while !saving.is_finished() {
        ended += db.count(end).await;
        // Something is kept in between, however long that takes on a busy machine. An error: all is kept.
        let _ = progress.changed().await;
        db.client.batch_execute(&format!("select pg_sleep(0.002 * {})", ended % 8)).await.unwrap();
    }
    let (away, rows) = saving.await.unwrap();
    assert!(away > 0, "it was noticed");
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=960).collect::<Vec<u64>>());
    is_gapless(&db).await;
    db.finish().await;
}
