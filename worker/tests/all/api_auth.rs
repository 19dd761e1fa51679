//! Register, log in, refresh, log out, over the API and a real PostgreSQL.

use std::time::Duration;

use common::bus::{Arrival, Pattern};
use common::limits::REFRESH_GRACE_MS;
use protocol::{self, Control};
use serde_json::{Value, json};
use worker::features::accounts::{Refreshed, look_for_ended_logins};

use crate::support::client::Client;
use crate::support::postgres::Database;

/// What the original's form sends.
fn form(name: &str) -> Value {
    json!({
        "email": format!("{name}@Example.com"), "password": "useruser", "phone": format!("123-{name}"),
        "firstName": name, "middleName": "", "lastName": "Example", "role": "USER",
        "isActive": true, "isReported": false, "isBlocked": false,
    })
}

fn credentials(name: &str, password: &str) -> Value {
    json!({ "email": format!("{name}@example.com"), "password": password })
}

#[tokio::test]
async fn registering_makes_a_user_whatever_is_asked_for_and_shows_no_hash() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let mut admin = form("alice");
    admin["role"] = "ADMIN".into();
    admin["isBlocked"] = true.into();
    admin["preferences"] = json!({ "theme": "dark" });
    let (status, body) = api.ask(None, "POST", "/auth/register", &admin).await;
    assert_eq!((status, &body["message"]), (201, &json!("Register success")));
    let data = &body["data"];
    assert_eq!(data["email"], "alice@example.com");
    assert_eq!(data["role"], "USER");
    assert_eq!(data["is_blocked"], false);
    assert_eq!(data["middle_name"], Value::Null);
    assert_eq!(data["preferences"], r#"{"theme":"dark"}"#);
    assert!(!body.to_string().contains("argon2"), "{body}");
    assert_eq!(data.get("password"), None);

    let (status, body) = api.ask(None, "POST", "/auth/register", &form("alice")).await;
    assert_eq!((status, &body["message"]), (400, &json!("User email already exists!")));
    let mut other = form("bob");
    other["phone"] = "123-alice".into();
    let (status, body) = api.ask(None, "POST", "/auth/register", &other).await;
    assert_eq!((status, &body["message"]), (400, &json!("Phone number is already taken")));

    let (status, body) = api.ask(None, "POST", "/auth/register", &json!({ "email": "x" })).await;
    assert_eq!((status, &body["error"]), (400, &json!("Bad Request")));
    let sentences: Vec<_> =
        body["message"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(
        sentences,
        [
            "email must be an email",
            "password should not be empty",
            "phone should not be empty",
            "firstName should not be empty",
            "lastName should not be empty",
        ]
    );
    db.finish().await;
}

#[tokio::test]
async fn logging_in_tells_nothing_about_who_exists() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    for name in ["alice", "mallory", "gone"] {
        assert_eq!(api.ask(None, "POST", "/auth/register", &form(name)).await.0, 201);
    }
    db.client.batch_execute("update users set is_blocked = true where first_name = 'mallory'").await.unwrap();
    db.client.batch_execute("update users set is_active = false where first_name = 'gone'").await.unwrap();

    let mut refusals = Vec::new();
    for (name, password) in
        [("alice", "useruse_"), ("nobody", "useruser"), ("mallory", "useruser"), ("gone", "useruser")]
    {
        refusals.push(api.ask(None, "POST", "/auth/login", &credentials(name, password)).await);
    }
    assert_eq!(refusals[0].0, 401);
    assert!(refusals.iter().all(|one| *one == refusals[0]), "{refusals:?}");

    let upper = json!({ "email": " ALICE@example.com", "password": "useruser" });
    let (status, body) = api.ask(None, "POST", "/auth/login", &upper).await;
    assert_eq!((status, &body["message"]), (200, &json!("Login success")));
    let data = &body["data"];
    let keys: Vec<_> = data["user"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["email", "firstName", "id", "isActive", "lastName"]);
    assert!(data["expiresIn"].as_u64().unwrap() > 0);
    let account = api.verify(data["accessToken"].as_str().unwrap());
    assert_eq!(account.user.0, data["user"]["id"]);

    let (status, body) =
        api.ask(None, "POST", "/auth/login", &json!({ "email": "", "password": "12345" })).await;
    assert_eq!(status, 400);
    let expect =
        json!(["email should not be empty", "password must be longer than or equal to 6 characters"]);
    assert_eq!(body["message"], expect);
    db.finish().await;
}

