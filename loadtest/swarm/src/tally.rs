//! The counts and latencies of a run: one tally per thread, added up at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Counts and latencies of one thread.
pub struct Tally {
    /// Scheduled → `messageQueued`, µs.
    pub queued: Histogram<u64>,
    /// Scheduled → `messageProcessed`, µs.
    pub processed: Histogram<u64>,
    /// Scheduled → first shown, µs, for each member.
    pub delivered: Histogram<u64>,
    /// A socket cut → `synced` on the next one, µs.
    pub resumed: Histogram<u64>,
    /// When sockets that had been open came again, µs since the origin: every attempt.
    pub reconnects_us: Vec<u64>,
    /// All other counts.
    pub counts: Counts,
}

/// Simple counts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// `busy` answers received.
    pub busy: u64,
    /// Longest time from putting a message on the wire to `busy`, µs.
    pub busy_us_max: u64,
    /// `rate_limited` answers received.
    pub rate_limited: u64,
    /// Messages without an answer within the resend time.
    pub unanswered: u64,
    /// Times a message was put on the wire again.
    pub resent: u64,
    /// Sockets that closed, by code (`lost`: without a close frame).
    pub closes: BTreeMap<String, u64>,
    /// Times a player that had heard everything lost its socket.
    pub cuts: u64,
    /// Sockets opened again.
    pub reconnects: u64,
    /// Attempts to open that failed.
    pub connects_failed: u64,
    /// `server.going_away` events received.
    pub going_away: u64,
    /// `server.lapsed` events received.
    pub lapses: u64,
    /// `sync` events sent.
    pub syncs: u64,
    /// Messages first shown through `sync`.
    pub synced: u64,
    /// Messages first shown through history, after `sync` said `gap`.
    pub fetched: u64,
    /// Holes noticed in live deliveries.
    pub holes: u64,
    /// Other rejects received, by code.
    pub rejects: BTreeMap<String, u64>,
    /// RFC 6455 broken by the server, by what.
    pub violations: BTreeMap<String, u64>,
    /// Longest time of one sender without an acknowledgement while some were awaited, µs.
    pub ack_gap_us_max: u64,
    /// The last acknowledgement, µs since the origin.
    pub last_ack_us: u64,
    /// The last first showing, µs since the origin.
    pub last_shown_us: u64,
}

impl Tally {
    /// An empty tally.
    pub fn new() -> Self {
        let histogram = || {
            // Three digits, up to an hour: constants that the library takes.
            Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are valid")
        };
        Self {
            queued: histogram(),
            processed: histogram(),
            delivered: histogram(),
            resumed: histogram(),
            reconnects_us: vec![],
            counts: Counts::default(),
        }
    }

    /// Adds the tally of another thread.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.queued, &other.queued),
            (&mut self.processed, &other.processed),
            (&mut self.delivered, &other.delivered),
            (&mut self.resumed, &other.resumed),
        ] {
            // Same bounds everywhere, so the sum always fits.
            mine.add(theirs).expect("all histograms have the same bounds");
        }
        self.reconnects_us.extend(&other.reconnects_us);
        let (mine, theirs) = (&mut self.counts, &other.counts);
        mine.cuts += theirs.cuts;
        mine.busy += theirs.busy;
        mine.busy_us_max = mine.busy_us_max.max(theirs.busy_us_max);
        mine.rate_limited += theirs.rate_limited;
        mine.unanswered += theirs.unanswered;
        mine.resent += theirs.resent;
        mine.reconnects += theirs.reconnects;
        mine.connects_failed += theirs.connects_failed;
        mine.going_away += theirs.going_away;
        mine.lapses += theirs.lapses;
        mine.syncs += theirs.syncs;
        mine.synced += theirs.synced;
        mine.fetched += theirs.fetched;
        mine.holes += theirs.holes;
        mine.ack_gap_us_max = mine.ack_gap_us_max.max(theirs.ack_gap_us_max);
        mine.last_ack_us = mine.last_ack_us.max(theirs.last_ack_us);
        mine.last_shown_us = mine.last_shown_us.max(theirs.last_shown_us);
        for (mine, theirs) in [
            (&mut mine.closes, &theirs.closes),
            (&mut mine.rejects, &theirs.rejects),
            (&mut mine.violations, &theirs.violations),
        ] {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
    }
}

/// The most of these times that lie within one second, wherever it begins.
pub fn peak_per_s(times_us: &[u64]) -> usize {
    let mut times = times_us.to_vec();
    times.sort_unstable();
    let mut first = 0;
    let within = |(last, time): (usize, &u64)| {
        while time - times[first] >= 1_000_000 {
            first += 1;
        }
        last + 1 - first
    };
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// The progress that the conductor watches while the threads run.
#[derive(Debug, Default)]
pub struct Progress {
    /// Sockets open now.
    pub open: AtomicI64,
    /// Messages acknowledged.
    pub acknowledged: AtomicU64,
    /// Messages processed.
    pub processed: AtomicU64,
    /// First showings to expect: acknowledged messages times members.
    pub expected: AtomicU64,
    /// First showings so far.
    pub shown: AtomicU64,
    /// Senders that have sent everything and heard an answer to each.
    pub through: AtomicU64,
    /// Players whose final `sync` is answered, with nothing missing.
    pub synced: AtomicU64,
}

impl Progress {
    /// A value that changes whenever anything moves.
    pub fn mark(&self) -> (u64, u64, u64) {
        (self.acknowledged.load(Relaxed), self.processed.load(Relaxed), self.shown.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_of_any_second() {
        assert_eq!(peak_per_s(&[]), 0);
        assert_eq!(peak_per_s(&[1_900_000, 900_000, 0, 1_800_000, 950_000]), 3);
        let even: Vec<u64> = (0..1_000).map(|at| at * 10_000).collect();
        assert_eq!(peak_per_s(&even), 100);
    }
}
