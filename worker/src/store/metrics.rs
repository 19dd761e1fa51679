//! What the store measures about itself.

use ::metrics::{counter, describe_counter, describe_histogram, gauge, histogram};
use common::vitals::VITALS;
use deadpool_postgres::Status;
use tokio::time::Instant;

use super::failure::{conflict, has_moved, is_full};
use super::{Result, StoreError};

/// Seconds of a statement, waiting for a connection included. Label `statement`.
pub const STATEMENT_SECONDS: &str = "worker_store_statement_seconds";

/// Statements without an answer. Labels `statement`, `reason` (unavailable, full, fault, and the causes
/// that end one statement alone: lock, slow, size, conflict).
pub const FAILURES: &str = "worker_store_failures_total";

/// Batches run again because another worker saved one of their messages meanwhile.
pub const COLLISIONS: &str = "worker_store_collisions_total";

/// Reads that a replica could have served. Label `outcome`.
pub const REPLICA_READS: &str = "worker_store_replica_reads_total";

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRead {
    /// The replica's rows were used.
    Served,
    /// It lacks something that the primary has.
    Behind,
    /// It did not answer in time.
    Slow,
    /// It cannot be reached, or answered with an error.
    Failed,
    /// The server is no replica, or no longer one.
    Promoted,
    /// It was not asked, because it did not answer a moment ago.
    Paused,
}

/// Tells the exporter what these are.
pub fn describe() {
    describe_histogram!(STATEMENT_SECONDS, "Seconds of a statement, waiting for a connection included");
    describe_counter!(FAILURES, "Statements without an answer, by reason");
    describe_counter!(REPLICA_READS, "Reads that a replica could have served, by what became of them");
    describe_counter!(COLLISIONS, "Batches run again after another worker was faster");
}

/// Measures one statement.
pub struct Timer {
    statement: &'static str,
    start: Instant,
}

impl Timer {
    /// Starts.
    pub fn start(statement: &'static str) -> Self {
        Self { statement, start: Instant::now() }
    }

    /// Stops and counts.
    pub fn stop<T>(self, outcome: &Result<T>) {
        let took = self.start.elapsed();
        histogram!(STATEMENT_SECONDS, "statement" => self.statement).record(took);
        VITALS.store.record(took);
        let reason = match outcome {
            Ok(_) | Err(StoreError::Reject(_)) => return,
            Err(err) if is_full(err) => "full",
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(StoreError::Stuck(cause, _)) => cause.name(),
            // An answer, and its asker knows what to do.
            Err(err @ StoreError::Fault(_)) if has_moved(err) || conflict(err).is_some() => return,
            Err(StoreError::Fault(_)) => "fault",
        };
        counter!(FAILURES, "statement" => self.statement, "reason" => reason).increment(1);
        VITALS.store_faults.add(1);
    }
}

/// A statement waited so long for its connection.
pub fn waited(start: Instant) {
    histogram!("worker_store_wait_seconds").record(start.elapsed().as_secs_f64());
}

/// How a pool is now (`lanes`, `cheap`, `heavy`): connections `busy`, `idle`, and `free` to be opened; statements that wait.
pub fn pool(pool: &'static str, status: &Status) {
    let connections = |state: &'static str, count: usize| {
        gauge!("worker_store_connections", "pool" => pool, "state" => state).set(count as f64);
    };
    connections("busy", status.size.saturating_sub(status.available));
    connections("idle", status.available);
    connections("free", status.max_size.saturating_sub(status.size));
    gauge!("worker_store_waiting_statements", "pool" => pool).set(status.waiting as f64);
}

/// Counts a batch that another worker was faster with.
pub fn collided() {
    counter!(COLLISIONS).increment(1);
}

/// Counts a read that a replica served, or that the primary had to.
pub fn replica_read(outcome: ReplicaRead) {
    let outcome = match outcome {
        ReplicaRead::Served => "served",
        ReplicaRead::Behind => "behind",
        ReplicaRead::Slow => "slow",
        ReplicaRead::Failed => "failed",
        ReplicaRead::Promoted => "promoted",
        ReplicaRead::Paused => "paused",
    };
    counter!(REPLICA_READS, "outcome" => outcome).increment(1);
}
