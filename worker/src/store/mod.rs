//! PostgreSQL, through functions named after what the domain does. The only folder that has SQL.
//!
//! Promises: every call is one transaction, but for one case one statement; it ends within
//! [`STATEMENT_MS_MAX`] (the server's own limit) or a second later (ours, for a server that is
//! gone without saying so), waiting for a connection included separately. A failure is sorted
//! once, in `failure.rs`.
//!
//! [`STATEMENT_MS_MAX`]: common::limits::STATEMENT_MS_MAX
//!
//! Not here: retries over time (the caller holds its batch and asks again), who may do what.

/// Connections to a server, and their limits.
mod pool;

/// TLS to a server.
mod tls;

/// A read replica: when its rows count.
mod replica;

/// Whether the primary has room to write.
mod room;

/// Why there is no answer.
mod failure;

/// Bringing the schema up to date.
mod migrate;

/// Reading columns that many rows have.
pub mod rows;

/// Seconds by statement, failures by reason.
mod metrics;

use anyhow::Context as _;
use tokio::sync::watch;

// What the statements of features are written with.
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

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    primary: Connections,
    replica: Option<Replica>,
    room: Room,
    url: String,
    /// The label of what is measured of the pool.
    pool: &'static str,
}

const PING: Statement = statement("ping", "select 1");

/// What the store asks by itself.
pub(crate) const STATEMENTS: &[Statement] = &[PING];

impl Store {
    /// A pool of at most so many connections. The first connection must succeed.
    ///
    /// # Errors
    /// The URL is not understood, or PostgreSQL cannot be reached with it.
    pub async fn connect(url: &str, connections: usize) -> anyhow::Result<Self> {
        let primary = Connections::to(url, connections, PRIMARY)?;
        let store = Self { primary, replica: None, room: Room::new(), url: url.to_owned(), pool: "lanes" };
        store.ping().await.context("PostgreSQL does not answer")?;
        Ok(store)
    }

    /// From now on histories and what `sync` missed are read from this streaming replica, whenever
    /// it has what the primary has (see `replica.rs`). It may be away.
    ///
    /// # Errors
    /// The URL is not understood.
    pub fn with_replica(self, url: &str, connections: usize) -> anyhow::Result<Self> {
        let replica = Replica::at(url, connections).context("the replica")?;
        Ok(Self { replica: Some(replica), ..self })
    }

    /// The same servers through connections of its own, under a name for its measurements: whatever is
    /// asked here takes none of the others. Nothing is connected yet.
    ///
    /// # Errors
    /// A pool cannot be made.
    pub fn beside(&self, pool: &'static str, connections: usize) -> anyhow::Result<Self> {
        let primary = Connections::to(&self.url, connections, PRIMARY)?;
        let replica = self.replica.as_ref().map(|replica| replica.beside(connections)).transpose()?;
        Ok(Self { primary, replica, pool, ..self.clone() })
    }

    /// Brings the schema up to date. Any number of programs may do so at once: one works, the
    /// others wait and find it done.
    ///
    /// # Errors
    /// A migration failed, or one that was applied is not the one this program knows.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        self.migrate_and_tell().await.map(drop)
    }

    /// The same, and the names of the migrations that were missing.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub async fn migrate_and_tell(&self) -> anyhow::Result<Vec<String>> {
        self.migrate_with(&[]).await
    }

    /// The same with migrations of features that are not the product's: of each, its name as a file would
    /// have it (`V<n>__<noun>`), and its SQL.
    ///
    /// # Errors
    /// As [`Self::migrate`], and for a name that is none.
    pub async fn migrate_with(&self, more: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        migrate::run(&self.url, more).await.context("migrating the database")
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<()> {
        self.query(&PING, &[]).await.map(drop)
    }

    /// Why the last write failed, if it failed for want of room and none was seen to succeed since.
    pub fn room(&self) -> watch::Receiver<Option<String>> {
        self.room.watch()
    }

    /// Whether PostgreSQL takes a write that needs new room.
    ///
    /// # Errors
    /// It does not.
    pub async fn can_write(&self) -> Result<()> {
        self.query(&WRITE, &[]).await?;
        self.room.regained();
        Ok(())
    }

    /// Tells how the pool of the primary is now.
    pub fn measure(&self) {
        self.primary.measure(self.pool);
    }

    /// Another with each new life of the primary that a connection finds.
    pub fn epoch(&self) -> u64 {
        self.primary.epoch()
    }

    /// Runs one statement on the primary, if it is still in this life.
    pub(crate) async fn query_on(
        &self,
        epoch: u64,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let timer = metrics::Timer::start(statement.name);
        let outcome = self.primary.query_on(epoch, statement, params).await;
        timer.stop(&outcome);
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

    /// The same in a transaction whose first statement takes locks, so that the second sees what
    /// their former holders did.
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

    /// The replica, if there is one that may be asked now.
    pub(crate) fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref().filter(|replica| replica.may_be_asked())
    }
}
