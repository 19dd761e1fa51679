//! Conversations and messages over the API and a real PostgreSQL.

use crate::support::client::{Client, auth_config, request};
use crate::support::postgres::{Database, text};
use common::bus::{Bus, Subject};
use common::directory::Directory;
use common::lifecycle::Lifecycle;
use protocol::ids::{LoginId, NodeId, UserId};
use protocol::{self, Account, ApiResponse, Role};
use serde_json::{Value, json};

const NONE: Value = Value::Null;

#[tokio::test]
async fn what_is_not_there_or_not_allowed_says_so_as_the_original_did() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let alice = db.user("alice").await;
    let cases = [
        (None, "GET", "/nope", 404, "Cannot GET /nope"),
        (Some(alice), "PUT", "/users/me", 405, "Cannot PUT /users/me"),
        (None, "GET", "/init", 404, "Cannot GET /init"),
        (None, "GET", "/users/me", 401, "Token không hợp lệ"),
        (None, "GET", "/conversations", 401, "Token không hợp lệ"),
        (None, "POST", "/chat/messages", 401, "Token không hợp lệ"),
        (Some(UserId(99)), "GET", "/users/me", 404, "User with ID 99 not found"),
        (Some(alice), "GET", "/conversations/9", 404, "Conversation not found or access denied"),
        (Some(alice), "GET", "/conversations/x", 400, "Validation failed (numeric string is expected)"),
        (Some(alice), "GET", "/conversations/-1", 400, "Validation failed (numeric string is expected)"),
        (
            Some(alice),
            "GET",
            "/conversations/9/message?page=1&size=5",
            404,
            "No messages found for this conversation",
        ),
        (
            Some(alice),
            "GET",
            "/conversations/9/message?page=0&size=5",
            400,
            "Page and size must be positive integers",
        ),
        (Some(alice), "GET", "/conversations?page=x", 400, "Page and size must be positive integers"),
        (
            Some(alice),
            "GET",
            "/chat/conversations/9/messages",
            403,
            "You do not have access to this conversation",
        ),
        (Some(alice), "GET", "/chat/messages/9", 404, "Message not found"),
        (Some(alice), "GET", "/chat/messages/9?page=1", 403, "You do not have access to this conversation"),
    ];
    for (who, method, path, status, message) in cases {
        let (got, body) = api.ask(who, method, path, &NONE).await;
        assert_eq!((got, &body["message"]), (status, &json!(message)), "{method} {path}");
    }
    let account = Account { user: alice, login: LoginId(1), role: Role::User, expires_s: 0 };
    for bad in ["{", "[]", "7", "\u{1}"] {
        let (status, _) = api.raw(Some(account.clone()), "POST", "/conversations/create", bad.into()).await;
        assert_eq!(status, 400, "{bad}");
        let (status, _) = api.raw(Some(account.clone()), "POST", "/chat/messages", bad.into()).await;
        assert_eq!(status, 400, "{bad}");
    }
    let (status, _) = api.raw(Some(account), "POST", "/chat/messages", vec![0xff]).await;
    assert_eq!(status, 400);
    db.finish().await;
}

#[tokio::test]
async fn a_profile_is_written_as_the_original_wrote_it() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let alice = db.user("alice").await;
    let (status, body) = api.ask(Some(alice), "GET", "/users/me", &NONE).await;
    assert_eq!((status, &body["message"]), (200, &json!("Get current user information success")));
    let data = &body["data"];
    assert_eq!(data["password"], "*********");
    assert_eq!((&data["type"], &data["isReported"], &data["preferences"]), (&json!("USER"), &NONE, &NONE));
    assert_eq!(data.as_object().unwrap().len(), 14);
    assert_eq!(api.ask(Some(alice), "GET", "/users/profile", &NONE).await, (status, body));
    db.finish().await;
}

