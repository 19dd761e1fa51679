//! A database of its own for each test, on the server of `DATABASE_URL`: a copy of one that was migrated once, so that a test
//! costs milliseconds and not a run of all migrations.

use protocol::ids::NodeId;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};
use worker::store::Store;

use crate::variable;

/// Copied by each test; migrated when it lacks something, made again when its migrations are no longer ours.
const TEMPLATE: &str = "chatchit_template";

/// One program at a time migrates or copies the template: PostgreSQL copies no database that someone is connected to.
const LOCK: i64 = 0x7e57_da7a;

/// Ready in this program.
static MIGRATED: OnceCell<()> = OnceCell::const_new();

/// A migrated, empty database. A failed test leaves its own behind, to be looked at.
pub struct Database {
    /// The URL of the database.
    pub url: String,
    name: String,
    server: String,
}

impl Database {
    /// A database whose name begins with `what`. None: there is no PostgreSQL here, and the test is left out.
    pub async fn fresh(what: &str) -> Option<Self> {
        let server = variable("DATABASE_URL")?;
        let name = format!("{what}_{}", NodeId::random());
        let client = connect(&server).await;
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await.unwrap();
        MIGRATED.get_or_init(|| migrate(&client, &server)).await;
        let copy = format!("create database {name} template {TEMPLATE}");
        client.batch_execute(&copy).await.expect("a copy of the template");
        // The lock ends with the connection.
        Some(Self { url: with_database(&server, &name), name, server })
    }

    /// The same database on another server.
    pub fn on(&self, server: &str) -> String {
        with_database(server, &self.name)
    }

    /// Drops it.
    pub async fn finish(self) {
        let drop_it = format!("drop database {} with (force)", self.name);
        connect(&self.server).await.batch_execute(&drop_it).await.expect("the database is dropped");
    }
}

/// Makes the template, or brings it up to date.
async fn migrate(client: &Client, server: &str) {
    let is_there = "select 1 from pg_database where datname = $1";
    if client.query_opt(is_there, &[&TEMPLATE]).await.unwrap().is_some() {
        if store(server).await.migrate().await.is_ok() {
            return;
        }
        client.batch_execute(&format!("drop database {TEMPLATE} with (force)")).await.unwrap();
    }
    client.batch_execute(&format!("create database {TEMPLATE}")).await.unwrap();
    store(server).await.migrate().await.expect("the store migrates");
}

async fn store(server: &str) -> Store {
    Store::connect(&with_database(server, TEMPLATE), 1).await.expect("the store connects")
}

/// A connection that asks what the store has no function for.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (url, String::new()),
    };
    let (scheme, rest) = base.split_once("://").expect("a URL");
    let server = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{server}/{name}{query}")
}
