//! The metrics of lanes. Their names do not depend on the program that takes the lanes; the labels `job` and
//! `instance` of a scrape show which one it is.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use protocol::{Lane, Timestamp};

use crate::vitals::VITALS;

/// Counts handled events by outcome: done, refused (the client's mistake), set aside.
pub(crate) fn handled(lane: Lane, outcome: &'static str, events: usize) {
    if events > 0 {
        counter!("lanes_events_total", "lane" => lane.name(), "outcome" => outcome).increment(events as u64);
        VITALS.lane(lane).events.add(events as u64);
    }
}

/// Records one piece of work: its events, and its time from the lane to the acknowledgement.
pub(crate) fn worked(lane: Lane, events: usize, took: Duration) {
    histogram!("lanes_work_seconds", "lane" => lane.name()).record(took.as_secs_f64());
    histogram!("lanes_work_events", "lane" => lane.name()).record(events as f64);
}

/// Records the latency of events whose deliveries the bus has taken. `accepted` are times of the gateway's clock,
/// so this compares two clocks.
pub(crate) fn told(lane: Lane, accepted: impl Iterator<Item = Timestamp>) {
    let (seconds, now) = (histogram!("lanes_event_seconds", "lane" => lane.name()), Timestamp::now());
    accepted.for_each(|at| {
        let took = Duration::from_millis((now.0 - at.0).max(0).unsigned_abs());
        seconds.record(took);
        VITALS.event.record(took);
    });
}

/// Records one event for users: the number of gateways and of recipients.
pub(crate) fn fanned_out(nodes: usize, recipients: usize) {
    histogram!("lanes_fanout_nodes").record(nodes as f64);
    histogram!("lanes_fanout_recipients").record(recipients as f64);
}

/// Sets the number of batches that wait in this program.
pub(crate) fn waiting(lane: Lane, batches: usize) {
    gauge!("lanes_waiting_batches", "lane" => lane.name()).set(batches as f64);
}

/// Counts a piece of work that was held because a peer is away.
pub(crate) fn held(lane: Lane, reason: &'static str) {
    counter!("lanes_holds_total", "lane" => lane.name(), "reason" => reason).increment(1);
}

/// Counts batches given back to their lane.
pub(crate) fn released(lane: Lane, reason: &'static str, batches: usize) {
    if batches > 0 {
        counter!("lanes_releases_total", "lane" => lane.name(), "reason" => reason).increment(batches as u64);
    }
}

/// Counts an envelope that failed alone: it climbs the ladder, or has left its last rung.
pub(crate) fn set_aside(lane: Lane, reason: &'static str, fate: &'static str) {
    counter!("lanes_set_aside_total", "lane" => lane.name(), "reason" => reason, "fate" => fate).increment(1);
    VITALS.set_aside.add(1);
}

/// Counts deliveries by outcome.
pub(crate) fn delivered(outcome: &'static str, deliveries: usize) {
    if deliveries > 0 {
        counter!("lanes_deliveries_total", "outcome" => outcome).increment(deliveries as u64);
    }
}

/// Counts the recipients that were looked up: with a socket, and without one.
pub(crate) fn looked_up(seated: usize, absent: usize) {
    counter!("lanes_recipients_total", "outcome" => "seated").increment(seated as u64);
    counter!("lanes_recipients_total", "outcome" => "absent").increment(absent as u64);
}

/// Sets the number of shards that this program takes, and of programs that take from this lane, itself included.
pub(crate) fn share(lane: Lane, shards: usize, nodes: usize) {
    gauge!("lanes_shards", "lane" => lane.name()).set(shards as f64);
    gauge!("lanes_live_nodes").set(nodes as f64);
}

/// Sets the number of keys whose events wait apart.
pub(crate) fn apart(lane: Lane, keys: usize) {
    gauge!("lanes_apart_keys", "lane" => lane.name()).set(keys as f64);
}