#[tokio::test]
async fn a_group_is_created_as_the_original_client_asks_and_reads() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob, carol) = (db.user("alice").await, db.user("bob").await, db.user("carol").await);
    let member = |user: UserId| json!({ "userId": user, "type": "MEMBER" });
    let form = json!({ "title": "team", "channelId": 2, "avatarUrl": "https://example.com/a.png",
                       "participants": [member(bob), member(carol)] });
    let (status, body) = api.ask(Some(alice), "POST", "/conversations/create", &form).await;
    assert_eq!(status, 201, "{body}");
    let data = &body["data"];
    assert_eq!(
        (&data["title"], &data["channelId"], &data["creatorId"]),
        (&json!("team"), &json!(2), &json!(alice))
    );
    assert_eq!(data["conversationType"], 0);
    assert_eq!(data["avatar_url"], "https://example.com/a.png");
    assert_eq!(data["created_at"], data["createdAt"]);
    assert_eq!(data["lastMessage"], NONE);
    let people: Vec<_> = data["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["user_id"].as_i64().unwrap(),
                one["type"].as_str().unwrap(),
                one["user"]["firstName"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(people, [(alice.0, "lead", "alice"), (bob.0, "member", "bob"), (carol.0, "member", "carol")]);
    assert_eq!(db.count("select count(*) from participants where status = 'VERIFIED'").await, 3);

    // The seed's path, the creator named too, two people.
    let pair = json!({ "title": "pair", "participants": [member(alice), member(bob)] });
    let (status, body) = api.ask(Some(alice), "POST", "/chat/conversations", &pair).await;
    assert_eq!((status, &body["data"]["conversationType"]), (201, &json!(1)));

    let at_least = json!("At least one participant is required besides the creator");
    let invalid = json!("One or more participants are invalid or inactive");
    let refused = [
        (json!([]), at_least.clone()),
        (json!([member(alice)]), at_least),
        (json!([member(bob), member(bob)]), json!("Duplicate participants are not allowed")),
        (json!([member(bob), member(UserId(99))]), invalid.clone()),
        (json!("x"), json!(["participants must be an array"])),
        (
            json!([{ "userId": "x", "type": "MEMBER" }]),
            json!(["participants.0.userId must be an integer number"]),
        ),
        (json!([{ "userId": bob, "type": "KING" }]), json!(["participants.0.type must be LEAD or MEMBER"])),
    ];
    for (participants, message) in refused {
        let form = json!({ "title": "t", "participants": participants });
        let (status, body) = api.ask(Some(alice), "POST", "/conversations/create", &form).await;
        assert_eq!((status, &body["message"]), (400, &message));
    }
    let (status, body) = api.ask(Some(alice), "POST", "/conversations/create", &NONE).await;
    let expect = json!(["title should not be empty", "participants must be an array"]);
    assert_eq!((status, &body["message"]), (400, &expect));

    // Who has blocked the creator is not dragged in, and does not show by it.
    db.client.execute("insert into blocks values ($1, $2)", &[&carol.0, &alice.0]).await.unwrap();
    let (status, body) = api.ask(Some(alice), "POST", "/conversations/create", &form).await;
    assert_eq!((status, &body["message"]), (400, &invalid));
    db.client.execute("update users set is_active = false where id = $1", &[&bob.0]).await.unwrap();
    let (status, body) = api.ask(Some(alice), "POST", "/conversations/create", &pair).await;
    assert_eq!((status, &body["message"]), (400, &invalid));
    assert_eq!(db.count("select count(*) from conversations").await, 2, "a refusal leaves nothing behind");
    db.finish().await;
}

#[tokio::test]
async fn the_list_has_the_last_active_first_and_only_ones_own() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob, eve) = (db.user("alice").await, db.user("bob").await, db.user("eve").await);
    let one = db.conversation(&[alice, bob]).await;
    let two = db.conversation(&[alice, bob]).await;
    let other = db.conversation(&[eve, bob]).await;
    db.client.execute("update conversations set title = 'Café 100%' where id = $1", &[&two.0]).await.unwrap();
    let mut long = text(bob, one, "long");
    long.event.content = "é".repeat(900);
    db.store.save_messages(&[long]).await.unwrap();

    let list = async |who, query: &str| {
        let (status, body) = api.ask(Some(who), "GET", &format!("/conversations{query}"), &NONE).await;
        assert_eq!(status, 200, "{body}");
        let ids: Vec<_> = body["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_i64().unwrap())
            .collect();
        (ids, body["data"].clone())
    };
    let (ids, data) = list(alice, "?page=1&size=20").await;
    assert_eq!(ids, [one.0, two.0]);
    assert_eq!((&data["totalElement"], &data["totalPage"]), (&json!(2), &json!(1)));
    let last = &data["result"][0]["lastMessage"];
    assert_eq!((&last["user"], &last["user"]["firstName"]), (&last["sender"], &json!("bob")));
    assert_eq!(last["content"].as_str().unwrap().chars().count(), 500, "a preview");
    assert_eq!(data["result"][0]["unreadCount"], 1);
    assert_eq!(data["result"][0]["conversationType"], 1);

    assert_eq!(list(alice, "?order=asc").await.0, [two.0, one.0]);
    assert_eq!(list(alice, "?order=desc&size=1").await.0, [one.0]);
    assert_eq!(list(alice, "?page=2&size=1").await.0, [two.0]);
    let (ids, data) = list(alice, "?page=3&size=1").await;
    assert_eq!((ids, &data["totalElement"], &data["totalPage"]), (vec![], &json!(2), &json!(2)));
    assert_eq!(list(alice, "?search=caf%C3%A9+100%25").await.0, [two.0]);
    assert_eq!(list(alice, "?search=_").await.0, [0_i64; 0]);
    assert_eq!(list(eve, "").await.0, [other.0]);
    assert_eq!(
        api.ask(Some(UserId(99)), "GET", "/conversations", &NONE).await.0,
        401,
        "there is no such account"
    );
    let (_, aliased) = api.ask(Some(alice), "GET", "/chat/conversations", &NONE).await;
    assert_eq!(aliased["data"]["totalElement"], 2);

    let (status, _) = api.ask(Some(eve), "GET", &format!("/conversations/{one}"), &NONE).await;
    assert_eq!(status, 404);
    let (status, body) = api.ask(Some(alice), "GET", &format!("/conversations/{one}"), &NONE).await;
    assert_eq!((status, &body["data"]["participantCount"]), (200, &json!(2)));
    assert_eq!(body["data"]["lastMessage"]["content"].as_str().unwrap().chars().count(), 900);

    // Not verified, or deleted: as if it were not there.
    db.client.execute("update conversations set deleted_at = now() where id = $1", &[&one.0]).await.unwrap();
    let unverify =
        "update participants set status = 'UNVERIFIED' where conversation_id = $1 and user_id = $2";
    db.client.execute(unverify, &[&two.0, &alice.0]).await.unwrap();
    assert_eq!(list(alice, "").await.0, [0_i64; 0]);
    for id in [one, two] {
        assert_eq!(api.ask(Some(alice), "GET", &format!("/conversations/{id}"), &NONE).await.0, 404);
        assert_eq!(api.ask(Some(alice), "GET", &format!("/conversations/{id}/message"), &NONE).await.0, 404);
    }
    db.finish().await;
}

