//! Nothing waits for PostgreSQL without an end: locks, statements, connections, silence.

use std::time::Duration;

use crate::cluster::proxy::Proxy;
use crate::support::postgres::{Database, open, text};
use common::limits::{
    LOCK_MS_MAX, MIGRATION_LOCK_MS_MAX, STATEMENT_GRACE_MS, STATEMENT_MS_MAX, STORE_WAIT_MS_MAX,
};
use protocol::ids::UserId;
use tokio::time::Instant;
use worker::features::accounts::NewAccount;
use worker::store::{Result, Store, StoreError};

/// What a busy machine may add to a limit.
const LATE: Duration = Duration::from_millis(900);

/// The words of an absence, or of a statement that was ended alone, that came after `ms` and not much
/// later.
fn unavailable<T>(start: Instant, ms: u64, outcome: Result<T>) -> String {
    let (took, limit) = (start.elapsed(), Duration::from_millis(ms));
    assert!(took >= limit && took < limit + LATE, "{took:?} of {limit:?}");
    match outcome {
        Err(StoreError::Unavailable(err)) => format!("{err:#}"),
        Err(StoreError::Stuck(cause, err)) => format!("{}: {err:#}", cause.name()),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("there was an answer"),
    }
}

/// A row or a table that another transaction holds ends the statements that ask for it, and no others:
/// the store is not away. They get through when the lock is gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_a_lock_ends() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    let lock = format!("begin; select from conversations where id = {talk} for update");
    db.client.batch_execute(&lock).await.unwrap();
    let other = open(&db.url).await;
    other.batch_execute("begin; lock table users in access exclusive mode").await.unwrap();

    let start = Instant::now();
    let batch = [text(alice, talk, "g")];
    let saving = async { unavailable(start, LOCK_MS_MAX, db.store.save_messages(&batch).await) };
    let asking = async { unavailable(start, LOCK_MS_MAX, db.store.account(alice).await) };
    let (saved, asked) = tokio::join!(saving, asking);
    for words in [saved, asked] {
        assert!(words.starts_with("lock: ") && words.contains("55P03"), "the cause is told: {words}");
    }
    assert_eq!(db.store.conversations_made(alice).await.unwrap(), 1, "who only reads has an answer");
    db.client.batch_execute("rollback").await.unwrap();
    other.batch_execute("rollback").await.unwrap();
    db.say(alice, talk, "g").await;
    assert!(db.store.account(alice).await.unwrap().is_some());
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_a_free_connection_says_so_in_time() {
    let Some(db) = Database::fresh().await else { return };
    let store = Store::connect(&db.url, 1).await.unwrap();
    db.client.batch_execute("begin; lock table users in access exclusive mode").await.unwrap();
    let start = Instant::now();
    let first = async { unavailable(start, LOCK_MS_MAX, store.account(UserId(1)).await) };
    let second = async { unavailable(start, 2 * LOCK_MS_MAX, store.account(UserId(1)).await) };
    let third = async { unavailable(start, STORE_WAIT_MS_MAX, store.ping().await) };
    let (_, _, third) = tokio::join!(first, second, third);
    assert_eq!(third, "no connection in time");
    db.client.batch_execute("rollback").await.unwrap();
    store.ping().await.unwrap();
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_ended_by_the_server() {
    let Some(db) = Database::fresh().await else { return };
    let slow = "
        create function slow() returns trigger language plpgsql as
            $$ begin perform pg_sleep(60); return new; end $$;
        create trigger slow before insert on users for each row execute function slow();";
    db.client.batch_execute(slow).await.unwrap();
    let new = NewAccount {
        email: "alice@example.com",
        phone: "1",
        password: "-",
        first_name: "",
        middle_name: None,
        last_name: "",
        preferences: None,
    };
    let start = Instant::now();
    let words = unavailable(start, STATEMENT_MS_MAX, db.store.create_account(new).await);
    assert!(words.starts_with("slow: ") && words.contains("57014"), "{words}");
    let working = "select count(*) from pg_stat_activity
                    where datname = current_database() and state = 'active' and pid <> pg_backend_pid()";
    assert_eq!(db.count(working).await, 0, "it does not go on without us");
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_given_up() {
    let Some(db) = Database::fresh().await else { return };
    let line = Proxy::before(&db.url).await;
    let store = Store::connect(&line.url, 1).await.unwrap();
    line.silence();
    let start = Instant::now();
    let given_up = unavailable(start, STATEMENT_MS_MAX + STATEMENT_GRACE_MS, store.ping().await);
    assert_eq!(given_up, "no answer in time");

    // That connection is closed, and a new one is never made.
    let start = Instant::now();
    assert_eq!(unavailable(start, STORE_WAIT_MS_MAX, store.ping().await), "no connection in time");
    let limit = Duration::from_millis(STORE_WAIT_MS_MAX) + LATE;
    let start = Instant::now();
    let err = store.migrate().await.unwrap_err();
    assert!(format!("{err:#}").contains("no connection in time") && start.elapsed() < limit, "{err:#}");
    let start = Instant::now();
    assert!(Store::connect(&line.url, 1).await.is_err() && start.elapsed() < limit);
    db.finish().await;
}

/// Another migration is waited for, a lock of somebody who does not migrate is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_behind_a_lock_lets_the_others_pass() {
    let Some(db) = Database::fresh().await else { return };
    db.client.batch_execute("begin; lock table refinery_schema_history").await.unwrap();
    let start = Instant::now();
    let err = db.store.migrate().await.unwrap_err();
    let limit = Duration::from_millis(MIGRATION_LOCK_MS_MAX);
    assert!(start.elapsed() >= limit && start.elapsed() < limit + LATE, "{:?}", start.elapsed());
    assert!(format!("{err:#}").contains("lock timeout"), "{err:#}");
    db.client.batch_execute("rollback").await.unwrap();
    db.store.migrate().await.unwrap();
    db.finish().await;
}