#[tokio::test]
async fn the_originals_hash_lets_in_and_is_replaced() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    // "useruser" by the C library's bcrypt, at a cost that a test can pay.
    let kept = "$2a$04$abcdefghijklmnopqrstuuisHfRufmfYCWgwetXH7Saqp01FXSJmC";
    let alice = db.user_with("alice", kept).await;

    let wrong = api.ask(None, "POST", "/auth/login", &credentials("alice", "useruser_")).await;
    assert_eq!(wrong.0, 401);
    assert_eq!(db.store.account(alice).await.unwrap().unwrap().password, kept);
    for _ in 0..2 {
        assert_eq!(api.ask(None, "POST", "/auth/login", &credentials("alice", "useruser")).await.0, 200);
        assert!(db.store.account(alice).await.unwrap().unwrap().password.starts_with("$argon2id$"));
    }
    db.finish().await;
}

#[tokio::test]
async fn guesses_from_one_address_are_slowed_down_there_only() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let mut seen = Vec::new();
    for _ in 0..11 {
        seen.push(api.ask(None, "POST", "/auth/login", &credentials("alice", "guesses")).await);
    }
    assert!(seen[..10].iter().all(|one| one.0 == 401));
    assert_eq!((seen[10].0, &seen[10].1["error"]), (429, &json!("Too Many Requests")));
    assert!(seen[10].1["retryInMs"].as_u64().unwrap() > 0);
    assert_eq!(api.ask(None, "POST", "/auth/login", &credentials("bob", "guesses")).await.0, 401);
    let guess = credentials("alice", "guesses");
    assert_eq!(api.status_from("198.51.100.1", "/auth/login", &guess).await, 401);
    db.finish().await;
}

/// A right password is no guess, however often it is said.
#[tokio::test]
async fn right_passwords_are_not_counted() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    logged_in(&api, "alice").await;
    for _ in 0..15 {
        let (status, body) = api.ask(None, "POST", "/auth/login", &credentials("alice", "useruser")).await;
        assert_eq!(status, 200, "{body}");
    }
    db.finish().await;
}

#[tokio::test]
async fn guesses_from_everywhere_do_not_keep_the_owner_out() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    assert_eq!(api.ask(None, "POST", "/auth/register", &form("alice")).await.0, 201);
    let (right, guess) = (credentials("alice", "useruser"), credentials("alice", "guesses"));
    let home = "2001:db8:1:2::1";
    assert_eq!(api.status_from(home, "/auth/login", &right).await, 200);

    // A few more come by themselves while the passwords are judged.
    let mut judged = 0;
    while api.status_from(&format!("198.51.100.{judged}"), "/auth/login", &guess).await == 401 {
        judged += 1;
        assert!(judged < 200, "guesses at one account are limited widely");
    }
    assert!(judged >= 100, "{judged}");
    assert_eq!(api.status_from("203.0.113.1", "/auth/login", &right).await, 429, "not known there");
    assert_eq!(api.status_from(home, "/auth/login", &right).await, 200);
    assert_eq!(api.status_from("2001:db8:1:2:3:4:5:6", "/auth/login", &right).await, 200, "the same network");
    // Nor does a neighbour who guesses at others.
    let mut judged = 0;
    while api.status_from(home, "/auth/login", &credentials(&format!("nobody{judged}"), "guesses")).await
        == 401
    {
        judged += 1;
        assert!(judged < 1_000, "guesses from one address are limited widely");
    }
    assert_eq!(api.status_from(home, "/auth/login", &right).await, 200);
    db.finish().await;
}

