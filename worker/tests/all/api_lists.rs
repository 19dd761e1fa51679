//! Lists of conversations over the API: what is unread, and how they go on while people talk.

use std::collections::HashSet;

use crate::support::client::Client;
use crate::support::postgres::{Database, text};
use common::limits::{HTTP_BODY_BYTES_MAX, PARTICIPANTS_MAX, UNREAD_OWN_MAX};
use protocol::ids::{ConversationId, UserId};
use serde_json::{Value, json};

const NONE: Value = Value::Null;

/// Asks for a page, which must be good.
async fn page(api: &Client, who: UserId, query: &str) -> Value {
    let (status, mut body) = api.ask(Some(who), "GET", &format!("/conversations?{query}"), &NONE).await;
    assert_eq!(status, 200, "{query}: {body}");
    body["data"].take()
}

fn ids(rows: &Value) -> Vec<i64> {
    rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn whoever_says_something_has_read_up_to_it() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let talk = db.conversation(&[alice, bob]).await;
    let seen = async |who| {
        let (_, one) = api.ask(Some(who), "GET", &format!("/conversations/{talk}"), &NONE).await;
        let listed = page(&api, who, "size=5").await["result"][0].take();
        let of = |row: &Value| (row["readSeq"].as_u64().unwrap(), row["unreadCount"].as_u64().unwrap());
        assert_eq!(of(&one["data"]), of(&listed), "in lists as alone");
        of(&listed)
    };
    for guid in ["1", "2", "3"] {
        db.say(alice, talk, guid).await;
    }
    assert_eq!((seen(alice).await, seen(bob).await), ((3, 0), (0, 3)));
    db.say(bob, talk, "4").await;
    assert_eq!((seen(alice).await, seen(bob).await), ((3, 1), (4, 0)));
    // What was read later than it was said counts.
    db.client.execute("update participants set read_seq = 4 where user_id = $1", &[&alice.0]).await.unwrap();
    assert_eq!(seen(alice).await, (4, 0));

    // Beyond what is looked at, it is what the read mark says.
    let many: Vec<_> = (0..UNREAD_OWN_MAX).map(|n| text(bob, talk, &format!("m{n}"))).collect();
    db.store.save_messages(&many).await.unwrap();
    assert_eq!(seen(alice).await, (4, UNREAD_OWN_MAX.unsigned_abs()));
    assert_eq!(seen(bob).await.1, 0);
    db.finish().await;
}

#[tokio::test]
async fn a_list_paged_by_cursor_loses_and_doubles_nothing_while_people_talk() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let mut all = Vec::new();
    for n in 0..25 {
        let talk = db.conversation(&[alice, bob]).await;
        // Two in each moment: a page may end between them.
        let at = format!("clock_timestamp() - interval '1 day' + {} * interval '1 minute'", n / 2);
        let sql = format!("update conversations set updated_at = {at} where id = {talk}");
        db.client.batch_execute(&sql).await.unwrap();
        all.push(talk);
    }
    let mut shown = Vec::new();
    let mut moved = Vec::new();
    let mut data = page(&api, alice, "size=10").await;
    for (said_in, expect_moved) in [(Some(all[0]), 0), (Some(all[24]), 1), (None, 1)] {
        assert_eq!(ids(&data["moved"]).len(), expect_moved, "{data}");
        shown.extend(ids(&data["result"]));
        moved.extend(ids(&data["moved"]));
        if let Some(talk) = said_in {
            db.say(bob, talk, "x").await;
        }
        let Some(cursor) = data["nextCursor"].as_str() else { break };
        data = page(&api, alice, &format!("size=10&cursor={cursor}")).await;
    }
    assert_eq!(data["nextCursor"], NONE, "it ends");
    let wanted: HashSet<i64> = all.iter().map(|talk| talk.0).collect();
    let distinct: HashSet<i64> = shown.iter().copied().collect();
    assert_eq!((shown.len(), distinct.len()), (24, 24), "nothing is on two pages");
    assert_eq!(moved, [all[0].0, all[24].0], "what moved is told once, whether it was shown or not");
    assert_eq!(distinct.union(&moved.into_iter().collect()).copied().collect::<HashSet<_>>(), wanted);

    for bad in ["cursor=x", "cursor=1-2-3&page=2", "cursor=1-2-3&order=asc"] {
        let (status, _) = api.ask(Some(alice), "GET", &format!("/conversations?{bad}"), &NONE).await;
        assert_eq!(status, 400, "{bad}");
    }
    db.finish().await;
}

/// Everything became active a moment ago: what is told twice of that moment is named in the cursor.
#[tokio::test]
async fn a_list_of_conversations_that_are_all_busy_ends_too() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    for _ in 0..25 {
        db.conversation(&[alice, bob]).await;
    }
    let mut seen = Vec::new();
    let mut data = page(&api, alice, "size=10").await;
    let first = ConversationId(ids(&data["result"])[0]);
    for pages in 1.. {
        seen.extend(ids(&data["result"]));
        seen.extend(ids(&data["moved"]));
        assert!(pages < 6, "{seen:?}");
        // One that was told already speaks again: that is news.
        if pages == 1 {
            db.say(bob, first, "again").await;
        }
        let Some(cursor) = data["nextCursor"].as_str() else { break };
        data = page(&api, alice, &format!("size=10&cursor={cursor}")).await;
    }
    assert_eq!(seen.iter().copied().collect::<HashSet<_>>().len(), 25);
    assert_eq!(seen.iter().filter(|id| **id == first.0).count(), 2);
    db.finish().await;
}

#[tokio::test]
async fn the_largest_group_fits_the_request_that_makes_it() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let alice = db.user("alice").await;
    // Ids as long as a client can write them.
    let sql = format!(
        "insert into users (id, email, phone, password)
         select 9007199254000000 + n, n || '@example.com', 'x' || n, '-' from generate_series(1, {PARTICIPANTS_MAX}) n"
    );
    db.client.batch_execute(&sql).await.unwrap();
    let of = |count: usize| {
        let people: Vec<_> =
            (1..=count).map(|n| json!({ "userId": 9_007_199_254_000_000 + n, "type": "MEMBER" })).collect();
        json!({ "title": "everybody", "participants": people })
    };
    let largest = of(PARTICIPANTS_MAX - 1);
    assert!(largest.to_string().len() <= HTTP_BODY_BYTES_MAX);
    let (status, made) = api.ask(Some(alice), "POST", "/conversations/create", &largest).await;
    assert_eq!((status, &made["data"]["participantCount"]), (201, &json!(PARTICIPANTS_MAX)));
    let (status, refused) =
        api.ask(Some(alice), "POST", "/conversations/create", &of(PARTICIPANTS_MAX)).await;
    assert_eq!(status, 400, "{refused}");
    db.finish().await;
}
