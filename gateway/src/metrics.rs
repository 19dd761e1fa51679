//! The names of all metrics of the gateway.
//!
//! Handles are taken once: looking a metric up by name costs more than counting.

use std::time::Duration;

use common::limits::SOCKET_MEMORY_BYTES;
use common::vitals::{Count, VITALS};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use protocol::{CloseCode, Lane, Timestamp};

use crate::socket::allowance::Outboxes;
use crate::wire::Form;

/// The kind of a frame: the values of the label `class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameClass {
    /// An event of the high lane, or an answer or announcement caused by one.
    High,
    /// The same of the medium lane.
    Medium,
    /// The same of the low lane.
    Low,
    /// Exchanges between gateway and client: handshake, heartbeat, refusals, close.
    Control,
    /// The rest: `sync`, and frames without an event.
    Other,
}

impl FrameClass {
    const ALL: [Self; 5] = [Self::High, Self::Medium, Self::Low, Self::Control, Self::Other];

    const fn label(self) -> &'static str {
        match self {
            Self::High => Lane::High.name(),
            Self::Medium => Lane::Medium.name(),
            Self::Low => Lane::Low.name(),
            Self::Control => "control",
            Self::Other => "other",
        }
    }

    /// The class of an event of this lane.
    pub const fn of_lane(lane: Option<Lane>) -> Self {
        match lane {
            Some(Lane::High) => Self::High,
            Some(Lane::Medium) => Self::Medium,
            Some(Lane::Low) => Self::Low,
            None => Self::Other,
        }
    }
}

/// Frames and bytes by class, collected before they are counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([(u64, u64); FrameClass::ALL.len()]);

impl Tally {
    /// Adds this many.
    pub fn add(&mut self, class: FrameClass, frames: u64, bytes: usize) {
        let (all_frames, all_bytes) = &mut self.0[class as usize];
        *all_frames += frames;
        *all_bytes += bytes as u64;
    }
}

/// Frames and bytes in one direction.
pub struct Traffic {
    classes: Vec<(Counter, Counter)>,
    vital: &'static Count,
}

impl Traffic {
    fn new(frames: &'static str, bytes: &'static str, vital: &'static Count) -> Self {
        let of = |class: &FrameClass| {
            (counter!(frames, "class" => class.label()), counter!(bytes, "class" => class.label()))
        };
        Self { classes: FrameClass::ALL.iter().map(of).collect(), vital }
    }

    /// Counts what was collected.
    pub fn count(&self, tally: &Tally) {
        for ((frames, bytes), (more_frames, more_bytes)) in self.classes.iter().zip(tally.0) {
            if more_frames > 0 {
                frames.increment(more_frames);
                self.vital.add(more_frames);
            }
            if more_bytes > 0 {
                bytes.increment(more_bytes);
            }
        }
    }
}

/// Everything this gateway counts.
pub struct Metrics {
    sockets: [Gauge; Form::ALL.len()],
    handshake: [Histogram; Form::ALL.len()],
    delivery: Vec<Histogram>,
    /// The bytes in all outboxes.
    pub outboxes: Outboxes,
    outbox_waiting: Gauge,
    drain_left: Gauge,
    memory_sockets: Gauge,
    memory_outboxes: Gauge,
    memory_rest: Gauge,
    /// From a ping to its pong, seconds.
    pub heartbeat: Histogram,
    connects_ready: Counter,
    lag: Gauge,
    sockets_ready: Counter,
    /// Completed upgrades.
    pub upgrades: Counter,
    /// Received frames and bytes.
    pub came: Traffic,
    /// Written frames and bytes.
    pub written: Traffic,
    /// Writes: frames divided by this shows how well they coalesce.
    pub writes: Counter,
    /// Envelopes published on a lane.
    pub uplinks: Counter,
    /// From frame to confirm, seconds.
    pub uplink_confirm: Histogram,
    /// Downlinks that came on `deliver.<node>`.
    pub downlinks: Counter,
    /// Frames built for downlinks: one for each wire form that is needed.
    pub frames_built: Counter,
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
    /// Typing that was not published.
    pub uplinks_dropped: Counter,
    closed: Vec<(CloseCode, Counter)>,
    lost: Counter,
}

