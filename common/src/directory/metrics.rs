//! The names of everything measured in the directory.

use std::future::Future;
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::time::{Instant, timeout};

use super::answer::DirectoryError;
use crate::vitals::VITALS;

/// How long calls take. Labels: `call`.
const CALL_SECONDS: &str = "directory_call_seconds";

/// Calls that had no answer. Labels: `call`, `reason` (`timeout`, `fault`).
const FAULTS: &str = "directory_faults_total";

/// Connections rebuilt because answers stayed away. Labels: `outcome` (`rebuilt`, `failed`).
const REBUILDS: &str = "directory_rebuilds_total";

/// Times a node had to write its users again. Labels: `reason` (`new_lease`, `lost_lease`,
/// `failover`, `lost_seats`, `unknown`: the check had no answer).
const RESEATS: &str = "directory_reseats_total";

/// Steps of the sweep that failed; the next one tries again.
const SWEEP_FAULTS: &str = "directory_sweep_faults_total";

/// Runs a call within its deadline, measures it, and counts its fault.
pub(super) async fn bounded<T>(
    call: &'static str,
    deadline: Duration,
    answer: impl Future<Output = anyhow::Result<T>>,
) -> Result<T, DirectoryError> {
    let start = Instant::now();
    let outcome = timeout(deadline, answer).await;
    let took = start.elapsed();
    histogram!(CALL_SECONDS, "call" => call).record(took);
    VITALS.directory.record(took);
    let (reason, fault) = match outcome {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(fault)) => ("fault", fault),
        Err(_) => ("timeout", anyhow::anyhow!("no answer within {deadline:?}")),
    };
    counter!(FAULTS, "call" => call, "reason" => reason).increment(1);
    VITALS.directory_faults.add(1);
    Err(DirectoryError(fault.context(call)))
}

pub(super) fn rebuilt(is_rebuilt: bool) {
    counter!(REBUILDS, "outcome" => if is_rebuilt { "rebuilt" } else { "failed" }).increment(1);
}

pub(super) fn reseat(reason: &'static str) {
    counter!(RESEATS, "reason" => reason).increment(1);
}

pub(super) fn sweep_failed() {
    counter!(SWEEP_FAULTS).increment(1);
}
