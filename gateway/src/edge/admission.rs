//! Whether the gateway accepts one more upgrade now, decided before any work is done for it.
//!
//! A reconnect storm must not harm the open sockets. So there is a budget of upgrades per
//! second, and none at all while this gateway is behind: its runtime lags, or users wait to be
//! written to the directory. A refused client hears 503 with `Retry-After`: a proxy tries the next
//! gateway, a client comes back, each after a different time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::limits::{ADMISSION_LAG_MS_MAX, ADMISSION_RETRY_S_MAX, SEATS_WAITING_MAX};
use parking_lot::Mutex;

use crate::socket::rate::{Gcra, LocalRate};

/// The state of one gateway's admission.
pub struct Admission {
    rate: LocalRate,
    taken: Mutex<Gcra>,
    lag_ms: AtomicU64,
}

/// The refusal of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The metric's label: `budget`, `lag`, `seats`, or of one address `address_lines`, `address_budget`.
    pub reason: &'static str,
    /// Seconds until a new attempt makes sense.
    pub retry_s: u64,
}

impl Admission {
    /// A budget of this many upgrades per second. A fifth of it may come at once, so that no second
    /// has more than 1.2 times the budget.
    pub fn new(per_second: u32) -> Self {
        let rate = LocalRate::per_second(per_second, per_second / 5);
        Self { rate, taken: Mutex::default(), lag_ms: AtomicU64::new(0) }
    }

    /// Takes one upgrade from the budget. `up` is the node's uptime, `seats` the number of users that wait to
    /// be written to the directory.
    ///
    /// # Errors
    /// [`Refused`]; a refusal takes nothing from the budget.
    pub fn judge(&self, up: Duration, seats: usize) -> Result<(), Refused> {
        if self.is_late() {
            return Err(self.refused("lag", up));
        }
        if seats > SEATS_WAITING_MAX {
            return Err(self.refused("seats", up));
        }
        let mut taken = self.taken.lock();
        taken.take(self.rate, 1, up).map_err(|_| self.refused("budget", up))
    }

    /// A refusal at this uptime.
    pub fn refused(&self, reason: &'static str, up: Duration) -> Refused {
        // Not random, but no client can choose it: it spreads those that were refused together.
        Refused { reason, retry_s: 1 + u64::from(up.subsec_nanos()) % ADMISSION_RETRY_S_MAX }
    }

    /// Whether the runtime lags too much to accept a socket.
    pub fn is_late(&self) -> bool {
        self.lag_ms.load(Ordering::Relaxed) > ADMISSION_LAG_MS_MAX
    }

    /// Reports how late a due task ran.
    pub fn note_lag(&self, lag: Duration) {
        self.lag_ms.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(admission: &Admission, ms: u64, seats: usize) -> Option<&'static str> {
        admission.judge(Duration::from_millis(ms), seats).err().map(|refused| refused.reason)
    }

    #[test]
    fn no_second_sees_more_than_six_fifths_of_the_budget() {
        let admission = Admission::new(100);
        let granted =
            |from: u64| (from..from + 1_000).filter(|ms| reason(&admission, *ms, 0).is_none()).count();
        assert_eq!(granted(0), 20 + 99);
        assert_eq!(granted(1_000), 100);
        assert_eq!(reason(&admission, 2_000, 0), None);
        assert_eq!(reason(&admission, 2_000, 0), Some("budget"));
    }

    #[test]
    fn a_gateway_that_is_behind_takes_nobody() {
        let admission = Admission::new(100);
        assert_eq!(reason(&admission, 0, SEATS_WAITING_MAX + 1), Some("seats"));
        admission.note_lag(Duration::from_millis(ADMISSION_LAG_MS_MAX + 1));
        assert_eq!(reason(&admission, 0, 0), Some("lag"));
        admission.note_lag(Duration::ZERO);
        assert_eq!(reason(&admission, 0, 0), None);
    }

    #[test]
    fn those_refused_together_come_again_apart() {
        let admission = Admission::new(1);
        let mut times: Vec<_> = (0..100)
            .filter_map(|ns| admission.judge(Duration::from_nanos(ns), 0).err())
            .map(|refused| refused.retry_s)
            .collect();
        times.sort_unstable();
        times.dedup();
        assert_eq!(times.len() as u64, ADMISSION_RETRY_S_MAX);
    }
}
