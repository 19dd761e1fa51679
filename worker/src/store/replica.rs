//! A read replica: serves the messages of a page while it is as far as the primary.
//!
//! The worker first asks the primary, in one short statement, whether the user may read and how far the
//! conversation is ([`Standing`](crate::features::messages::Standing)); so the replica decides nothing.
//! Its rows are used only if its own head is not below the primary's: a head is committed with its message, so
//! a replica with that head has every message up to it, and everything that a client has heard of was
//! committed before the primary was asked. Every change of a message also moves `change_seq` of its
//! conversation in the same statement, and the worker compares that as well (a test checks that no other
//! statement changes a message).
//!
//! The primary serves everything else: a replica that is behind, slow or down costs at most its time limit,
//! and then nothing for `REPLICA_PAUSE_MS`.

use std::sync::Arc;
use std::time::Duration;

use common::limits::REPLICA_PAUSE_MS;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::Row;
use tracing::warn;

use super::failure::is_late;
use super::metrics::{self, ReplicaRead};
use super::pool::{Connections, Params, REPLICA, Statement};

/// The handle to the replica. Cheap to clone; the clones share the pause.
#[derive(Clone)]
pub(crate) struct Replica {
    connections: Connections,
    url: String,
    /// Set after an error: the replica is not asked before this time.
    paused: Arc<Mutex<Option<Instant>>>,
}

impl Replica {
    /// Creates the handle without connecting, so that a program starts even if its replica is down.
    pub(super) fn at(url: &str, connections: usize) -> anyhow::Result<Self> {
        let paused = Arc::default();
        Ok(Self { connections: Connections::to(url, connections, REPLICA)?, url: url.to_owned(), paused })
    }

    /// A handle for the same server with its own connections. The pause is shared.
    pub(super) fn beside(&self, connections: usize) -> anyhow::Result<Self> {
        Ok(Self { connections: Connections::to(&self.url, connections, REPLICA)?, ..self.clone() })
    }

    /// Whether the replica may be asked now. After a pause one caller tries it; the others use the primary
    /// until that attempt succeeds.
    pub(super) fn may_be_asked(&self) -> bool {
        let mut paused = self.paused.lock();
        let now = Instant::now();
        match *paused {
            Some(until) if now < until => {
                metrics::replica_read(ReplicaRead::Paused);
                false
            }
            Some(_) => {
                *paused = Some(now + Duration::from_millis(REPLICA_PAUSE_MS));
                true
            }
            None => true,
        }
    }

    /// Runs a statement whose first column tells whether the server is a replica, and returns its rows if
    /// `is_far_enough`. None: ask the primary.
    pub(crate) async fn read(
        &self,
        statement: &Statement,
        params: Params<'_>,
        is_far_enough: impl FnOnce(&[Row]) -> bool,
    ) -> Option<Vec<Row>> {
        let timer = metrics::Timer::start(statement.name);
        let answer = self.connections.query(statement, params).await;
        // The primary answers instead, so an error of the replica is not a failure of the store.
        if answer.is_ok() {
            timer.stop(&answer);
        }
        let (outcome, why) = match &answer {
            // A promoted replica diverges from the primary.
            Ok(rows) if rows.iter().any(|row| !row.get::<_, bool>(0)) => {
                (ReplicaRead::Promoted, "it is no replica".to_owned())
            }
            Ok(rows) if is_far_enough(rows) => (ReplicaRead::Served, String::new()),
            Ok(_) => (ReplicaRead::Behind, String::new()),
            Err(err) if is_late(err) => (ReplicaRead::Slow, err.to_string()),
            Err(err) => (ReplicaRead::Failed, err.to_string()),
        };
        metrics::replica_read(outcome);
        let answers = matches!(outcome, ReplicaRead::Served | ReplicaRead::Behind);
        if !answers {
            warn!("The read replica is not asked for {REPLICA_PAUSE_MS} ms: {why}");
        }
        let until = (!answers).then(|| Instant::now() + Duration::from_millis(REPLICA_PAUSE_MS));
        *self.paused.lock() = until;
        answer.ok().filter(|_| outcome == ReplicaRead::Served)
    }
}