#[tokio::test]
async fn what_looks_the_same_is_one_account_and_one_password() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (composed, apart) = ("\u{e1}nh", "a\u{301}nh");
    let with = |name: &str, password: &str| {
        let mut form = form("anh");
        form["email"] = format!("{name}@example.com").into();
        form["password"] = password.into();
        form
    };
    let register = async |form: &Value| api.ask(None, "POST", "/auth/register", form).await;
    assert_eq!(register(&with(composed, "m\u{1ead}t kh\u{1ea9}u")).await.0, 201);
    let mut other = with(apart, "useruser");
    other["phone"] = "another".into();
    let (status, body) = register(&other).await;
    assert_eq!((status, &body["message"]), (400, &json!("User email already exists!")));
    for password in ["m\u{1ead}t kh\u{1ea9}u", "ma\u{323}\u{302}t kha\u{302}\u{309}u"] {
        for name in [composed, apart] {
            let typed = json!({ "email": format!("{name}@example.com"), "password": password });
            assert_eq!(api.ask(None, "POST", "/auth/login", &typed).await.0, 200, "{typed}");
        }
    }

    // As a version before has kept it.
    db.client.batch_execute(&format!("update users set email = '{apart}@example.com'")).await.unwrap();
    let typed = json!({ "email": format!("{composed}@example.com"), "password": "m\u{1ead}t kh\u{1ea9}u" });
    assert_eq!(api.ask(None, "POST", "/auth/login", &typed).await.0, 200);
    let mut other = with(composed, "useruser");
    other["phone"] = "another".into();
    assert_eq!(register(&other).await.0, 400, "it is still the same account");
    db.finish().await;
}

#[tokio::test]
async fn nothing_invisible_makes_an_account_of_its_own() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let register = async |form: &Value| api.ask(None, "POST", "/auth/register", form).await;
    for email in [
        "ann\u{200b}@example.com",
        "ann\u{ad}@example.com",
        "\u{202e}ann@example.com",
        "ann@example.com\u{feff}",
    ] {
        let mut form = form("ann");
        form["email"] = email.into();
        let (status, body) = register(&form).await;
        assert_eq!((status, &body["message"]), (400, &json!(["email must be an email"])), "{email:?}");
    }
    for (field, text, sentence) in [
        ("firstName", "\u{200b}", "should not be empty"),
        ("lastName", "\u{3164}", "should not be empty"),
        ("phone", "\u{2060}", "should not be empty"),
        ("middleName", "\u{3164}", "should not be empty"),
        ("firstName", "Ann\u{202e}", "must not contain invisible characters"),
        ("phone", "12\u{200b}3", "must not contain invisible characters"),
    ] {
        let mut form = form("ann");
        form[field] = text.into();
        let (status, body) = register(&form).await;
        assert_eq!((status, &body["message"]), (400, &json!([format!("{field} {sentence}")])), "{text:?}");
    }
    assert_eq!(register(&form("ann")).await.0, 201);

    let ann = db.user("other").await;
    for (title, sentence) in [
        ("\u{3164}", "title should not be empty"),
        ("a\u{2028}b", "title must not contain invisible characters"),
    ] {
        let body = json!({ "title": title, "participants": [] });
        let (status, body) = api.ask(Some(ann), "POST", "/conversations/create", &body).await;
        assert_eq!((status, &body["message"][0]), (400, &json!(sentence)), "{title:?}");
    }
    db.finish().await;
}

/// Registers somebody and logs in: what the login answered.
async fn logged_in(api: &Client, name: &str) -> Value {
    assert_eq!(api.ask(None, "POST", "/auth/register", &form(name)).await.0, 201);
    let (status, body) = api.ask(None, "POST", "/auth/login", &credentials(name, "useruser")).await;
    assert_eq!(status, 200);
    body["data"].clone()
}

fn shown(data: &Value) -> Value {
    json!({ "refreshToken": data["refreshToken"] })
}

async fn refreshed(api: &Client, token: &Value) -> Value {
    let (status, body) = api.ask(None, "POST", "/auth/refresh", token).await;
    assert_eq!(status, 200, "{body}");
    body["data"].clone()
}

