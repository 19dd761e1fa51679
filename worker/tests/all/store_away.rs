//! A database that goes away and comes back, and programs that start at once.

use std::collections::BTreeMap;

use crate::support::postgres::{Database, text};
use protocol::ids::NodeId;
use tokio::sync::watch;
use worker::features::messages::Saved;
use worker::store::{Store, StoreError};

/// Every connection is ended again and again (as by a restart: 57P01) while a worker saves: it is
/// told that the store is unavailable, asks again, and nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_ended_lose_nothing() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    let store = db.store.clone();
    let (done, mut progress) = watch::channel(0);
    let saving = tokio::spawn(async move {
        let (mut away, mut rows) = (0, BTreeMap::new());
        for part in 0..150 {
            let batch: Vec<_> = (0..8).map(|n| text(alice, talk, &format!("{part}-{n}"))).collect();
            let saved = loop {
                match store.save_messages(&batch).await {
                    Ok(saved) => break saved,
                    Err(StoreError::Unavailable(_)) => away += 1,
                    Err(other) => panic!("{other}"),
                }
            };
            for saved in saved {
                let (Saved::New(row) | Saved::Repeat(row)) = saved else { panic!("{saved:?}") };
                assert_eq!(rows.insert(row.seq, row.message), None);
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
        // Something is saved in between, however long that takes on a busy machine; then they end in the middle of another
        // part. An error: all is saved.
        let _ = progress.changed().await;
        db.client.batch_execute(&format!("select pg_sleep(0.002 * {})", ended % 8)).await.unwrap();
    }
    let (away, rows) = saving.await.unwrap();
    assert!(ended > 0 && away > 0, "{ended} ended, {away} noticed");
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=1_200).collect::<Vec<u64>>());
    assert_eq!(db.count("select count(*) from messages").await, 1_200);
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_start_at_once_migrate_once() {
    let Some(db) = Database::fresh().await else { return };
    let name = format!("chatchit_test_{}", NodeId::random());
    db.client.batch_execute(&format!("create database {name}")).await.unwrap();
    let url = db.url.replace(db.url.rsplit('/').next().unwrap(), &name);
    let mut starting = Vec::new();
    for _ in 0..6 {
        let store = Store::connect(&url, 1).await.unwrap();
        starting.push(tokio::spawn(async move { store.migrate().await.map(|()| store) }));
    }
    for one in starting {
        let store = one.await.unwrap().unwrap();
        assert!(store.account_by_email(&["nobody@example.com".to_owned()]).await.unwrap().is_none());
    }
    db.client.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
    db.finish().await;
}

/// A version is taken back: the program of before runs on the schema of the later one, which only
/// added to it, until a migration says that it must not.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_on_the_schema_of_the_version_after_it() {
    let Some(db) = Database::fresh().await else { return };
    let later = "alter table users add column later text;
        insert into refinery_schema_history (version, name, applied_on, checksum)
        values (1000, 'later', '2027-01-01T00:00:00Z', '1')";
    db.client.batch_execute(later).await.unwrap();
    let started = Store::connect(&db.url, 1).await.unwrap();
    assert_eq!(started.migrate_and_tell().await.unwrap(), Vec::<String>::new());
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    db.say(alice, talk, "g").await;

    db.client.batch_execute("insert into schema_floor values (1000)").await.unwrap();
    let refused = format!("{:#}", started.migrate().await.unwrap_err());
    assert!(refused.contains("needs 1000: start a newer version"), "{refused}");
    db.finish().await;
}

/// A write that has no room is remembered, whatever else goes on, until one succeeds that needs room.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_is_down_until_it_can_write() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    let room = db.store.room();
    db.store.can_write().await.unwrap();
    assert_eq!(*room.borrow(), None);
    // The server's own words for a full disk, for rows and for new tables.
    let full = "create function full_disk() returns trigger language plpgsql as
            $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$;
        create trigger full_disk before insert on messages execute function full_disk();
        create function full_disk_ddl() returns event_trigger language plpgsql as
            $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$;
        create event trigger full_disk on ddl_command_start when tag in ('CREATE TABLE AS')
            execute function full_disk_ddl()";
    db.client.batch_execute(full).await.unwrap();

    assert!(db.store.ping().await.is_ok(), "asking is no writing");
    assert!(matches!(
        db.store.save_messages(&[text(alice, talk, "g")]).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(room.borrow().as_ref().is_some_and(|lack| lack.contains("53100")), "{:?}", *room.borrow());
    assert!(db.store.account(alice).await.unwrap().is_some(), "reads go on");
    assert!(db.store.can_write().await.is_err());
    assert!(room.borrow().is_some());

    db.client.batch_execute("drop event trigger full_disk; drop function full_disk() cascade").await.unwrap();
    db.store.can_write().await.unwrap();
    assert_eq!(*room.borrow(), None);
    db.say(alice, talk, "g").await;
    db.finish().await;
}

#[tokio::test]
async fn a_store_that_is_not_there_says_so_at_once() {
    let Err(err) = Store::connect("postgres://nobody@127.0.0.1:1/none", 1).await else {
        panic!("nobody listens on port 1");
    };
    assert!(format!("{err:#}").contains("PostgreSQL does not answer"), "{err:#}");
    assert!(Store::connect("not a url", 1).await.is_err());
}
