//! The trace of a message, and whether it is sampled: as the client asks, within a rate,
//! and a fraction of the other messages by our own choice.
//!
//! A client may ask for every message to be sampled, and all clients together would pay for it. So a gateway
//! samples at most [`TRACES_SAMPLED_PER_S`]. Further messages continue unsampled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::limits::{TRACES_SAMPLED_BURST, TRACES_SAMPLED_PER_S};
use parking_lot::Mutex;
use protocol::TraceContext;
use protocol::ids::NodeId;

use crate::metrics::context_judged;
use crate::socket::rate::{Gcra, LocalRate};

const RATE: LocalRate = LocalRate::per_second(TRACES_SAMPLED_PER_S, TRACES_SAMPLED_BURST);

/// The sampling of one gateway.
pub struct Sampling {
    granted: Mutex<Gcra>,
    /// The number of messages, out of 2^64 without a context, that start a trace.
    threshold: u64,
    /// The state of the random numbers: ids of traces need not be secret.
    random: AtomicU64,
}

impl Sampling {
    /// `ratio`: the fraction of messages without a context that start a trace; 0 to 1.
    pub fn new(ratio: f64, seed: NodeId) -> Self {
        // 1.0 is a case of its own, because 2^64 does not fit a u64.
        let threshold = if ratio >= 1.0 { u64::MAX } else { (ratio * 2_f64.powi(64)) as u64 };
        Self { granted: Mutex::default(), threshold, random: AtomicU64::new(seed.0) }
    }

    /// The context that travels with the message.
    pub fn judge(&self, given: Option<TraceContext>, now: Duration) -> Option<TraceContext> {
        let (context, result) = match given {
            None if self.threshold == 0 || self.next_random() > self.threshold => return None,
            None => {
                let trace = u128::from(self.next_random()) << 64 | u128::from(self.next_random());
                (TraceContext::begun(trace, self.next_random()), "begun")
            }
            Some(context) if !context.is_valid() => {
                context_judged("malformed");
                return None;
            }
            Some(context) if context.is_sampled() => (context, "sampled"),
            Some(context) => {
                context_judged("unsampled");
                return Some(context);
            }
        };
        let is_granted = self.granted.lock().take(RATE, 1, now).is_ok();
        context_judged(if is_granted { result } else { "limited" });
        match (is_granted, given) {
            (true, _) => Some(context),
            (false, Some(_)) => Some(context.unsampled()),
            // Over the rate, the gateway starts no trace of its own.
            (false, None) => None,
        }
    }

    /// The next random number (splitmix64).
    fn next_random(&self) -> u64 {
        let state = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn sampled() -> TraceContext {
        TraceContext::begun(7, 9)
    }

    #[test]
    fn what_a_client_asks_for_is_granted_up_to_a_rate() {
        let sampling = Sampling::new(0.0, NodeId(1));
        for _ in 0..TRACES_SAMPLED_BURST {
            assert_eq!(sampling.judge(Some(sampled()), NOW), Some(sampled()));
        }
        let after = sampling.judge(Some(sampled()), NOW).unwrap();
        assert_eq!((after, after.is_sampled()), (sampled().unsampled(), false), "it goes on, unsampled");
        let later = NOW + Duration::from_secs(1);
        assert_eq!(sampling.judge(Some(sampled()), later), Some(sampled()));
    }

    #[test]
    fn what_is_malformed_goes_no_further_and_what_is_unsampled_costs_nothing() {
        let sampling = Sampling::new(0.0, NodeId(1));
        assert_eq!(sampling.judge(Some(TraceContext::INVALID), NOW), None);
        for _ in 0..10 * TRACES_SAMPLED_BURST {
            assert_eq!(sampling.judge(Some(sampled().unsampled()), NOW), Some(sampled().unsampled()));
        }
        assert_eq!(sampling.judge(Some(sampled()), NOW), Some(sampled()));
        assert_eq!(sampling.judge(None, NOW), None, "of our own there are none unless asked for");
    }

    #[test]
    fn a_part_of_the_others_begins_a_trace() {
        let count = |ratio| {
            let sampling = Sampling::new(ratio, NodeId(1));
            // A second apart: the rate is not in question here.
            let all = (0..1_000).filter_map(|at| sampling.judge(None, Duration::from_secs(at)));
            let mut traces: Vec<_> = all.map(|context| context.trace_id()).collect();
            let count = traces.len();
            traces.sort_unstable();
            traces.dedup();
            assert_eq!(traces.len(), count, "each its own");
            count
        };
        assert_eq!((count(0.0), count(1.0)), (0, 1_000));
        assert!((150..250).contains(&count(0.2)));
    }
}
