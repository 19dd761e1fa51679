//! The names of everything measured here. They are of lanes, whichever program takes them: `job` and `instance` of a scrape
//! say which one that is.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use protocol::{Lane, Timestamp};

use crate::vitals::VITALS;

/// Events worked off, by outcome: done, refused (the client's mistake), set aside.
pub(crate) fn handled(lane: Lane, outcome: &'static str, events: usize) {
    if events > 0 {
        counter!("lanes_events_total", "lane" => lane.name(), "outcome" => outcome).increment(events as u64);
        VITALS.lane(lane).events.add(events as u64);
    }
}

/// One piece of work, from the lane to its acknowledgement.
pub(crate) fn worked(lane: Lane, events: usize, took: Duration) {
    histogram!("lanes_work_seconds", "lane" => lane.name()).record(took.as_secs_f64());
    histogram!("lanes_work_events", "lane" => lane.name()).record(events as f64);
}

/// Events whose deliveries were taken, each with when a gateway accepted it: by that gateway's clock,
/// so two clocks are compared.
pub(crate) fn told(lane: Lane, accepted: impl Iterator<Item = Timestamp>) {
    let (seconds, now) = (histogram!("lanes_event_seconds", "lane" => lane.name()), Timestamp::now());
    accepted.for_each(|at| {
        let took = Duration::from_millis((now.0 - at.0).max(0).unsigned_abs());
        seconds.record(took);
        VITALS.event.record(took);
    });
}

/// An event for users: on how many gateways they are, and how many of them.
pub(crate) fn fanned_out(nodes: usize, recipients: usize) {
    histogram!("lanes_fanout_nodes").record(nodes as f64);
    histogram!("lanes_fanout_recipients").record(recipients as f64);
}

/// Batches that wait in this program.
pub(crate) fn waiting(lane: Lane, batches: usize) {
    gauge!("lanes_waiting_batches", "lane" => lane.name()).set(batches as f64);
}

/// A piece of work was held because a peer is away.
pub(crate) fn held(lane: Lane, reason: &'static str) {
    counter!("lanes_holds_total", "lane" => lane.name(), "reason" => reason).increment(1);
}

/// Batches given back to their lane.
pub(crate) fn released(lane: Lane, reason: &'static str, batches: usize) {
    if batches > 0 {
        counter!("lanes_releases_total", "lane" => lane.name(), "reason" => reason).increment(batches as u64);
    }
}

/// An envelope that failed alone: it climbs the ladder, or has come to its end.
pub(crate) fn set_aside(lane: Lane, reason: &'static str, fate: &'static str) {
    counter!("lanes_set_aside_total", "lane" => lane.name(), "reason" => reason, "fate" => fate).increment(1);
    VITALS.set_aside.add(1);
}

/// Deliveries of one piece of work, by what became of them.
pub(crate) fn delivered(outcome: &'static str, deliveries: usize) {
    if deliveries > 0 {
        counter!("lanes_deliveries_total", "outcome" => outcome).increment(deliveries as u64);
    }
}

/// Recipients without a socket anywhere, and with one.
pub(crate) fn looked_up(seated: usize, absent: usize) {
    counter!("lanes_recipients_total", "outcome" => "seated").increment(seated as u64);
    counter!("lanes_recipients_total", "outcome" => "absent").increment(absent as u64);
}

/// Shards this program takes, and programs that take of the same lanes, itself included.
pub(crate) fn share(lane: Lane, shards: usize, nodes: usize) {
    gauge!("lanes_shards", "lane" => lane.name()).set(shards as f64);
    gauge!("lanes_live_nodes").set(nodes as f64);
}

/// Keys whose events wait apart.
pub(crate) fn apart(lane: Lane, keys: usize) {
    gauge!("lanes_apart_keys", "lane" => lane.name()).set(keys as f64);
}
