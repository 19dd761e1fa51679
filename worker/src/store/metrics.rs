//! The metrics of the store.

use ::metrics::{counter, describe_counter, describe_histogram, gauge, histogram};
use common::vitals::VITALS;
use deadpool_postgres::Status;
use tokio::time::Instant;

use super::failure::{conflict, has_moved, is_full};
use super::{Result, StoreError};

/// Seconds per statement, including the wait for a connection. Label `statement`.
pub const STATEMENT_SECONDS: &str = "worker_store_statement_seconds";

/// Failed statements. Labels `statement`, `reason` (unavailable, full, fault, and the causes that end only
/// one statement: lock, slow, size, conflict).
pub const FAILURES: &str = "worker_store_failures_total";

/// Batches retried because a message or a conversation had changed meanwhile: usually another worker was faster.
pub const COLLISIONS: &str = "worker_store_collisions_total";

/// Reads that the replica could have served. Label `outcome`.
pub const REPLICA_READS: &str = "worker_store_replica_reads_total";

/// The outcome of a read that the replica could have served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRead {
    /// The replica's rows were used.
    Served,
    /// The replica lacks changes that the primary has.
    Behind,
    /// The replica did not answer in time.
    Slow,
    /// The replica cannot be reached, or answered with an error.
    Failed,
    /// The server is not a replica (any more).
    Promoted,
    /// The replica was not asked, because it failed less than `REPLICA_PAUSE_MS` ago.
    Paused,
}

/// Registers the descriptions of these metrics with the exporter.
pub fn describe() {
    describe_histogram!(STATEMENT_SECONDS, "Seconds of a statement, waiting for a connection included");
    describe_counter!(FAILURES, "Statements without an answer, by reason");
    describe_counter!(REPLICA_READS, "Reads that a replica could have served, by what became of them");
    describe_counter!(COLLISIONS, "Batches run again because their conversations had changed meanwhile");
}

/// Measures the time of one statement.
pub struct Timer {
    statement: &'static str,
    start: Instant,
}

impl Timer {
    /// Starts measuring; `statement` is the label.
    pub fn start(statement: &'static str) -> Self {
        Self { statement, start: Instant::now() }
    }

    /// Records the time, and counts a failure by its reason.
    pub fn stop<T>(self, outcome: &Result<T>) {
        let took = self.start.elapsed();
        histogram!(STATEMENT_SECONDS, "statement" => self.statement).record(took);
        VITALS.store.record(took);
        let reason = match outcome {
            Ok(_) | Err(StoreError::Reject(_)) => return,
            Err(err) if is_full(err) => "full",
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(StoreError::Stuck(cause, _)) => cause.name(),
            // The statement was answered, and its caller handles that.
            Err(err @ StoreError::Fault(_)) if has_moved(err) || conflict(err).is_some() => return,
            Err(StoreError::Fault(_)) => "fault",
        };
        counter!(FAILURES, "statement" => self.statement, "reason" => reason).increment(1);
        VITALS.store_faults.add(1);
    }
}

/// Records how long a statement has waited for its connection since `start`.
pub fn waited(start: Instant) {
    histogram!("worker_store_wait_seconds").record(start.elapsed().as_secs_f64());
}

/// Sets the gauges of a pool (`lanes`, `cheap`, `heavy`): connections that are `busy`, `idle`, or `free` to be
/// opened, and statements that wait for one.
pub fn pool(pool: &'static str, status: &Status) {
    let connections = |state: &'static str, count: usize| {
        gauge!("worker_store_connections", "pool" => pool, "state" => state).set(count as f64);
    };
    connections("busy", status.size.saturating_sub(status.available));
    connections("idle", status.available);
    connections("free", status.max_size.saturating_sub(status.size));
    gauge!("worker_store_waiting_statements", "pool" => pool).set(status.waiting as f64);
}

/// Counts a batch that must be retried because something changed meanwhile.
pub fn collided() {
    counter!(COLLISIONS).increment(1);
}

/// Counts a read that the replica served, or that the primary served instead.
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