#[tokio::test]
async fn a_history_is_paged_in_both_shapes_and_by_seq() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, eve) = (db.user("alice").await, db.user("eve").await);
    let talk = db.conversation(&[alice]).await;
    let history = async |query: &str| {
        let path = format!("/conversations/{talk}/message{query}");
        let (status, body) = api.ask(Some(alice), "GET", &path, &NONE).await;
        assert_eq!(status, 200, "{body}");
        let seqs: Vec<_> = body["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["seq"].as_u64().unwrap())
            .collect();
        (seqs, body["data"].clone())
    };
    let (seqs, data) = history("?page=1&size=15&order=desc").await;
    assert_eq!((seqs, &data["totalElement"]), (vec![], &json!(0)), "empty is no error");

    let batch: Vec<_> = (1..=40).map(|n| text(alice, talk, &format!("m{n}"))).collect();
    db.store.save_messages(&batch).await.unwrap();
    let (seqs, data) = history("?page=1&size=15&order=desc").await;
    assert_eq!(seqs, (26..=40).collect::<Vec<_>>());
    assert_eq!((&data["page"], &data["size"], &data["totalPage"]), (&json!(1), &json!(15), &json!(3)));
    assert_eq!(data["nextBefore"], 26);
    let first = &data["result"][0];
    assert_eq!((&first["timestamp"], &first["user"]), (&first["createdAt"], &first["sender"]));
    assert_eq!(history("?page=3&size=15&order=desc").await.0, (1..=10).collect::<Vec<_>>());
    assert_eq!(history("?page=2&size=15&order=asc").await.0, (16..=30).collect::<Vec<_>>());
    let (seqs, data) = history("?before=6&limit=10").await;
    assert_eq!((seqs, &data["nextBefore"]), (vec![1, 2, 3, 4, 5], &NONE));
    assert_eq!(history("?size=1000000").await.0.len(), 40);

    for path in
        [format!("/chat/conversations/{talk}/messages?limit=3"), format!("/chat/messages/{talk}?limit=3")]
    {
        let (status, body) = api.ask(Some(alice), "GET", &path, &NONE).await;
        let seqs: Vec<_> =
            body["data"]["data"].as_array().unwrap().iter().map(|one| one["seq"].as_u64().unwrap()).collect();
        assert_eq!((status, seqs), (200, vec![40, 39, 38]));
        assert_eq!(
            body["data"]["meta"],
            json!({ "total": 40, "changeSeq": 0, "page": 1, "limit": 3, "totalPages": 14, "nextBefore": 38 })
        );
        assert_eq!(api.ask(Some(eve), "GET", &path, &NONE).await.0, 403);
    }
    let id = data["result"][0]["id"].clone();
    let (status, body) = api.ask(Some(alice), "GET", &format!("/chat/messages/{id}"), &NONE).await;
    assert_eq!((status, &body["data"]["seq"]), (200, &json!(1)));
    assert_eq!(api.ask(Some(eve), "GET", &format!("/chat/messages/{id}"), &NONE).await.0, 404);
    db.finish().await;
}

