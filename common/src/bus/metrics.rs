//! The names of everything measured here, and the closed sets of their labels.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::inspect::LaneSeen;
use super::outcome::{PublishError, RequestError};
use crate::vitals::VITALS;
use protocol::Lane;

/// Label of what travels on no lane.
const NO_LANE: &str = "none";

pub(super) fn lane_label(lane: Option<Lane>) -> &'static str {
    lane.map_or(NO_LANE, Lane::name)
}

/// Envelopes of a lane that had one fate.
pub(super) struct Publishes {
    exported: Counter,
    is_busy: bool,
}

impl Publishes {
    /// So many more.
    pub(super) fn increment(&self, envelopes: u64) {
        self.exported.increment(envelopes);
        VITALS.publishes.add(envelopes);
        if self.is_busy {
            VITALS.publishes_busy.add(envelopes);
        }
    }
}

/// Envelopes by what became of them.
pub(super) fn publishes(lane: Option<Lane>, result: Result<(), PublishError>) -> Publishes {
    let is_busy = result == Err(PublishError::Busy);
    let result = match result {
        Ok(()) => "ok",
        Err(PublishError::Busy) => "busy",
        Err(PublishError::NoRoute) => "no_route",
        Err(PublishError::TooLarge) => "too_large",
        Err(PublishError::Closed) => "closed",
    };
    let exported = counter!("bus_publishes_total", "lane" => lane_label(lane), "result" => result);
    Publishes { exported, is_busy }
}

/// From the wire to the broker's confirm, per batch.
pub(super) struct Confirms(Histogram);

impl Confirms {
    pub(super) fn new() -> Self {
        Self(histogram!("bus_confirm_seconds"))
    }

    pub(super) fn record(&self, took: Duration) {
        self.0.record(took);
        VITALS.confirm.record(took);
    }
}

/// Envelopes in one batch, as published.
pub(super) fn batch_envelopes() -> Histogram {
    histogram!("bus_batch_envelopes")
}

/// Connections lost, by what for.
pub(super) fn reconnects(connection: &'static str) -> Counter {
    counter!("bus_reconnects_total", "connection" => connection)
}

/// Batches that the broker had to give back, because no queue took them.
pub(super) fn returned() -> Counter {
    counter!("bus_returned_total")
}

/// An envelope was set aside; reason: `attempts` or `damaged`.
pub(super) fn quarantined(reason: &'static str) {
    counter!("bus_quarantined_total", "reason" => reason).increment(1);
    VITALS.quarantined.add(1);
}

/// Failed envelopes sent up the ladder.
pub(super) fn retries(lane: Lane) -> Counter {
    counter!("bus_retries_total", "lane" => lane.name())
}

/// Envelopes dropped on their way, by reason: `slow_subscriber`, `full`, `stale`, `damaged`.
pub(super) fn shed(reason: &'static str) -> Counter {
    counter!("bus_shed_total", "reason" => reason)
}

/// Shards given up, by reason: `hold`, `release`, `lost`.
pub(super) fn handovers(reason: &'static str) -> Counter {
    counter!("bus_handovers_total", "reason" => reason)
}

/// From asking a queue group to its answer, or to giving up.
pub(super) fn requested<T>(answer: &Result<T, RequestError>, took: Duration) {
    let result = match answer {
        Ok(_) => "answered",
        Err(RequestError::NoResponders) => "no_responders",
        Err(RequestError::Timeout) => "timeout",
        Err(RequestError::Busy) => "busy",
        Err(RequestError::TooLarge) => "too_large",
        Err(RequestError::Closed) => "closed",
    };
    histogram!("bus_request_seconds", "result" => result).record(took);
    VITALS.request.record(took);
}

/// Envelopes that were taken and are not confirmed yet.
pub(super) fn in_flight(lane: Option<Lane>, envelopes: usize) {
    gauge!("bus_in_flight_envelopes", "lane" => lane_label(lane)).set(envelopes as f64);
    if let Some(lane) = lane {
        VITALS.lane(lane).in_flight.set(envelopes as f64);
    }
}

/// Seconds in which nothing could be published; reason: `blocked` (an alarm of the broker), `away`.
pub(super) fn blocked_seconds(reason: &'static str) -> Counter {
    counter!("bus_blocked_seconds_total", "reason" => reason)
}

/// From publishing a batch to a worker that takes it.
pub(super) fn lane_wait_seconds(lane: Lane) -> Histogram {
    histogram!("bus_lane_wait_seconds", "lane" => lane.name())
}

/// The measured state of a lane's queues.
pub(super) fn lane_seen(lane: Lane, seen: LaneSeen) {
    gauge!("bus_lane_waiting_batches", "lane" => lane.name()).set(seen.batches as f64);
    gauge!("bus_lane_backlog_seconds", "lane" => lane.name()).set(seen.backlog.as_secs_f64());
    gauge!("bus_lane_consumers", "lane" => lane.name()).set(f64::from(seen.consumers));
    let known = VITALS.lane(lane);
    known.waiting.set(seen.batches as f64);
    known.backlog_seconds.set(seen.backlog.as_secs_f64());
    known.consumers.set(f64::from(seen.consumers));
}

/// Batches that consumers here hold unacknowledged, and the age of the oldest.
pub(super) fn lane_held(lane: Lane, batches: usize, oldest_seconds: f64) {
    gauge!("bus_lane_unacked_batches", "lane" => lane.name()).set(batches as f64);
    gauge!("bus_lane_unacked_oldest_seconds", "lane" => lane.name()).set(oldest_seconds);
    VITALS.lane(lane).unacked.set(batches as f64);
    VITALS.lane(lane).unacked_seconds.set(oldest_seconds);
}

/// 1: publishing works; 0: the broker blocks or is away.
pub(super) fn up() -> Gauge {
    gauge!("bus_up")
}
