//! The numbers that this process' health is told from, typed.
//!
//! What Prometheus scrapes is for others, and its names and labels are a contract with them; no program
//! reads its own text. What a program must know of itself is a field here. It is filled where the same is
//! told to Prometheus, in the `metrics.rs` of each part, so the two say the same
//! (`tests/read_only/metrics.rs` compares them). A field that no part of this process fills stays at 0
//! or unknown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::Lane;

/// Seconds, from what a cache answers in to what a backlog takes. Each target has its own bound: a
/// confirm 20 ms, a call 100 ms, a message 250 ms, a large room 500 ms, the high lane 1 s, a receipt
/// 2 s, the medium lane 5 s.
pub const SECONDS: [f64; 20] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.003_5, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5,
    1.0, 2.0, 5.0, 10.0, 60.0,
];

/// Those of this process: two programs in one process share them, as they share what is scraped.
pub static VITALS: Vitals = Vitals::new();

/// Something that is counted.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many it were so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Count {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }
}

/// Something that rises and falls.
#[derive(Debug)]
pub struct Level(AtomicU64);

impl Level {
    const fn new() -> Self {
        Self(AtomicU64::new(f64::NAN.to_bits()))
    }

    /// It is so much now.
    pub fn set(&self, now: f64) {
        self.0.store(now.to_bits(), Ordering::Relaxed);
    }

    /// How much it is. None: this process does not know.
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

/// How long something takes: its sum, and how often it took up to each of [`SECONDS`], or longer.
#[derive(Clone, Debug)]
pub struct Timing {
    nanoseconds: Count,
    buckets: [Count; SECONDS.len() + 1],
}

impl Timing {
    const fn new() -> Self {
        Self { nanoseconds: Count::new(), buckets: [const { Count::new() }; SECONDS.len() + 1] }
    }

    /// It took so long once more.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].add(1);
        self.nanoseconds.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How often it took something.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum()
    }

    /// Seconds, all together.
    pub fn seconds(&self) -> f64 {
        self.nanoseconds.get() as f64 / 1e9
    }

    /// How often it took up to each of [`SECONDS`] and no bound below it; last, how often longer.
    pub fn buckets(&self) -> [u64; SECONDS.len() + 1] {
        std::array::from_fn(|place| self.buckets[place].get())
    }
}

/// What is known of a lane.
#[derive(Clone, Debug)]
pub struct LaneVitals {
    /// Envelopes that were published and are not confirmed yet.
    pub in_flight: Level,
    /// Batches that wait for a worker.
    pub waiting: Level,
    /// How old the oldest of them is, seconds.
    pub backlog_seconds: Level,
    /// Consumers of the shard that has the fewest.
    pub consumers: Level,
    /// Batches that this process holds unacknowledged.
    pub unacked: Level,
    /// How old the oldest of them is, seconds.
    pub unacked_seconds: Level,
    /// Events worked off, whatever came of them.
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

/// All of them. A clone is how they were at one moment.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the comments before groups and the names say it")]
pub struct Vitals {
    // The bus: envelopes published, whatever came of them; those answered `busy`; batches until their confirm;
    // requests until their answer; envelopes set aside for good.
    pub publishes: Count,
    pub publishes_busy: Count,
    pub confirm: Timing,
    pub request: Timing,
    pub quarantined: Count,
    // By `Lane as usize`.
    pub lanes: [LaneVitals; Lane::ALL.len()],
    // Directory and store: how long a call or a statement takes, and those without an answer.
    pub directory: Timing,
    pub directory_faults: Count,
    pub store: Timing,
    pub store_faults: Count,
    // What works events off: from a gateway's acceptance until what it tells was taken; events that failed
    // alone; requests answered.
    pub event: Timing,
    pub set_aside: Count,
    pub requests: Count,
    // What holds sockets: how many, their frames, how long events of the high lane take until they are in an
    // outbox, those cut as slow; REST, and what of it had no answer; how late the runtime is, seconds.
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
    /// Nothing has happened.
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

    /// What is known of this lane.
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