#[tokio::test]
async fn an_answer_is_never_larger_than_its_limit() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    for part in 0..4 {
        let batch: Vec<_> = (0..50)
            .map(|n| {
                let mut new = text(alice, talk, &format!("m{part}-{n}"));
                new.event.content = "\u{1}".repeat(8_000);
                new
            })
            .collect();
        db.store.save_messages(&batch).await.unwrap();
    }
    let path = format!("/conversations/{talk}/message?page=1&size=200");
    let (_, body) = api.ask(Some(alice), "GET", &path, &NONE).await;
    let bytes = body.to_string().len();
    assert!(bytes <= common::limits::API_ANSWER_BYTES_MAX && bytes > 900_000, "{bytes}");
    let seqs = body["data"]["result"].as_array().unwrap();
    assert_eq!(seqs.last().unwrap()["seq"], 200, "the newest are kept");
    assert_eq!(body["data"]["nextBefore"], seqs[0]["seq"]);
    db.finish().await;
}

/// A whole worker: the message goes over its lane, and the answer is the row.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_over_rest_takes_the_lane_and_comes_back_as_its_row() {
    let Some(db) = Database::fresh().await else { return };
    let (alice, eve) = (db.user("alice").await, db.user("eve").await);
    let talk = db.conversation(&[alice]).await;
    let (bus, node) = (Bus::memory(), NodeId(7));
    let mut env = common::config::Env::from_pairs([("CHATCHIT_ENV", "development")]);
    let mut config = worker::WorkerConfig::from_env(&mut env);
    config.auth = auth_config();
    let started = worker::Worker::start(
        &config,
        worker::features::ALL,
        node,
        db.store.clone(),
        bus.clone(),
        Directory::memory(),
    )
    .await
    .unwrap();
    let lifecycle = Lifecycle::manual();
    let running = tokio::spawn(started.run(lifecycle.clone()));

    let send = async |user: UserId, body: Value| {
        let account = Account { user, login: LoginId(1), role: Role::User, expires_s: i64::MAX };
        let request = request(Some(account), "POST", "/chat/messages", body.to_string().into_bytes());
        let subject = Subject::new("api.chat").unwrap();
        let deadline = std::time::Duration::from_secs(10);
        let answer = bus.request(subject, protocol::encode(&request), deadline).await.unwrap();
        let answer: ApiResponse = protocol::decode(&answer).unwrap();
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let hello = json!({ "conversationId": talk, "conversationType": "GROUP", "messageType": "TEXT",
                        "content": "xin chào", "guid": "g-1" });
    let (status, body) = send(alice, hello.clone()).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!((&body["data"]["content"], &body["data"]["seq"]), (&json!("xin chào"), &json!(1)));
    assert_eq!(send(alice, hello).await, (status, body), "the same guid is the same row");
    let (status, body) = send(alice, json!({ "conversationId": talk, "content": "again" })).await;
    assert_eq!((status, &body["data"]["seq"]), (201, &json!(2)));

    let (status, body) = send(eve, json!({ "conversationId": talk, "content": "let me in" })).await;
    assert_eq!((status, &body["message"]), (403, &json!("You do not have access to this conversation")));
    let (status, _) = send(alice, json!({ "conversationId": talk, "content": "x".repeat(8_001) })).await;
    assert_eq!(status, 413);
    let (status, _) = send(alice, json!({ "conversationId": talk })).await;
    assert_eq!(status, 400);
    assert_eq!(db.count("select count(*) from messages").await, 2);

    lifecycle.drain();
    running.await.unwrap().unwrap();
    db.finish().await;
}

#[tokio::test]
async fn a_database_that_is_away_is_busy_and_not_the_clients_fault() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let alice = db.user("alice").await;
    db.client.batch_execute("alter table users rename to users_away").await.unwrap();
    let (status, body) = api.ask(Some(alice), "GET", "/users/me", &NONE).await;
    assert_eq!((status, &body["error"]), (503, &json!("Service Unavailable")));
    assert!(!body.to_string().contains("users"), "nothing of the inside: {body}");
    db.client.batch_execute("alter table users_away rename to users").await.unwrap();
    assert_eq!(api.ask(Some(alice), "GET", "/users/me", &NONE).await.0, 200);
    db.finish().await;
}