impl Metrics {
    /// Creates the handles, after the recorder was installed. `outboxes_bytes_max`: bytes that may wait in all
    /// outboxes.
    pub fn new(outboxes_bytes_max: usize) -> Self {
        let closed =
            |code: &CloseCode| (*code, counter!("gateway_sockets_closed_total", "reason" => code.label()));
        let delivery = |class: &FrameClass| histogram!("gateway_delivery_seconds", "class" => class.label());
        Self {
            sockets: Form::ALL.map(|form| gauge!("gateway_sockets_open", "form" => form.label())),
            handshake: Form::ALL.map(|form| histogram!("gateway_handshake_seconds", "form" => form.label())),
            delivery: FrameClass::ALL.iter().map(delivery).collect(),
            outboxes: Outboxes::new(outboxes_bytes_max),
            outbox_waiting: gauge!("gateway_outbox_waiting_bytes"),
            drain_left: gauge!("gateway_drain_left_sockets"),
            memory_sockets: gauge!("gateway_memory_bytes", "cause" => "sockets"),
            memory_outboxes: gauge!("gateway_memory_bytes", "cause" => "outboxes"),
            memory_rest: gauge!("gateway_memory_bytes", "cause" => "rest"),
            heartbeat: histogram!("gateway_heartbeat_seconds"),
            connects_ready: counter!("gateway_connects_total", "result" => "ready"),
            lag: gauge!("gateway_lag_seconds"),
            sockets_ready: counter!("gateway_sockets_ready_total"),
            upgrades: counter!("gateway_upgrades_total"),
            came: Traffic::new("gateway_frames_in_total", "gateway_bytes_in_total", &VITALS.frames_in),
            written: Traffic::new("gateway_frames_out_total", "gateway_bytes_out_total", &VITALS.frames_out),
            writes: counter!("gateway_writes_total"),
            uplinks: counter!("gateway_uplinks_total"),
            uplink_confirm: histogram!("gateway_uplink_confirm_seconds"),
            downlinks: counter!("gateway_downlinks_total"),
            frames_built: counter!("gateway_frames_built_total"),
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

    /// A socket became ready this long after its upgrade.
    pub fn ready(&self, form: Form, took: Duration) {
        self.sockets_ready.increment(1);
        self.connects_ready.increment(1);
        self.handshake[form as usize].record(took);
    }

    /// An event went into an outbox here; `since` is the time when a gateway accepted the event that caused it, by the
    /// clock of that gateway.
    pub fn delivered(&self, class: FrameClass, since: Timestamp, now: Timestamp) {
        let took = Duration::from_millis((now.0 - since.0).max(0).unsigned_abs());
        self.delivery[class as usize].record(took);
        if class == FrameClass::High {
            VITALS.delivery.record(took);
        }
    }

    /// Lag of the runtime: a task that was due came so late.
    pub fn late(&self, lag: Duration) {
        self.lag.set(lag.as_secs_f64());
        VITALS.lag_seconds.set(lag.as_secs_f64());
    }

    /// Reports the current numbers: sockets by form, sockets left in a drain, memory by cause.
    pub fn measured(&self, sockets: [usize; Form::ALL.len()], left: usize, resident_bytes: u64) {
        self.sockets.iter().zip(sockets).for_each(|(gauge, count)| gauge.set(count as f64));
        VITALS.sockets.set(sockets.iter().sum::<usize>() as f64);
        self.drain_left.set(left as f64);
        let outboxes = self.outboxes.waiting();
        self.outbox_waiting.set(outboxes as f64);
        let of_sockets = sockets.iter().sum::<usize>() * SOCKET_MEMORY_BYTES;
        self.memory_sockets.set(of_sockets as f64);
        self.memory_outboxes.set(outboxes as f64);
        self.memory_rest.set(resident_bytes.saturating_sub((of_sockets + outboxes) as u64) as f64);
    }

    /// A socket ended. None: the connection broke without a close frame.
    pub fn closed(&self, code: Option<CloseCode>, was_ready: bool) {
        if !was_ready {
            let result = code.map_or("lost", CloseCode::label);
            counter!("gateway_connects_total", "result" => result).increment(1);
        }
        if code == Some(CloseCode::Slow) {
            VITALS.cut_as_slow.add(1);
        }
        let known = self.closed.iter().find(|(known, _)| Some(*known) == code);
        known.map_or(&self.lost, |(_, counter)| counter).increment(1);
    }
}

/// A connection was not accepted, and why: `full`, `address`, `fault`, `aborted`.
pub fn accept_refused(reason: &'static str) {
    counter!("gateway_accepts_refused_total", "reason" => reason).increment(1);
}

/// An upgrade was refused, and why.
pub fn upgrade_refused(reason: &'static str) {
    counter!("gateway_connects_total", "result" => "refused").increment(1);
    counter!("gateway_upgrades_refused_total", "reason" => reason).increment(1);
}

/// A frame from a client was dropped, and why.
pub fn frame_dropped(reason: &'static str) {
    counter!("gateway_frames_dropped_total", "reason" => reason).increment(1);
}

/// The result for the trace context of a message, or for a message without one.
pub fn context_judged(result: &'static str) {
    counter!("gateway_contexts_total", "result" => result).increment(1);
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
    VITALS.rest.add(1);
    histogram!("gateway_api_request_seconds").record(seconds);
}

/// A REST request had no answer from the cluster, and why.
pub fn api_failed(reason: &'static str) {
    counter!("gateway_api_failed_total", "reason" => reason).increment(1);
    VITALS.rest_failed.add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Tally {
        pub(crate) fn of(&self, class: FrameClass) -> (u64, u64) {
            self.0[class as usize]
        }
    }

    #[test]
    fn every_class_has_its_place() {
        for (place, class) in FrameClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, place);
        }
        assert_eq!(FrameClass::of_lane(Some(Lane::High)), FrameClass::High);
        assert_eq!(FrameClass::of_lane(None), FrameClass::Other);
    }
}
