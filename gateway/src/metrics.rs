//! The names of everything measured in the gateway.
//!
//! Handles are taken once: looking a metric up by name costs more than counting.

use common::protocol::CloseCode;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Everything this gateway counts.
pub struct Metrics {
    /// Sockets open now.
    pub sockets: Gauge,
    /// How late the runtime is, seconds.
    pub lag: Gauge,
    /// Sockets with an account, seated in the directory.
    pub sockets_ready: Counter,
    /// Upgrades done.
    pub upgrades: Counter,
    /// Frames that came.
    pub frames_in: Counter,
    /// Bytes that came.
    pub bytes_in: Counter,
    /// Frames written.
    pub frames_out: Counter,
    /// Bytes written.
    pub bytes_out: Counter,
    /// Writes: frames divided by this is how well they coalesce.
    pub writes: Counter,
    /// Envelopes published on a lane.
    pub uplinks: Counter,
    /// From frame to confirm, seconds.
    pub uplink_confirm: Histogram,
    /// Downlinks that came on `deliver.<node>`.
    pub downlinks: Counter,
    /// Frames put into outboxes by downlinks.
    pub deliveries: Counter,
    /// Downlinks whose recipients all were gone.
    pub downlinks_nobody: Counter,
    /// Downlinks that could not be read.
    pub downlinks_damaged: Counter,
    /// Subscriptions that were rebuilt: clients were told to sync.
    pub lapses: Counter,
    /// Outbox frames that a newer one replaced.
    pub outbox_replaced: Counter,
    /// Outbox frames shed as stale.
    pub outbox_shed: Counter,
    /// Readings of the ended logins that failed.
    pub login_faults: Counter,
    /// Users written to the directory.
    pub seats: Counter,
    /// Directory writes that failed and were repeated.
    pub seat_faults: Counter,
    /// Uplinks answered `busy`, by cause.
    pub uplinks_busy: Counter,
    /// Uplinks refused by the limit per user.
    pub uplinks_limited: Counter,
    /// Typing that was not taken.
    pub uplinks_dropped: Counter,
    closed: Vec<(CloseCode, Counter)>,
    lost: Counter,
}

impl Metrics {
    /// Takes the handles. After the recorder was installed.
    pub fn new() -> Self {
        let closed =
            |code: &CloseCode| (*code, counter!("gateway_sockets_closed_total", "reason" => code.label()));
        Self {
            sockets: gauge!("gateway_sockets_open"),
            lag: gauge!("gateway_lag_seconds"),
            sockets_ready: counter!("gateway_sockets_ready_total"),
            upgrades: counter!("gateway_upgrades_total"),
            frames_in: counter!("gateway_frames_in_total"),
            bytes_in: counter!("gateway_bytes_in_total"),
            frames_out: counter!("gateway_frames_out_total"),
            bytes_out: counter!("gateway_bytes_out_total"),
            writes: counter!("gateway_writes_total"),
            uplinks: counter!("gateway_uplinks_total"),
            uplink_confirm: histogram!("gateway_uplink_confirm_seconds"),
            downlinks: counter!("gateway_downlinks_total"),
            deliveries: counter!("gateway_deliveries_total"),
            downlinks_nobody: counter!("gateway_downlinks_dropped_total", "reason" => "nobody"),
            downlinks_damaged: counter!("gateway_downlinks_dropped_total", "reason" => "damaged"),
            lapses: counter!("gateway_lapses_total"),
            outbox_replaced: counter!("gateway_outbox_dropped_total", "reason" => "replaced"),
            outbox_shed: counter!("gateway_outbox_dropped_total", "reason" => "stale"),
            login_faults: counter!("gateway_login_faults_total"),
            seats: counter!("gateway_seats_total"),
            seat_faults: counter!("gateway_seat_faults_total"),
            uplinks_busy: counter!("gateway_uplinks_refused_total", "reason" => "busy"),
            uplinks_limited: counter!("gateway_uplinks_refused_total", "reason" => "rate_limited"),
            uplinks_dropped: counter!("gateway_uplinks_refused_total", "reason" => "typing_dropped"),
            closed: CloseCode::ALL.iter().map(closed).collect(),
            lost: counter!("gateway_sockets_closed_total", "reason" => "lost"),
        }
    }

    /// A socket ended. None: the peer vanished without a close.
    pub fn closed(&self, code: Option<CloseCode>) {
        let known = self.closed.iter().find(|(known, _)| Some(*known) == code);
        known.map_or(&self.lost, |(_, counter)| counter).increment(1);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection was not taken, and why: `emfile`, `accept`, `full`, `draining`.
pub fn accept_refused(reason: &'static str) {
    counter!("gateway_accepts_refused_total", "reason" => reason).increment(1);
}

/// An upgrade was refused, and why.
pub fn upgrade_refused(reason: &'static str) {
    counter!("gateway_upgrades_refused_total", "reason" => reason).increment(1);
}

/// A frame went no further, and why.
pub fn frame_dropped(reason: &'static str) {
    counter!("gateway_frames_dropped_total", "reason" => reason).increment(1);
}

/// A REST request was answered.
pub fn api_answered(status: u16, seconds: f64) {
    // Classes, not codes: labels come from closed sets.
    let class = match status {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    counter!("gateway_api_requests_total", "status" => class).increment(1);
    histogram!("gateway_api_request_seconds").record(seconds);
}

/// A REST request had no answer from the cluster, and why.
pub fn api_failed(reason: &'static str) {
    counter!("gateway_api_failed_total", "reason" => reason).increment(1);
}
