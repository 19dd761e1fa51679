//! The names of everything measured here.

use std::time::Duration;

use common::vitals::VITALS;
use metrics::{counter, histogram};
use protocol::events::sync::Synced;

/// Messages that were there already; cause: `client` (it sent the guid again) or `redelivered` (a
/// batch that a worker did not live to acknowledge).
pub(crate) fn repeated(cause: &'static str) {
    counter!("worker_repeats_total", "cause" => cause).increment(1);
}

/// Conversations that pieces of work needed: `recalled` from memory, `loaded`; and those that were
/// `forgotten`, or written under locks because they moved twice (`locked`).
pub(crate) fn conversations(outcome: &'static str, conversations: usize) {
    if conversations > 0 {
        counter!("worker_conversations_total", "outcome" => outcome).increment(conversations as u64);
    }
}

/// Events that were skipped because a newer one replaces them, or because they are too old.
pub(crate) fn shed(event: &'static str, reason: &'static str, events: usize) {
    if events > 0 {
        counter!("worker_shed_total", "event" => event, "reason" => reason).increment(events as u64);
    }
}

/// A request was answered.
pub(crate) fn answered(area: &'static str, outcome: &'static str, took: Duration) {
    counter!("worker_requests_total", "area" => area, "outcome" => outcome).increment(1);
    VITALS.requests.add(1);
    histogram!("worker_request_seconds", "area" => area).record(took.as_secs_f64());
}

/// A REST request was refused before its route saw it: `full` (this worker), `person_at_once`, `person_rate`.
pub(crate) fn rest_refused(reason: &'static str) {
    counter!("worker_rest_refusals_total", "reason" => reason).increment(1);
}

/// The result of a `sync`: the worst of its conversations names the whole.
pub(crate) fn synced(synced: &Synced) {
    let of = |outcome: &'static str, conversations: usize| {
        if conversations > 0 {
            counter!("worker_sync_conversations_total", "outcome" => outcome).increment(conversations as u64);
        }
        (conversations > 0).then_some(outcome)
    };
    let gap = of("gap", synced.gaps.len());
    let missed = of("missed", synced.missed.len());
    let unknown = of("unknown", synced.unknown.len());
    of("current", synced.current.len());
    sync_ended(gap.or(missed).or(unknown).unwrap_or("current"));
}

/// A `sync` ended so: as above, or `busy`, or `failed`.
pub(crate) fn sync_ended(result: &'static str) {
    counter!("worker_syncs_total", "result" => result).increment(1);
}

/// Users whose presence was announced.
pub(crate) fn presence_told(online: usize, offline: usize) {
    counter!("worker_presence_told_total", "presence" => "online").increment(online as u64);
    counter!("worker_presence_told_total", "presence" => "offline").increment(offline as u64);
}

/// A failed check for users who came or went; they are announced later.
pub(crate) fn presence_failed(reason: &'static str) {
    counter!("worker_presence_faults_total", "reason" => reason).increment(1);
}

/// A password that was not judged or not right: `wrong`, or which limit refused it (`pair`, `address`,
/// `account`, `busy`).
pub(crate) fn login_refused(reason: &'static str) {
    counter!("worker_logins_refused_total", "reason" => reason).increment(1);
}

/// Logins that had ended and that the directory did not know.
pub(crate) fn ended_logins_filled(logins: usize) {
    counter!("worker_ended_logins_filled_total").increment(logins as u64);
}

/// A look for logins that ended that failed; the next one follows.
pub(crate) fn ended_logins_failed() {
    counter!("worker_ended_logins_faults_total").increment(1);
}

/// Dead nodes whose seats this worker cleared, and users whose last seat it was.
pub(crate) fn reaped(nodes: u64, users: u64) {
    counter!("worker_reaped_nodes_total").increment(nodes);
    counter!("worker_reaped_users_total").increment(users);
}
