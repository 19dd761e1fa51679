//! PostgreSQL, through functions named after what the domain does. The only folder that has SQL.
//!
//! Promises: every call is one transaction, but for one case one statement; it ends within
//! [`STATEMENT_MS_MAX`] (the server's own limit) or a second later (ours, for a server that is
//! gone without saying so), waiting for a connection included separately. A failure is sorted
//! once, here: the client's mistake, the database's absence, or a statement that can never work.
//!
//! Not here: retries over time (the caller holds its batch and asks again), who may do what.

/// E-mail, password, profile: rows of `users`.
mod accounts;

/// Conversations and who takes part in them.
mod conversations;

/// Logins and their refresh tokens.
mod logins;

/// Who sees whom come and go.
mod circles;

/// What only an operator asks for.
mod operator;

/// Saving and marking chat messages.
mod messages;

/// Reading chat messages.
mod history;

/// Seconds by statement, failures by reason.
mod metrics;

use std::time::Duration;

use anyhow::Context as _;
use common::limits::{STATEMENT_MS_MAX, STORE_WAIT_MS_MAX};
use common::protocol::{Reject, Timestamp};
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls, Row};

pub use self::accounts::{AccountRow, NewAccount, Taken};
pub use self::circles::Circle;
pub use self::conversations::{
    ConversationPage, ConversationRow, NewConversation, NewParticipant, ParticipantRow, ParticipantType,
    ParticipantUser,
};
pub use self::history::{History, HistoryPage};
pub use self::logins::{Digest, Refreshed};
pub use self::messages::{Audience, NewMessage, Read, Saved, SavedMessage};
pub use self::metrics::describe;
pub use self::operator::LoginRow;

mod embedded {
    #![allow(missing_docs, reason = "written by refinery's macro")]
    refinery::embed_migrations!("src/store/migrations");
}

/// The advisory lock under which one program at a time migrates: "chatchit" in ASCII.
const MIGRATION_LOCK: i64 = 0x6368_6174_6368_6974;

/// Every connection of the pool begins with this.
///
/// Plans are made once per statement and connection, from whatever the tables held then. On young
/// tables the planner prefers scanning them whole, and keeps to it while they grow; every query
/// here has its index, so scanning and the merging that feeds on it are ruled out. (Hashing stays:
/// without it the steps of saving 256 messages are joined in loops, at five times the cost.)
const SESSION: &str = "set plan_cache_mode = force_generic_plan; set random_page_cost = 1.1; set enable_seqscan = off; \
                       set enable_mergejoin = off; set jit = off; \
                       set timezone = 'UTC'; set lock_timeout = 0; set statement_timeout = ";

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    config: Config,
}

/// Why the store has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The client's mistake.
    #[error("{0}")]
    Reject(#[from] Reject),
    /// The database is away, restarts, is overloaded, or is not migrated yet: hold what you have
    /// and ask again.
    #[error("the store is unavailable: {0:#}")]
    Unavailable(anyhow::Error),
    /// This can never work, however often it is asked.
    #[error("the store: {0:#}")]
    Fault(anyhow::Error),
}

/// The values of a statement.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What every function of the store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// A pool of at most so many connections. The first connection must succeed.
    ///
    /// # Errors
    /// The URL is not understood, or PostgreSQL cannot be reached with it.
    pub async fn connect(url: &str, connections: usize) -> anyhow::Result<Self> {
        let mut config: Config = url.parse().context("the database URL is not understood")?;
        config
            .application_name("chatchit-worker")
            .connect_timeout(Duration::from_millis(STORE_WAIT_MS_MAX))
            .tcp_user_timeout(Duration::from_millis(2 * STATEMENT_MS_MAX))
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let manager = Manager::from_config(
            config.clone(),
            NoTls,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let wait = Some(Duration::from_millis(STORE_WAIT_MS_MAX));
        let pool = Pool::builder(manager)
            .max_size(connections.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(wait)
            .create_timeout(wait)
            .recycle_timeout(wait)
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let session = format!("{SESSION}{STATEMENT_MS_MAX}");
                    client.batch_execute(&session).await.map_err(HookError::Backend)
                })
            }))
            .build()
            .context("the pool of connections")?;
        let store = Self { pool, config };
        store.ping().await.context("PostgreSQL does not answer")?;
        Ok(store)
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
        // Its own connection: migrations may take longer than statements, and the lock ends with it.
        let (mut client, connection) = self.config.connect(NoTls).await.context("connecting to migrate")?;
        let driver = tokio::spawn(connection);
        let outcome = async {
            client.execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
            let report = embedded::migrations::runner().run_async(&mut client).await?;
            client.execute("select pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await?;
            anyhow::Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
        };
        let outcome = outcome.await.context("migrating the database");
        drop(client);
        driver.abort();
        outcome
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<()> {
        self.query("ping", "select 1", &[]).await.map(drop)
    }

    /// Runs one statement. `name` is the metric's label.
    async fn query(&self, name: &'static str, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let timer = metrics::Timer::start(name);
        let outcome = self.attempt(None, sql, params).await;
        timer.stop(&outcome);
        outcome
    }

    /// The same in a transaction whose first statement takes locks, so that the second sees what
    /// their former holders did.
    async fn query_locked(
        &self,
        name: &'static str,
        lock: (&str, Params<'_>),
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let timer = metrics::Timer::start(name);
        let outcome = self.attempt(Some(lock), sql, params).await;
        timer.stop(&outcome);
        outcome
    }

    async fn attempt(
        &self,
        lock: Option<(&str, Params<'_>)>,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let mut client = self.pool.get().await.map_err(sort_pool)?;
        let answer = async {
            let statement = client.prepare_cached(sql).await?;
            let Some((lock, locked)) = lock else { return client.query(&statement, params).await };
            // Dropped before its end, it is rolled back before the connection does anything else.
            let transaction = client.transaction().await?;
            transaction.query(lock, locked).await?;
            let rows = transaction.query(&statement, params).await?;
            transaction.commit().await?;
            Ok(rows)
        };
        match timeout(Duration::from_millis(STATEMENT_MS_MAX + 1_000), answer).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(err)) => {
                if outdated(&err) {
                    drop(Object::take(client));
                }
                Err(sort(err))
            }
            Err(_) => {
                // An answer may still come on this connection, so nobody else may have it.
                drop(Object::take(client));
                Err(StoreError::Unavailable(anyhow::anyhow!("no answer in time")))
            }
        }
    }
}

