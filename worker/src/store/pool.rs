//! Connections to one server, and the only ways to run a statement on it: alone, or below locks.
//!
//! Promises: a call ends, whatever the server does, even if it does nothing: waiting for a connection and
//! waiting for the answer each have a time limit, and the server has one for the statement. When the worker
//! gives up on an answer, it closes the connection, because the answer may still arrive on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use common::limits::{
    LOCK_MS_MAX, REPLICA_MS_MAX, STATEMENT_GRACE_MS, STATEMENT_MS_MAX, STORE_WAIT_MS_MAX,
    TRANSACTION_IDLE_MS_MAX,
};
use common::spans::{self, Kind, Span, Value};
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};

use super::failure::{Result, StoreError, elsewhere, late, outdated, sort};
use super::metrics;
use super::tls::Tls;

/// A statement of the store, and its name in the metrics. The store runs no others; tests check the plan of
/// each (see [`statements`](crate::features::statements)).
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The value of the metrics' label `statement`.
    pub name: &'static str,
    /// The SQL of one statement.
    pub sql: &'static str,
}

/// Creates a statement from its name and its SQL.
pub const fn statement(name: &'static str, sql: &'static str) -> Statement {
    Statement { name, sql }
}

/// The parameters of a statement, from `$1` on.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Time limits, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Wait for a connection, new or from the pool.
    wait: u64,
    /// Run time of a statement, enforced by the server.
    statement: u64,
    /// Wait for the answer, enforced by the worker.
    answer: u64,
}

/// The limits of the primary.
pub(super) const PRIMARY: Limits = Limits {
    wait: STORE_WAIT_MS_MAX,
    statement: STATEMENT_MS_MAX,
    answer: STATEMENT_MS_MAX + STATEMENT_GRACE_MS,
};

/// The limits of the read replica. The primary can answer too, so the worker does not wait longer to learn
/// from the server why a statement ended.
pub(super) const REPLICA: Limits =
    Limits { wait: REPLICA_MS_MAX, statement: REPLICA_MS_MAX, answer: REPLICA_MS_MAX };

/// Planner settings of every pooled connection.
///
/// PostgreSQL plans each statement once per connection, from the tables' contents at that time. On small
/// tables the planner prefers sequential scans, and keeps that plan while the tables grow. Every query here
/// has an index, so sequential scans and the merge joins built on them are disabled. (Hash joins stay: without
/// them the steps of saving 256 messages are joined in nested loops, at five times the cost.)
const PLANNER: &str = " -c plan_cache_mode=force_generic_plan -c random_page_cost=1.1 -c enable_seqscan=off \
                       -c enable_mergejoin=off -c jit=off";

/// The settings of a server's URL, plus the worker's: the application name, when a dead connection is
/// noticed, and the server's time limits, as connection options so that they hold from the first statement on.
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

/// Names one life of one server: the name differs for another server, and after a restart or a promotion.
const LIFE: &str = "
    select concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time(),
        case when pg_is_in_recovery() then 'standby'
             else left(pg_walfile_name(pg_current_wal_lsn()), 8) end)";

/// The server that the newest connection found.
#[derive(Default)]
struct Server {
    life: Mutex<Option<Life>>,
    /// The number of this life; 0 before the first connection.
    epoch: AtomicU64,
}

/// The epoch of the next life that any pool finds, so that no two in this process are the same.
static EPOCHS: AtomicU64 = AtomicU64::new(1);

struct Life {
    name: String,
    /// The time of the first connection to it; older connections are to another life.
    since: std::time::Instant,
}

impl Server {
    fn found(&self, name: String, since: std::time::Instant) {
        let mut life = self.life.lock();
        if life.as_ref().is_none_or(|life| life.name != name) {
            *life = Some(Life { name, since });
            self.epoch.store(EPOCHS.fetch_add(1, Ordering::Relaxed), Ordering::Release);
        }
    }

    fn is_left(&self, created: std::time::Instant) -> bool {
        let life = self.life.lock();
        life.as_ref().is_some_and(|life| created < life.since)
    }
}

