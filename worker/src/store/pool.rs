//! Connections to one server, and the only two ways to ask it something.
//!
//! Promises: whatever the server does, and also when it does nothing, a call ends: waiting for a
//! connection and waiting for the answer have each their limit, on both sides. A connection whose
//! answer was given up is closed, because the answer may still come on it.

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
pub const fn statement(name: &'static str, sql: &'static str) -> Statement {
    Statement { name, sql }
}

/// The values of a statement.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

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

/// One life of one server: another server, a server that was promoted, and one that was started again
/// have another name.
const LIFE: &str = "
    select concat_ws(' ', inet_server_addr(), inet_server_port(), pg_postmaster_start_time(),
        case when pg_is_in_recovery() then 'standby'
             else left(pg_walfile_name(pg_current_wal_lsn()), 8) end)";

/// Which server the connections are to, as the latest of them says.
#[derive(Default)]
struct Server {
    life: Mutex<Option<Life>>,
    /// Of this life; 0 before the first connection.
    epoch: AtomicU64,
}

/// The epoch of the next life that any server begins: no two in this process have the same.
static EPOCHS: AtomicU64 = AtomicU64::new(1);

struct Life {
    name: String,
    /// When the first connection found it; older ones are to another server.
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
    /// At most so many, made when they are needed.
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

    /// Another when a connection finds another server, or the same after a restart or a promotion: what
    /// is remembered from before may not be so any more.
    pub(super) fn epoch(&self) -> u64 {
        self.server.epoch.load(Ordering::Acquire)
    }

    /// One statement, its own transaction, on the server of this epoch only.
    pub(super) async fn query_on(
        &self,
        epoch: u64,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>> {
        self.attempt(Some(epoch), None, statement, params).await
    }

    /// Tells how the pool is now.
    pub(super) fn measure(&self, pool: &'static str) {
        metrics::pool(pool, &self.pool.status());
    }

    /// One statement, its own transaction.
    pub(super) async fn query(&self, statement: &Statement, params: Params<'_>) -> Result<Vec<Row>> {
        self.attempt(None, None, statement, params).await
    }

    /// The same in a transaction whose first statement takes locks, so that the second sees what
    /// their former holders did.
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
