//! Connections to one server, and the only two ways to ask it something.
//!
//! Promises: whatever the server does, and also when it does nothing, a call ends: waiting for a
//! connection and waiting for the answer have each their limit, on both sides. A connection whose
//! answer was given up is closed, because the answer may still come on it.

use std::time::Duration;

use anyhow::Context as _;
use common::limits::{
    LOCK_MS_MAX, REPLICA_MS_MAX, STATEMENT_GRACE_MS, STATEMENT_MS_MAX, STORE_WAIT_MS_MAX,
    TRANSACTION_IDLE_MS_MAX,
};
use common::spans::{self, Kind, Span, Value};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use tokio::time::{Instant, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

use super::failure::{Result, StoreError, late, outdated, sort};
use super::metrics;
use super::tls::Tls;

/// What the store asks, under the name that its metrics have. There are no others: the tests look
/// at each of them (see [`super::statements`]).
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The metrics' label.
    pub name: &'static str,
    /// One statement.
    pub sql: &'static str,
}

/// A statement with its name.
pub(crate) const fn statement(name: &'static str, sql: &'static str) -> Statement {
    Statement { name, sql }
}

/// The values of a statement.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Until there is a connection, new or from the pool.
    wait: u64,
    /// A statement, by the server's clock.
    statement: u64,
    /// The answer, by ours.
    answer: u64,
}

/// Of the primary.
pub(super) const PRIMARY: Limits = Limits {
    wait: STORE_WAIT_MS_MAX,
    statement: STATEMENT_MS_MAX,
    answer: STATEMENT_MS_MAX + STATEMENT_GRACE_MS,
};

/// Of the read replica: the primary can answer too, so there is no time for its reasons.
pub(super) const REPLICA: Limits =
    Limits { wait: REPLICA_MS_MAX, statement: REPLICA_MS_MAX, answer: REPLICA_MS_MAX };

/// Every connection of a pool begins with these.
///
/// Plans are made once per statement and connection, from whatever the tables held then. On young
/// tables the planner prefers scanning them whole, and keeps to it while they grow; every query
/// here has its index, so scanning and the merging that feeds on it are ruled out. (Hashing stays:
/// without it the steps of saving 256 messages are joined in loops, at five times the cost.)
const PLANNER: &str = " -c plan_cache_mode=force_generic_plan -c random_page_cost=1.1 -c enable_seqscan=off \
                       -c enable_mergejoin=off -c jit=off";

/// The settings of a server's URL with ours: who we are, when a dead line is noticed, and, as
/// options of the connection so that they hold from its first statement on, the server's limits.
pub(super) fn settings(
    url: &str,
    statement_ms: u64,
    lock_ms: u64,
    more: &str,
) -> anyhow::Result<(Config, Tls)> {
    let (url, tls) = Tls::of(url)?;
    let mut config: Config = url.parse().context("the database URL is not understood")?;
    let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
    config
        .options(format!(
            "{given}-c statement_timeout={statement_ms} -c lock_timeout={lock_ms} \
             -c idle_in_transaction_session_timeout={TRANSACTION_IDLE_MS_MAX} -c timezone=UTC{more}"
        ))
        .application_name("chatchit-worker")
        .connect_timeout(Duration::from_millis(STORE_WAIT_MS_MAX))
        .tcp_user_timeout(Duration::from_millis(2 * STATEMENT_MS_MAX))
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(15))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3);
    Ok((config, tls))
}

/// Connections to one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool,
    limits: Limits,
}

impl Connections {
    /// At most so many, made when they are needed.
    pub(super) fn to(url: &str, most: usize, limits: Limits) -> anyhow::Result<Self> {
        let (config, tls) = settings(url, limits.statement, LOCK_MS_MAX, PLANNER)?;
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls, fast);
        let pool = Pool::builder(manager).max_size(most.max(1)).build().context("the pool of connections")?;
        Ok(Self { pool, limits })
    }

    /// Tells how the pool is now.
    pub(super) fn measure(&self, pool: &'static str) {
        metrics::pool(pool, &self.pool.status());
    }

    /// One statement, its own transaction.
    pub(super) async fn query(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>> {
        self.attempt(None, statement, params).await
    }

    /// The same in a transaction whose first statement takes locks, so that the second sees what
    /// their former holders did.
    pub(super) async fn query_locked(
        &self,
        lock: (&Statement, Params<'_>),
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        self.attempt(Some(lock), statement, params).await
    }

    async fn attempt(
        &self,
        lock: Option<(&Statement, Params<'_>)>,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let (asked, wait) = (Instant::now(), Duration::from_millis(self.limits.wait));
        let client = timeout(wait, self.pool.get()).await;
        metrics::waited(asked);
        let mut client = match client {
            Ok(Ok(client)) => client,
            Ok(Err(err)) => {
                return Err(StoreError::Unavailable(anyhow::Error::new(err).context("no connection")));
            }
            Err(_) => return Err(late("no connection in time")),
        };
        let span = Span::below(spans::current(), statement.name, Kind::Client);
        let answer = async {
            let prepared = client.prepare_cached(statement.sql).await?;
            let Some((lock, locked)) = lock else { return client.query(&prepared, params).await };
            // Dropped before its end, it is rolled back before the connection does anything else.
            let transaction = client.transaction().await?;
            transaction.query(lock.sql, locked).await?;
            let rows = transaction.query(&prepared, params).await?;
            transaction.commit().await?;
            Ok(rows)
        };
        let answer = timeout(Duration::from_millis(self.limits.answer), answer).await;
        if let Some(span) = span {
            let failed = match &answer {
                Ok(Ok(_)) => None,
                Ok(Err(_)) => Some("fault"),
                Err(_) => Some("late"),
            };
            // Values are never in it: they are parameters.
            span.with("db.query.text", Value::Word(statement.sql)).end(failed);
        }
        match answer {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(err)) => {
                if outdated(&err) {
                    drop(Object::take(client));
                }
                Err(sort(err))
            }
            Err(_) => {
                drop(Object::take(client));
                Err(late("no answer in time"))
            }
        }
    }
}