#[tokio::test]
async fn a_refresh_token_shown_again_has_the_same_successor_until_that_is_used() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let began = logged_in(&api, "alice").await;
    let (first, login) = (shown(&began), api.verify(began["accessToken"].as_str().unwrap()).login);

    // Two tabs, or one whose answer was lost.
    let (one, two) = (refreshed(&api, &first).await, refreshed(&api, &first).await);
    assert_eq!(api.verify(one["accessToken"].as_str().unwrap()).login, login);
    let second = shown(&one);
    assert_ne!(first, second);
    assert_eq!(second, shown(&two));
    let third = shown(&refreshed(&api, &second).await);

    // Its successor was used, so somebody has both.
    let mut control = api.ctx.bus.subscribe(Pattern::new("control.gateways").unwrap()).await.unwrap();
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &first).await.0, 401);
    assert_eq!(api.ctx.directory.ended_logins().await.unwrap().logins, [login]);
    let Some(Arrival::Envelopes(told)) = control.next().await else { panic!("nothing was told") };
    let Control::EndLogin { login: ended, .. } = protocol::decode(&told[0].body).unwrap();
    assert_eq!(ended, login);

    // The thief's and the owner's are all worth nothing now.
    for token in [&first, &second, &third, &json!({ "refreshToken": "never issued" })] {
        assert_eq!(api.ask(None, "POST", "/auth/refresh", token).await.0, 401);
    }
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &Value::Null).await.0, 400);
    db.finish().await;
}

#[tokio::test]
async fn a_refresh_token_shown_again_too_late_ends_its_login() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let first = shown(&logged_in(&api, "alice").await);
    let second = shown(&refreshed(&api, &first).await);
    let grace = i64::try_from(REFRESH_GRACE_MS).unwrap();
    let pass = format!("update refresh_tokens set spent_at = spent_at - interval '{grace} milliseconds'");
    db.client.batch_execute(&pass).await.unwrap();
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &first).await.0, 401);
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &second).await.0, 401, "the login is over");
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_who_show_the_same_refresh_token_at_once_are_all_served() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    for round in 0..10_u8 {
        let ttl = Duration::from_secs(60);
        let (shown, next) = ([round; 32], [100 + round; 32]);
        let login = db.login(alice, shown).await;
        let asked = (0..12).map(|_| {
            let store = db.store.clone();
            tokio::spawn(async move { store.refresh_login(&shown, &next, ttl).await.unwrap() })
        });
        for answer in asked.collect::<Vec<_>>() {
            let answer = answer.await.unwrap();
            assert!(matches!(answer, Refreshed::Rotated { login: of, .. } if of == login), "{answer:?}");
        }
        assert_eq!(
            db.count("select count(*) from refresh_tokens where spent_at is null").await,
            i64::from(round) + 1
        );
    }
    db.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_who_show_a_token_too_late_one_ends_the_login() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let ttl = Duration::from_secs(60);
    db.login(alice, [1; 32]).await;
    db.store.refresh_login(&[1; 32], &[2; 32], ttl).await.unwrap();
    db.store.refresh_login(&[2; 32], &[3; 32], ttl).await.unwrap();
    let asked = (0..12).map(|_| {
        let store = db.store.clone();
        tokio::spawn(async move { store.refresh_login(&[1; 32], &[2; 32], ttl).await.unwrap() })
    });
    let mut ended = 0;
    for answer in asked.collect::<Vec<_>>() {
        match answer.await.unwrap() {
            Refreshed::Reused { has_ended_now, .. } => ended += u32::from(has_ended_now),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ended, 1, "it is told, and logged, once");
    db.finish().await;
}

#[tokio::test]
async fn logging_out_ends_this_login_and_no_other() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    assert_eq!(api.ask(None, "POST", "/auth/register", &form("alice")).await.0, 201);
    let (_, phone) = api.ask(None, "POST", "/auth/login", &credentials("alice", "useruser")).await;
    let (_, laptop) = api.ask(None, "POST", "/auth/login", &credentials("alice", "useruser")).await;
    let token = phone["data"]["accessToken"].as_str().unwrap();

    for _ in 0..2 {
        let (status, body) = api.ask_with(token, "POST", "/auth/logout", &Value::Null).await;
        assert_eq!((status, &body["message"]), (200, &json!("Logout successful")));
    }
    assert_eq!(api.ctx.directory.ended_logins().await.unwrap().logins, [api.verify(token).login]);
    let refresh = |body: &Value| json!({ "refreshToken": body["data"]["refreshToken"] });
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &refresh(&phone)).await.0, 401);
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &refresh(&laptop)).await.0, 200);
    assert_eq!(api.ask(None, "POST", "/auth/logout", &Value::Null).await.0, 401);
    db.finish().await;
}

