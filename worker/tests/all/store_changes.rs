//! The counters of a conversation: what raises `version`, and what happened to its messages.

use crate::support::postgres::{Database, open, text};
use protocol::events::change::ChangedMessage;
use protocol::events::message::Attachment;
use protocol::ids::ConversationId;
use serde_json::json;
use worker::features::messages::{HistoryPage, Missing};

async fn version(db: &Database, of: ConversationId) -> i64 {
    db.count(&format!("select version from conversations where id = {of}")).await
}

/// Whoever changes members, roles, blocks, names or the conversation, by whatever statement, raises the
/// version of the conversations concerned, and of no others.
#[tokio::test]
async fn the_version_rises_with_whatever_may_be_remembered() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob, carol) = (db.user("alice").await, db.user("bob").await, db.user("carol").await);
    let (pair, other) = (db.conversation(&[alice, bob]).await, db.conversation(&[alice, carol]).await);
    assert!(version(&db, pair).await > 0, "a new conversation has members");
    let raises: &[(&str, String)] = &[
        (
            "a join",
            format!(
                "insert into participants (conversation_id, user_id, status) values ({pair}, {carol}, 'VERIFIED')"
            ),
        ),
        (
            "a role",
            format!(
                "update participants set type = 'LEAD' where conversation_id = {pair} and user_id = {bob}"
            ),
        ),
        (
            "a refusal",
            format!(
                "update participants set status = 'REJECTED' where conversation_id = {pair} and user_id = {carol}"
            ),
        ),
        ("a kick", format!("delete from participants where conversation_id = {pair} and user_id = {carol}")),
        ("a block", format!("insert into blocks (user_id, blocked_id) values ({bob}, {alice})")),
        ("an unblock", format!("delete from blocks where user_id = {bob}")),
        ("a ban", format!("update users set is_blocked = true where id = {bob}")),
        ("a name", format!("update users set first_name = 'Robert' where id = {bob}")),
        ("an end", format!("update conversations set deleted_at = now() where id = {pair}")),
        ("a return", format!("update conversations set deleted_at = null where id = {pair}")),
    ];
    for (what, sql) in raises {
        let before = (version(&db, pair).await, version(&db, other).await);
        db.client.batch_execute(sql).await.unwrap();
        assert_eq!(version(&db, pair).await, before.0 + 1, "{what}");
        assert_eq!(version(&db, other).await, before.1, "{what} is nothing to others");
    }
    let before = version(&db, pair).await;
    db.say(alice, pair, "said").await;
    let quiet = [
        format!("update participants set read_seq = 1, read_at = now() where conversation_id = {pair}"),
        format!("update participants set status = 'VERIFIED' where conversation_id = {pair}"),
        format!("update users set password = 'x', updated_at = now() where id = {bob}"),
        format!("update conversations set title = 't' where id = {pair}"),
    ];
    for sql in quiet {
        db.client.batch_execute(&sql).await.unwrap();
        assert_eq!(version(&db, pair).await, before, "{sql}");
    }
    db.client.batch_execute(&format!("delete from users where id = {carol}")).await.unwrap();
    assert!(version(&db, other).await > 1, "whoever is deleted is in nothing");
    db.finish().await;
}

/// The version is part of the change: seen with it, undone with it.
#[tokio::test]
async fn what_raises_it_is_undone_with_the_change() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let pair = db.conversation(&[alice, bob]).await;
    let before = version(&db, pair).await;
    let kick = format!("begin; delete from participants where conversation_id = {pair} and user_id = {bob}");
    let kicker = open(&db.url).await;
    kicker.batch_execute(&kick).await.unwrap();
    assert_eq!(version(&db, pair).await, before, "not before it is committed");
    kicker.batch_execute("rollback").await.unwrap();
    assert_eq!(version(&db, pair).await, before);
    kicker.batch_execute(&format!("{kick}; commit")).await.unwrap();
    assert_eq!(version(&db, pair).await, before + 1);
    db.finish().await;
}

#[tokio::test]
async fn the_latest_change_of_each_message_is_kept_and_counted() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let talk = db.conversation(&[alice, bob]).await;
    let mut second = text(alice, talk, "b");
    second.event.attachments = vec![Attachment { thumb_url: String::new(), file_url: "/files/b".into() }];
    db.store.save_messages(&[text(alice, talk, "a"), second, text(bob, talk, "c")]).await.unwrap();
    let redact = async |seq: u64| db.store.redact_message(talk, seq).await.unwrap();
    assert_eq!((redact(1).await, redact(2).await, redact(1).await), (Some(1), Some(2), Some(3)));
    assert_eq!(redact(4).await, None, "there is no such message");
    assert_eq!(db.store.redact_message(ConversationId(99), 1).await.unwrap(), None);

    let standing = db.store.standings(bob, &[talk]).await.unwrap()[&talk];
    assert_eq!((standing.head, standing.change_seq), (3, 3));
    let after = async |seq, change_seq, limit| {
        let held = Missing { conversation: talk, seq, change_seq, standing };
        db.store.changes_after(&[held], limit).await.unwrap()
    };
    let seen = |all: Vec<ChangedMessage>| all.iter().map(|one| (one.seq, one.change_seq)).collect::<Vec<_>>();
    let all = after(3, 0, 10).await;
    assert!(all.iter().all(|one| one.what == json!({ "kind": "redacted" })));
    assert!(all.iter().all(|one| one.message.content.is_empty() && one.message.attachments.is_empty()));
    assert_eq!(all[1].message.sender.first_name, "alice");
    assert_eq!(seen(all), [(2, 2), (1, 3)], "each message once, as it is now");
    assert_eq!(seen(after(3, 2, 10).await), [(1, 3)]);
    assert_eq!(seen(after(3, 3, 10).await), []);
    assert_eq!(seen(after(1, 0, 10).await), [(1, 3)], "a message that is not held comes as it is now");
    assert_eq!(seen(after(3, 0, 1).await), [(2, 2)]);
    let history =
        db.store.history(bob, talk, HistoryPage::After { after: 0, limit: 9 }).await.unwrap().unwrap();
    let contents: Vec<_> = history.messages.iter().map(|one| one.content.as_str()).collect();
    assert_eq!((history.change_seq, contents), (3, vec!["", "", "c"]));
    db.finish().await;
}

/// Whatever writes to messages after they were written counts it, or a client and a replica would never
/// hear of it.
#[test]
fn no_statement_changes_a_message_without_counting_it() {
    for one in worker::features::statements() {
        let changes = ["update messages", "delete from messages"].iter().any(|words| one.sql.contains(words));
        let counts = one.sql.contains("set change_seq = c.change_seq + 1")
            && one.sql.contains("insert into message_changes");
        assert!(!changes || counts, "{} changes messages and does not count it", one.name);
    }
}
