//! Rate limits in eight bytes each. Pure: the time comes in as an argument.
//!
//! GCRA (a leaky bucket stored as one time): [`Gcra`] remembers when everything taken so far will
//! be paid for. Taking more than `burst` ahead of that is refused, with the time to wait.
//!
//! Not here: limits per user over all nodes (the directory keeps those).

use std::time::Duration;

/// A rate per second, and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRate {
    /// Nanoseconds that one unit costs.
    unit_ns: u64,
    /// Nanoseconds that may be taken in advance.
    burst_ns: u64,
}

impl LocalRate {
    /// `per_second` units continuously, `burst` at once. Zero counts as one.
    pub const fn per_second(per_second: u32, burst: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        let burst = if burst == 0 { 1 } else { burst };
        // At most 10^9 * 2^32 < 2^62: no overflow.
        let unit_ns = 1_000_000_000 / per_second as u64;
        let unit_ns = if unit_ns == 0 { 1 } else { unit_ns };
        Self { unit_ns, burst_ns: unit_ns * burst as u64 }
    }
}

/// The state of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gcra {
    /// When all that was taken is paid for, in nanoseconds of the node's uptime.
    paid_ns: u64,
}

impl Gcra {
    /// Takes `units`, or returns the time to wait for them. A refusal takes nothing.
    ///
    /// # Errors
    /// The time until `units` would be granted. If they exceed the burst, they never are, and this is the
    /// time until a full burst would be granted.
    pub fn take(&mut self, rate: LocalRate, units: usize, now: Duration) -> Result<(), Duration> {
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let cost_ns = rate.unit_ns.saturating_mul(units as u64);
        let ahead_ns = self.paid_ns.saturating_sub(now_ns);
        let after_ns = ahead_ns.saturating_add(cost_ns);
        if after_ns > rate.burst_ns {
            let wait_ns = after_ns.min(rate.burst_ns.saturating_add(ahead_ns)) - rate.burst_ns;
            return Err(Duration::from_nanos(wait_ns));
        }
        self.paid_ns = now_ns.saturating_add(after_ns);
        Ok(())
    }

    /// Whether all that was taken is paid for: then this state is as good as a new one.
    pub fn is_paid(&self, now: Duration) -> bool {
        u128::from(self.paid_ns) <= now.as_nanos()
    }
}

const _: () = assert!(size_of::<Gcra>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: LocalRate = LocalRate::per_second(10, 3);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut gcra = Gcra::default();
        for _ in 0..3 {
            assert_eq!(gcra.take(TEN, 1, at(0)), Ok(()));
        }
        assert_eq!(gcra.take(TEN, 1, at(0)), Err(at(100)));
        assert_eq!(gcra.take(TEN, 1, at(99)), Err(at(1)));
        assert_eq!(gcra.take(TEN, 1, at(100)), Ok(()));
        assert_eq!(gcra.take(TEN, 1, at(100)), Err(at(100)));
    }

    #[test]
    fn rest_gives_the_burst_back_and_no_more() {
        let mut gcra = Gcra::default();
        assert_eq!(gcra.take(TEN, 3, at(0)), Ok(()));
        assert_eq!(gcra.take(TEN, 3, at(3_600_000)), Ok(()));
        assert_eq!(gcra.take(TEN, 1, at(3_600_000)), Err(at(100)));
    }

    #[test]
    fn more_than_a_burst_is_never_granted() {
        let mut gcra = Gcra::default();
        assert!(gcra.take(TEN, 4, at(0)).is_err());
        assert!(gcra.take(TEN, usize::MAX, at(u64::MAX)).is_err());
        assert_eq!(gcra.take(TEN, 3, at(0)), Ok(()), "a refusal costs nothing");
    }

    #[test]
    fn in_any_window_no_more_than_burst_and_rate() {
        proptest::proptest!(|(gaps in proptest::collection::vec(0_u64..400, 1..200))| {
            let (mut gcra, mut now, mut granted) = (Gcra::default(), 0, 0_u64);
            for gap in gaps {
                now += gap;
                granted += u64::from(gcra.take(TEN, 1, at(now)).is_ok());
                proptest::prop_assert!(granted <= 3 + now / 100);
            }
        });
    }
}