#[tokio::test]
async fn a_directory_that_lost_its_data_learns_again_which_logins_ended() {
    let Some(db) = Database::fresh().await else { return };
    let alice = db.user("alice").await;
    let (old, ended) = (db.login(alice, [1; 32]).await, db.login(alice, [2; 32]).await);
    db.login(alice, [3; 32]).await;
    for login in [old, ended] {
        db.store.end_login(alice, login).await.unwrap();
    }
    // Its tokens, of seven days, have expired.
    let age = format!("update logins set ended_at = now() - interval '8 days' where id = {old}");
    db.client.batch_execute(&age).await.unwrap();

    // A new directory, as after a restart or a flush.
    let api = Client::new(db.store.clone());
    look_for_ended_logins(&api.ctx).await;
    let known = api.ctx.directory.ended_logins().await.unwrap();
    assert_eq!((known.logins, known.is_complete), (vec![ended], true));
    db.finish().await;
}

#[tokio::test]
async fn an_account_blocked_in_the_database_is_logged_out_everywhere() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let (ended, other) = (db.login(alice, [1; 32]).await, db.login(bob, [2; 32]).await);
    let api = Client::new(db.store.clone());
    look_for_ended_logins(&api.ctx).await;
    let mut control = api.ctx.bus.subscribe(Pattern::new("control.gateways").unwrap()).await.unwrap();

    db.client.batch_execute(&format!("update users set is_blocked = true where id = {alice}")).await.unwrap();
    look_for_ended_logins(&api.ctx).await;
    assert_eq!(api.ctx.directory.ended_logins().await.unwrap().logins, [ended]);
    let Some(Arrival::Envelopes(told)) = control.next().await else { panic!("nothing was told") };
    let told: Control = protocol::decode(&told[0].body).unwrap();
    assert_eq!(told, Control::EndLogin { user: alice, login: ended });

    db.client.batch_execute(&format!("update users set is_active = false where id = {bob}")).await.unwrap();
    look_for_ended_logins(&api.ctx).await;
    assert!(api.ctx.directory.ended_logins().await.unwrap().logins.contains(&other));
    db.finish().await;
}

#[tokio::test]
async fn a_blocked_account_reads_nothing_until_it_is_unblocked() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let talk = db.conversation(&[alice, bob]).await;
    let message = db.say(bob, talk, "hello").await.message;
    let login = db.login(alice, [1; 32]).await;
    let paths = [
        "/users/me".to_owned(),
        "/conversations".to_owned(),
        format!("/conversations/{talk}"),
        format!("/conversations/{talk}/message"),
        format!("/chat/messages/{message}"),
    ];
    let read = async |path: &str, who| api.ask(Some(who), "GET", path, &Value::Null).await.0;
    for path in &paths {
        assert_eq!(read(path, alice).await, 200, "{path}");
    }
    assert!(db.store.set_blocked(alice, true).await.unwrap());
    for path in &paths {
        assert!(matches!(read(path, alice).await, 401 | 403 | 404), "{path}");
        if path != "/users/me" {
            assert_eq!(read(path, bob).await, 200, "{path}: others read on");
        }
    }
    assert!(db.store.standings(alice, &[talk]).await.unwrap().is_empty(), "nor by `sync`");
    let hour = Duration::from_secs(3_600);
    assert_eq!(db.store.ended_logins_of(alice, hour).await.unwrap(), [login]);

    assert!(db.store.set_blocked(alice, false).await.unwrap());
    assert_eq!(read("/users/me", alice).await, 200);
    assert_eq!(db.store.ended_logins_of(alice, hour).await.unwrap(), [login], "a login that ended stays so");
    assert!(!db.store.set_blocked(protocol::ids::UserId(1 << 50), true).await.unwrap());
    db.finish().await;
}

#[tokio::test]
async fn a_blocked_account_cannot_refresh() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    assert_eq!(api.ask(None, "POST", "/auth/register", &form("alice")).await.0, 201);
    let (_, body) = api.ask(None, "POST", "/auth/login", &credentials("alice", "useruser")).await;
    db.client.batch_execute("update users set is_blocked = true").await.unwrap();
    let token = json!({ "refreshToken": body["data"]["refreshToken"] });
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &token).await.0, 401);
    db.client.batch_execute("update refresh_tokens set expires_at = now()").await.unwrap();
    db.client.batch_execute("update users set is_blocked = false").await.unwrap();
    assert_eq!(api.ask(None, "POST", "/auth/refresh", &token).await.0, 401, "expired");
    db.finish().await;
}
