//! Histories from a real streaming replica: one that keeps up, one that lags, one that is away.
//!
//! What proves where a page came from is the replica itself: while it replays nothing, it shows a
//! message as it was before the primary's row was changed behind the store's back.

use std::process::Command;
use std::time::Duration;

use crate::cluster::proxy::Proxy;
use crate::support::client::Client;
use crate::support::postgres::{Database, open, text};
use common::limits::{REPLICA_MS_MAX, REPLICA_PAUSE_MS};
use common::telemetry;
use protocol::events::message::ConversationKind;
use protocol::ids::{ConversationId, UserId};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};
use worker::features::messages::{HistoryPage, Missing, Standing};
use worker::store::Store;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const NEWEST: HistoryPage = HistoryPage::Before { before: u64::MAX, limit: 5 };

/// There is one replica: one test at a time pauses it.
static REPLICA: Mutex<()> = Mutex::const_new(());

/// A database, its replica, and a store that reads from it.
struct Pair {
    db: Database,
    store: Store,
    replica: tokio_postgres::Client,
    url: String,
    _alone: MutexGuard<'static, ()>,
}

impl Pair {
    async fn start() -> Option<Self> {
        let server = testing::variable("STANDBY_URL")?;
        telemetry::init_metrics();
        let alone = REPLICA.lock().await;
        let db = Database::fresh().await?;
        let url = db.on(&server);
        let store = db.store.clone().with_replica(&url, 4).unwrap();
        let replica = open(&server).await;
        replica.batch_execute("select pg_wal_replay_resume()").await.unwrap();
        Some(Self { db, store, replica, url, _alone: alone })
    }

    /// Until the replica has everything that was committed so far.
    async fn caught_up(&self) {
        let now = "select pg_current_wal_lsn()::text";
        let lsn: String = self.db.client.query_one(now, &[]).await.unwrap().get(0);
        let has = format!("select pg_last_wal_replay_lsn() >= '{lsn}'");
        self.until(&has).await;
    }

    async fn pause(&self) {
        self.replica.batch_execute("select pg_wal_replay_pause()").await.unwrap();
        self.until("select pg_get_wal_replay_pause_state() = 'paused'").await;
    }

    async fn resume(&self) {
        self.replica.batch_execute("select pg_wal_replay_resume()").await.unwrap();
        self.caught_up().await;
    }

