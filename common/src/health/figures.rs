//! The measured numbers that a program's health is computed from, and their form in `/health/detailed`.

use serde_json::{Value, json};

use super::process;
use super::sample::Stretch;
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
    let name = match part {
        "bus" => "bus_confirm_seconds",
        "directory" => "directory_call_seconds",
        "store" => "worker_store_statement_seconds",
        _ => return None,
    };
    stretch.mean(name).map(millis)
}

/// The strains that take points off the score.
pub(super) fn strain(stretch: &Stretch) -> Strain {
    let tried = stretch.gained("bus_publishes_total", &[])
        + stretch.recorded("directory_call_seconds")
        + stretch.recorded("worker_store_statement_seconds");
    let failed = stretch.gained("bus_publishes_total", &["result=\"busy\""])
        + stretch.gained("directory_faults_total", &[])
        + stretch.gained("worker_store_failures_total", &[]);
    Strain {
        oldest: Lane::ALL.map(|lane| oldest(lane, stretch).unwrap_or(0.0)),
        errors: if tried > 0.0 { failed / tried } else { 0.0 },
        lag: stretch.now("gateway_lag_seconds", &[]).unwrap_or(0.0),
    }
}

/// Age of the oldest batch in a lane, as far as this program knows.
fn oldest(lane: Lane, stretch: &Stretch) -> Option<f64> {
    let label = label(lane);
    let held = stretch.now("bus_lane_unacked_oldest_seconds", &[label.as_str()]);
    let waiting = stretch.now("bus_lane_backlog_seconds", &[label.as_str()]);
    held.into_iter().chain(waiting).reduce(f64::max)
}

fn label(lane: Lane) -> String {
    format!("lane=\"{lane}\"")
}

fn millis(seconds: f64) -> f64 {
    // Microseconds are enough.
    (seconds * 1_000_000.0).round() / 1_000.0
}

/// The numbers of `/health/detailed`. Null: this program does not know.
pub(super) fn details(answer: &mut Value, stretch: &Stretch) {
    let queues = Lane::ALL.map(|lane| {
        let label = label(lane);
        let now = |name| stretch.now(name, &[label.as_str()]);
        let queue = json!({
            "waiting": now("bus_lane_waiting_batches"),
            "unacked": now("bus_lane_unacked_batches"),
            "oldestSeconds": oldest(lane, stretch),
            "consumers": now("bus_lane_consumers"),
            "inFlight": now("bus_in_flight_envelopes"),
            "perSecond": stretch.rate("worker_events_total", &[label.as_str()]),
        });
        (lane.name().to_owned(), queue)
    });
    answer["queues"] = queues.into_iter().collect::<serde_json::Map<_, _>>().into();
    answer["rates"] = json!({
        "overSeconds": stretch.seconds(),
        "framesInPerSecond": stretch.rate("gateway_frames_in_total", &[]),
        "framesOutPerSecond": stretch.rate("gateway_frames_out_total", &[]),
        "eventsPerSecond": stretch.rate("worker_events_total", &[]),
        "requestsPerSecond": stretch.rate("worker_requests_total", &[])
            + stretch.rate("gateway_api_requests_total", &[]),
    });
    let high = [r#"class="high""#];
    let quantile = |name, labels: &[&str], quantile| stretch.quantile(name, labels, quantile).map(millis);
    answer["latencyMs"] = json!({
        "deliveryP50": quantile("gateway_delivery_seconds", &high, 0.5),
        "deliveryP99": quantile("gateway_delivery_seconds", &high, 0.99),
        "eventP99": quantile("worker_event_seconds", &[], 0.99),
        "requestP99": quantile("bus_request_seconds", &[], 0.99),
    });
    let total = |name, labels: &[&str]| stretch.now(name, labels);
    answer["errors"] = json!({
        "publishesBusy": total("bus_publishes_total", &[r#"result="busy""#]),
        "directoryFaults": total("directory_faults_total", &[]),
        "storeFailures": total("worker_store_failures_total", &[]),
        "setAside": total("worker_set_aside_total", &[]),
        "quarantined": total("bus_quarantined_total", &[]),
        "apiFailed": total("gateway_api_failed_total", &[]),
        "socketsCutAsSlow": total("gateway_sockets_closed_total", &[r#"reason="slow""#]),
        "shareOfLastSeconds": strain(stretch).errors,
    });
    answer["sockets"] = json!(total("gateway_sockets_open", &[]));
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
