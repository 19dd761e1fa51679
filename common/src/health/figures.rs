//! The measured numbers that a program's health is computed from, and their form in `/health/detailed`.

use serde_json::{Value, json};

use super::process;
use super::stretch::Stretch;
use crate::vitals::LaneVitals;
use protocol::Lane;

/// The strains that take points off the score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Strain {
    /// Seconds, by lane.
    pub oldest: [f64; Lane::ALL.len()],
    /// Of what was tried, which part failed.
    pub errors: f64,
    /// Seconds.
    pub lag: f64,
}

/// How long a part took to answer in this stretch, on average, milliseconds.
pub(super) fn latency(part: &str, stretch: &Stretch) -> Option<f64> {
    let mean = match part {
        "bus" => stretch.mean(|vitals| &vitals.confirm),
        "directory" => stretch.mean(|vitals| &vitals.directory),
        "store" => stretch.mean(|vitals| &vitals.store),
        _ => None,
    };
    mean.map(millis)
}

/// The strains that take points off the score.
pub(super) fn strain(stretch: &Stretch) -> Strain {
    let tried = stretch.gained(|vitals| &vitals.publishes)
        + stretch.recorded(|vitals| &vitals.directory)
        + stretch.recorded(|vitals| &vitals.store);
    let failed = stretch.gained(|vitals| &vitals.publishes_busy)
        + stretch.gained(|vitals| &vitals.directory_faults)
        + stretch.gained(|vitals| &vitals.store_faults);
    Strain {
        oldest: Lane::ALL.map(|lane| oldest(stretch.now().lane(lane)).unwrap_or(0.0)),
        errors: if tried > 0 { failed as f64 / tried as f64 } else { 0.0 },
        lag: stretch.now().lag_seconds.get().unwrap_or(0.0),
    }
}

/// Age of the oldest batch in a lane, as far as this program knows.
fn oldest(lane: &LaneVitals) -> Option<f64> {
    let (held, waiting) = (lane.unacked_seconds.get(), lane.backlog_seconds.get());
    held.into_iter().chain(waiting).reduce(f64::max)
}

fn millis(seconds: f64) -> f64 {
    // Microseconds are enough.
    (seconds * 1_000_000.0).round() / 1_000.0
}

/// The numbers of `/health/detailed`. Null: this program does not know; of errors it knows its own, so 0
/// where it can make none.
pub(super) fn details(answer: &mut Value, stretch: &Stretch) {
    let now = stretch.now();
    let queues = Lane::ALL.map(|lane| {
        let known = now.lane(lane);
        let queue = json!({
            "waiting": known.waiting.get(),
            "unacked": known.unacked.get(),
            "oldestSeconds": oldest(known),
            "consumers": known.consumers.get(),
            "inFlight": known.in_flight.get(),
            "perSecond": stretch.rate(|vitals| &vitals.lane(lane).events),
        });
        (lane.name().to_owned(), queue)
    });
    answer["queues"] = queues.into_iter().collect::<serde_json::Map<_, _>>().into();
    answer["rates"] = json!({
        "overSeconds": stretch.seconds(),
        "framesInPerSecond": stretch.rate(|vitals| &vitals.frames_in),
        "framesOutPerSecond": stretch.rate(|vitals| &vitals.frames_out),
        "eventsPerSecond":
            Lane::ALL.map(|lane| stretch.rate(|vitals| &vitals.lane(lane).events)).iter().sum::<f64>(),
        // Of a gateway and a worker in one process each counts its part of the same request.
        "requestsPerSecond": stretch.rate(|vitals| &vitals.requests).max(stretch.rate(|vitals| &vitals.rest)),
    });
    answer["latencyMs"] = json!({
        "deliveryP50": stretch.quantile(|vitals| &vitals.delivery, 0.5).map(millis),
        "deliveryP99": stretch.quantile(|vitals| &vitals.delivery, 0.99).map(millis),
        "eventP99": stretch.quantile(|vitals| &vitals.event, 0.99).map(millis),
        "requestP99": stretch.quantile(|vitals| &vitals.request, 0.99).map(millis),
    });
    answer["errors"] = json!({
        "publishesBusy": now.publishes_busy.get(),
        "directoryFaults": now.directory_faults.get(),
        "storeFailures": now.store_faults.get(),
        "setAside": now.set_aside.get(),
        "quarantined": now.quarantined.get(),
        "apiFailed": now.rest_failed.get(),
        "socketsCutAsSlow": now.cut_as_slow.get(),
        "shareOfLastSeconds": strain(stretch).errors,
    });
    answer["sockets"] = json!(now.sockets.get());
    answer["process"] = process::usage().map_or(Value::Null, |usage| {
        json!({
            "residentBytes": usage.resident_bytes,
            "cpuSeconds": usage.cpu_seconds,
            "openFiles": usage.fds,
            "openFilesMax": usage.fds_max,
            "threads": usage.threads,
        })
    });
}
