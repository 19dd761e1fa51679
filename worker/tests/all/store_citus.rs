//! Would the schema and the statements of the store fit a Citus cluster? Citus itself is not here.
//! What is held: `deploy/citus/distribute.sql` runs against the real schema, under Citus's rules
//! for what it distributes (`citus/rules.sql` beside this file says them in SQL); and each
//! statement of the store, by its plan, names the conversation of every row of a distributed
//! table that it touches, or is listed here with the reason why it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::postgres::Database;
use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use worker::features::statements;
use worker::store::Statement;

/// The stand-ins for Citus's functions.
const RULES: &str = include_str!("citus/rules.sql");

/// These ask every node, and why that is well.
const EVERYWHERE: &[(&str, &str)] = &[
    ("conversations_of", "a user's conversations are on all nodes; one short index scan on each"),
    ("conversations_from", "as `conversations_of`"),
    ("conversations_made", "counts what a user has made when it makes one more; as `conversations_of`"),
    ("circles", "whose presence is told: a user's conversations are on all nodes, as above"),
    ("places_of_sender", "only an operator asks it, for an old message; as `conversations_of`"),
    ("message", "its id is all that the route has; one look into an index on each"),
];

/// What a column is called that holds a conversation's id.
const CARRIERS: &[&str] = &["conversation_id", "c_id"];

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// What is distributed, and by which column.
async fn distributed(db: &Database) -> BTreeMap<String, String> {
    let sql = "select rel::text, col::text from placed where col is not null";
    let rows = db.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn the_schema_can_be_distributed() {
    let Some(db) = Database::fresh().await else { return };
    db.client.batch_execute(RULES).await.unwrap();
    db.client.batch_execute(&file("deploy/citus/distribute.sql")).await.unwrap();
    db.client.batch_execute("select all_placed()").await.unwrap();
    let placed = distributed(&db).await;
    assert!(placed.contains_key("conversations") && placed.contains_key("messages"), "{placed:?}");
    for (table, column) in placed {
        let expect = if table == "conversations" { "id" } else { "conversation_id" };
        assert_eq!(column, expect, "{table}");
    }
    let left_out = "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid
                     where a.attname = 'conversation_id' and not a.attisdropped
                       and c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = 'public'::regnamespace
                       and c.relname::text not in (select rel::text from placed)";
    let rows = db.client.query(left_out, &[]).await.unwrap();
    let left_out: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(left_out.is_empty(), "a conversation's tables without a line in distribute.sql: {left_out:?}");
    db.finish().await;
}

/// Each rule refuses what it is there for.
#[tokio::test]
async fn the_rules_refuse_what_citus_would() {
    let Some(db) = Database::fresh().await else { return };
    db.client.batch_execute(RULES).await.unwrap();
    let right = file("deploy/citus/distribute.sql");
    let line = |begins: &str| right.lines().find(|line| line.starts_with(begins)).unwrap().to_owned() + "\n";
    let users = line("select create_reference_table('users')");
    let blocks = line("select create_reference_table('blocks')");
    let conversations = line("select create_distributed_table('conversations'");
    let participants = line("select create_distributed_table('participants'");
    let drops: String = right.lines().filter(|line| line.starts_with("drop trigger")).collect();
    let cases = [
        // Its primary key is the id alone.
        (format!("{users}{conversations}{participants}"), "do not include the partition column"),
        (right.replace(&users, ""), "other reference tables"),
        (right.replace(&users, "").replace(&blocks, ""), "Referenced table must be"),
        (right.replace(&conversations, ""), "colocate_with"),
        (right.replace("'messages', 'conversation_id'", "'messages', 'seq_no'"), "no column"),
        (right.replace("'messages', 'conversation_id'", "'messages', 'sender_id'"), "partition column"),
        (right.replace("'messages', 'conv", "'messages_0', 'conv"), "is a partition"),
        (
            format!("alter table messages alter column conversation_id type numeric; {right}"),
            "cannot alter column", // PostgreSQL itself: it is the key of the partitions
        ),
        (
            format!(
                "alter table participants drop constraint participants_conversation_id_fkey,
                     alter column conversation_id type integer; {right}"
            ),
            "types do not match",
        ),
        (format!("{users}{users}"), "already"),
        (format!("{right}; select create_distributed_table('logins', 'user_id')"), "partition column"),
        (
            format!("{right}; create table notes (c bigint references conversations); select all_placed()"),
            "notes",
        ),
        (
            format!("alter table users add column home bigint references conversations; {right}"),
            "reference keys to other reference tables",
        ),
    ];
    for (sql, words) in cases {
        let sql = sql.replace("begin;", "").replace("commit;", "");
        let outcome = db.client.batch_execute(&format!("begin; {drops} {sql}; commit")).await;
        let err = outcome.expect_err(&sql);
        let said = err.as_db_error().map_or_else(String::new, |db| db.message().to_owned());
        assert!(said.contains(words), "{said}\n{sql}");
        db.client.batch_execute("rollback").await.unwrap();
    }
    db.finish().await;
}

/// A statement's plan, made without knowing its values. The values of this run still say which
/// partitions are left out of it, and null would leave out all of them.
async fn plan(client: &Client, statement: &Statement) -> Value {
    let prepared = client.prepare(statement.sql).await.unwrap();
    let values = prepared.params().iter().map(|one| if *one == Type::INT8 { "1" } else { "null" });
    let values = values.collect::<Vec<_>>().join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    client.batch_execute(&format!("prepare planned as {}", statement.sql)).await.unwrap();
    let explain = format!("explain (verbose, format json) execute planned{values}");
    let row = client.query_one(&explain, &[]).await.unwrap();
    client.batch_execute("deallocate planned").await.unwrap();
    row.get::<_, Value>(0)[0]["Plan"].clone()
}

/// What a plan says about the tables it touches.
#[derive(Default)]
struct Touched {
    /// Scans: alias, table.
    scans: BTreeSet<(String, String)>,
    /// Aliases of rows that come from a parameter or from another part of the statement.
    given: BTreeSet<String>,
    /// Partitions: how the whole table is called in the rest of the plan, and the part's alias.
    parts: BTreeSet<(String, String)>,
    /// Pairs that the conditions make equal.
    equal: Vec<(String, String)>,
    /// Tables whose rows it changes, not counting what it only inserts.
    changed: BTreeSet<String>,
    /// Whether it locks rows.
    locks: bool,
}

impl Touched {
    fn read(&mut self, node: &Value) {
        let text = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
        let (kind, alias, table) = (text("Node Type"), text("Alias"), text("Relation Name"));
        // `messages_3` is a partition of `messages`, and `m_3` what `m` is there.
        let whole = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_owned();
        if whole(&table) != table {
            self.parts.insert((whole(&alias), alias.clone()));
        }
        let table = whole(&table);
        if kind == "ModifyTable" {
            if text("Operation") != "Insert" || text("Conflict Resolution") == "UPDATE" {
                self.changed.insert(table);
            }
        } else if !table.is_empty() {
            self.scans.insert((alias, table));
        } else if !alias.is_empty() {
            self.given.insert(alias);
        }
        self.locks |= kind == "LockRows";
        for (name, value) in node.as_object().unwrap() {
            if let (true, Some(condition)) =
                (name.ends_with("Cond") || name.ends_with("Filter"), value.as_str())
            {
                self.equal.extend(equalities(condition));
            }
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.read(child);
        }
    }

    /// Scans of distributed tables that nothing ties to a conversation.
    fn untied(&self, distributed: &BTreeMap<String, String>) -> Vec<String> {
        let is_anchor = |name: &str| {
            let (alias, column) = name.split_once('.').unwrap_or(("", ""));
            name == "ANY"
                || name.starts_with('$')
                || (self.given.contains(alias) && CARRIERS.contains(&column))
        };
        let names = self.equal.iter().flat_map(|(a, b)| [a, b]);
        let mut tied: BTreeSet<String> = names.filter(|name| is_anchor(name)).cloned().collect();
        // Only ids of conversations pass a conversation on.
        let key = |alias: &str| {
            let alias = self.parts.iter().find(|(whole, _)| whole == alias).map_or(alias, |(_, part)| part);
            let (_, table) = self.scans.iter().find(|(scan, _)| scan == alias)?;
            distributed.get(table).map(String::as_str)
        };
        let is_id =
            |name: &str| name.split_once('.').is_some_and(|(alias, column)| key(alias) == Some(column));
        let id_of = |alias: &str| format!("{alias}.{}", key(alias).unwrap_or_default());
        loop {
            let both = self.equal.iter().flat_map(|(a, b)| [(a, b), (b, a)]);
            let joined = both.filter(|(a, b)| tied.contains(*a) && is_id(b)).map(|(_, b)| b.clone());
            // What is tied in its parts is tied as a whole, but not the other way round.
            let parts = self.parts.iter().filter(|(_, part)| tied.contains(&id_of(part)));
            let more: BTreeSet<String> = joined.chain(parts.map(|(whole, _)| id_of(whole))).collect();
            if more.is_subset(&tied) {
                break;
            }
            tied.extend(more);
        }
        let scans = self.scans.iter().filter(|(_, table)| distributed.contains_key(table));
        scans.map(|(alias, _)| id_of(alias)).filter(|id| !tied.contains(id)).collect()
    }
}

/// `((m.conversation_id = w.conversation_id) AND (m.seq > w.seq))`: the pairs around `=`.
fn equalities(condition: &str) -> Vec<(String, String)> {
    let spaced = condition.replace(['(', ')'], " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let pairs = words.windows(3).filter(|three| three[1] == "=");
    pairs.map(|three| (three[0].to_owned(), three[2].to_owned())).collect()
}

/// A database as it is after `distribute.sql`, with the planner as the store has it.
async fn planned() -> Option<(Database, BTreeMap<String, String>)> {
    let db = Database::fresh().await?;
    db.client.batch_execute(RULES).await.unwrap();
    db.client.batch_execute(&file("deploy/citus/distribute.sql")).await.unwrap();
    let session =
        "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_mergejoin = off";
    db.client.batch_execute(session).await.unwrap();
    let distributed = distributed(&db).await;
    Some((db, distributed))
}

#[tokio::test]
async fn every_statement_names_the_conversation_of_what_it_touches() {
    let Some((db, distributed)) = planned().await else { return };
    let (mut everywhere, mut several, mut touching) = (BTreeSet::new(), BTreeSet::new(), 0);
    for statement in statements() {
        let mut touched = Touched::default();
        touched.read(&plan(&db.client, &statement).await);
        let untied = touched.untied(&distributed);
        touching += usize::from(touched.scans.iter().any(|(_, table)| distributed.contains_key(table)));
        if !untied.is_empty() {
            println!("{}: {untied:?}", statement.name);
            everywhere.insert(statement.name);
        }
        let changes = touched.changed.iter().any(|table| distributed.contains_key(table));
        let is_distributed = touched.scans.iter().any(|(_, table)| distributed.contains_key(table));
        if changes || (touched.locks && is_distributed) {
            several.insert(statement.name);
        }
        // What a read replica may serve rests on this (worker/src/store/replica.rs).
        let counts = touched.changed.contains("conversations") && touched.changed.contains("message_changes");
        assert!(!touched.changed.contains("messages") || counts, "{} changes messages", statement.name);
    }
    assert!(touching >= 12, "{touching} statements touch a distributed table");
    assert_eq!(
        everywhere,
        EVERYWHERE.iter().map(|(name, _)| *name).collect(),
        "and no others ask every node"
    );

    // Whatever an operator has to know about is in the document.
    let document = file("deploy/citus/README.md");
    for name in everywhere.iter().chain(&several) {
        assert!(document.contains(&format!("`{name}`")), "{name} is not in deploy/citus/README.md");
    }
    db.finish().await;
}

#[tokio::test]
async fn a_statement_that_does_not_name_it_is_found() {
    let Some((db, distributed)) = planned().await else { return };
    let untied = async |sql: &'static str| {
        let mut touched = Touched::default();
        touched.read(&plan(&db.client, &Statement { name: "", sql }).await);
        touched.untied(&distributed).len()
    };
    let one = "select * from messages m where m.conversation_id = $1 and m.seq > $2";
    assert_eq!(untied(one).await, 0);
    assert!(untied("select * from messages m where m.seq = $1").await > 0);
    assert!(untied("select * from messages m where m.sender_id = $1 and m.conversation_id > $2").await > 0);
    let joined = "select * from participants p join conversations c on c.id = p.conversation_id where ";
    let sql: &'static str = String::leak(format!("{joined} c.id = any($1::bigint[])"));
    assert_eq!(untied(sql).await, 0);
    let sql: &'static str = String::leak(format!("{joined} p.user_id = $1"));
    assert_eq!(untied(sql).await, 2, "tied to each other, and to nothing else");
    let crossed = "select * from participants p join messages m on m.id = p.conversation_id where p.conversation_id = $1";
    assert!(untied(crossed).await > 0, "a column that is no conversation's passes nothing on");
    assert!(untied("update conversations c set title = $2 where c.title = $1").await > 0);
    db.finish().await;
}

/// The statements looked at above are all there are.
#[test]
fn no_statement_is_left_out() {
    let (mut written, mut asking) = (0, Vec::new());
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            written += text.matches(": Statement =").count();
            let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            if code.any(|line| line.contains("client.") || line.contains("transaction.")) {
                asking.push(entry.file_name().into_string().unwrap());
            }
        }
    }
    // The write that looks for room makes a temporary table, which has no plan (worker/src/store/room.rs).
    assert_eq!(written, statements().len() + 1);
    asking.sort();
    assert_eq!(asking, ["migrate.rs", "pool.rs"], "only these hold a connection");
}
