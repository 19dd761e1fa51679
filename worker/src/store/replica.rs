//! A read replica: where the messages of a page are read, while it is as far as the primary.
//!
//! Who may read, how far the conversation is and how many are in it comes from the primary first
//! ([`Standing`](super::Standing)), in one short statement; so a replica decides nothing. Its rows
//! count only if its own head is not below the primary's: a head is committed with its message, so
//! a replica with that head has every message up to it, and whatever a client has heard of was
//! committed before the primary was asked. What changes a message moves `change_seq` of its
//! conversation in the same statement, and that is compared as well (a test holds that there is no
//! other statement that changes one).
//!
//! Everything else is the primary's: a replica that is behind, slow or away costs at most its
//! limit of time, and then nothing for a while.

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

/// The handle. Cheap to clone; the clones share the pause.
#[derive(Clone)]
pub(crate) struct Replica {
    connections: Connections,
    url: String,
    /// It did not answer, and is not asked before this.
    paused: Arc<Mutex<Option<Instant>>>,
}

impl Replica {
    /// Nothing is connected yet: a replica that is away keeps no program from starting.
    pub(super) fn at(url: &str, connections: usize) -> anyhow::Result<Self> {
        let paused = Arc::default();
        Ok(Self { connections: Connections::to(url, connections, REPLICA)?, url: url.to_owned(), paused })
    }

    /// The same server through connections of its own. The pause is shared.
    pub(super) fn beside(&self, connections: usize) -> anyhow::Result<Self> {
        Ok(Self { connections: Connections::to(&self.url, connections, REPLICA)?, ..self.clone() })
    }

    /// Whether it may be asked now. After a pause one caller tries, and the others wait for what
    /// becomes of that.
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

    /// The rows of a statement whose first column says whether the server is a replica, if it
    /// answers and `is_far_enough`. None: ask the primary.
    pub(crate) async fn read(
        &self,
        statement: &Statement,
        params: Params<'_>,
        is_far_enough: impl FnOnce(&[Row]) -> bool,
    ) -> Option<Vec<Row>> {
        let timer = metrics::Timer::start(statement.name);
        let answer = self.connections.query(statement, params).await;
        // What it does not answer the primary does: that is no failure of the store.
        if answer.is_ok() {
            timer.stop(&answer);
        }
        let (outcome, why) = match &answer {
            // A replica that was promoted goes its own way from then on.
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