    async fn until(&self, question: &str) {
        let asking = async {
            while !self.replica.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
                self.replica.batch_execute("select pg_sleep(0.01)").await.unwrap();
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {question}"));
    }

    /// Changes a row without a word to anybody.
    async fn rewrite(&self, talk: ConversationId, seq: i64, content: &str) {
        let sql = "update messages set content = $3 where conversation_id = $1 and seq = $2";
        self.db.client.execute(sql, &[&talk.0, &seq, &content]).await.unwrap();
    }

    async fn contents(&self, user: UserId, talk: ConversationId) -> Vec<String> {
        contents(&self.store, user, talk).await
    }

    async fn finish(self) {
        drop((self.store, self.replica));
        self.db.finish().await;
    }
}

async fn contents(store: &Store, user: UserId, talk: ConversationId) -> Vec<String> {
    let history = store.history(user, talk, NEWEST).await.unwrap().expect("a member may read");
    history.messages.into_iter().map(|message| message.content).collect()
}

fn missing(conversation: ConversationId, seq: u64, standing: Standing) -> Missing {
    Missing { conversation, seq, change_seq: 0, standing }
}

/// How often reads ended so.
fn counted(outcome: &str) -> u64 {
    let line = format!("worker_store_replica_reads_total{{outcome=\"{outcome}\"}} ");
    let text = telemetry::init_metrics().render();
    text.lines().find_map(|one| one.strip_prefix(&line)).map_or(0, |number| number.parse().unwrap())
}

/// How many readings of histories the store had no answer for. Other tests of this program break other statements.
fn unanswered() -> u64 {
    let text = telemetry::init_metrics().render();
    let failures = text.lines().filter(|line| line.starts_with("worker_store_failures_total{"));
    let failures = failures.filter(|line| line.contains("history\"") || line.contains("messages_after\""));
    failures.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_and_what_was_missed_come_from_the_replica() {
    let Some(pair) = Pair::start().await else { return };
    let (alice, bob) = (pair.db.user("alice").await, pair.db.user("bob").await);
    let talk = pair.db.conversation(&[alice, bob]).await;
    let silent = pair.db.conversation(&[alice]).await;
    for guid in ["one", "two", "three"] {
        pair.db.say(alice, talk, guid).await;
    }
    pair.caught_up().await;
    pair.pause().await;
    pair.rewrite(talk, 2, "changed").await;

    let before = counted("served");
    assert_eq!(pair.contents(bob, talk).await, ["one", "two", "three"], "from the replica");
    assert_eq!(contents(&pair.db.store, bob, talk).await, ["one", "changed", "three"], "from the primary");
    for page in [
        HistoryPage::Page { page: 1, size: 2, from_newest: true },
        HistoryPage::Page { page: 1, size: 2, from_newest: false },
        HistoryPage::Before { before: 2, limit: 2 },
    ] {
        let seqs = |history: Option<worker::features::messages::History>| {
            let history = history.unwrap();
            (history.head, history.messages.iter().map(|one| (one.seq, one.kind)).collect::<Vec<_>>())
        };
        let here = seqs(pair.db.store.history(alice, talk, page).await.unwrap());
        assert_eq!(seqs(pair.store.history(alice, talk, page).await.unwrap()), here, "{page:?}");
    }
    let standings = pair.store.standings(alice, &[talk, silent]).await.unwrap();
    let wanted = [(silent, 0), (talk, 1)].map(|(id, seq)| missing(id, seq, standings[&id]));
    let missed = pair.store.messages_after(&wanted, 10).await.unwrap();
    let missed: Vec<_> = missed.iter().map(|one| (one.conversation, one.content.as_str())).collect();
    assert_eq!(missed, [(talk, "two"), (talk, "three")]);
    assert_eq!(counted("served"), before + 5);

    // Over REST it is the same page.
    let api = Client::new(pair.store.clone());
    let path = format!("/chat/conversations/{talk}/messages?limit=2");
    let (status, body) = api.ask(Some(alice), "GET", &path, &Value::Null).await;
    assert_eq!((status, &body["data"]["data"][1]["content"]), (200, &"two".into()));
    assert_eq!(counted("served"), before + 6);
    pair.resume().await;
    assert_eq!(pair.contents(bob, talk).await, ["one", "changed", "three"]);
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_hides_nothing_and_lets_nobody_in() {
    let Some(pair) = Pair::start().await else { return };
    let (alice, bob, eve) =
        (pair.db.user("alice").await, pair.db.user("bob").await, pair.db.user("eve").await);
    let (talk, quiet) =
        (pair.db.conversation(&[alice, bob]).await, pair.db.conversation(&[alice, bob]).await);
    pair.db.say(alice, talk, "old").await;
    pair.db.say(alice, quiet, "here").await;
    pair.caught_up().await;
    pair.pause().await;
    pair.rewrite(quiet, 1, "changed").await;

    // What is new is there at once, and what has not changed is still the replica's.
    let (behind, served) = (counted("behind"), counted("served"));
    pair.db.say(alice, talk, "new").await;
    assert_eq!(pair.contents(bob, talk).await, ["old", "new"]);
    let standings = pair.store.standings(bob, &[talk, quiet]).await.unwrap();
    let wanted = [(quiet, 0), (talk, 1)].map(|(id, seq)| missing(id, seq, standings[&id]));
    let missed = pair.store.messages_after(&wanted, 10).await.unwrap();
    let missed: Vec<_> = missed.iter().map(|one| one.content.as_str()).collect();
    assert_eq!(missed, ["changed", "new"], "one conversation that lags sends all of them to the primary");
    assert_eq!(pair.contents(bob, quiet).await, ["here"], "from the replica");
    let fresh = pair.db.conversation(&[alice]).await;
    pair.db.say(alice, fresh, "unheard-of").await;
    assert_eq!(pair.contents(alice, fresh).await.len(), 1);
    assert_eq!((counted("behind"), counted("served")), (behind + 3, served + 1));

    // Who is no member is refused without a look at the replica, also who still is one there.
    let sql = "update participants set status = 'REJECTED' where conversation_id = $1 and user_id = $2";
    pair.db.client.execute(sql, &[&quiet.0, &bob.0]).await.unwrap();
    let there = open(&pair.url).await;
    let still = "select count(*) from participants where user_id = $1 and status = 'VERIFIED'";
    assert_eq!(there.query_one(still, &[&bob.0]).await.unwrap().get::<_, i64>(0), 2, "the replica lags");
    let served = counted("served");
    let api = Client::new(pair.store.clone());
    for user in [eve, bob] {
        assert_eq!(pair.store.history(user, quiet, NEWEST).await.unwrap(), None);
        assert!(pair.store.standings(user, &[quiet]).await.unwrap().is_empty());
        let path = format!("/chat/conversations/{quiet}/messages");
        assert_eq!(api.ask(Some(user), "GET", &path, &Value::Null).await.0, 403);
        let path = format!("/conversations/{quiet}/message?page=1&size=5");
        assert_eq!(api.ask(Some(user), "GET", &path, &Value::Null).await.0, 404);
    }
    assert_eq!((counted("behind"), counted("served")), (behind + 3, served));
    pair.resume().await;
    assert_eq!(pair.contents(alice, talk).await, ["old", "new"]);
    assert_eq!(counted("served"), served + 1);
    pair.finish().await;
}

/// A replica that has every message but not what happened to them, or not who came and went, is behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_misses_a_change_is_not_believed() {
    let Some(pair) = Pair::start().await else { return };
    let (alice, bob, eve) =
        (pair.db.user("alice").await, pair.db.user("bob").await, pair.db.user("eve").await);
    let talk = pair.db.conversation(&[alice, bob]).await;
    pair.db.say(alice, talk, "leaked").await;
    pair.db.say(alice, talk, "harmless").await;
    pair.caught_up().await;
    pair.pause().await;

    let behind = counted("behind");
    assert_eq!(pair.db.store.redact_message(talk, 1).await.unwrap(), Some(1));
    assert_eq!(pair.contents(bob, talk).await, ["", "harmless"], "from the primary");
    let standing = pair.store.standings(bob, &[talk]).await.unwrap()[&talk];
    let wanted = [missing(talk, 0, standing)];
    assert_eq!(pair.store.messages_after(&wanted, 10).await.unwrap()[0].content, "");
    let held = [missing(talk, 2, standing)];
    let changes = pair.store.changes_after(&held, 10).await.unwrap();
    assert_eq!(changes.iter().map(|one| (one.seq, one.change_seq)).collect::<Vec<_>>(), [(1, 1)]);
    assert_eq!(counted("behind"), behind + 3);

    pair.resume().await;
    let served = counted("served");
    assert_eq!(pair.store.changes_after(&held, 10).await.unwrap(), changes, "and then from the replica");
    assert_eq!(counted("served"), served + 1);
    pair.pause().await;
    let join = "insert into participants (conversation_id, user_id, status) values ($1, $2, 'VERIFIED')";
    pair.db.client.execute(join, &[&talk.0, &eve.0]).await.unwrap();
    let behind = counted("behind");
    let history = pair.store.history(eve, talk, NEWEST).await.unwrap().unwrap();
    assert_eq!(history.messages[0].kind, ConversationKind::Group, "it was of two");
    assert_eq!(counted("behind"), behind + 1);
    pair.resume().await;
    pair.finish().await;
}

/// Everything at once: readers read while somebody writes, and each sees what was acknowledged
/// before it asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_is_in_every_page() {
    let Some(pair) = Pair::start().await else { return };
    let alice = pair.db.user("alice").await;
    let talk = pair.db.conversation(&[alice]).await;
    let (store, db) = (pair.store.clone(), &pair.db);
    let (told, heard) = tokio::sync::watch::channel(0);
    // It must know the new database before it can be asked.
    pair.caught_up().await;
    let all = || ["served", "behind", "slow", "failed", "promoted", "paused"].map(counted);
    let before = all();
    let writing = async {
        for n in 1..=300_u64 {
            let saved = db.store.save_messages(&[text(alice, talk, &format!("m{n}"))]).await.unwrap();
            assert_eq!(saved.len(), 1);
            told.send_replace(n);
        }
        drop(told);
    };
    let reading = async {
        let mut reads = 0;
        loop {
            let known = *heard.borrow();
            let history = store.history(alice, talk, NEWEST).await.unwrap().unwrap();
            let last = history.messages.last().map_or(0, |message| message.seq);
            assert!(last >= known && history.head >= known, "{last} of {known}");
            reads += 1;
            if known == 300 {
                return reads;
            }
        }
    };
    let ((), reads) = tokio::join!(writing, reading);
    let came: Vec<u64> = all().iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(came.iter().sum::<u64>(), reads, "each is counted: {came:?}");
    assert!(came[0] + came[1] > 0, "the replica was asked: {came:?}");
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_is_not_noticed() {
    let Some(pair) = Pair::start().await else { return };
    let peers = |command: &str| {
        let script = std::env::var("CHATCHIT_PEERS").expect("whoever names the replica names the script");
        assert!(Command::new(script).args([command, "standby"]).status().unwrap().success());
    };
    let alice = pair.db.user("alice").await;
    let talk = pair.db.conversation(&[alice]).await;
    pair.db.say(alice, talk, "one").await;
    pair.caught_up().await;
    assert_eq!(pair.contents(alice, talk).await, ["one"]);
    // It will start again from here, and not replay all that the tests before have done.
    pair.db.client.batch_execute("checkpoint").await.unwrap();
    pair.caught_up().await;
    pair.replica.batch_execute("checkpoint").await.unwrap();

    peers("kill");
    let before = (counted("failed"), counted("paused"));
    let failures = unanswered();
    let start = Instant::now();
    for n in 2..=20 {
        pair.db.say(alice, talk, &format!("m{n}")).await;
        assert_eq!(pair.contents(alice, talk).await.last(), Some(&format!("m{n}")));
    }
    let took = start.elapsed();
    assert!(took < Duration::from_millis(REPLICA_PAUSE_MS), "{took:?}");
    assert_eq!((counted("failed"), counted("paused")), (before.0 + 1, before.1 + 18));
    assert_eq!(unanswered(), failures, "the primary answered: nothing failed, and nobody is paged");

    peers("start");
    let served = counted("served");
    let trying = async {
        while counted("served") == served {
            assert_eq!(pair.contents(alice, talk).await.len(), 5);
            // The pause is measured by the clock of the store.
            pair.db.client.batch_execute("select pg_sleep(0.1)").await.unwrap();
        }
    };
    timeout(PATIENCE, trying).await.expect("the replica is asked again");
    pair.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_falls_silent_costs_its_limit_once() {
    let Some(pair) = Pair::start().await else { return };
    let alice = pair.db.user("alice").await;
    let talk = pair.db.conversation(&[alice]).await;
    pair.db.say(alice, talk, "one").await;
    pair.caught_up().await;
    let line = Proxy::before(&pair.url).await;
    let store = pair.db.store.clone().with_replica(&line.url, 4).unwrap();
    let served = counted("served");
    assert_eq!(contents(&store, alice, talk).await, ["one"]);
    assert_eq!(counted("served"), served + 1);

    line.silence();
    let before = (counted("slow"), counted("paused"));
    let start = Instant::now();
    assert_eq!(contents(&store, alice, talk).await, ["one"]);
    let first = start.elapsed();
    let limit = Duration::from_millis(REPLICA_MS_MAX);
    assert!(first >= limit && first < 3 * limit, "{first:?}");
    assert_eq!(contents(&store, alice, talk).await, ["one"]);
    assert!(start.elapsed() - first < limit, "{:?}", start.elapsed());
    assert_eq!((counted("slow"), counted("paused")), (before.0 + 1, before.1 + 1));
    pair.finish().await;
}

/// A replica that has become a primary, or a URL of the primary itself: what it says may be of
/// another life.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_replica_is_not_believed() {
    let Some(pair) = Pair::start().await else { return };
    let alice = pair.db.user("alice").await;
    let talk = pair.db.conversation(&[alice]).await;
    pair.db.say(alice, talk, "one").await;
    let store = pair.db.store.clone().with_replica(&pair.db.url, 1).unwrap();
    let before = (counted("promoted"), counted("paused"));
    for _ in 0..2 {
        assert_eq!(contents(&store, alice, talk).await, ["one"]);
    }
    assert_eq!((counted("promoted"), counted("paused")), (before.0 + 1, before.1 + 1));
    assert!(pair.db.store.clone().with_replica("not a url", 1).is_err());
    pair.finish().await;
}