/// A unique constraint, by its name, stands against it.
#[derive(Debug, thiserror::Error)]
#[error("the unique constraint {0} stands against it")]
struct Conflict(String);

/// The name of the unique constraint that stands against a statement.
fn conflict(err: &StoreError) -> Option<&str> {
    match err {
        StoreError::Fault(err) => err.downcast_ref().map(|Conflict(name)| name.as_str()),
        _ => None,
    }
}

fn sort_pool(err: PoolError) -> StoreError {
    StoreError::Unavailable(anyhow::Error::new(err).context("no connection"))
}

/// The server has forgotten the prepared statement or its table has changed: a new connection
/// prepares it anew.
fn outdated(err: &tokio_postgres::Error) -> bool {
    matches!(err.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED | &SqlState::INVALID_SQL_STATEMENT_NAME))
}

fn sort(err: tokio_postgres::Error) -> StoreError {
    let away = match err.code() {
        Some(code) => is_away(code),
        // Without a code it never reached the server, or the connection broke; what remains is a
        // value that does not fit its column.
        None => {
            err.is_closed()
                || std::error::Error::source(&err).is_some_and(|source| source.is::<std::io::Error>())
        }
    };
    // The public text of PostgreSQL's errors has no values; its detail does, so it is not kept.
    let fault = match err.as_db_error() {
        Some(db) if *db.code() == SqlState::UNIQUE_VIOLATION => {
            anyhow::Error::new(Conflict(db.constraint().unwrap_or_default().to_owned()))
        }
        Some(db) => anyhow::anyhow!("{} ({})", db.message(), db.code().code()),
        None => anyhow::Error::new(err),
    };
    if away { StoreError::Unavailable(fault) } else { StoreError::Fault(fault) }
}

/// By class: connections (08), resources (53), the operator or a limit (57), the system (58),
/// conflicts that a repeat resolves (40, 55P03), a replica that is not the primary yet (25006);
/// and a schema that is behind or closed to us, which its operator will mend.
fn is_away(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "08" | "53" | "57" | "58" | "40" | "28" | "3D")
        || matches!(
            *code,
            SqlState::LOCK_NOT_AVAILABLE
                | SqlState::READ_ONLY_SQL_TRANSACTION
                | SqlState::UNDEFINED_TABLE
                | SqlState::UNDEFINED_COLUMN
                | SqlState::UNDEFINED_FUNCTION
                | SqlState::INSUFFICIENT_PRIVILEGE
                | SqlState::FEATURE_NOT_SUPPORTED
                | SqlState::INVALID_SQL_STATEMENT_NAME
        )
}

/// Reads a moment.
fn moment(row: &Row, column: &str) -> Timestamp {
    Timestamp(row.get::<_, jiff::Timestamp>(column).as_millisecond())
}

/// Reads a moment that may not have come.
fn maybe_moment(row: &Row, column: &str) -> Option<Timestamp> {
    row.get::<_, Option<jiff::Timestamp>>(column).map(|at| Timestamp(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_told_from_what_can_never_work() {
        let away = [
            "08006", "53300", "57P01", "57P02", "57P03", "57014", "40001", "40P01", "55P03", "25006", "42P01",
        ];
        for code in away {
            assert!(is_away(&SqlState::from_code(code)), "{code}");
        }
        for code in ["22021", "23505", "23514", "42601", "54000", "XX000"] {
            assert!(!is_away(&SqlState::from_code(code)), "{code}");
        }
    }
}
