//! What only an operator asks of the store.

use crate::support::postgres::Database;
use protocol::Role;
use protocol::events::message::MessageRead;
use protocol::ids::{Guid, NodeId};
use worker::features::accounts::{Conflict, NewAccount};
use worker::store::Store;

fn account<'a>(email: &'a str, phone: &'a str) -> NewAccount<'a> {
    NewAccount {
        email,
        phone,
        password: "a hash",
        first_name: "An",
        middle_name: None,
        last_name: "",
        preferences: None,
    }
}

#[tokio::test]
async fn an_administrator_is_one_from_the_first_moment() {
    let Some(db) = Database::fresh().await else { return };
    let make =
        async |email, phone, role| db.store.create_account_of(account(email, phone), role).await.unwrap();
    let admin = make("an@b.vn", "none:an@b.vn", Role::Admin).await.unwrap();
    assert_eq!(db.store.account(admin).await.unwrap().unwrap().role, Role::Admin);
    assert_eq!(make("an@b.vn", "other", Role::Admin).await, Err(Conflict::Email));
    assert_eq!(make("other@b.vn", "none:an@b.vn", Role::User).await, Err(Conflict::Phone));
    let user = make("other@b.vn", "other", Role::User).await.unwrap();
    assert_eq!(db.store.account(user).await.unwrap().unwrap().role, Role::User);
    db.finish().await;
}

#[tokio::test]
async fn logins_are_listed_with_their_end() {
    let Some(db) = Database::fresh().await else { return };
    let (an, binh) = (db.user("an").await, db.user("binh").await);
    let (first, second) = (db.login(an, [1; 32]).await, db.login(an, [2; 32]).await);
    db.store.end_login(an, first).await.unwrap();
    let logins = db.store.logins_of(an, 10).await.unwrap();
    let seen: Vec<_> =
        logins.iter().map(|login| (login.id, login.ended_at.is_some(), login.expires_at.is_some())).collect();
    assert_eq!(seen, [(second, false, true), (first, true, false)]);
    assert_eq!(db.store.logins_of(an, 1).await.unwrap().len(), 1);
    assert_eq!(db.store.logins_of(binh, 10).await.unwrap(), []);
    assert!(db.store.has_login(an, first).await.unwrap());
    assert!(!db.store.has_login(binh, first).await.unwrap(), "of its own user only");
    db.finish().await;
}

#[tokio::test]
async fn migrations_are_told_by_name_once() {
    let Some(db) = Database::fresh().await else { return };
    assert!(db.store.migrate_and_tell().await.unwrap().is_empty());
    let name = format!("chatchit_test_{}", NodeId::random());
    db.client.batch_execute(&format!("create database {name}")).await.unwrap();
    let url = db.url.replace(db.url.rsplit('/').next().unwrap(), &name);
    let store = Store::connect(&url, 1).await.unwrap();
    let applied = store.migrate_and_tell().await.unwrap();
    assert_eq!(applied.first().map(String::as_str), Some("V1__the_spine"));
    drop(store);
    db.client.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
    db.finish().await;
}

#[tokio::test]
async fn a_message_is_found_by_its_guid_where_it_may_be_and_shows_no_contents() {
    let Some(db) = Database::fresh().await else { return };
    let (an, binh, chi) = (db.user("an").await, db.user("binh").await, db.user("chi").await);
    let (two, three) = (db.conversation(&[an, binh]).await, db.conversation(&[an, binh, chi]).await);
    for (sender, conversation) in [(an, two), (an, three), (binh, two)] {
        db.say(sender, conversation, "g").await;
    }
    let guid = Guid::new("g").unwrap();
    let places = db.store.places_of_sender(an).await.unwrap();
    assert_eq!(places, [(three, an), (two, an)]);
    let kept = db.store.kept_messages(&guid, &places).await.unwrap();
    let mut seen: Vec<_> =
        kept.iter().map(|one| (one.conversation, one.sender, one.seq, one.others, one.read)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(two, an, 1, 1, 0), (three, an, 1, 2, 0)]);

    let read = MessageRead {
        conversation: two,
        message: kept.iter().find(|one| one.conversation == two).unwrap().message,
        seq: None,
    };
    db.store.mark_read(&[(binh, read)]).await.unwrap();
    let places = db.store.places_of_conversation(two).await.unwrap();
    let kept = db.store.kept_messages(&guid, &places).await.unwrap();
    let mut seen: Vec<_> = kept.iter().map(|one| (one.sender, one.seq, one.read)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(an, 1, 1), (binh, 2, 0)], "who sent it is not counted among those who read it");
    assert_eq!(db.store.kept_messages(&Guid::new("other").unwrap(), &places).await.unwrap(), []);
    db.finish().await;
}