/// Connections to one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool,
    limits: Limits,
    server: Arc<Server>,
}

impl Connections {
    /// Creates a pool of at most `most` connections, which are opened on demand.
    pub(super) fn to(url: &str, most: usize, limits: Limits) -> anyhow::Result<Self> {
        let (config, tls) = settings(url, limits.statement, LOCK_MS_MAX, PLANNER)?;
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls, fast);
        let server = Arc::new(Server::default());
        let finds = Arc::clone(&server);
        let find = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, made| {
            let finds = Arc::clone(&finds);
            let since = made.created;
            Box::pin(async move {
                let row = client.query_one(LIFE, &[]).await.map_err(HookError::Backend)?;
                finds.found(row.get(0), since);
                Ok(())
            })
        });
        let pool = Pool::builder(manager).max_size(most.max(1)).post_create(find).build();
        Ok(Self { pool: pool.context("the pool of connections")?, limits, server })
    }

    /// Changes when a connection finds another server, or the same one after a restart or a promotion: anything
    /// remembered from before may be outdated. 0 before the first connection.
    pub(super) fn epoch(&self) -> u64 {
        self.server.epoch.load(Ordering::Acquire)
    }

    /// Runs one statement as its own transaction, only on the server of this epoch.
    pub(super) async fn query_on(
        &self,
        epoch: u64,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        self.attempt(Some(epoch), None, statement, params).await
    }

    /// Updates the pool's gauges, labelled `pool`.
    pub(super) fn measure(&self, pool: &'static str) {
        metrics::pool(pool, &self.pool.status());
    }

    /// Runs one statement as its own transaction.
    pub(super) async fn query(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>> {
        self.attempt(None, None, statement, params).await
    }

    /// Like [`Self::query`], in a transaction whose first statement takes locks, so that the second sees the
    /// changes of their previous holders.
    pub(super) async fn query_locked(
        &self,
        lock: (&Statement, Params<'_>),
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        self.attempt(None, Some(lock), statement, params).await
    }

    async fn attempt(
        &self,
        epoch: Option<u64>,
        lock: Option<(&Statement, Params<'_>)>,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        let (asked, wait) = (Instant::now(), Duration::from_millis(self.limits.wait));
        let client = timeout(wait, async {
            loop {
                let client = self.pool.get().await?;
                if !self.server.is_left(Object::metrics(&client).created) {
                    return Ok::<_, deadpool_postgres::PoolError>(client);
                }
                drop(Object::take(client));
            }
        })
        .await;
        metrics::waited(asked);
        let mut client = match client {
            Ok(Ok(client)) => client,
            Ok(Err(err)) => {
                return Err(StoreError::Unavailable(anyhow::Error::new(err).context("no connection")));
            }
            Err(_) => return Err(late("no connection in time")),
        };
        if epoch.is_some_and(|epoch| epoch != self.epoch()) {
            return Err(elsewhere());
        }
        let span = Span::below(spans::current(), statement.name, Kind::Client);
        let answer = async {
            let prepared = client.prepare_cached(statement.sql).await?;
            let Some((lock, locked)) = lock else { return client.query(&prepared, params).await };
            // If dropped before the commit, it is rolled back before the connection does anything else.
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
            // The text contains no values: they are parameters.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_life_is_another_epoch_and_its_connections_are_left() {
        let server = Server::default();
        let start = Instant::now().into_std();
        let at = |ms| start + Duration::from_millis(ms);
        let epoch = || server.epoch.load(Ordering::Acquire);
        assert!(!server.is_left(at(0)), "nothing is known yet");
        server.found("one".into(), at(1));
        let first = epoch();
        server.found("one".into(), at(2));
        assert_eq!(epoch(), first, "the same server, one more connection");
        assert!(!server.is_left(at(1)));
        server.found("two".into(), at(5));
        assert_ne!(epoch(), first);
        assert!(server.is_left(at(2)) && !server.is_left(at(5)));
        let other = Server::default();
        other.found("two".into(), at(5));
        assert_ne!(other.epoch.load(Ordering::Acquire), epoch(), "no two stores share an epoch");
    }
}
