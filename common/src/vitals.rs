//! The typed numbers from which a program computes its health.
//!
//! The text that Prometheus scrapes is a contract with others; no program reads its own. A number that a
//! program needs of itself is a field here. The `metrics.rs` of each part fills it together with the metric
//! (`tests/read_only/metrics.rs` compares the two). A field that no part of this process fills stays 0 or
//! unknown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::Lane;

/// Bounds of the histograms, in seconds: from the answer of a cache to a backlog. Each target has its own bound: a
/// confirm 20 ms, a call 100 ms, a message 250 ms, a large room 500 ms, the high lane 1 s, a receipt
/// 2 s, the medium lane 5 s.
pub const SECONDS: [f64; 20] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.003_5, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5,
    1.0, 2.0, 5.0, 10.0, 60.0,
];

/// The numbers of this process. Two programs in one process share them, as they share the metrics.
pub static VITALS: Vitals = Vitals::new();

/// A counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds this many.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Count {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }
}

/// A gauge.
#[derive(Debug)]
pub struct Level(AtomicU64);

impl Level {
    const fn new() -> Self {
        Self(AtomicU64::new(f64::NAN.to_bits()))
    }

    /// Sets the current value.
    pub fn set(&self, now: f64) {
        self.0.store(now.to_bits(), Ordering::Relaxed);
    }

    /// The current value. None: this process does not know it.
    pub fn get(&self) -> Option<f64> {
        let now = f64::from_bits(self.0.load(Ordering::Relaxed));
        (!now.is_nan()).then_some(now)
    }
}

impl Clone for Level {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// A histogram of durations: their sum, and their number in each bucket of [`SECONDS`].
#[derive(Clone, Debug)]
pub struct Timing {
    nanoseconds: Count,
    buckets: [Count; SECONDS.len() + 1],
}

impl Timing {
    const fn new() -> Self {
        Self { nanoseconds: Count::new(), buckets: [const { Count::new() }; SECONDS.len() + 1] }
    }

    /// Adds a duration.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].add(1);
        self.nanoseconds.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum()
    }

    /// The sum of the durations, in seconds.
    pub fn seconds(&self) -> f64 {
        self.nanoseconds.get() as f64 / 1e9
    }

    /// The number of durations in each bucket: up to each of [`SECONDS`]; the last bucket holds longer ones.
    pub fn buckets(&self) -> [u64; SECONDS.len() + 1] {
        std::array::from_fn(|place| self.buckets[place].get())
    }
}

/// The numbers of a lane.
#[derive(Clone, Debug)]
pub struct LaneVitals {
    /// Envelopes that were published and are not confirmed yet.
    pub in_flight: Level,
    /// Batches that wait for a worker.
    pub waiting: Level,
    /// The age of the oldest of them, in seconds.
    pub backlog_seconds: Level,
    /// Consumers of the shard that has the fewest.
    pub consumers: Level,
    /// Batches that this process holds unacknowledged.
    pub unacked: Level,
    /// The age of the oldest of them, in seconds.
    pub unacked_seconds: Level,
    /// Handled events, whatever their outcome.
    pub events: Count,
}

impl LaneVitals {
    const fn new() -> Self {
        Self {
            in_flight: Level::new(),
            waiting: Level::new(),
            backlog_seconds: Level::new(),
            consumers: Level::new(),
            unacked: Level::new(),
            unacked_seconds: Level::new(),
            events: Count::new(),
        }
    }
}

/// All numbers. A clone holds the values of one moment.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the comments before groups and the names say it")]
pub struct Vitals {
    // The bus: published envelopes, whatever their outcome; those answered `busy`; the time until a batch is
    // confirmed and until a request is answered; envelopes in quarantine.
    pub publishes: Count,
    pub publishes_busy: Count,
    pub confirm: Timing,
    pub request: Timing,
    pub quarantined: Count,
    // Index: `Lane as usize`.
    pub lanes: [LaneVitals; Lane::ALL.len()],
    // Directory and store: the time of a call or a statement, and the number that failed.
    pub directory: Timing,
    pub directory_faults: Count,
    pub store: Timing,
    pub store_faults: Count,
    // Workers: the time from a gateway's acceptance until the broker has the deliveries; events that failed
    // alone; answered requests.
    pub event: Timing,
    pub set_aside: Count,
    pub requests: Count,
    // Gateways: open sockets, their frames, the time of high-lane events until they are in an outbox, sockets
    // closed as slow; REST requests, and those without an answer; the lag of the runtime, in seconds.
    pub sockets: Level,
    pub frames_in: Count,
    pub frames_out: Count,
    pub delivery: Timing,
    pub cut_as_slow: Count,
    pub rest: Count,
    pub rest_failed: Count,
    pub lag_seconds: Level,
}

impl Vitals {
    /// All numbers at 0 or unknown.
    pub const fn new() -> Self {
        Self {
            publishes: Count::new(),
            publishes_busy: Count::new(),
            confirm: Timing::new(),
            request: Timing::new(),
            quarantined: Count::new(),
            lanes: [const { LaneVitals::new() }; Lane::ALL.len()],
            directory: Timing::new(),
            directory_faults: Count::new(),
            store: Timing::new(),
            store_faults: Count::new(),
            event: Timing::new(),
            set_aside: Count::new(),
            requests: Count::new(),
            sockets: Level::new(),
            frames_in: Count::new(),
            frames_out: Count::new(),
            delivery: Timing::new(),
            cut_as_slow: Count::new(),
            rest: Count::new(),
            rest_failed: Count::new(),
            lag_seconds: Level::new(),
        }
    }

    /// The numbers of this lane.
    pub const fn lane(&self, lane: Lane) -> &LaneVitals {
        &self.lanes[lane as usize]
    }
}

impl Default for Vitals {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_one_moment() {
        let vitals = Vitals::new();
        assert_eq!((vitals.sockets.get(), vitals.publishes.get()), (None, 0));
        vitals.sockets.set(7.0);
        vitals.publishes.add(3);
        let then = vitals.clone();
        vitals.sockets.set(8.0);
        vitals.publishes.add(1);
        assert_eq!((then.sockets.get(), then.publishes.get()), (Some(7.0), 3));
        assert_eq!((vitals.sockets.get(), vitals.publishes.get()), (Some(8.0), 4));
    }

    #[test]
    fn a_time_is_in_the_bucket_of_the_least_bound_that_holds_it() {
        let check = |millis: u64, bucket: usize| {
            let timing = Timing::new();
            timing.record(Duration::from_millis(millis));
            let mut expect = [0; SECONDS.len() + 1];
            expect[bucket] = 1;
            assert_eq!(timing.buckets(), expect, "{millis} ms");
            assert_eq!((timing.count(), timing.seconds()), (1, millis as f64 / 1_000.0));
        };
        check(0, 0);
        check(1, 2);
        check(3, 4);
        check(60_000, SECONDS.len() - 1);
        check(60_001, SECONDS.len());
    }
}
