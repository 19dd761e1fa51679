//! PostgreSQL, through functions named after what the domain does. The only folder that has SQL.
//!
//! Promises: every call is one transaction and, with one exception, one statement. A statement ends within
//! [`STATEMENT_MS_MAX`] (PostgreSQL's own limit) or a second later (the worker's limit, for a server that
//! vanished without closing the connection). Waiting for a connection has a separate limit. Errors are
//! classified in one place, `failure.rs`.
//!
//! [`STATEMENT_MS_MAX`]: common::limits::STATEMENT_MS_MAX
//!
//! Not here: retries over time (the caller holds its batch and retries), and permissions.

/// Connections to a server, and their time limits.
mod pool;

/// TLS to a server.
mod tls;

/// A read replica, and when its rows may be used.
mod replica;

/// Whether the primary has disk space to write.
mod room;

/// Errors of the store, by what the caller should do.
mod failure;

/// Bringing the schema up to date.
mod migrate;

/// Readers of columns that many rows have.
pub mod rows;

/// Metrics: seconds by statement, failures by reason.
mod metrics;

use anyhow::Context as _;
use tokio::sync::watch;

// The types that the features' statements need.
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{Json, ToSql};

pub use self::failure::{Result, StoreError};
pub(crate) use self::failure::{conflict, has_moved};
pub(crate) use self::metrics::collided;
pub use self::metrics::describe;
pub use self::pool::{Params, Statement, statement};
pub use common::lanes::Cause;

use self::pool::{Connections, PRIMARY};
use self::replica::Replica;
use self::room::{Room, WRITE};

/// The handle to PostgreSQL. Cheap to clone; the clones share its connections.
#[derive(Clone)]
pub struct Store {
    primary: Connections,
    replica: Option<Replica>,
    room: Room,
    url: String,
    /// The label `pool` of the metrics of its connections.
    pool: &'static str,
}

const PING: Statement = statement("ping", "select 1");

/// The statements that belong to no feature.
pub(crate) const STATEMENTS: &[Statement] = &[PING];

impl Store {
    /// Opens a pool of at most `connections` connections. The first connection must succeed.
    ///
    /// # Errors
    /// The URL is not valid, or PostgreSQL cannot be reached with it.
    pub async fn connect(url: &str, connections: usize) -> anyhow::Result<Self> {
        let primary = Connections::to(url, connections, PRIMARY)?;
        let store = Self { primary, replica: None, room: Room::new(), url: url.to_owned(), pool: "lanes" };
        store.ping().await.context("PostgreSQL does not answer")?;
        Ok(store)
    }

    /// Reads histories, and the messages that a client missed (`sync`), from this streaming replica whenever it
    /// is as far as the primary (see `replica.rs`). The replica may be down.
    ///
    /// # Errors
    /// The URL is not valid.
    pub fn with_replica(self, url: &str, connections: usize) -> anyhow::Result<Self> {
        let replica = Replica::at(url, connections).context("the replica")?;
        Ok(Self { replica: Some(replica), ..self })
    }

    /// A store for the same servers with its own connections, labelled `pool` in the metrics: its statements
    /// take no connection from the original. It connects when first used.
    ///
    /// # Errors
    /// The pool cannot be created.
    pub fn beside(&self, pool: &'static str, connections: usize) -> anyhow::Result<Self> {
        let primary = Connections::to(&self.url, connections, PRIMARY)?;
        let replica = self.replica.as_ref().map(|replica| replica.beside(connections)).transpose()?;
        Ok(Self { primary, replica, pool, ..self.clone() })
    }

    /// Brings the schema up to date. Any number of programs may call this at once: one migrates, the
    /// others wait and then find nothing to do.
    ///
    /// # Errors
    /// A migration failed, or an applied migration differs from the one that this program knows.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        self.migrate_and_tell().await.map(drop)
    }

    /// Like [`Self::migrate`]; returns the names of the migrations that it applied.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub async fn migrate_and_tell(&self) -> anyhow::Result<Vec<String>> {
        self.migrate_with(&[]).await
    }

    /// Like [`Self::migrate_and_tell`], with additional migrations of features outside the product: the name
    /// (`V<n>__<noun>`, as in a file name) and the SQL of each.
    ///
    /// # Errors
    /// As [`Self::migrate`], or a name is not valid.
    pub async fn migrate_with(&self, more: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        migrate::run(&self.url, more).await.context("migrating the database")
    }

    /// Checks that PostgreSQL answers.
    ///
    /// # Errors
    /// PostgreSQL does not answer.
    pub async fn ping(&self) -> Result<()> {
        self.query(&PING, &[]).await.map(drop)
    }

    /// The error of a write that found no disk space; None once [`Self::can_write`] has succeeded since.
    pub fn room(&self) -> watch::Receiver<Option<String>> {
        self.room.watch()
    }

    /// Checks that PostgreSQL accepts a write that needs new disk space.
    ///
    /// # Errors
    /// PostgreSQL does not accept it.
    pub async fn can_write(&self) -> Result<()> {
        self.query(&WRITE, &[]).await?;
        self.room.regained();
        Ok(())
    }

    /// Updates the gauges of the primary's pool.
    pub fn measure(&self) {
        self.primary.measure(self.pool);
    }

    /// The epoch of the primary: a new number whenever a connection finds another server, or the same one after
    /// a restart or a promotion. 0 before the first connection.
    pub fn epoch(&self) -> u64 {
        self.primary.epoch()
    }

    /// Runs one statement on the primary, if its epoch is still `epoch`; else the error is one that
    /// [`has_moved`] recognizes.
    pub(crate) async fn query_on(
        &self,
        epoch: u64,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let timer = metrics::Timer::start(statement.name);
        let outcome = self.primary.query_on(epoch, statement, params).await;
        self.note(timer, &outcome);
        outcome
    }

    /// Runs one statement on the primary.
    ///
    /// # Errors
    /// The store has no answer.
    pub async fn query(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>> {
        let timer = metrics::Timer::start(statement.name);
        let outcome = self.primary.query(statement, params).await;
        self.note(timer, &outcome);
        outcome
    }

    /// Like [`Self::query`], in a transaction whose first statement takes locks, so that the second sees the
    /// changes of their previous holders.
    pub(crate) async fn query_locked(
        &self,
        lock: (&Statement, Params<'_>),
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let timer = metrics::Timer::start(statement.name);
        let outcome = self.primary.query_locked(lock, statement, params).await;
        self.note(timer, &outcome);
        outcome
    }

    fn note<T>(&self, timer: metrics::Timer, outcome: &Result<T>) {
        timer.stop(outcome);
        if let Err(err) = outcome {
            self.room.note(err);
        }
    }

    /// The replica. None: there is none, or it is paused after an error.
    pub(crate) fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref().filter(|replica| replica.may_be_asked())
    }
}