/// All pages of each size and order: each message once, however large the messages are.
#[tokio::test]
async fn every_message_is_on_exactly_one_page() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let alice = db.user("alice").await;
    let talk = db.conversation(&[alice]).await;
    let batch: Vec<_> = (0..60)
        .map(|n| {
            let mut new = text(alice, talk, &format!("m{n}"));
            new.event.content =
                if n % 3 == 2 { "short \"quoted\"".into() } else { "\u{1f600}".repeat(8_000) };
            new
        })
        .collect();
    db.store.save_messages(&batch).await.unwrap();
    for (size, order) in [(60, "desc"), (60, "asc"), (40, "desc"), (40, "asc"), (7, "desc"), (3, "asc")] {
        let (mut seqs, mut page, mut pages) = (Vec::new(), 1, 1);
        while page <= pages {
            let path = format!("/conversations/{talk}/message?page={page}&size={size}&order={order}");
            let (status, body) = api.ask(Some(alice), "GET", &path, &NONE).await;
            assert_eq!(status, 200, "{path}");
            let data = &body["data"];
            let result = data["result"].as_array().unwrap();
            assert!(!result.is_empty() && result.len() as u64 <= data["size"].as_u64().unwrap(), "{path}");
            seqs.extend(result.iter().map(|one| one["seq"].as_u64().unwrap()));
            pages = data["totalPage"].as_u64().unwrap();
            page += 1;
        }
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=60).collect::<Vec<_>>(), "{size} {order}");
    }
    db.finish().await;
}

#[tokio::test]
async fn nobody_reads_the_address_of_another_person() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let form = json!({ "title": "t", "participants": [{ "userId": bob, "type": "MEMBER" }] });
    let (_, made) = api.ask(Some(alice), "POST", "/conversations/create", &form).await;
    let talk = protocol::ids::ConversationId(made["data"]["id"].as_i64().unwrap());
    let said = db.say(bob, talk, "g").await;
    let mut answers = vec![made];
    for path in [
        "/conversations".to_owned(),
        format!("/conversations/{talk}"),
        format!("/conversations/{talk}/message"),
        format!("/chat/conversations/{talk}/messages"),
        format!("/chat/messages/{}", said.message),
    ] {
        let (status, body) = api.ask(Some(alice), "GET", &path, &NONE).await;
        assert_eq!(status, 200, "{path}");
        answers.push(body);
    }
    for body in answers {
        assert!(body.to_string().contains("\"bob\""), "{body}");
        assert!(!body.to_string().contains("@example.com"), "{body}");
    }
    db.finish().await;
}

#[tokio::test]
async fn conversations_are_made_at_a_rate_counted_in_members_too() {
    let Some(db) = Database::fresh().await else { return };
    let api = Client::new(db.store.clone());
    let (alice, bob) = (db.user("alice").await, db.user("bob").await);
    let form = |avatar: &str| json!({ "title": "t", "avatarUrl": avatar, "participants": [{ "userId": bob, "type": "MEMBER" }] });
    let make =
        async |user, avatar: &str| api.ask(Some(user), "POST", "/chat/conversations", &form(avatar)).await;
    for bad in ["javascript:alert(1)", "data:text/html,x", "file:///x"] {
        let (status, body) = make(alice, bad).await;
        assert_eq!((status, &body["message"]), (400, &json!(["avatarUrl must be an http or https URL"])));
    }
    let mut refused = 0;
    for _ in 0..common::limits::CONVERSATIONS_BURST + 5 {
        refused += u32::from(make(alice, "https://a.example/x.png").await.0 == 429);
    }
    assert!((3..=5).contains(&refused), "{refused}");
    assert_eq!(make(bob, "").await.0, 400, "another person is not slowed: it only names itself");

    // A group of the largest size, and then there is no room for as large a one.
    let carol = db.user("carol").await;
    db.client
        .batch_execute(
            "insert into users (email, phone, password) select 'x' || n || '@example.com', 'x' || n, ''
               from generate_series(1, 4000) n",
        )
        .await
        .unwrap();
    let ids = db.client.query("select id from users where phone like 'x%'", &[]).await.unwrap();
    let others: Vec<_> =
        ids.iter().map(|row| json!({ "userId": row.get::<_, i64>(0), "type": "MEMBER" })).collect();
    let large = json!({ "title": "t", "participants": others });
    assert_eq!(api.ask(Some(carol), "POST", "/conversations/create", &large).await.0, 201);
    assert_eq!(api.ask(Some(carol), "POST", "/conversations/create", &large).await.0, 429);
    db.finish().await;
}
